r"""Generalised score tests: hypotheses about coefficients, tested at the fit that obeys them.

With U the estimating function of the full model at the restricted estimates, B its bread and R b = r the hypotheses,

.. math:: T = U'B^{-1}R' \bigl(R \Sigma R'\bigr)^{-1} R B^{-1} U ,

with Sigma = B^{-1} (sum u_i u_i') B^{-1}, u_i the scores of clusters, for the robust test, and phi B^{-1} for the naive
one, which for a likelihood is Rao's.

References
----------
Rao (1948), Proceedings of the Cambridge Philosophical Society 44, 50-57. Rotnitzky and Jewell (1990), Biometrika 77,
485-497. Boos (1992), American Statistician 46, 327-333. Guo, Pan, Connett, Hannan and French (2005), Statistics in
Medicine 24, 3479-3495: K / (K - 1).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from scipy import linalg, stats

from skdep._basis import full_rank_basis
from skdep._html import frame_html, result_html
from skdep._linalg import is_ill_conditioned
from skdep._threads import threads_over_blocks
from skdep.base import FitNotes
from skdep.formula.raw_rows import offset_of
from skdep.gee.checks import FitChecks
from skdep.gee.equations import Equations, Evaluation, GEEData, WhiteBlock
from skdep.gee.given_rows import GEEMetadata
from skdep.gee.scoring import solve
from skdep.gee.survey import design_variance
from skdep.inference._marginal import MarginalData, check_marginal, marginal_data, template_within
from skdep.inference.wald import _check_testable, _contrasts, _values
from skdep.logit.estimator import LogitRegressor
from skdep.sandwich_corrections import correction_frame
from skdep.survey.design import SurveyDesign, survey_design

__all__ = ["ScoreTest", "score_test"]

_KINDS = {
    "naive": "naive",
    "model": "naive",
    "robust": "robust",
    "cluster": "robust",
    "hc0": "robust",
    "hc1": "robust",
    "design": "design",
}
# Largest tolerance of the restricted fit.
_TOL = 1e-9


@dataclass(frozen=True)
class ScoreTest:
    """Result of `score_test`.

    Parameters
    ----------
    statistic : float
        Chi-square statistic, or F statistic where `df_denominator` is finite.
    df : int
        Number of independent hypotheses.
    df_denominator : float
        Denominator degrees of freedom of F; infinite for chi-square.
    p_value : float
        Upper tail probability.
    kind : {"robust", "naive", "design"}
        Which variance of the scores was taken.
    restricted : dict
        Estimates under the hypothesis, by name of the coefficient.
    """

    statistic: float
    df: int
    df_denominator: float
    p_value: float
    kind: str
    restricted: dict[str, float]

    @property
    def distribution(self) -> str:
        """Name of the reference distribution."""
        return f"F({self.df}, {self.df_denominator:g})" if np.isfinite(self.df_denominator) else f"chi2({self.df})"

    def to_frame(self) -> Any:
        """Return a DataFrame of one row."""
        import pandas as pd

        columns = {"statistic": self.statistic, "df": self.df, "df_denominator": self.df_denominator}
        return pd.DataFrame({**columns, "p_value": self.p_value}, index=[f"Score test ({self.kind})"])

    def __str__(self) -> str:
        return f"Score test ({self.kind}): {self.statistic:.4f} on {self.distribution}, p = {self.p_value:.4g}"

    def _repr_html_(self) -> str:
        return result_html(frame_html(self.to_frame()))


def score_test(
    est: Any,
    R: Any,
    X: Any,
    y: Any,
    r: Any = 0.0,
    *,
    groups: Any = None,
    sample_weight: Any = None,
    offset: Any = None,
    time: Any = None,
    strata: Any = None,
    fpc: Any = None,
    cov_type: str | None = None,
    small_sample: bool = False,
) -> ScoreTest:
    r"""Test R b = r by the score of the full model at the fit that obeys the hypotheses.

    Only the restricted model is fitted: the test exists where the full model has infinite estimates, does not depend on
    how the coefficients are parametrised, and with few clusters keeps its level where Wald tests reject too often.

    Parameters
    ----------
    est : GEERegressor, GEEClassifier or LogitRegressor
        Says which model; fitted or not, or a pipeline or search around one. It is fitted anew, under the hypotheses,
        and stays as it is.
    R : str, list of str, or array-like of shape (q, p) or (p,)
        Names of the coefficients that are jointly tested to equal `r`; or coefficients of the hypotheses on
        ``[intercept, *coef]``. Features without names are ``"x0"``, ``"x1"``, ...
    X : array-like of shape (n_rows, n_features)
        Features of the full model.
    y : array-like of shape (n_rows,)
        Outcomes.
    r : float or array-like of shape (q,), default=0
        Values under the hypothesis.
    groups, sample_weight, offset, time, strata, fpc : array-like, optional
        The rows' metadata, as in ``fit``.
    cov_type : {"robust", "naive", "design"}, optional
        ``"robust"`` takes the sum of squares of the scores of clusters (without groups, of rows); ``"naive"`` believes
        the working model; ``"design"`` takes the variance of the total score under the design of a survey. By default
        the one that the `cov_type` of `est` belongs to; corrections for few clusters are ``"robust"`` here. The names
        that a LogitRegressor has for them are understood.
    small_sample : bool, default=False
        Whether to multiply the robust statistic by K / (K - 1), K the number of clusters: without it the test of few
        clusters rejects a little too seldom.

    Returns
    -------
    ScoreTest
        ``.statistic``, ``.df``, ``.df_denominator``, ``.p_value``, ``.restricted``.

    Raises
    ------
    ValueError
        If data are malformed, `R` has a wrong shape or unknown names, hypotheses depend on each other or involve a
        coefficient that is not estimable, there are too few clusters to test so many at once, or the fit is penalised.
    TypeError
        If the estimator is another one.

    See Also
    --------
    wald_test : The test at the unrestricted fit; needs no data.

    Notes
    -----
    Scale and working correlation are those of the restricted fit. The naive test of a logistic regression is Rao's
    score test; of a single feature the Cochran-Armitage test for trend, of indicators of groups Pearson's chi-square.
    The design-based statistic over q is referred to F with q and as many degrees of freedom as Wald tests have there.

    References
    ----------
    .. [1] Rotnitzky and Jewell (1990), Hypothesis testing of regression parameters in semiparametric generalized linear
       models for cluster correlated data, Biometrika 77, 485-497.
    .. [2] Boos (1992), On generalized score tests, American Statistician 46, 327-333.
    .. [3] Guo, Pan, Connett, Hannan and French (2005), Small-sample performance of the robust score test and its
       modifications in generalized estimating equations, Statistics in Medicine 24, 3479-3495.

    Examples
    --------
    >>> from skdep import GEEClassifier
    >>> from skdep.datasets import load_ohio
    >>> from skdep.inference import score_test
    >>> ohio = load_ohio()
    >>> gee = GEEClassifier(working_correlation="exchangeable")
    >>> print(score_test(gee, ["age", "smoke"], ohio.data, ohio.target, groups=ohio.groups))
    Score test (robust): 8.8833 on chi2(2), p = 0.01178
    """
    offset = offset_of(est, X, offset)
    template, X = template_within(est, X, y)
    check_marginal(template, "score_test")
    notes = FitNotes()
    metadata = GEEMetadata(groups, sample_weight, offset, time, strata, fpc)
    given: Any = marginal_data(template, X, y, metadata, notes=notes)
    kind = _kind(template, given, cov_type)
    if small_sample and kind != "robust":
        raise ValueError(f"small_sample=True corrects the robust test for few clusters; the test here is {kind!r}.")
    contrasts = _contrasts(R, given.names)
    _check_testable(contrasts, given)
    hypotheses = _Hypotheses.of(contrasts @ given.map_back, _values(r, len(contrasts)), given.data.design)
    with threads_over_blocks(given.n_floats) as run:
        at, beta = _restricted_fit(template, given, hypotheses, notes, run)
        full = Equations(given.data, given.model, given.structure, template.tol, run)
        scores = _Scores.of(full, at, given, kind, template)
    statistic = scores.statistic(hypotheses.rows)
    if small_sample:
        n_clusters = given.rows.n_clusters
        statistic *= n_clusters / (n_clusters - 1.0)
    freedom = scores.degrees_of_freedom
    df = len(contrasts)
    if np.isfinite(freedom):
        statistic /= df
        p_value = float(stats.f.sf(statistic, df, freedom)) if freedom > 0 else np.nan
    else:
        p_value = float(stats.chi2.sf(statistic, df))
    restricted = dict(zip(given.names, (given.map_back @ beta).tolist(), strict=True))
    return ScoreTest(statistic, df, freedom, p_value, kind, restricted)


def _kind(template: Any, given: MarginalData, cov_type: str | None) -> str:
    """Return which variance of the scores is meant."""
    is_logit = isinstance(template, LogitRegressor)
    sampling = template.weight_type == "sampling"
    asked = template.cov_type if cov_type is None else cov_type
    if asked == "auto":
        asked = "design" if sampling else "robust" if given.rows.grouped else "naive"
    if cov_type is None and given.design is not None and asked not in ("naive", "model"):
        asked = "design"
    kind = _KINDS.get(asked, None if cov_type is not None or is_logit else "robust")
    if kind is None:
        raise ValueError(f"cov_type must be 'robust', 'naive' or 'design', got {cov_type!r}.")
    if kind == "design" and not sampling:
        raise ValueError("cov_type='design' is for samples of a survey: set weight_type='sampling'.")
    return kind


@dataclass(frozen=True)
class _Hypotheses:
    """R b = r in coefficients of the design's columns: all b are start + free c.

    Parameters
    ----------
    rows : ndarray of shape (q, p)
        R.
    start : ndarray of shape (p,)
        A solution.
    free : ndarray of shape (p, p - q)
        Directions in which coefficients are free.
    """

    rows: np.ndarray
    start: np.ndarray
    free: np.ndarray

    @classmethod
    def of(cls, rows: np.ndarray, values: np.ndarray, columns: np.ndarray) -> _Hypotheses:
        """Solve the hypotheses, in units in which columns have one length."""
        lengths = np.sqrt(np.mean(columns**2, axis=0))
        units = 1.0 / np.where(lengths > 0, lengths, 1.0)
        q, triangle = linalg.qr((rows * units).T)
        n_rows = len(rows)
        start = q[:, :n_rows] @ linalg.solve_triangular(triangle[:n_rows], values, trans="T")
        return cls(rows, units * start, units[:, None] * q[:, n_rows:])


def _restricted_fit(
    template: Any,
    given: MarginalData,
    hypotheses: _Hypotheses,
    notes: FitNotes,
    run: Callable[..., Iterable[Any]],
) -> tuple[Evaluation, np.ndarray]:
    """Solve the equations under the hypotheses; return the evaluation, and all coefficients."""
    data = given.data
    columns, back = data.design @ hypotheses.free, hypotheses.free
    if columns.shape[1] and is_ill_conditioned(np.dot(columns.T, columns)):
        basis = full_rank_basis(columns, fit_intercept=False)
        columns, back = basis.columns, hypotheses.free @ basis.back
    offset = data.offset
    if hypotheses.start.any():
        offset = data.design @ hypotheses.start + (0.0 if offset is None else offset)
    restricted = replace(data, design=columns, offset=offset)
    if not columns.shape[1]:
        return _nothing_free(restricted, given, template, run), hypotheses.start
    result, start = solve(
        restricted,
        given.model,
        given.structure,
        max_iter=template.max_iter,
        tol=min(template.tol, _TOL),
        run=run,
    )
    names = tuple(f"direction {number}" for number in range(columns.shape[1]))
    rows = replace(given.rows, X=columns)
    checks = FitChecks(f"The {type(template).__name__} under the hypothesis", rows, result, start, names, False, notes)
    if checks.means():
        checks.convergence()
    return result.at, hypotheses.start + back @ result.at.beta


def _nothing_free(
    restricted: GEEData, given: MarginalData, template: Any, run: Callable[..., Iterable[Any]]
) -> Evaluation:
    """Evaluate the equations of a model without free coefficients."""
    equations = Equations(restricted, given.model, given.structure, template.tol, run)
    association, at = given.structure.start(equations.layouts), None
    for _ in range(3):
        at = equations.at(np.zeros(0), association)
        if at is None:
            raise ValueError("Under the hypothesis some means leave the range of the family: it cannot be tested.")
        association = at.association
    assert at is not None
    return at


@dataclass(frozen=True)
class _Scores:
    """Score of the full model, in coordinates in which its bread is the identity.

    Parameters
    ----------
    root : ndarray of shape (p, m)
        Maps columns of the design to orthonormal ones.
    total : ndarray of shape (m,)
        Its score.
    variance : ndarray of shape (m, m)
        Variance of the score.
    degrees_of_freedom : float
        Of the design; infinite for others.
    """

    root: np.ndarray
    total: np.ndarray
    variance: np.ndarray
    degrees_of_freedom: float

    @classmethod
    def of(cls, full: Equations, at: Evaluation, given: MarginalData, kind: str, template: Any) -> _Scores:
        """Add up the scores of the full model at the restricted fit."""
        design = None
        if kind == "design":
            design = given.design or _plain_design(given, template)
        of_rows = design is not None and len(design.stages) > 1

        def parts(part: WhiteBlock) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
            columns = part.columns
            counts = np.ones(part.clusters.n_clusters) if part.counts is None else part.counts
            bread = np.dot((columns[:, :-1] * part.clusters.spread(counts)[:, None]).T, columns[:, :-1])
            scores = columns[:, :-1] * columns[:, -1:]
            first = np.arange(part.rows.start, part.rows.stop)
            if not of_rows:
                scores, first = part.clusters.sum(scores), first[part.clusters.starts]
                scores = scores * np.sqrt(counts)[:, None]
            return bread, scores, first

        breads, scores, first = zip(*full.over_white_blocks(at, parts), strict=True)
        root = correction_frame(np.add.reduce(breads)).root
        turned, first_rows = np.concatenate(scores) @ root, np.concatenate(first)
        counts = 1.0 if given.data.counts is None else np.sqrt(given.data.counts[first_rows])
        total = (turned * np.reshape(counts, (-1, 1))).sum(axis=0)
        freedom = np.inf
        if design is not None:
            variance = design_variance(turned, given.caller_rows[first_rows], design)
            freedom = float(design.degf + 1 - root.shape[1])
        elif kind == "robust":
            variance = np.dot(turned.T, turned)
        else:
            variance = at.scale * np.eye(root.shape[1])
        return cls(root, total, variance, freedom)

    def statistic(self, hypotheses: np.ndarray) -> float:
        """Return the quadratic form for hypotheses (q, p); a variance of too low a rank raises ValueError."""
        directions = hypotheses @ self.root
        difference = directions @ self.total
        spread = directions @ self.variance @ directions.T
        scale = np.sqrt(np.diag(spread))
        if not (np.isfinite(scale).all() and (scale > 0).all()):
            raise ValueError("The variance of the tested scores is zero or not finite: there is nothing to test with.")
        if np.linalg.matrix_rank(spread / np.outer(scale, scale), tol=1e-10) < len(hypotheses):
            raise ValueError(
                f"The variance has too low a rank to test {len(hypotheses)} hypotheses jointly: there are too few "
                "clusters. cov_type='naive' believes the working model instead."
            )
        return float(difference @ np.linalg.solve(spread, difference))


def _plain_design(given: MarginalData, template: Any) -> SurveyDesign:
    """Return the design of a sample without strata, drawn with replacement."""
    groups = given.metadata.groups
    if groups is not None and np.ndim(groups) == 2:
        groups = groups.iloc[:, :1] if hasattr(groups, "iloc") else np.asarray(groups)[:, :1]
    return survey_design(
        given.n_given, groups=groups, weights=given.metadata.sample_weight, lonely_psu=template.lonely_psu
    )
