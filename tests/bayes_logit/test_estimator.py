"""`BayesLogit` as an estimator: draws, priors by name, random effects, predictions, reports, bad input.

What holds of every estimator (copies, order of rows, weights, labels, units, routing) is in ``tests/common``.
"""

from __future__ import annotations

import pickle
import re

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.special import expit, log_expit, logsumexp
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import skdep._progress
import skdep.bayes.predictions
import skdep.bayes.predictive
from skdep import BayesLogit
from skdep.bayes import LKJ, Cauchy, HalfNormal, Laplace, Normal, bayes_decision
from skdep.bayes.convergence import ess_bulk, ess_tail, mcse_mean, rhat
from skdep.bayes.named_draws import posterior_draws, prior_draws

pytestmark = pytest.mark.filterwarnings("ignore::skdep.exceptions.ConvergenceWarning")

# Draws of the same posterior, from the same random numbers, up to how sums are rounded.
CLOSE = {"rtol": 1e-6, "atol": 1e-8}
LOSS = [[0.0, 5.0], [1.0, 0.0]]


def rows(n=120, n_groups=10, seed=0):
    rng = np.random.default_rng(seed)
    X = np.column_stack([rng.normal(size=n), rng.integers(0, 3, n)])
    groups = rng.integers(n_groups, size=n)
    eta = -0.3 + X @ [0.8, -0.5] + rng.normal(scale=0.8, size=n_groups)[groups]
    return X, (rng.uniform(size=n) < expit(eta)).astype(int), groups


def make(prior=None, **params):
    return BayesLogit(prior, **{"n_draws": 200, "random_state": 0, "method": "pairs"} | params)


def assert_same(one, other, **tolerance):
    for name, draws in one.draws_.items():
        assert_allclose(other.draws_[name], draws, **(tolerance or CLOSE))
    assert_allclose(other.log_evidence_, one.log_evidence_, rtol=1e-7)


@pytest.fixture(scope="module")
def clinics():
    """A fit with random intercepts: rows, groups, and the model."""
    X, y, groups = rows()
    frame = pd.DataFrame(X, columns=["age", "dose"])
    return frame, y, groups, make(n_draws=500).fit(frame, y, groups=pd.Series(groups, name="clinic"))


@pytest.fixture(scope="module")
def slopes():
    """A fit with correlated random intercepts and slopes."""
    X, y, groups = rows(n=240)
    frame = pd.DataFrame(X - X.mean(axis=0), columns=["age", "dose"])
    prior = {"age": Normal(0, 1), "correlation": LKJ(4)}
    return make(prior, random_slopes=["age"]).fit(frame, y, groups=pd.Series(groups, name="clinic"))


# ------------------------------------------------------------------------------------------------- draws


def test_shapes():
    X, y, groups = rows()
    model = make(n_draws=60, n_chains=3).fit(X, y)
    assert model.draws_["intercept"].shape == (3, 60)
    assert model.draws_["coef"].shape == (3, 60, 2)
    assert_allclose(model.coef_[0], model.draws_["coef"].mean(axis=(0, 1)))
    multilevel = make(n_draws=60, n_chains=3, random_slopes=[0]).fit(X, y, groups=groups)
    assert multilevel.draws_["random_covariance"].shape == (3, 60, 2, 2)
    (covariance,) = multilevel.random_covariance_.values()
    assert_allclose(covariance, multilevel.draws_["random_covariance"].mean(axis=(0, 1)))
    diagonal = make(n_draws=60, random_slopes=[0], covariance="diagonal").fit(X, y, groups=groups)
    assert np.all(diagonal.draws_["random_covariance"][..., 0, 1] == 0)
    assert [name for name in posterior_draws(diagonal) if "[" in name] == ["sd[group, Intercept]", "sd[group, x0]"]
    assert np.all(make(fit_intercept=False).fit(X, y).draws_["intercept"] == 0)


@pytest.mark.parametrize("grouped", [False, True])
def test_same_seed_same_draws(grouped):
    X, y, groups = rows()
    given = {"groups": groups} if grouped else {}
    one, other = make().fit(X, y, **given), make().fit(X, y, **given)
    for name in one.draws_:
        assert_array_equal(one.draws_[name], other.draws_[name])
    assert_array_equal(one.predict_proba(X, **given), other.predict_proba(X, **given))
    assert_array_equal(one.predict_proba(X, **given), one.predict_proba(X, **given))
    assert not np.array_equal(one.draws_["coef"], make(random_state=1).fit(X, y, **given).draws_["coef"])
    state = np.random.RandomState(0)
    first = make(random_state=state).fit(X, y, **given).draws_["coef"]
    assert not np.array_equal(first, make(random_state=state).fit(X, y, **given).draws_["coef"])


def test_counts_of_equal_rows():
    """Rows of few kinds are the same as one row of each kind and outcome, with counts."""
    X, y, groups = rows(n=400)
    X[:, 0] = np.round(X[:, 0])
    frame = pd.DataFrame({"a": X[:, 0], "b": X[:, 1], "g": groups, "y": y})
    counts = frame.value_counts().reset_index()
    aggregated = make().fit(
        counts[["a", "b"]].to_numpy(), counts["y"], groups=counts["g"].to_numpy(), sample_weight=counts["count"]
    )
    assert_same(make().fit(X, y, groups=groups), aggregated, rtol=1e-4, atol=1e-5)
    assert aggregated.summary().facts == make().fit(X, y, groups=groups).summary().facts


def test_powers_of_the_likelihood():
    """Weights of one half twice are one row."""
    X, y, _ = rows()
    halves = make().fit(np.vstack([X, X]), np.r_[y, y], sample_weight=np.full(2 * len(y), 0.5))
    assert_same(make().fit(X, y), halves)


def test_mirrored_labels():
    """Default priors are symmetric: the same posterior, mirrored."""
    X, y, _ = rows()
    one, other = make(n_draws=4000).fit(X, y), make(n_draws=4000).fit(X, 1 - y)
    assert_allclose(one.coef_, -other.coef_, atol=0.03)
    assert abs(one.log_evidence_ - other.log_evidence_) < 0.01


# ------------------------------------------------------------------------------------------------- priors


def test_offset_moves_the_prior_of_the_intercept():
    X, y, _ = rows()
    prior = {"Intercept": Normal(0.0, 2.0)}
    moved = {"Intercept": Normal(-1.5, 2.0)}
    plain, shifted = make(prior).fit(X, y), make(moved).fit(X, y, offset=np.full(len(y), 1.5))
    assert_allclose(plain.draws_["intercept"], shifted.draws_["intercept"] + 1.5, rtol=1e-5, atol=1e-6)
    assert_allclose(plain.draws_["coef"], shifted.draws_["coef"], rtol=1e-5, atol=1e-6)
    assert_allclose(plain.log_evidence_, shifted.log_evidence_, rtol=1e-9)


@pytest.mark.parametrize("prior", [Normal(0.2, 0.7), Laplace(0.0, 0.5), Cauchy(0.1, 0.5)], ids=repr)
def test_priors_are_in_the_units_of_a_feature(prior):
    X, y, groups = rows()
    sd = {"sd": HalfNormal(0.8)}
    units = X * [1000.0, 1.0]
    one = make({0: prior, **sd}).fit(X, y, groups=groups)
    other = make({0: prior.scaled(1e-3), **sd}).fit(units, y, groups=groups)
    assert_allclose(other.draws_["coef"] * [1000.0, 1.0], one.draws_["coef"], rtol=1e-4, atol=1e-5)
    assert_allclose(other.log_evidence_, one.log_evidence_, rtol=1e-7)


def test_priors_by_name():
    X, y, groups = rows()
    frame = pd.DataFrame(X, columns=["age", "dose"])
    model = make({"age": Normal(0, 0.1)}).fit(frame, y, groups=pd.Series(groups, name="clinic"))
    assert list(model.random_covariance_) == ["clinic"]
    by_number = make({0: Normal(0, 0.1)}).fit(X, y, groups=groups)
    assert_allclose(model.draws_["coef"], by_number.draws_["coef"], rtol=1e-4, atol=1e-6)


# ------------------------------------------------------------------------------------------------- random effects


def _effects_by_grid(model, X, y, groups):
    """Return posterior means and standard deviations of random intercepts, each level integrated over a grid."""
    grid = np.linspace(-6.0, 6.0, 121)
    fixed = model.draws_["intercept"].ravel()[::4, None] + model.draws_["coef"].reshape(-1, 2)[::4] @ X.T
    variance = model.draws_["random_covariance"].ravel()[::4]
    means, sds = [], []
    for level in np.unique(groups):
        eta = fixed[:, groups == level][:, :, None] + grid
        log_density = np.where(y[groups == level][:, None] == 1, log_expit(eta), log_expit(-eta)).sum(axis=1)
        log_density -= 0.5 * grid**2 / variance[:, None]
        mass = np.exp(log_density - log_density.max(axis=1, keepdims=True))
        mass /= mass.sum(axis=1, keepdims=True)
        mean = mass @ grid
        means.append(mean.mean())
        sds.append(np.sqrt((mass @ grid**2).mean() - mean.mean() ** 2))
    return np.array(means), np.array(sds)


def test_random_effects_are_those_given_the_data(clinics):
    frame, y, groups, model = clinics
    means, sds = _effects_by_grid(model, frame.to_numpy(), y, groups)
    error = sds / np.sqrt(500)
    assert np.all(np.abs(model.random_effects_["clinic"][:, 0] - means) < 5 * error)
    assert_allclose(model.random_effects_sd_["clinic"][:, 0], sds, rtol=0.1)
    assert_array_equal(model.levels_["clinic"], np.unique(groups))
    flat = make().fit(frame, y)
    assert flat.random_effects_ == {} and flat.random_effects_sd_ == {}
    with pytest.raises(AttributeError, match="not fitted yet"):
        _ = make().random_effects_


def test_effects_of_many_levels_are_drawn_of_some_draws(clinics, monkeypatch):
    frame, y, groups, model = clinics
    thin = make(n_draws=500).fit(frame, y, groups=pd.Series(groups, name="clinic"))
    with monkeypatch.context() as few:
        few.setattr(skdep.bayes.predictions, "_MOST_EFFECTS", 300 * 10)
        effects = thin.random_effects_["clinic"]
        assert len(thin._some_effects()[0]) == 300
        thinned = thin.predict_proba(frame, groups=groups)[:, 1]
        assert thin._effect_draws()["clinic"].shape == (2000, 10, 1)
    sds = model.random_effects_sd_["clinic"]
    assert np.all(np.abs(effects - model.random_effects_["clinic"]) < 5 * sds / np.sqrt(300))
    probability, sd = model.predict_proba(frame, groups=groups, return_std=True)
    assert np.all(np.abs(thinned - probability[:, 1]) < 6 * sd / np.sqrt(300))


def test_a_model_does_not_grow_by_its_use(clinics):
    frame, y, groups, _ = clinics
    model = make().fit(frame, y, groups=pd.Series(groups, name="clinic"))
    before = len(pickle.dumps(model))
    effects = model.random_effects_["clinic"]
    saved = pickle.dumps(model)
    assert len(saved) < before + 100
    assert_array_equal(pickle.loads(saved).random_effects_["clinic"], effects)


def test_predictions_average_over_draws_and_effects(clinics):
    frame, _, groups, model = clinics
    some = groups != 3
    X, drawn = frame.to_numpy(), model._effect_draws()["clinic"][:, :, 0]
    eta = model.draws_["intercept"].ravel()[:, None] + model.draws_["coef"].reshape(-1, 2) @ X.T
    given = expit(eta + drawn[:, groups])
    probability, sd = model.predict_proba(frame, groups=groups, return_std=True)
    assert_allclose(probability[:, 1], given.mean(axis=0), rtol=1e-12)
    assert_allclose(sd, given.std(axis=0), rtol=1e-10)
    ends = model.predict_interval(frame, groups=groups, level=0.8)
    assert_allclose(ends.T, np.quantile(given, [0.1, 0.9], axis=0), rtol=1e-10)
    # of a level that is not known the effect is integrated, in every draw
    nodes, weights = np.polynomial.hermite_e.hermegauss(61)
    spread = np.sqrt(model.draws_["random_covariance"].ravel())
    new = sum(w * expit(eta[:, ~some] + spread[:, None] * node).mean(axis=0) for node, w in zip(nodes, weights))
    mixed = model.predict_proba(frame, groups=np.where(some, groups, -1))
    assert_allclose(mixed[some], probability[some], rtol=1e-12)
    assert_allclose(mixed[~some, 1], new / weights.sum(), rtol=1e-9)


def test_log_odds_keep_their_digits_in_both_tails(clinics):
    frame, _, groups, model = clinics
    offset = np.linspace(-45.0, 45.0, len(frame))
    drawn = model._effect_draws()["clinic"][:, :, 0]
    eta = model.draws_["intercept"].ravel()[:, None] + model.draws_["coef"].reshape(-1, 2) @ frame.to_numpy().T
    eta += drawn[:, groups] + offset
    expected = logsumexp(log_expit(eta), axis=0) - logsumexp(log_expit(-eta), axis=0)
    given = {"groups": groups, "offset": offset}
    assert_allclose(model.decision_function(frame, **given), expected, rtol=1e-9, atol=1e-12)
    logs = model.predict_log_proba(frame, **given)
    assert_allclose(logs, np.column_stack([log_expit(-expected), log_expit(expected)]), rtol=1e-9)
    probability = model.predict_proba(frame, **given)
    assert_allclose(np.log(probability), logs, rtol=1e-9, atol=1e-13)
    assert probability[-1, 0] < 1e-15


# ------------------------------------------------------------------------------------------------- decisions


def test_decisions(clinics, monkeypatch):
    frame, _, groups, model = clinics
    probability = model.predict_proba(frame, groups=groups)[:, 1]
    actions = model.decide(frame, LOSS, groups=groups)
    # the threshold of the loss of a false alarm against that of a miss
    assert_array_equal(actions, (probability > 1 / 6).astype(int))
    whole = model.decision(frame, LOSS, groups=groups, reject=0.4)
    drawn = model._predictor(with_effects=True).draws(frame.to_numpy(), None, {"clinic": groups})
    expected = bayes_decision(LOSS, draws=drawn, classes=[0, 1], reject=0.4)
    assert_allclose(whole.expected_loss, expected.expected_loss, rtol=1e-12)
    assert_allclose(whole.evpi, expected.evpi, rtol=1e-9, atol=1e-15)
    monkeypatch.setattr(skdep.bayes.predictive, "_BLOCK_FLOATS", 7 * drawn.shape[0])
    in_blocks = model.decision(frame, LOSS, groups=groups, reject=0.4)
    assert_array_equal(in_blocks.actions, whole.actions)
    assert_allclose(in_blocks.evpi, whole.evpi, rtol=1e-9, atol=1e-15)


def test_decisions_by_functions_of_draws(clinics):
    frame, _, groups, model = clinics

    def by_row(p):
        return {"wait": 5.0 * p, "act": 1.0 - p}

    assert_array_equal(model.decide(frame, by_row, groups=groups), model.decide(frame, LOSS, groups=groups))
    of_all = model.decide(frame, lambda p: {"none": p.sum(axis=1), "campaign": np.full(len(p), 1.0)}, groups=groups)
    assert_array_equal(of_all, [1])


# ------------------------------------------------------------------------------------------------- reports


def test_posterior_table(slopes):
    table = slopes.posterior_table(level=0.8)
    names = [
        "Intercept",
        "age",
        "dose",
        "sd[clinic, Intercept]",
        "sd[clinic, age]",
        "correlation[clinic, Intercept, age]",
    ]
    assert list(table.index) == names
    covariance = slopes.draws_["random_covariance"]
    sds = np.sqrt(np.diagonal(covariance, axis1=-2, axis2=-1))
    draws = np.concatenate(
        [
            slopes.draws_["intercept"][..., None],
            slopes.draws_["coef"],
            sds,
            (covariance[..., 0, 1] / sds.prod(axis=-1))[..., None],
        ],
        axis=-1,
    )
    flat = draws.reshape(-1, 6)
    expected = {
        "mean": flat.mean(axis=0),
        "sd": flat.std(axis=0, ddof=1),
        "median": np.median(flat, axis=0),
        "q10": np.quantile(flat, 0.1, axis=0),
        "q90": np.quantile(flat, 0.9, axis=0),
        "mcse": mcse_mean(draws),
        "ess_bulk": ess_bulk(draws),
        "ess_tail": ess_tail(draws),
        "rhat": rhat(draws),
    }
    assert list(table.columns) == list(expected)
    for name, column in expected.items():
        assert_allclose(table[name], column, rtol=1e-10, err_msg=name)
    assert {"q2.5", "q97.5"} <= set(slopes.posterior_table().columns)
    with pytest.raises(ValueError, match="level must be between 0 and 1"):
        slopes.posterior_table(level=95)


def test_prior_of_a_correlation(slopes):
    drawn = prior_draws(slopes, 20_000, 0)
    assert drawn.keys() == posterior_draws(slopes).keys()
    correlation = drawn["correlation[clinic, Intercept, age]"]
    # the prior is of intercepts at the mean of the features, which is zero
    assert_allclose(np.quantile(correlation, [0.1, 0.9]), LKJ(4).correlation(2).quantile([0.1, 0.9]), atol=0.03)


def test_prior_summary(slopes):
    table = slopes.prior_summary(level=0.9)
    assert table.loc["age", "prior"] == "Normal(loc=0, scale=1)"
    assert_allclose(table.loc["age", ["low", "high"]].astype(float), Normal(0, 1).interval(0.9))
    assert table["default"].to_dict() == {
        "Intercept": True,
        "age": False,
        "dose": True,
        "sd[clinic, Intercept]": True,
        "sd[clinic, age]": True,
        "correlation[clinic]": False,
    }


def _facts(model):
    return {label: value.strip() for label, value in model.summary().facts.items()}


def test_summary(slopes):
    summary, found = slopes.summary(level=0.9), slopes.diagnostics_
    facts = _facts(slopes)
    assert facts["Observations"] == "240"
    assert facts["Prior"] == "given of 2 of 6 parameters, else defaults"
    assert facts["Method"] == "independence chains over pairs, 4 chains of 200 draws"
    assert facts["Integral"] == f"adaptive Gauss-Hermite quadrature, {found['n_nodes']:.0f} nodes per dimension"
    assert facts["Largest R-hat"] == f"{found['max_rhat']:.3f}"
    assert (
        facts["Least effective draws"]
        == f"{found['min_ess_bulk']:.0f} in bulk, {found['min_ess_tail']:.0f} in the tails"
    )
    assert facts["Converged"] == ("yes" if slopes.converged_ else "NO")
    assert list(summary.to_frame().columns)[3:5] == ["q5", "q95"]
    assert "correlation[clinic, Intercept, age]" in str(summary)
    assert "<th>Log evidence</th>" in summary._repr_html_()


def test_summary_tells_of_batches():
    X, y, groups = rows()
    first, second = np.arange(120) < 60, np.arange(120) >= 60
    levels = groups + 10 * second  # a normal distribution carries nothing of single levels
    for updating, sizes in (("exact", True), ("gaussian", False)):
        model = make({"sd": HalfNormal(1)}, updating=updating, forgetting=1.0)
        for part in (first, second):
            model.partial_fit(X[part], y[part], groups=levels[part])
        facts = _facts(model)
        assert facts["Batches"] == f"2, updating {updating!r}"
        assert facts["Observations"] == "120"
        count = np.unique(levels, return_counts=True)[1]
        assert facts["Levels of group"] == (
            f"{len(count)}, of {count.min()} to {count.max()} rows" if sizes else f"{len(count)}"
        )
        assert facts["Prior"] == "given of 1 of 4 parameters, else defaults"
    discounted = make(forgetting=0.5, n_chains=1).partial_fit(X[first], y[first]).partial_fit(X[second], y[second])
    assert _facts(discounted)["Batches"].endswith("each update counts what was before 0.5 times")
    assert "1 chain of 200 draws" in _facts(discounted)["Method"]
    assert _facts(make().fit(X, y))["Prior"] == "weakly informative defaults"


def test_warnings_of_an_update_are_in_the_summary():
    X, y, _ = rows(60)
    model = make(updating="gaussian", n_draws=1000).partial_fit(X, y)
    assert model.summary().notes == ()
    model.set_params(n_draws=8).partial_fit(X, y)
    assert any("Raise n_draws" in note for note in model.summary().notes)


def test_progress_of_long_runs(capsys, monkeypatch):
    X, y, groups = rows()
    make(verbose=1).fit(X, y)
    make(verbose=0).fit(X, y)
    assert capsys.readouterr().err == ""  # of short runs nothing is said
    monkeypatch.setattr(skdep._progress, "_SECONDS", 0.0)
    make(verbose=1).fit(X, y, groups=groups)
    *lines, last = capsys.readouterr().err.splitlines()
    pattern = re.compile(r"Sampling: (\d+) of (\d+), \d+\.\d s")
    counts = np.array([pattern.fullmatch(line).groups() for line in lines], dtype=int)
    assert re.fullmatch(r"Sampling: done, \d+\.\d s", last)
    assert len(counts) > 1
    assert np.all(counts[:, 0] <= counts[:, 1])
    assert np.all(np.diff(counts, axis=0) >= 0)
    assert counts[-1, 0] == counts[-1, 1]


# ------------------------------------------------------------------------------------------------- tools, bad input


def test_search_over_priors():
    X, y, _ = rows()
    pipeline = make_pipeline(StandardScaler(), make(n_draws=50)).fit(X, y)
    assert pipeline.predict_proba(X).shape == (len(y), 2)
    priors = [Normal(0, 0.01), Normal(0, 1.0)]
    search = GridSearchCV(make(n_draws=50), {"prior": priors}, scoring="neg_log_loss", cv=4).fit(X, y)
    assert search.best_params_["prior"] == priors[1]
    assert cross_val_score(make(n_draws=50), X, y, cv=4, scoring="roc_auc").mean() > 0.6


@pytest.mark.parametrize(
    ("prior", "match"),
    [
        ("normal", "prior should be None, a prior such as"),
        ((0, 1), "prior should be None, a prior such as"),
        (HalfNormal(1), r"prior of standard deviations; pass prior=\{'sd'"),
        ({"sd": HalfNormal(1)}, "no random effects: groups are not given"),
        ({"weight": Normal(0, 1)}, r"prior has the key 'weight'; each should be a feature \('age', 'dose'\)"),
        ({2: Normal(0, 1)}, "prior has the key 2; each should be a feature"),
        ({"age": Normal}, r"prior\['age'\] should be a prior of a coefficient, such as Normal\(0, 1\)"),
        ({"age": 2.5}, r"prior\['age'\] should be a prior of a coefficient, such as Normal\(0, 1\), got 2.5"),
        ({"age": HalfNormal(1)}, r"prior\['age'\] should be a prior of a coefficient"),
        ({"age": Normal(0, 1), 0: Normal(0, 1)}, "prior has feature 'age' twice, by name and by number"),
    ],
)
def test_bad_priors(prior, match):
    X, y, _ = rows(40)
    with pytest.raises(ValueError, match=match):
        make(prior).fit(pd.DataFrame(X, columns=["age", "dose"]), y)


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"y": np.ones(40)}, r"only one class \(1.0\).*name both in partial_fit\(X, y, classes="),
        ({"y": np.arange(40) % 3}, "Only binary classification"),
        ({"y": np.where(np.arange(40) == 3, None, "a")}, "1 labels are missing, first in row 3|Input contains NaN"),
        ({"X": pd.DataFrame({"sex": ["f", "m"] * 20})}, "Columns of X that are not numbers: sex.*OneHotEncoder"),
        (
            {"X": pd.DataFrame({"age": [np.nan] + [1.0] * 39})},
            "1 rows of X have missing or infinite values, first row 0",
        ),
        ({"groups": np.where(np.arange(40) < 2, np.nan, 1.0)}, "label of factor 'group' is missing in 2 rows"),
        ({"groups": np.arange(39)}, "'group' has 39 labels for 40 rows"),
        ({"groups": np.arange(80).reshape(40, 2) % 5}, "method='pairs' is for models.*Use method='auto'"),
        ({"offset": np.full(40, np.inf)}, "offset has 40 missing or infinite values"),
    ],
)
def test_bad_rows(change, match):
    X, y, _ = rows(40)
    given = {"X": X, "y": y} | change
    with pytest.raises(ValueError, match=match):
        make().fit(given.pop("X"), given.pop("y"), **given)


@pytest.mark.parametrize(
    ("use", "match"),
    [
        (
            lambda m, X: m.predict_proba(X, groups=np.zeros((len(X), 2))),
            "groups has 2 factors, the model was fitted with 1",
        ),
        (lambda m, X: m.predict_proba(X[["age"]]), "feature names should match"),
        (lambda m, X: m.predict_interval(X, level=90), "level must be between 0 and 1"),
        (lambda m, X: m.decide(X, [[0, 1, 2], [1, 0, 2]]), r"the loss must have shape \(actions, 2\)"),
        (
            lambda m, X: m.decide(X, pd.DataFrame(LOSS, columns=["a", "b"])),
            r"must be the classes \[0, 1\], got \['a', 'b'\]",
        ),
        (
            lambda m, X: m.partial_fit(X, np.full(len(X), 2), groups=np.ones(len(X))),
            r"y has labels \[2\] that are not in",
        ),
        (lambda m, X: m.partial_fit(X, np.ones(len(X))), "pass groups= for this one as well"),
    ],
)
def test_bad_use(clinics, use, match):
    frame, _, _, model = clinics
    with pytest.raises(ValueError, match=match):
        use(model, frame)


def test_odd_but_sound_data():
    """Labels of any kind, columns of any numeric type, one level, as many levels as rows, constant features."""
    X, y, _ = rows(60)
    frame = pd.DataFrame({"age": X[:, 0], "dose": X[:, 1].astype(int), "old": X[:, 0] > 0, "one": 1.0})
    frame["dose"] = frame["dose"].astype("Int64")
    model = make().fit(frame, y.astype(bool))
    assert model.classes_.dtype == bool and model.predict(frame).dtype == bool
    assert np.isfinite(model.coef_).all()
    for groups in (np.zeros(60), np.arange(60)):
        grouped = make().fit(frame, y, groups=groups)
        assert np.isfinite(grouped.predict_proba(frame, groups=groups)).all()
        assert len(grouped.random_effects_["group"]) == len(np.unique(groups))
    assert make().fit(frame[[]], y, groups=np.arange(60) % 6).coef_.shape == (1, 0)
