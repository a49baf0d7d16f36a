"""What a fit reports of its working correlation: parameters with standard errors, binary bounds, the summary."""

from __future__ import annotations

import pickle
import warnings

import numpy as np
import pytest
from sklearn.model_selection import GridSearchCV, KFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import skdep.gee
from skdep import GEEClassifier, GEERegressor, LogitRegressor
from skdep.datasets import load_ohio
from skdep.exceptions import WorkingCorrelationWarning
from skdep.gee import Fixed, MDependent, Nested, ParametricCorrelation, Toeplitz
from skdep.gee.working_correlation import WORKING_CORRELATIONS, WorkingCorrelation
from skdep.inference import association_table, coef_table


def fit(structure, data, **params):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pairs of times that seldom meet
        est = GEERegressor(working_correlation=structure, **params)
        ward = np.random.default_rng(0).integers(0, 2, len(data.y))
        groups = np.column_stack([data.groups, ward]) if structure == "nested" else data.groups
        return est.fit(data.X, data.y, groups=groups, time=data.time)


def test_structures_are_public():
    for cls in (Fixed, MDependent, Nested, ParametricCorrelation, Toeplitz, *WORKING_CORRELATIONS.values()):
        assert getattr(skdep.gee, cls.__name__) is cls and cls.__name__ in skdep.gee.__all__


@pytest.mark.parametrize(
    ("structure", "names"),
    [
        ("independence", []),
        ("exchangeable", ["alpha"]),
        ("ar1", ["alpha"]),
        ("m_dependent", ["alpha[lag 1]"]),
        (MDependent(m=6), [f"alpha[lag {lag}]" for lag in range(1, 7)]),
        ("nested", ["alpha[same group0]", "alpha[same group1]"]),
        (Fixed(np.eye(7)), []),
    ],
    ids=str,
)
def test_association_table(data, structure, names):
    est = fit(structure, data)
    table = association_table(est)
    assert list(table.index) == names
    assert list(table.columns) == ["estimate", "std_error", "conf_low", "conf_high"]
    if names:
        assert est.correlation_shrinkage_ > 0 or (table["std_error"] > 0).all()
        np.testing.assert_array_equal(table["estimate"], np.atleast_1d(est.association_))
        half = table["conf_high"] - table["estimate"]
        np.testing.assert_allclose(half, 1.959963984540054 * table["std_error"])
        narrow = association_table(est, level=0.5)
        np.testing.assert_allclose(
            narrow["conf_high"] - narrow["estimate"], half * (0.67448975 / 1.95996398), rtol=1e-7
        )
    assert table.to_frame().equals(table)


def test_association_table_of_unstructured(data):
    table = association_table(fit("unstructured", data))
    assert len(table) == 21 and table.index[0] == "alpha[0, 1]" and table.index[-1] == "alpha[5, 6]"


def test_association_of_exchangeable_binary_outcomes():
    """R's geepack with the scale fixed at 1, where its standard errors hold, has 0.0360."""
    ohio = load_ohio()
    X = np.column_stack([ohio.data, ohio.data.prod(axis=1)])
    est = GEEClassifier(working_correlation="exchangeable", dof="n", scale=1.0).fit(X, ohio.target, groups=ohio.groups)
    assert association_table(est).loc["alpha", "std_error"] == pytest.approx(0.0360205656, rel=1e-3)


def test_association_table_inside_pipelines_and_after_pickling(data):
    plain = association_table(fit("exchangeable", data))
    pipe = make_pipeline(StandardScaler(), GEERegressor(working_correlation="exchangeable"))
    pipe.fit(data.X, data.y, geeregressor__groups=data.groups)
    np.testing.assert_allclose(association_table(pipe), plain, rtol=1e-7)
    again = pickle.loads(pickle.dumps(pipe))
    np.testing.assert_array_equal(association_table(again), association_table(pipe))


def test_structures_can_be_searched(data):
    grid = {"working_correlation": [Toeplitz(), MDependent(m=1), MDependent(m=2), "exchangeable"]}
    search = GridSearchCV(GEERegressor(), grid, cv=KFold(3, shuffle=True, random_state=0))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # groups are cut by the folds
        search.fit(data.X, data.y, groups=data.groups, time=data.time)
    assert isinstance(search.best_params_["working_correlation"], str | WorkingCorrelation)


def test_no_association_table():
    ohio = load_ohio()
    with pytest.raises(TypeError, match="defined for a GEE, not for LogitRegressor"):
        association_table(LogitRegressor().fit(ohio.data, ohio.target))


def test_association_table_says_why_there_are_no_standard_errors(data):
    class Silent(MDependent):
        name = "silent"

        def sensitivity(self, *args):
            return None

    est = fit(Silent(), data)
    with pytest.raises(ValueError, match="no standard errors: 'silent' does not say how it is estimated"):
        association_table(est)
    assert np.isnan(association_table(fit("exchangeable", data, scale=0.01))["std_error"]).all()


# ------------------------------------------------------------------------------------------------ binary bounds


def steep(seed=0, n_clusters=80):
    """Binary outcomes whose probabilities differ widely within clusters."""
    rng = np.random.default_rng(seed)
    groups = np.repeat(np.arange(n_clusters), 4)
    X = rng.normal(size=(len(groups), 1))
    y = (rng.uniform(size=len(groups)) < 1 / (1 + np.exp(-2.0 * X[:, 0]))).astype(int)
    return X, y, groups


def test_correlations_that_binary_outcomes_cannot_have_are_reported():
    X, y, groups = steep()
    matrix = 0.5 + 0.5 * np.eye(4)
    with pytest.warns(WorkingCorrelationWarning, match=r"\d\d% of pairs of rows have a working correlation \(fixed\)"):
        est = GEEClassifier(working_correlation=Fixed(matrix)).fit(X, y, groups=groups, time=np.tile(np.arange(4), 80))
    means = est.predict_proba(X)[:, 1]
    odds = (means / (1 - means)).reshape(80, 4)
    first, second = np.triu_indices(4, 1)
    bound = np.sqrt(np.minimum(odds[:, first], odds[:, second]) / np.maximum(odds[:, first], odds[:, second]))
    assert est.infeasible_pairs_ == pytest.approx(np.mean(bound < 0.5), abs=1e-12)
    assert est.infeasible_pairs_ > 0.1
    assert "Pairs beyond binary bounds" in str(est.summary())


def test_correlations_that_binary_outcomes_can_have_are_no_news():
    ohio = load_ohio()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        est = GEEClassifier(working_correlation="exchangeable").fit(ohio.data, ohio.target, groups=ohio.groups)
    assert est.infeasible_pairs_ == 0.0
    assert "binary bounds" not in str(est.summary())


def test_other_outcomes_have_no_binary_bounds(data):
    assert fit("exchangeable", data).infeasible_pairs_ is None
    X, y, groups = steep()
    fractions = np.clip(0.8 * y + 0.1, 0, 1)
    assert GEERegressor("binomial").fit(X, fractions, groups=groups).infeasible_pairs_ is None
    assert GEERegressor("binomial").fit(X, y, groups=groups).infeasible_pairs_ == 0.0


# ------------------------------------------------------------------------------------------------ summary


def test_summary_names_a_few_parameters(data):
    for structure, text in (
        ("m_dependent", "m_dependent, alpha = 0."),
        ("nested", "nested, alpha = "),
        (Toeplitz(), "toeplitz\n"),
        ("independence", "independence\n"),
    ):
        assert text in str(fit(structure, data).summary()), structure
    est = fit("nested", data)
    assert f"alpha = {est.association_[0]:.4g}, {est.association_[1]:.4g}" in str(est.summary())


def test_coefficients_do_not_depend_on_standard_errors_of_alpha(data):
    """Of few and many parameters alike the fit is the same; beyond some hundreds alpha has no errors."""
    rng = np.random.default_rng(0)
    time = np.tile(np.arange(26.0), 60)
    groups, X = np.repeat(np.arange(60), 26), rng.normal(size=(len(time), 1))
    est = GEERegressor(working_correlation="unstructured", scale=100.0).fit(X, rng.normal(size=len(X)), groups=groups,
                                                                          time=time)  # fmt: skip
    with pytest.raises(ValueError, match="325 parameters are too many"):
        association_table(est)
    assert np.isfinite(coef_table(est)["std_error"]).all()
