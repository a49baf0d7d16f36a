"""`DropoutGEE` and `dropout_weights`: which rows they take, what they refuse, and that the fit behaves as any other."""

from __future__ import annotations

import pickle
import warnings

import numpy as np
import pandas as pd
import pytest
import sklearn
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone, is_classifier, is_regressor
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV, GroupKFold, cross_validate
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skdep import GEEClassifier, GEERegressor, LogitRegressor
from skdep.exceptions import FewClustersWarning, SeparationWarning, WeightWarning
from skdep.gee.dropout import DropoutGEE
from skdep.gee.dropout_weighting import dropout_weights
from skdep.inference import coef_table, lrt, marginal_effects, odds_ratios, qic, wald_test

from .dense_dropout import simulate

FEATURES = ["visit", "treated"]


@pytest.fixture(scope="module")
def rows() -> pd.DataFrame:
    """Visits that took place, in random order."""
    return simulate()


@pytest.fixture(scope="module")
def fitted(rows) -> DropoutGEE:
    """A fit that no test may change."""
    return fit(rows)


def fit(rows, est=None, **given):
    metadata = {"groups": rows["id"], "time": rows["visit"]} | given
    return (est or DropoutGEE(GEEClassifier())).fit(rows[FEATURES], rows["y"], **metadata)


# ---------------------------------------------------------------------------------------------------- what it is for


def test_weights_take_away_the_bias_of_dropout_that_depends_on_outcomes():
    """By construction half of all outcomes are one at every visit; who has a one is likely to leave."""
    rng = np.random.default_rng(0)
    n_clusters, n_visits = 20_000, 4
    always = rng.random((n_clusters, 1)) < 0.5
    y = np.where(rng.random((n_clusters, n_visits)) < 0.4, rng.random((n_clusters, n_visits)) < 0.5, always)
    stays = rng.random((n_clusters, n_visits)) < np.where(y, 0.5, 0.9)
    seen = np.cumprod(np.column_stack([np.ones(n_clusters), stays[:, :-1]]), axis=1) > 0
    cluster, visit = np.nonzero(seen)
    X = (visit[:, None] == np.arange(1, n_visits)).astype(float)
    plain = GEEClassifier().fit(X, y[seen], groups=cluster)
    assert (plain.coef_ < -0.2).all()
    for gee, kind in [
        (GEEClassifier(), "observation"),
        (GEEClassifier(), "cluster"),
        (GEEClassifier(working_correlation="exchangeable"), "cluster"),
    ]:
        est = DropoutGEE(gee, weights=kind, visit_effects=False)
        est.fit(X, y[seen], groups=cluster, time=visit, dropout_features=y[seen].astype(float))
        z = np.append(est.intercept_, est.coef_) / np.sqrt(np.diag(est.covariance_))
        assert np.abs(z).max() < 3.0
        assert np.sqrt(np.diag(est.covariance_)).max() < 0.08


def test_saturated_model_gives_back_everyone_who_started(rows):
    """Within visits by outcome the weights of those seen add up to the weights of those at risk: to all in the end."""
    start = rows.sort_values("visit").groupby("id")["y"].first()
    first = rows["id"].map(start)
    cells = pd.get_dummies(first.astype(str) + "-" + rows["visit"].astype(str), drop_first=True, dtype=float)
    at_risk = rows["visit"] < 3
    cells = cells.loc[:, cells[at_risk].any(axis=0)]
    weights = dropout_weights(cells, groups=rows["id"], time=rows["visit"], visit_effects=False)
    sums = pd.Series(weights).groupby([rows["visit"], first]).sum().unstack()
    assert_allclose(sums, np.tile(start.value_counts().sort_index(), (4, 1)), rtol=1e-5)


# -------------------------------------------------------------------------------------------------------- which rows


def test_what_is_known_at_the_last_planned_visit_is_not_used(rows, fitted):
    features = rows[["y", "treated"]].where(rows["visit"] < 3)
    est = fit(rows, dropout_features=features)
    assert_allclose(est.coef_, fitted.coef_, rtol=1e-12)
    features.iloc[int(np.flatnonzero(rows["visit"] == 1)[0]), 0] = np.nan
    with pytest.raises(ValueError, match=rf"missing values in 1 rows .*in row {np.flatnonzero(rows['visit'] == 1)[0]}"):
        fit(rows, dropout_features=features)


def test_default_predictors_are_outcome_and_features_that_say_more_than_the_visit(rows, fitted):
    assert fitted.dropout_model_._inference.names == ("Intercept", "outcome", "treated", "visit 2", "visit 3")
    est = fit(rows, DropoutGEE(GEEClassifier(), visit_effects=False))
    assert est.dropout_model_._inference.names == ("Intercept", "outcome", "visit", "treated")
    unnamed = DropoutGEE(GEEClassifier()).fit(
        rows[FEATURES].to_numpy(), np.where(rows["y"] == 1, "yes", "no"), groups=rows["id"], time=rows["visit"]
    )
    assert unnamed.dropout_model_._inference.names == ("Intercept", "outcome", "x1", "visit 2", "visit 3")
    assert_allclose(unnamed.covariance_, fitted.covariance_, rtol=1e-12)
    assert_array_equal(unnamed.classes_, ["no", "yes"])
    assert_array_equal(unnamed.predict(rows[FEATURES].to_numpy()) == "yes", fitted.predict(rows[FEATURES]) == 1.0)


def test_visits_that_everybody_returned_to_have_probability_one():
    rows = simulate(seed=3)
    returned = rows.groupby("id")["visit"].transform("max") >= 1
    rows = rows[returned].reset_index(drop=True)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        est = fit(rows)
    assert est.dropout_model_._inference.names == ("Intercept", "outcome", "treated", "visit 3")
    table = est.dropout_.to_frame()
    assert_array_equal(table["seen"][:2], table["planned"][:2])
    assert_array_equal(table.loc[[0, 1], ["smallest", "largest"]], 1.0)
    later = rows[rows["visit"] > 0]
    same = dropout_weights(later[["y", "treated"]], groups=later["id"], time=later["visit"])
    all_of_them = dropout_weights(rows[["y", "treated"]], groups=rows["id"], time=rows["visit"])
    assert_allclose(all_of_them[rows["visit"] > 0], same, rtol=1e-12)


def test_nobody_drops_out(rows):
    complete = rows[rows.groupby("id")["visit"].transform("max") == 3]
    plain = GEEClassifier().fit(complete[FEATURES], complete["y"], groups=complete["id"])
    with pytest.warns(WeightWarning, match="No cluster drops out"):
        est = fit(complete)
    assert est.dropout_model_ is None
    assert_allclose(est.coef_, plain.coef_, rtol=1e-12)
    assert_allclose(est.covariance_, plain.covariance_, rtol=1e-10)
    assert_allclose(list(est._criteria.values()), list(plain._criteria.values()), rtol=1e-10)
    assert "No cluster drops out" in str(est.summary())


def test_end_of_follow_up_is_no_dropout(rows):
    """Half of the clusters were to be seen at visits 0 and 1 only: none of them drops out after visit 1."""
    early = rows["id"] % 2 == 0
    cut = rows[~early | (rows["visit"] <= 1)]
    last = np.where(cut["id"] % 2 == 0, 1, 3)
    est = fit(cut, last_visit=last)
    table = est.dropout_.to_frame()
    assert_array_equal(table["planned"], [120, 120, 60, 60])
    assert_array_equal(table["planned"] - table["seen"], table["dropped"].cumsum() - [0, 0, *[left_early(cut)] * 2])
    assert table.loc[3, "largest"] < fit(cut).dropout_.to_frame().loc[3, "largest"]


def left_early(cut):
    """Return how many clusters with the short follow-up missed visit 1."""
    return int((cut[cut["id"] % 2 == 0].groupby("id")["visit"].max() == 0).sum())


@pytest.mark.parametrize("kind", ["dates", "categories", "gaps"])
def test_times_of_any_kind(rows, fitted, kind):
    times = {
        "dates": pd.Timestamp("2020-01-31") + rows["visit"] * pd.Timedelta(days=91),
        "categories": pd.Series(pd.Categorical.from_codes(rows["visit"], ["start", "spring", "fall", "end"], True)),
        "gaps": rows["visit"].map({0: 0.0, 1: 0.5, 2: 2.0, 3: 10.0}),
    }[kind]
    est = fit(rows, time=times)
    assert_allclose(est.covariance_, fitted.covariance_, rtol=1e-12)
    last = times.max() if kind != "categories" else "end"
    dtype = times.dtype if kind == "categories" else None
    est = fit(rows, time=times, last_visit=pd.Series([last] * len(rows), dtype=dtype))
    assert_allclose(est.covariance_, fitted.covariance_, rtol=1e-12)


# ----------------------------------------------------------------------------------------------- what it cannot take


def test_needs_clusters_and_times(rows):
    for name in ("groups", "time"):
        with pytest.raises(ValueError, match=f"pass {name}="):
            fit(rows, **{name: None})
    with pytest.raises(ValueError, match=r"2 columns.*clusters of one level"):
        fit(rows, groups=rows[["treated", "id"]])


def test_missing_outcomes_are_rows_to_leave_out(rows):
    with pytest.raises(
        ValueError, match=r"2 outcomes are missing, first in row 4\. Rows are the visits that took place"
    ):
        fit(rows.assign(y=rows["y"].mask(rows.index.isin([4, 9]))))


def with_gaps(rows):
    """Return rows where clusters -1 and -2 come back after a missed visit, and which were taken out."""
    complete = np.flatnonzero(rows.groupby("id")["visit"].max() == 3)[:2]
    gaps = (rows["id"].isin(complete) & (rows["visit"] == 1)).to_numpy()
    return rows.assign(id=rows["id"].replace(dict(zip(complete, [-1, -2], strict=True))))[~gaps], gaps


def test_intermittent_missingness_names_the_clusters(rows):
    broken, _ = with_gaps(rows)
    with pytest.raises(ValueError, match=r"Seen again after a missed visit: 2 clusters of 'id' \(-2, -1\)\..*'drop'"):
        fit(broken)
    with pytest.raises(ValueError, match="Seen again"):
        dropout_weights(broken[["y"]], groups=broken["id"], time=broken["visit"])


def test_rows_after_a_missed_visit_can_be_left_out(rows):
    broken, _ = with_gaps(rows)
    kept = broken[(broken["id"] >= 0) | (broken["visit"] == 0)]
    offset = np.linspace(-0.5, 0.5, len(broken))
    inside = broken.index.isin(kept.index)
    given = {"sample_weight": 1.0 + broken["treated"], "offset": offset, "dropout_features": broken[["y"]].to_numpy()}
    with pytest.warns(WeightWarning, match=r"4 rows after the first missed visit .* 2 clusters of 'id' \(-2, -1\)"):
        est = fit(broken, DropoutGEE(GEEClassifier(), intermittent="drop"), **given)
    same = fit(kept, **{name: np.asarray(values)[inside] for name, values in given.items()})
    assert_allclose(est.coef_, same.coef_, rtol=1e-12)
    assert_allclose(est.covariance_, same.covariance_, rtol=1e-12)
    assert est._inference.n_obs == len(kept)


def test_late_starters_and_ties_are_refused(rows):
    late = rows[(rows["id"] != 7) | (rows["visit"] > 0)]
    assert (late["id"] == 7).any()
    for intermittent in ("fail", "drop"):
        with pytest.raises(ValueError, match=r"first planned visit, time 0: 1 cluster of 'id' \(7\)"):
            fit(late, DropoutGEE(GEEClassifier(), intermittent=intermittent))
    with pytest.raises(ValueError, match=r"time is tied.*1 cluster of 'id' \(3\)"):
        fit(pd.concat([rows, rows[(rows["id"] == 3) & (rows["visit"] == 0)]], ignore_index=True))


def test_actual_dates_are_recognised(rows):
    days = 91.0 * rows["visit"] + np.random.default_rng(0).normal(size=len(rows))
    with pytest.raises(ValueError, match="time must hold the planned visits"):
        fit(rows, time=days)


def test_bad_last_visits(rows):
    with pytest.raises(ValueError, match=r"constant within clusters; it varies in \d+ clusters of 'id' \(0"):
        fit(rows, last_visit=np.where(rows["visit"] == 0, 2, 3))
    with pytest.raises(ValueError, match="last_visit is before the last row of"):
        fit(rows, last_visit=np.full(len(rows), 2))
    with pytest.raises(ValueError, match="one time for each of the"):
        fit(rows, last_visit=[3, 3])
    with pytest.raises(ValueError, match="1 are missing"):
        fit(rows, last_visit=np.where(np.arange(len(rows)) == 5, np.nan, 3.0))


@pytest.mark.parametrize(
    ("est", "message"),
    [
        (DropoutGEE(GEEClassifier(cov_type="kc")), "cov_type='kc', which is not defined for estimated weights"),
        (DropoutGEE(GEEClassifier(weight_type="frequency")), "weight_type='sampling'"),
        (DropoutGEE(GEEClassifier(tol=-1.0)), "'tol' parameter of GEEClassifier"),
        (DropoutGEE(LogitRegressor()), "'estimator' parameter of DropoutGEE"),
        (DropoutGEE(GEEClassifier(), dropout_model=GEEClassifier()), "'dropout_model' parameter"),
        (DropoutGEE(GEEClassifier(), dropout_model=LogitRegressor(max_iter=0)), "'max_iter' parameter of Logit"),
        (DropoutGEE(GEEClassifier(), weights="rows"), "'weights' parameter"),
        (DropoutGEE(GEEClassifier(), max_weight=0.5), "'max_weight' parameter"),
    ],
)
def test_bad_parameters(rows, est, message):
    with pytest.raises(ValueError, match=message):
        fit(rows, est)


def test_bad_arguments_of_the_function(rows):
    given = {"groups": rows["id"], "time": rows["visit"]}
    with pytest.raises(ValueError, match="weights must be one of"):
        dropout_weights(rows[["y"]], weights="row", **given)
    with pytest.raises(ValueError, match="max_weight must be at least 1"):
        dropout_weights(rows[["y"]], max_weight=0.9, **given)
    with pytest.raises(ValueError, match=r"dropout_features has 3 rows for \d+ rows"):
        dropout_weights(rows[["y"]][:3], **given)
    with pytest.raises(ValueError, match="Encode categories"):
        dropout_weights(rows[["y"]].astype(str) + "!", **given)


def test_separation_is_told_and_told_again_in_the_summary(rows):
    """Whoever has the mark leaves for sure; no one with it was seen again, so that weights stay finite."""
    mark = (rows["visit"] == rows.groupby("id")["visit"].transform("max")) & (rows["visit"] < 3) & (rows["y"] == 1)
    features = pd.DataFrame({"y": rows["y"], "mark": mark.astype(float)})
    with pytest.warns(SeparationWarning, match="mark"):
        est = fit(rows, dropout_features=features)
    assert not est.converged_
    assert est.estimator_.converged_
    assert "the dropout model: " in str(est.summary())
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert fit(rows, DropoutGEE(GEEClassifier(), dropout_model=LogitRegressor("firth")), dropout_features=features)


# ------------------------------------------------------------------------------------------------------ correlations


def test_weights_of_observations_with_a_correlation_warn_in_their_own_words(rows):
    exchangeable = GEEClassifier(working_correlation="exchangeable")
    with pytest.warns(WeightWarning, match=r"'exchangeable': estimates are biased.*weights='cluster'") as caught:
        est = fit(rows, DropoutGEE(exchangeable))
    assert len(caught) == 1
    assert len(est._inference.notes) == 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert fit(rows, DropoutGEE(exchangeable, weights="cluster"))._inference.notes == ()


# -------------------------------------------------------------------------------------------------- as any estimator


def test_inference_takes_it_as_any_fit(rows, fitted):
    table = coef_table(fitted)
    assert_allclose(table["std_error"], np.sqrt(np.diag(fitted.covariance_)))
    known = coef_table(fitted, cov_type="known_weights")
    assert_allclose(known["std_error"], coef_table(fitted.estimator_)["std_error"])
    assert (np.abs(known["std_error"] / table["std_error"] - 1) > 1e-3).any()
    small = coef_table(fitted, cov_type="df")
    assert_allclose((small["std_error"] / table["std_error"]) ** 2, 120 / 117)
    assert_array_equal(small["df"], 117)
    with pytest.raises(ValueError, match="not defined for estimated weights"):
        coef_table(fitted, cov_type="kc")
    assert wald_test(fitted, ["visit", "treated"]).df == 2
    assert_allclose(odds_ratios(fitted)["estimate"].iloc[1:], np.exp(fitted.coef_[0]))
    assert len(marginal_effects(fitted, rows[FEATURES])) == 2
    assert_allclose(qic(fitted).qicu, qic(fitted.estimator_).qicu, rtol=1e-10)
    assert qic(fitted).cic != qic(fitted.estimator_).cic


def test_likelihood_ratios_compare_fits_of_the_same_weights(rows, fitted):
    given = {"groups": rows["id"], "time": rows["visit"]}
    reduced = DropoutGEE(GEEClassifier())
    test = lrt(reduced.fit(rows[["treated"]], rows["y"], dropout_features=rows[["y", "treated"]], **given), fitted)
    assert_allclose(test.p_value, wald_test(fitted, ["visit"]).p_value, rtol=0.1)
    with pytest.raises(ValueError, match="different data"):
        lrt(reduced.fit(rows[["treated"]], rows["y"], dropout_features=rows[["y"]], **given), fitted)


@pytest.mark.parametrize("cov_type", ["naive", "df"])
def test_the_type_of_covariance_is_that_of_the_estimator(rows, fitted, cov_type):
    est = fit(rows, DropoutGEE(GEEClassifier(cov_type=cov_type)))
    assert_array_equal(est.covariance_, fitted._inference.covariances[cov_type])
    assert f"Covariance           {cov_type}" in str(est.summary())


def test_summary_says_who_left_and_what_the_weights_are(fitted):
    text = str(fitted.summary())
    dropped = int(fitted.dropout_.dropped.sum())
    assert f"Dropout              {dropped} of 120 clusters, logistic model with 5 parameters" in text
    assert f"by observation, 1 to {fitted.dropout_.largest.max():.3g}, worth" in text
    assert "kc" not in text


def test_few_clusters_are_noted_without_what_cannot_be_had():
    rows = simulate(30, seed=1)
    notes = fit(rows, DropoutGEE(GEEClassifier(), visit_effects=False))._inference.notes
    assert len(notes) == 1
    assert "cov_type='df'" in notes[0]
    with pytest.warns(FewClustersWarning):
        few = rows[rows["id"] < 3]
        DropoutGEE(GEERegressor(), visit_effects=False).fit(
            few[FEATURES], few["x"], groups=few["id"], time=few["visit"], dropout_features=np.empty((len(few), 0))
        )


def test_table_of_dropout(rows, fitted):
    weights = dropout_weights(rows[["y", "treated"]], groups=rows["id"], time=rows["visit"])
    by_visit = pd.Series(weights).groupby(rows["visit"])
    table = fitted.dropout_.to_frame()
    assert_array_equal(table["seen"], by_visit.size())
    assert_array_equal(table["planned"] - table["seen"], table["dropped"].cumsum())
    for name, values in {"smallest": by_visit.min(), "mean": by_visit.mean(), "largest": by_visit.max()}.items():
        assert_allclose(table[name], values)
    assert_allclose(fitted.dropout_.effective_size, weights.sum() ** 2 / (weights**2).sum())
    assert "<table" in fitted.dropout_._repr_html_()
    cut = fit(rows, DropoutGEE(GEEClassifier(), max_weight=1.5)).dropout_
    assert cut.n_truncated == (weights > 1.5).sum() > 0
    assert f"cut at 1.5 in {cut.n_truncated} rows" in str(cut)


def test_weights_of_known_probabilities_are_at_least_one(rows):
    for kind in ("observation", "cluster"):
        weights = dropout_weights(rows[["y"]], groups=rows["id"], time=rows["visit"], weights=kind)
        assert weights.min() >= 1.0
    assert_array_equal(pd.Series(weights).groupby(rows["id"]).nunique(), 1)


def test_kind_parameters_and_clone(rows, fitted):
    est = DropoutGEE(GEERegressor(family="poisson"), weights="cluster", max_weight=5, intermittent="drop")
    assert is_regressor(est)
    assert not is_classifier(est)
    assert not hasattr(est, "predict_proba")
    assert is_classifier(fitted)
    assert clone(est).get_params(deep=False).keys() == est.get_params(deep=False).keys()
    assert clone(est).set_params(estimator__tol=1e-3).estimator.tol == 1e-3
    with pytest.raises(NotFittedError):
        est.predict(rows[FEATURES])


def test_predictions_and_scores_are_those_of_the_model_within(rows, fitted):
    X, inner = rows[FEATURES], fitted.estimator_
    for name in ("predict", "predict_proba", "predict_log_proba", "decision_function"):
        assert_array_equal(getattr(fitted, name)(X), getattr(inner, name)(X))
    assert fitted.score(X, rows["y"]) == inner.score(X, rows["y"])
    assert_array_equal(fitted.coef_, inner.coef_)
    assert_array_equal(fitted.classes_, [0.0, 1.0])
    assert list(fitted.feature_names_in_) == FEATURES
    with pytest.raises(ValueError, match="feature names"):
        fitted.predict(X[["treated", "visit"]])


def test_pickles_small_and_whole(rows, fitted):
    large = pd.concat([rows.assign(id=rows["id"] + 1000 * copy) for copy in range(20)], ignore_index=True)
    stored, much = pickle.dumps(fitted), pickle.dumps(fit(large))
    assert abs(len(much) - len(stored)) < 500
    again = pickle.loads(stored)
    assert str(again.summary()) == str(fitted.summary())
    assert str(again.dropout_) == str(fitted.dropout_)


def test_fitting_again_leaves_nothing_behind(rows):
    est = DropoutGEE(GEEClassifier(working_correlation="unstructured"), weights="cluster")
    fit(rows, est)
    assert hasattr(est, "times_")
    est.set_params(estimator=GEERegressor(), weights="observation")
    est.fit(rows[FEATURES].to_numpy(), rows["x"], groups=rows["id"], time=rows["visit"])
    assert not any(hasattr(est, name) for name in ("times_", "classes_", "feature_names_in_"))


def test_in_a_pipeline_a_search_and_with_routing(rows, fitted):
    metadata = {"groups": rows["id"], "time": rows["visit"]}
    pipeline = make_pipeline(StandardScaler(), DropoutGEE(GEEClassifier()))
    pipeline.fit(rows[FEATURES], rows["y"], **{f"dropoutgee__{name}": value for name, value in metadata.items()})
    assert_allclose(pipeline.predict_proba(rows[FEATURES]), fitted.predict_proba(rows[FEATURES]), rtol=1e-7)
    assert len(coef_table(pipeline)) == 3
    with sklearn.config_context(enable_metadata_routing=True):
        folds = cross_validate(
            DropoutGEE(GEEClassifier()),
            rows[FEATURES],
            rows["y"],
            cv=GroupKFold(3),
            params=metadata | {"dropout_features": rows[["y", "x"]]},
            return_estimator=True,
        )
        assert all("x" in est.dropout_model_._inference.names for est in folds["estimator"])
        search = GridSearchCV(DropoutGEE(GEEClassifier()), {"estimator__link": ["logit", "probit"]}, cv=GroupKFold(3))
        search.fit(rows[FEATURES], rows["y"], **metadata)
    assert len(coef_table(search)) == 3
