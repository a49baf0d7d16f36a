"""The comparison of fits with and without weights: table, invariances, designs, pipelines, what cannot be done."""

from __future__ import annotations

import warnings
from dataclasses import FrozenInstanceError

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler

from skdep import BayesLogit, GEEClassifier, GEERegressor, LogitRegressor, MixedLinear, MixedLogit
from skdep.inference import coef_table
from skdep.inference._weight_hypotheses import CLASSICAL, DESIGN_BASED, NAMES
from skdep.inference.weight_diagnostics import WeightDiagnostics, weight_diagnostics

COLUMNS = ["unweighted", "se_unweighted", "weighted", "se_weighted", "difference", "change", "se_ratio", "p_value"]
RNG = np.random.default_rng(3)
N = 240
GROUPS = np.repeat(np.arange(48), 5)
STRATA = GROUPS // 12
X = pd.DataFrame({"dose": RNG.normal(size=N), "age": RNG.normal(size=48)[GROUPS]})
ETA = 0.3 + 0.8 * X["dose"].to_numpy() - 0.4 * X["age"].to_numpy() + 0.7 * RNG.normal(size=48)[GROUPS]
NOISE = RNG.normal(size=N)
LINEAR, BINARY, COUNT = ETA + NOISE, (ETA + 1.5 * NOISE > 0).astype(int), RNG.poisson(np.exp(0.5 * ETA))
WEIGHT = np.exp(0.4 * RNG.normal(size=N) + 0.3 * RNG.normal(size=48)[GROUPS])
DESIGN = {"groups": GROUPS, "strata": STRATA}
MODELS = [
    (LogitRegressor(weight_type="sampling"), BINARY),
    (LogitRegressor("firth", weight_type="sampling"), BINARY),
    (GEERegressor(), LINEAR),
    (GEERegressor("poisson", working_correlation="exchangeable"), COUNT),
    (GEEClassifier(), BINARY),
    (MixedLinear(weight_type="sampling", tol=1e-12), LINEAR),
    (MixedLogit(weight_type="sampling", n_quadrature=7, tol=1e-12), BINARY),
]
IDS = ["logit", "firth", "linear", "exchangeable", "binary", "mixed-linear", "mixed-logit"]


def diagnose(estimator, y, X=X, weight=WEIGHT, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # weights that vary within clusters, as meant
        return weight_diagnostics(estimator, X, y, sample_weight=weight, **{**DESIGN, "trim": (), **options})


@pytest.fixture(scope="module")
def logit():
    return diagnose(LogitRegressor(), BINARY, trim="auto")


def test_result(logit):
    frame = logit.to_frame()
    assert type(frame) is pd.DataFrame
    assert list(frame.columns) == COLUMNS
    assert list(frame.index) == ["Intercept", "dose", "age"]
    assert frame.notna().all().all()
    assert_allclose(frame["difference"], frame["weighted"] - frame["unweighted"], rtol=1e-12)
    assert_allclose(frame["change"], frame["difference"] / frame["se_unweighted"], rtol=1e-12)
    assert_allclose(frame["se_ratio"], frame["se_weighted"] / frame["se_unweighted"], rtol=1e-12)
    columns = ["statistic", "df", "df_denominator", "p_value", "hypothesis", "reason"]
    assert list(logit.tests.columns) == columns
    assert list(logit.tests.index) == list(DESIGN_BASED)
    assert isinstance(logit.weights_needed, bool)
    assert logit.weights_needed == (logit.p_value < 0.05)
    assert logit.p_value == logit.tests.loc["hausman-pfeffermann", "p_value"]
    assert logit.residual_df == 48 - 4 + 1 - 3
    assert_allclose(logit.feature_scale, X.std(ddof=0), rtol=1e-12)
    with pytest.raises(FrozenInstanceError):
        logit.verdict = ""


def test_prints_and_renders(logit):
    text = str(logit)
    assert repr(logit) == text
    for part in ("se_unweighted", "hausman-pfeffermann", "48 units in 4 strata", "Kish", "weight_type='frequency'"):
        assert part in text
    assert max(map(len, text.splitlines())) <= 120
    html = logit._repr_html_()
    assert html.count("<table") == 2
    assert "hausman-pfeffermann" in html


def test_both_fits_are_those_of_the_estimator(logit):
    for column, weight in (("unweighted", None), ("weighted", WEIGHT)):
        fit = LogitRegressor(weight_type="sampling").fit(X, BINARY, sample_weight=weight, **DESIGN)
        table = coef_table(fit)
        assert_allclose(logit.table[column], table["estimate"], rtol=1e-10)
        assert_allclose(logit.table[f"se_{column}"], table["std_error"], rtol=1e-8)
        assert_allclose(table["df"], logit.residual_df)


@pytest.mark.parametrize(("estimator", "y"), MODELS, ids=IDS)
def test_scale_of_weights_and_order_of_rows_mean_nothing(estimator, y):
    first = diagnose(estimator, y)
    order = np.random.default_rng(0).permutation(N)
    options = {"groups": GROUPS[order], "strata": STRATA[order]}
    second = diagnose(estimator, y[order], X.iloc[order], 1e4 * WEIGHT[order], **options)
    assert_allclose(second.table.to_numpy(), first.table.to_numpy(), rtol=2e-5, atol=1e-7)
    assert_allclose(second.tests["p_value"], first.tests["p_value"], rtol=1e-4, atol=1e-8)
    assert (second.verdict == first.verdict) or estimator.__class__.__name__.startswith("Mixed")
    assert_allclose(second.kish_deff, first.kish_deff, rtol=1e-12)


@pytest.mark.parametrize(("estimator", "y"), MODELS, ids=IDS)
def test_units_and_origins_of_features_mean_nothing(estimator, y):
    first = diagnose(estimator, y)
    second = diagnose(estimator, y, X * [100.0, -0.01] + [3.0, 7.0])
    assert_allclose(second.tests["p_value"], first.tests["p_value"], rtol=1e-4, atol=1e-8)
    for column in ("change", "se_ratio", "p_value"):
        assert_allclose(np.abs(second.table[column][1:]), np.abs(first.table[column][1:]), rtol=1e-4, atol=1e-6)


def test_units_of_a_linear_outcome_mean_nothing():
    first, second = diagnose(GEERegressor(), LINEAR), diagnose(GEERegressor(), 1e5 * LINEAR - 3e4)
    assert_allclose(second.tests["p_value"], first.tests["p_value"], rtol=1e-7)
    assert_allclose(second.table["change"], first.table["change"], rtol=1e-7)


def test_the_difference_of_linear_fits_is_the_sum_of_its_influence():
    from skdep.inference._weight_comparison import compare_fits
    from skdep.inference._weight_rows import prepare_model, weighted_rows

    model = prepare_model(GEERegressor(), X, LINEAR)
    options = {"metadata": {}, "psu": None, "strata": None, "fpc": None, "lonely_psu": "fail", "group_weight": None}
    comparison = compare_fits(model, weighted_rows(model, LINEAR, sample_weight=WEIGHT, **options))
    expected = comparison.estimates(comparison.weighted) - comparison.estimates(comparison.unweighted)
    assert_allclose(comparison.change.sum(axis=0) @ comparison.rows.basis.back.T, expected, rtol=1e-9)


@pytest.mark.parametrize(("estimator", "y"), MODELS[:5], ids=IDS[:5])
def test_both_families_of_tests_are_one_in_marginal_models(estimator, y):
    """Scores of w and w x say the same as the difference of the coefficients, where rows enter one by one."""
    tests = diagnose(estimator, y).tests
    same = np.isclose(*tests.loc[["hausman-pfeffermann", "dumouchel-duncan"], "p_value"], rtol=1e-6)
    assert same == (getattr(estimator, "working_correlation", "independence") == "independence")


@pytest.mark.parametrize(("estimator", "y"), [*MODELS, (BayesLogit(random_state=0, n_draws=200), BINARY)])
def test_constant_weights_leave_nothing_to_test(estimator, y):
    if isinstance(estimator, BayesLogit):
        result = diagnose(estimator, y, weight=np.full(N, 7.0), groups=None, strata=None)
    else:
        result = diagnose(estimator, y, weight=np.full(N, 7.0))
    assert result.tests["p_value"].isna().all()
    assert set(result.tests["reason"]) == {"the weights are constant: there is nothing to test"}
    assert not result.weights_needed
    assert result.kish_deff == 1.0
    assert "All weights are the same" in result.verdict
    assert_allclose(result.table["change"], 0.0, atol=1e-6)


def test_informative_weights_are_found_and_explained_by_the_design_variable():
    rng = np.random.default_rng(0)
    n = 1500
    x, size = rng.normal(size=(2, n))
    y = x + size + rng.normal(size=n)
    weight = np.exp(0.7 * size)
    alone = weight_diagnostics(GEERegressor(), x[:, None], y, sample_weight=weight, trim=())
    assert alone.weights_needed
    assert "Report the weighted fit" in alone.verdict
    assert "design variables" in alone.verdict
    assert "Intercept" in alone.verdict
    both = weight_diagnostics(GEERegressor(), np.column_stack([x, size]), y, sample_weight=weight, trim=())
    assert not both.weights_needed
    assert "Report the unweighted fit: it is more precise" in both.verdict
    assert (both.table["se_ratio"] > 1.0).all()


def test_rows_of_weight_zero_are_outside_the_domain_in_both_fits():
    weight = np.where(np.arange(N) % 3 == 0, 0.0, WEIGHT)
    weight[GROUPS < 2] = 0.0
    result = diagnose(LogitRegressor(), BINARY, weight=weight)
    inside = weight > 0
    for column, given in (("unweighted", inside.astype(float)), ("weighted", weight)):
        fit = LogitRegressor(weight_type="sampling").fit(X, BINARY, sample_weight=given, **DESIGN)
        table = coef_table(fit)
        assert_allclose(result.table[column], table["estimate"], rtol=1e-9)
        assert_allclose(result.table[f"se_{column}"], table["std_error"], rtol=1e-8)
    assert result.weights.loc["all", "n_rows"] == inside.sum()
    assert result.design.n_psus == 46
    # the units without rows count in their stratum
    kept = diagnose(
        LogitRegressor(), BINARY[inside], X[inside], weight[inside], groups=GROUPS[inside], strata=STRATA[inside]
    )
    assert_allclose(kept.table["weighted"], result.table["weighted"], rtol=1e-9)
    assert (np.abs(kept.table["se_weighted"] / result.table["se_weighted"] - 1) > 1e-3).any()


def test_finite_populations_shrink_standard_errors_but_not_p_values():
    with_fpc, without = (diagnose(LogitRegressor(), BINARY, fpc=fpc) for fpc in (np.full(N, 0.36), None))
    for column in ("se_unweighted", "se_weighted"):
        assert_allclose(with_fpc.table[column], 0.8 * without.table[column], rtol=1e-10)
    assert_allclose(with_fpc.tests["p_value"], without.tests["p_value"], rtol=1e-10)
    assert_allclose(with_fpc.table["p_value"], without.table["p_value"], rtol=1e-10)


def test_weights_by_stratum(logit):
    by_stratum = logit.weights
    assert list(by_stratum.index) == ["all", 0, 1, 2, 3]
    for label in range(4):
        weight = WEIGHT[label == STRATA]
        row = by_stratum.loc[label]
        assert row["n_rows"] == 60
        assert_allclose(row["kish_deff"], 60 * np.sum(weight**2) / weight.sum() ** 2)
        assert_allclose(row["cv"], weight.std() / weight.mean())
        assert_allclose(row["effective_size"], weight.sum() ** 2 / np.sum(weight**2))
        assert_allclose(row[["min", "median", "max"]].astype(float), np.quantile(weight, [0, 0.5, 1]))
        assert_allclose(row["max_to_median"], weight.max() / np.median(weight))
        assert_allclose(row["top_percent_share"], weight.max() / weight.sum())
    assert_allclose(by_stratum["sum"].iloc[1:].sum(), by_stratum.loc["all", "sum"])
    assert logit.histogram["count"].sum() == N
    assert_allclose(logit.histogram["right"].iloc[:-1], logit.histogram["left"].iloc[1:])


def test_trimming_leads_from_one_fit_to_the_other(logit):
    curve = logit.trimming
    assert list(curve.index) == [1.0, 0.99, 0.95, 0.9, 0.75, 0.5, 0.0]
    for cut, column in ((1.0, "weighted"), (0.0, "unweighted")):
        assert_allclose(curve.loc[cut, "estimate"], logit.table[column], rtol=1e-12)
        assert_allclose(curve.loc[cut, "std_error"], logit.table[f"se_{column}"], rtol=1e-12)
    assert_allclose(curve.loc[1.0, ("weights", "kish_deff")], logit.kish_deff)
    assert (curve[("weights", "kish_deff")].diff().iloc[1:] < 0).all()
    assert_allclose(curve.loc[0.0, ("weights", "kish_deff")], 1.0)
    weight = np.minimum(WEIGHT, np.quantile(WEIGHT, 0.75))
    fit = LogitRegressor(weight_type="sampling").fit(X, BINARY, sample_weight=weight, **DESIGN)
    assert_allclose(curve.loc[0.75, "estimate"], coef_table(fit)["estimate"], rtol=1e-9)
    assert_allclose(curve.loc[0.75, "std_error"], coef_table(fit)["std_error"], rtol=1e-7)
    assert_allclose(curve.loc[0.75, ("weights", "trimmed")], 0.25)
    # cuts that cut nothing more are left out
    two = np.where(np.arange(N) % 2, 1.0, 3.0)
    assert list(diagnose(LogitRegressor(), BINARY, weight=two, trim=(0.9, 0.8, 0.5)).trimming.index) == [1.0, 0.5, 0.0]


class Counting(TransformerMixin, BaseEstimator):
    """Doubles X, and counts how often it is fitted."""

    fits = 0

    def fit(self, X, y=None):
        type(self).fits += 1
        return self

    def transform(self, X):
        return 2.0 * X


@pytest.mark.parametrize("fitted", [False, True])
def test_pipelines_are_fitted_once(logit, fitted):
    pipe = make_pipeline(Counting(), StandardScaler().set_output(transform="pandas"), LogitRegressor())
    if fitted:
        pipe.fit(X, BINARY)
    before, coef = Counting.fits, pipe[-1].coef_.copy() if fitted else None
    result = diagnose(pipe, BINARY)
    assert Counting.fits == before + 1
    assert_allclose(result.tests["p_value"], logit.tests["p_value"], rtol=1e-7)
    assert_allclose(result.table["change"][1:], logit.table["change"][1:], rtol=1e-7)
    if fitted:
        assert_allclose(pipe[-1].coef_, coef, rtol=0)
    else:
        assert not hasattr(pipe[-1], "coef_")


def test_searches_and_strangers():
    search = GridSearchCV(LogitRegressor("l2"), {"C": [0.1]}, cv=2)
    with pytest.raises(TypeError, match="GridSearchCV is no estimator of skdep"):
        diagnose(search, BINARY)
    result = diagnose(search.fit(X, BINARY), BINARY)
    assert_allclose(result.table, diagnose(LogitRegressor("l2", C=0.1), BINARY).table)
    with pytest.raises(TypeError, match="LogisticRegression is no estimator of skdep"):
        diagnose(LogisticRegression(), BINARY)
    with pytest.raises(TypeError, match="FunctionTransformer"):
        diagnose(make_pipeline(StandardScaler(), FunctionTransformer()), BINARY)


def test_kinds_of_weights():
    assert "'frequency'" in diagnose(MixedLinear(), LINEAR).notes[0]
    assert diagnose(MixedLinear(weight_type="sampling"), LINEAR).notes == ()
    with pytest.raises(ValueError, match="precisions"):
        diagnose(MixedLinear(weight_type="precision"), LINEAR)
    with pytest.raises(ValueError, match="give sample_weight"):
        diagnose(LogitRegressor(), BINARY, weight=None)
    with pytest.raises(ValueError, match="Negative"):
        diagnose(LogitRegressor(), BINARY, weight=-WEIGHT)
    with pytest.raises(ValueError, match="LogitRegressor takes no group_weight"):
        diagnose(LogitRegressor(), BINARY, group_weight=WEIGHT)
    with pytest.raises(ValueError, match="Every row has a weight of zero"):
        diagnose(MixedLinear(), LINEAR, weight=(GROUPS < 3).astype(float), group_weight=(GROUPS > 3).astype(float))


def test_weights_of_whole_clusters_belong_in_group_weight():
    weight = np.exp(np.random.default_rng(0).normal(size=48))[GROUPS]
    scaled_away = diagnose(MixedLinear(), LINEAR, weight=weight)
    assert "belong in group_weight" in scaled_away.tests.loc["hausman-pfeffermann", "reason"]
    assert "cannot be told" in scaled_away.verdict
    assert not scaled_away.weights_needed
    right = diagnose(MixedLinear(), LINEAR, weight=None, group_weight=weight)
    assert np.isfinite(right.p_value)
    assert_allclose(right.kish_deff, N * np.sum(weight**2) / weight.sum() ** 2)


def test_sampling_units_that_are_not_the_groups():
    districts = GROUPS // 2
    result = diagnose(LogitRegressor(), BINARY, groups=None, psu=districts)
    assert_allclose(result.table, diagnose(LogitRegressor(), BINARY, groups=districts).table)
    mixed = diagnose(MixedLinear(), LINEAR, psu=districts)
    assert mixed.design.n_psus == 24
    assert_allclose(mixed.table["weighted"], diagnose(MixedLinear(), LINEAR).table["weighted"])
    with pytest.raises(ValueError, match="several primary sampling units"):
        diagnose(MixedLinear(), LINEAR, psu=np.arange(N), strata=None)
    with pytest.raises(ValueError, match="several primary sampling units, or strata"):
        diagnose(MixedLinear(), LINEAR, strata=np.arange(N) % 2)
    with pytest.raises(ValueError, match="several primary sampling units"):
        diagnose(GEERegressor(working_correlation="exchangeable"), LINEAR, psu=np.arange(N), strata=None)
    crossed = np.column_stack([GROUPS, np.arange(N) % 7])
    with pytest.raises(ValueError, match="are crossed"):
        diagnose(MixedLinear(), LINEAR, groups=crossed)
    within = np.column_stack([GROUPS, 3 * districts + np.arange(N) % 3])  # crossed within districts
    result = diagnose(MixedLinear(), LINEAR, groups=within, psu=districts)
    assert result.design.n_psus == 24
    assert np.isfinite(result.p_value)


def test_too_few_units_for_all_coefficients_at_once():
    few = GROUPS // 12
    result = diagnose(LogitRegressor(), BINARY, groups=few, strata=None)
    assert result.design.degf == 3
    assert np.isfinite(result.p_value)
    two = diagnose(LogitRegressor(), BINARY, groups=GROUPS // 16, strata=None)
    assert "more than the design's 2 degrees of freedom" in two.tests.loc["hausman-pfeffermann", "reason"]
    assert two.decided_by.endswith("by Bonferroni")
    assert_allclose(two.p_value, min(1.0, 3 * two.table["p_value"].min()))
    assert "Bonferroni-adjusted" in two.verdict
    assert "little power" in two.verdict
    one = diagnose(LogitRegressor(), BINARY, groups=GROUPS // 12, strata=GROUPS // 12, lonely_psu="remove")
    assert np.isnan(one.p_value)
    assert "one sampling unit a stratum" in one.verdict


def test_lonely_units_are_dealt_with_as_the_estimator_says():
    strata = np.where(GROUPS == 0, 99, STRATA)
    with pytest.raises(ValueError, match="single sampling unit"):
        diagnose(LogitRegressor(), BINARY, strata=strata)
    first = diagnose(LogitRegressor(lonely_psu="adjust"), BINARY, strata=strata)
    second = diagnose(LogitRegressor(), BINARY, strata=strata, lonely_psu="adjust")
    assert_allclose(first.table, second.table)
    fit = LogitRegressor(weight_type="sampling", lonely_psu="adjust")
    fit = fit.fit(X, BINARY, sample_weight=WEIGHT, groups=GROUPS, strata=strata)
    assert_allclose(first.table["se_weighted"], coef_table(fit)["std_error"], rtol=1e-8)


def test_weights_that_are_a_function_of_the_features():
    """Relative weights then are constant; what is left is whether the form of the model holds."""
    kind = np.arange(N) % 3
    dummies = np.column_stack([kind == 1, kind == 2]).astype(float)
    weight = np.array([1.0, 2.0, 4.0])[kind]
    tests = diagnose(GEERegressor(), LINEAR, dummies, weight, groups=None, strata=None).tests
    assert "same whatever y is" in tests.loc["hausman-pfeffermann", "reason"]  # a model of means of groups
    for name in ("pfeffermann-sverchkov", "wu-fuller", "weight-association"):
        assert "function of the features" in tests.loc[name, "reason"]
        assert np.isnan(tests.loc[name, "p_value"])
    features = np.column_stack([dummies, X["dose"]])
    tests = diagnose(GEERegressor(), LINEAR, features, weight, groups=None, strata=None).tests
    assert np.isfinite(tests.loc["hausman-pfeffermann", "p_value"])
    # w x dose only: the rest follows from the features
    assert list(tests["df"].iloc[:3]) == [1, 1, 1]
    assert_allclose(tests["p_value"].iloc[1:3], tests["p_value"].iloc[0], rtol=1e-6)
    assert "cannot be dealt out" in tests.loc["permutation", "reason"]
    assert "function of the features" in tests.loc["pfeffermann-sverchkov", "reason"]


def test_collinear_features():
    doubled = X.assign(twice=2.0 * X["dose"])
    with pytest.warns(UserWarning, match="Collinear"):
        result = weight_diagnostics(LogitRegressor(), doubled, BINARY, sample_weight=WEIGHT, trim=(), **DESIGN)
    assert_allclose(result.tests["p_value"], diagnose(LogitRegressor(), BINARY).tests["p_value"], rtol=1e-6)
    assert list(result.table["se_weighted"].isna()) == [False, True, False, True]
    assert result.residual_df == 48 - 4 + 1 - 2  # two coefficients can be told


def test_separated_outcomes_are_not_compared():
    y = (X["dose"] > 0).astype(int)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        result = weight_diagnostics(LogitRegressor(), X, y, sample_weight=WEIGHT, trim=(), **DESIGN)
    assert set(result.tests["reason"]) == {"the unweighted fit did not converge"}
    assert "cannot be told" in result.verdict


def test_offset_and_time_reach_the_fit():
    offset = RNG.normal(size=N)
    first = diagnose(GEERegressor(), LINEAR, offset=offset)
    second = diagnose(GEERegressor(), LINEAR - offset)
    assert_allclose(first.table, second.table, rtol=1e-8)
    assert_allclose(first.tests["p_value"], second.tests["p_value"], rtol=1e-7)
    time = np.tile([0.0, 1.0, 3.0, 4.0, 9.0], 48)
    estimator = GEERegressor(working_correlation="ar1")
    fit = estimator.fit(X, LINEAR, groups=GROUPS, time=time)
    assert_allclose(diagnose(estimator, LINEAR, time=time).table["unweighted"][1:], fit.coef_)


def test_choice_of_tests():
    names = ["wu-fuller", "permutation"]
    assert list(diagnose(LogitRegressor(), BINARY, tests=names).tests.index) == ["hausman-pfeffermann", *names]
    assert list(diagnose(LogitRegressor(), BINARY, tests="all").tests.index) == list(NAMES)
    classical = diagnose(LogitRegressor(), BINARY, tests="classical").tests
    assert list(classical.index) == ["hausman-pfeffermann", *CLASSICAL]
    assert classical.loc[list(CLASSICAL), "p_value"].isna().all()
    assert classical.loc["likelihood-ratio", "reason"].startswith("its distribution is that of independent rows")
    independent = diagnose(LogitRegressor(), BINARY, tests="classical", groups=None, strata=None).tests
    assert np.isfinite(independent.loc["likelihood-ratio", "p_value"])
    assert "linear model" in independent.loc["dumouchel-duncan (classical)", "reason"]
    auto = diagnose(GEERegressor(), LINEAR, groups=None, strata=None).tests
    assert list(auto.index) == [*DESIGN_BASED, "dumouchel-duncan (classical)"]
    penalised = diagnose(LogitRegressor("firth"), BINARY, tests="likelihood-ratio", groups=None, strata=None).tests
    assert "maximum likelihood" in penalised.loc["likelihood-ratio", "reason"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"tests": "hausman"}, r"unknown tests \['hausman'\]"),
        ({"tests": 3}, "tests must be"),
        ({"trim": "often"}, "trim must be 'auto'"),
        ({"trim": (0.5, 1.0)}, "quantiles between 0 and 1"),
        ({"alpha": 5}, "alpha must be between"),
        ({"n_permutations": 1.5}, "n_permutations must be"),
        ({"lonely_psu": "merge"}, "lonely_psu must be"),
        ({"weight": WEIGHT[1:]}, "239 values for 240 rows"),
        ({"strata": np.arange(7)}, "strata"),
    ],
)
def test_bad_arguments(options, message):
    with pytest.raises(ValueError, match=message):
        diagnose(LogitRegressor(), BINARY, **options)


def test_permutations_depend_on_their_seed_only():
    first, again, other = (
        diagnose(LogitRegressor(), BINARY, random_state=seed, n_permutations=99).tests.loc["permutation", "p_value"]
        for seed in (1, 1, 2)
    )
    assert first == again != other


def test_posterior_means():
    result = diagnose(BayesLogit(random_state=0), BINARY, groups=None, strata=None)
    assert isinstance(result, WeightDiagnostics)
    assert list(result.trimming.index) == [1.0, 0.0]
    likelihood = diagnose(LogitRegressor(), BINARY, groups=None, strata=None)
    for column in ("unweighted", "weighted"):
        assert_allclose(result.table[column], likelihood.table[column], atol=0.05)
        assert_allclose(result.table[f"se_{column}"], likelihood.table[f"se_{column}"], rtol=0.1)
    design_based = list(DESIGN_BASED)
    expected = likelihood.tests.loc[design_based, "p_value"]
    assert_allclose(result.tests.loc[design_based, "p_value"], expected, rtol=0.2, atol=0.02)


def test_arrays_lists_and_frames_are_alike(logit):
    lists = weight_diagnostics(
        LogitRegressor(),
        X.to_numpy().tolist(),
        BINARY.tolist(),
        sample_weight=[0.0, *WEIGHT[1:]],
        groups=GROUPS.tolist(),
        strata=STRATA.tolist(),
        trim=(),
    )
    frames = weight_diagnostics(
        LogitRegressor(),
        X,
        pd.Series(BINARY),
        sample_weight=pd.Series([0.0, *WEIGHT[1:]]),
        groups=pd.Series(GROUPS, name="school"),
        strata=pd.Series(STRATA),
        trim=(),
    )
    assert_allclose(lists.table.to_numpy(), frames.table.to_numpy())
    assert list(lists.table.index) == ["Intercept", "x0", "x1"]
