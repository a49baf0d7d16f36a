"""Are the sampling weights needed? Both fits side by side, tests, and an answer in words."""

from __future__ import annotations

from collections.abc import Iterable
from numbers import Integral
from typing import Any

import pandas as pd

from skdep.formula.raw_rows import offset_of
from skdep.inference._table import Table
from skdep.inference._weight_comparison import Comparison, compare_fits, trimming_curve
from skdep.inference._weight_hypotheses import CLASSICAL, DECIDING, DESIGN_BASED, NAMES, run_tests
from skdep.inference._weight_result import WeightDiagnostics
from skdep.inference._weight_rows import WeightedRows, prepare_model, weighted_rows
from skdep.inference._weight_summary import kish_effect, weight_histogram, weight_table
from skdep.inference._weight_tests import WeightTest
from skdep.inference._weight_verdict import Evidence, decide, verdict

__all__ = ["WeightDiagnostics", "weight_diagnostics"]

_CUTS = (0.99, 0.95, 0.9, 0.75, 0.5)
# Sampling units, and rows times squared coefficients, beyond which the permutation test takes its time (and memory),
# and tells no more than the F distribution.
_MANY_UNITS, _MANY_PRODUCTS = 20_000, 50_000_000


def weight_diagnostics(
    est: Any,
    X: Any,
    y: Any,
    *,
    sample_weight: Any = None,
    groups: Any = None,
    strata: Any = None,
    fpc: Any = None,
    psu: Any = None,
    group_weight: Any = None,
    offset: Any = None,
    time: Any = None,
    lonely_psu: str | None = None,
    tests: Any = "auto",
    trim: Any = "auto",
    alpha: float = 0.05,
    n_permutations: int = 999,
    random_state: Any = 0,
) -> WeightDiagnostics:
    r"""Compare a fit with and without sampling weights, and say whether the weights are needed.

    Weights make standard errors larger. They are worth that if without them the coefficients would be others than those
    of the population: if the weights are informative, related to the outcome beyond what the features explain. The
    model is fitted both ways, to the same rows, with standard errors of the same design, and it is tested whether the
    coefficients differ beyond chance.

    Parameters
    ----------
    est : estimator
        An estimator of skdep, fitted or not, or a pipeline or fitted search around one. It is cloned; the steps of a
        pipeline before it are fitted once, without weights.
    X : array-like of shape (n_rows, n_features)
        Features.
    y : array-like of shape (n_rows,)
        Outcomes.
    sample_weight : array-like of shape (n_rows,), optional
        Sampling weights, of any scale. Rows of weight zero are outside the domain of interest: in neither fit.
    groups : array-like of shape (n_rows,) or (n_rows, n_factors), optional
        Groups of the estimator; they, in mixed models the outermost, are the primary sampling units too. Without them
        rows are.
    strata : array-like of shape (n_rows,) or (n_rows, n_stages), optional
        Strata that the sampling units were drawn from.
    fpc : array-like of shape (n_rows,) or (n_rows, n_stages), optional
        Finite populations, as in `skdep.survey.survey_design`. They reduce standard errors; tests do without them.
    psu : array-like of shape (n_rows,) or (n_rows, n_stages), optional
        Primary sampling units, where they are not the groups; groups with random effects must be nested in them.
    group_weight : array-like of shape (n_rows,), optional
        Sampling weights of the clusters of a MixedLinear or MixedLogit.
    offset, time : array-like of shape (n_rows,), optional
        As in the fit of the estimator.
    lonely_psu : {"fail", "remove", "adjust", "average"}, optional
        What to do with strata of a single sampling unit; by default what the estimator says, else ``"fail"``.
    tests : {"auto", "classical", "all"}, str or list of str, default="auto"
        Tests to do; the one that decides is always done. ``"auto"`` are the design-based ones, and, where rows are
        independent, ``"dumouchel-duncan (classical)"`` of linear and ``"likelihood-ratio"`` of logistic regressions;
        with more than 20,000 sampling units, or many features, without ``"permutation"``, which takes its time.
    trim : "auto" or sequence of float, default="auto"
        Quantiles of the weights at which they are cut for the trimming curve; each takes another fit. By default 0.99,
        0.95, 0.9, 0.75 and 0.5; of a BayesLogit none.
    alpha : float, default=0.05
        Level of the decision.
    n_permutations : int, default=999
        Random permutations of that test.
    random_state : int, RandomState or None, default=0
        Their seed.

    Returns
    -------
    WeightDiagnostics
        ``.to_frame()`` has both fits, ``.tests`` the tests, ``.weights_needed`` and ``.verdict`` the answer;
        ``.weights``, ``.trimming``, ``.kish_deff``, ``.effective_size``.

    Raises
    ------
    TypeError
        If `est` is no estimator of skdep.
    ValueError
        If weights or design are malformed, weights are precisions, or names of tests unknown.

    See Also
    --------
    skdep.plotting.WeightsDisplay : A picture of it.

    Notes
    -----
    **What decides** is Hausman and Pfeffermann's comparison of both fits [1]_, [2]_, in a form for any model and
    design. With s_i the scores of rows at the unweighted estimates, w_i their weights, I_u and I_w the information
    without and with weights, the difference of the coefficients is, if weights do not matter, the sum over rows of

        z_i = I_w^{-1} w_i s_i - I_u^{-1} s_i,

    whose variance is that of a total under the design: residuals of a unit may be correlated, and variances differ. The
    statistic is referred to Hotelling's F [3]_. In marginal models (`LogitRegressor`, GEE under independence) this is
    one and the same test as DuMouchel and Duncan's [4]_, that the weight and its products with the features add nothing
    to the model, done by scores. The usual Wald tests of either, which take residuals of the larger or of the weighted
    fit, reject true hypotheses far too often where weights are very unequal or sampling units few: in up to 28 % of
    samples (``benchmarks/weight_test_size.py``); ``"dumouchel-duncan (wald)"`` is there if asked for.
    ``"hausman-pfeffermann (slopes)"`` leaves out the intercept, which alone changes if all means are shifted alike.

    **The other tests** look at the same question from other sides and do not decide; many tests at 5 % reject something
    too often. ``"pfeffermann-sverchkov"`` compares scores with those multiplied by relative weights w / E(w | x) [5]_,
    ``"wu-fuller"`` adds these to the model, E(w | x) with squares [6]_: how weights depend on the features does not
    enter. ``"weight-association"`` regresses weights on features and residuals [7]_. ``"permutation"`` deals weights
    out anew to sampling units within strata (among all, where they are those of the strata), compares the deciding
    statistic, and holds its level best with few units or very unequal weights. The ``classical`` forms are for
    independent rows with equal variances.

    **Finite populations** do not enter the tests: that weights do not matter is a statement about how outcomes come
    about, and in any finite population both sets of coefficients differ by chance.

    **Weights that are a function of the features**, such as those of strata that are in the model, leave nothing to the
    tests of relative weights; the deciding test then is one of the form of the model.

    **Weight types.** An estimator with ``weight_type="frequency"`` (the default of some) is fitted with
    ``"sampling"``, and a note says so; with ``"precision"`` the question makes no sense, and raises. Weights of a
    `BayesLogit` are brought to mean one, so that prior and data weigh the same in both fits; the table has posterior
    means, and standard errors that are those of posterior means in repeated samples (the infinitesimal jackknife), not
    posterior standard deviations, which do not know of the design.

    In mixed models both fits are pseudo-maximum likelihood, and the deciding test takes Newton's step from the
    unweighted estimates.

    References
    ----------
    .. [1] Hausman (1978), Specification tests in econometrics, Econometrica 46, 1251-1271.
    .. [2] Pfeffermann (1993), The role of sampling weights when modeling survey data, International Statistical Review
       61, 317-337.
    .. [3] Korn and Graubard (1990), Simultaneous testing of regression coefficients with complex survey data, The
       American Statistician 44, 270-276.
    .. [4] DuMouchel and Duncan (1983), Using sample survey weights in multiple regression analyses of stratified
       samples, Journal of the American Statistical Association 78, 535-543.
    .. [5] Pfeffermann and Sverchkov (1999), Parametric and semi-parametric estimation of regression models fitted to
       survey data, Sankhya B 61, 166-186.
    .. [6] Wu and Fuller (2005), Preliminary testing procedures for regression with survey samples, Proceedings of the
       Survey Research Methods Section, American Statistical Association, 3601-3606.
    .. [7] Bollen, Biemer, Karr, Tueller and Berzofsky (2016), Are survey weights needed? A review of diagnostic tests
       in regression analysis, Annual Review of Statistics and Its Application 3, 375-392.

    Examples
    --------
    >>> from skdep import LogitRegressor
    >>> from skdep.datasets import load_api
    >>> from skdep.inference import weight_diagnostics
    >>> api = load_api("strat")
    >>> met_target = api.frame["sch.wide"] == "Yes"
    >>> model = LogitRegressor(weight_type="sampling")
    >>> design = {"sample_weight": api.sample_weight, "strata": api.strata}
    >>> result = weight_diagnostics(model, api.data, met_target, **design)
    >>> result.weights_needed
    True
    >>> result.to_frame()[["unweighted", "weighted", "change", "se_ratio"]].round(3)
               unweighted  weighted  change  se_ratio
    Intercept       0.766     0.836   0.168     1.115
    ell            -0.004    -0.002   0.133     1.075
    meals          -0.003    -0.003  -0.024     0.962
    mobility        0.040     0.061   0.656     1.032

    The schools that met their target are more, or fewer, than the unweighted fit says; what goes with it is the same:

    >>> result.tests["p_value"].head(2).round(4)
    hausman-pfeffermann             0.0000
    hausman-pfeffermann (slopes)    0.6265
    Name: p_value, dtype: float64
    """
    chosen = _chosen_tests(tests)
    _check_arguments(alpha, n_permutations)
    offset = offset_of(est, X, offset)
    model = prepare_model(est, X, y)
    metadata = {"groups": groups, "offset": offset, "time": time}
    rows = weighted_rows(
        model,
        y,
        sample_weight=sample_weight,
        group_weight=group_weight,
        metadata={name: part for name, part in metadata.items() if part is not None},
        psu=psu,
        strata=strata,
        fpc=fpc,
        lonely_psu=str(lonely_psu or getattr(model.template, "lonely_psu", "fail")),
    )
    comparison = compare_fits(model, rows)
    if isinstance(tests, str) and tests == "auto" and _is_large(rows):
        chosen = tuple(name for name in chosen if name != "permutation")
    found = run_tests(comparison, chosen, n_permutations=n_permutations, random_state=random_state)
    if isinstance(tests, str) and tests == "auto":
        found = [test for test in found if not (test.name in CLASSICAL and test.reason)]
    return _result(comparison, _tabulate(found), alpha, _cuts(trim, model.template))


def _is_large(rows: WeightedRows) -> bool:
    return rows.null_design.n_psus > _MANY_UNITS or rows.n_rows * rows.columns.shape[1] ** 2 > _MANY_PRODUCTS


def _check_arguments(alpha: float, n_permutations: int) -> None:
    if not 0.0 < alpha < 1.0:
        raise ValueError(f"alpha must be between 0 and 1, got {alpha!r}; 0.05 for the 5 % level.")
    if not isinstance(n_permutations, Integral) or n_permutations < 19:
        raise ValueError(f"n_permutations must be a whole number of at least 19, got {n_permutations!r}.")


def _chosen_tests(tests: Any) -> tuple[str, ...]:
    """Return names of tests in their order, the deciding one first."""
    sets = {
        "auto": (*DESIGN_BASED, "dumouchel-duncan (classical)", "likelihood-ratio"),
        "classical": CLASSICAL,
        "all": NAMES,
    }
    if isinstance(tests, str):
        tests = sets.get(tests, (tests,))
    if not isinstance(tests, Iterable):
        raise ValueError(f"tests must be 'auto', 'classical', 'all', or names of tests, got {tests!r}.")
    asked = list(tests)
    unknown = [name for name in asked if name not in NAMES]
    if unknown:
        raise ValueError(
            f"tests names unknown tests {unknown}; there are {list(NAMES)}, and 'auto', 'classical', 'all'."
        )
    return tuple(name for name in NAMES if name in asked or name == DECIDING)


def _cuts(trim: Any, template: Any) -> tuple[float, ...]:
    """Return the quantiles at which weights are cut."""
    if isinstance(trim, str):
        if trim != "auto":
            raise ValueError(f"trim must be 'auto' or quantiles between 0 and 1, got {trim!r}.")
        return () if type(template).__name__ == "BayesLogit" else _CUTS
    cuts = tuple(float(quantile) for quantile in trim)
    if not all(0.0 < quantile < 1.0 for quantile in cuts):
        raise ValueError(f"trim must be quantiles between 0 and 1, got {trim!r}; 0.99 cuts the heaviest per cent.")
    return cuts


def _tabulate(found: list[WeightTest]) -> Table:
    """Return the tests as a table."""
    fields = ("statistic", "df", "df_denominator", "p_value", "hypothesis", "reason")
    columns = {name: [getattr(test, name) for test in found] for name in fields}
    return Table(columns, index=[test.name for test in found])


def _result(comparison: Comparison, tests: Table, alpha: float, cuts: tuple[float, ...]) -> WeightDiagnostics:
    rows, table = comparison.rows, comparison.table()
    p_value, jointly = decide(table, tests, DECIDING)
    design = rows.design.summary()
    effect = kish_effect(rows.total_weight)
    evidence = Evidence(
        table=table,
        tests=tests,
        deciding=DECIDING,
        p_value=p_value,
        jointly=jointly,
        alpha=alpha,
        kish_deff=effect,
        effective_size=rows.n_rows / effect,
        n_rows=rows.n_rows,
        design=design,
        constant=rows.is_constant,
    )
    names = comparison.names[int(comparison.unweighted.fit_intercept) :]
    return WeightDiagnostics(
        table=table,
        tests=tests,
        weights_needed=evidence.needed,
        verdict=verdict(evidence),
        decided_by=DECIDING if jointly else f"{DECIDING}, single coefficients by Bonferroni",
        p_value=p_value,
        weights=weight_table(rows.given_weight, rows.strata),
        trimming=trimming_curve(comparison, () if rows.is_constant else cuts),
        histogram=weight_histogram(rows.total_weight),
        feature_scale=pd.Series(rows.features.std(axis=0), index=list(names)),
        design=design,
        notes=comparison.model.notes,
    )
