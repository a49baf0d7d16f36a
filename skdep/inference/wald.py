"""Wald tests of linear hypotheses about the coefficients."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import stats

from skdep._fitted import FittedInference
from skdep._html import frame_html, result_html
from skdep.inference._access import fitted_inference
from skdep.inference.coef_table import chosen_df
from skdep.inference.rao_scott import RaoScottTest, working_wald

__all__ = ["WaldTest", "wald_test"]


@dataclass(frozen=True)
class WaldTest:
    """Result of `wald_test`.

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
    """

    statistic: float
    df: int
    df_denominator: float
    p_value: float

    @property
    def distribution(self) -> str:
        """Name of the reference distribution."""
        return f"F({self.df}, {self.df_denominator:g})" if np.isfinite(self.df_denominator) else f"chi2({self.df})"

    def to_frame(self) -> Any:
        """Return a DataFrame of one row."""
        import pandas as pd

        columns = {"statistic": self.statistic, "df": self.df, "df_denominator": self.df_denominator}
        return pd.DataFrame({**columns, "p_value": self.p_value}, index=["Wald test"])

    def __str__(self) -> str:
        return f"Wald test: {self.statistic:.4f} on {self.distribution}, p = {self.p_value:.4g}"

    def _repr_html_(self) -> str:
        return result_html(frame_html(self.to_frame()))


def wald_test(
    est: Any,
    R: Any,
    r: Any = 0.0,
    *,
    cov_type: str | None = None,
    df: str | float | None = None,
    method: str = "wald",
    approximation: str = "saddlepoint",
) -> WaldTest | RaoScottTest:
    r"""Test the joint hypothesis R b = r.

    Parameters
    ----------
    est : estimator
        A fitted estimator of skdep, or a pipeline or search around one.
    R : array-like of shape (q, p) or (p,), or list of str
        Coefficients of the hypotheses on ``[intercept, *coef]``; or names of parameters that are jointly tested to
        equal `r`.
    r : float or array-like of shape (q,), default=0
        Values under the hypothesis.
    cov_type : str, optional
        Covariance type, by default that of the fit.
    df : {"normal", "residual", "satterthwaite", "kenward-roger"} or float, optional
        Degrees of freedom as in `coef_table`; where they are finite, the statistic over q is referred to F.
    method : {"wald", "working"}, default="wald"
        ``"working"`` takes the statistic of the working model, which believes rows to be independent (or the working
        correlation), and refers it to what it follows by the covariance of `cov_type`: a sum of chi-squares weighted
        by design effects. It does not invert that covariance, so that few clusters or sampling units serve for a test
        of many coefficients.
    approximation : {"saddlepoint", "satterthwaite", "exact"}, default="saddlepoint"
        How tails of such sums are computed, as in `lrt`.

    Returns
    -------
    WaldTest or RaoScottTest
        ``.statistic``, ``.df``, ``.df_denominator``, ``.p_value``; with ``method="working"`` also ``.design_effects``.

    Raises
    ------
    ValueError
        If `R` has a wrong shape or unknown names, its rows are linearly dependent, it involves a coefficient that is
        not estimable, or the covariance has too low a rank to test so many hypotheses at once (fewer clusters than
        that); or if `method` is not known, or ``"working"`` with the covariance of the working model itself.

    References
    ----------
    Wald (1943), Transactions of the American Mathematical Society 54, 426-482.
    Rao and Scott (1984), Annals of Statistics 12, 46-60: the working statistic.

    Examples
    --------
    >>> from skdep import LogitRegressor
    >>> from skdep.datasets import load_ohio
    >>> from skdep.inference import wald_test
    >>> ohio = load_ohio()
    >>> fit = LogitRegressor().fit(ohio.data, ohio.target, groups=ohio.groups)
    >>> print(wald_test(fit, ["age", "smoke"]))
    Wald test: 9.0982 on chi2(2), p = 0.01058
    """
    if method not in ("wald", "working"):
        raise ValueError(f"method must be 'wald' or 'working', got {method!r}.")
    fitted = fitted_inference(est)
    contrasts = _contrasts(R, fitted.names)
    _check_testable(contrasts, fitted)
    difference = contrasts @ fitted.estimate - _values(r, len(contrasts))
    if method == "wald":
        return _wald(fitted, contrasts, difference, cov_type, df)
    named = isinstance(R, str) or isinstance(np.asarray(R).flat[0], str)
    terms = tuple(np.atleast_1d(R).tolist()) if named else ()
    return working_wald(est, contrasts, difference, cov_type=cov_type, df=df, approximation=approximation, terms=terms)


def _check_testable(contrasts: np.ndarray, fitted: FittedInference) -> None:
    """Raise ValueError if hypotheses (q, p) follow from others, or involve what is not estimable."""
    bad = np.any(contrasts != 0, axis=0) & fitted.aliased
    if bad.any():
        names = [name for name, flag in zip(fitted.names, bad, strict=True) if flag]
        raise ValueError(f"R involves coefficients that are not estimable, because features are collinear: {names}.")
    sizes = np.abs(contrasts).max(axis=1, keepdims=True)
    if np.linalg.matrix_rank(contrasts / np.where(sizes > 0, sizes, 1.0)) < len(contrasts):
        raise ValueError("The rows of R are linearly dependent: leave out those that follow from others.")


def _wald(
    fitted: FittedInference,
    contrasts: np.ndarray,
    difference: np.ndarray,
    cov_type: str | None,
    df: str | float | None,
) -> WaldTest:
    """Refer the Wald statistic of a covariance to chi-square, or to F."""
    covariance, freedom, factor = fitted.covariance(cov_type), chosen_df(fitted, cov_type, df), 1.0
    if isinstance(freedom, str):
        small = fitted.small_sample_of(cov_type)
        covariance = small.covariance(freedom)
        freedom, factor = small.joint_df(contrasts, freedom)
    n_hypotheses = len(contrasts)
    spread = contrasts @ covariance @ contrasts.T
    scale = np.sqrt(np.diag(spread))
    if not (np.isfinite(scale).all() and (scale > 0).all()):
        raise ValueError(
            "The covariance of the tested combinations is zero or not finite: there is nothing to test with."
        )
    if np.linalg.matrix_rank(spread / np.outer(scale, scale), tol=1e-10) < n_hypotheses:
        raise ValueError(
            f"The covariance has too low a rank to test {n_hypotheses} hypotheses jointly: there are too few clusters. "
            "method='working' does not invert it."
        )
    statistic = float(difference @ np.linalg.solve(spread, difference))
    if np.isfinite(freedom):
        statistic *= factor / n_hypotheses
        p_value = float(stats.f.sf(statistic, n_hypotheses, freedom)) if freedom > 0 else np.nan
    else:
        p_value = float(stats.chi2.sf(statistic, n_hypotheses))
    return WaldTest(statistic, n_hypotheses, freedom, p_value)


def _contrasts(R: Any, names: tuple[str, ...]) -> np.ndarray:
    """Return the matrix (q, p) of hypotheses, given as such or by names."""
    if isinstance(R, str):
        R = [R]
    if np.ndim(R) == 1 and len(R) and all(isinstance(name, str) for name in R):
        unknown = [name for name in R if name not in names]
        if unknown:
            raise ValueError(f"R names unknown parameters {unknown}; the model has {list(names)}.")
        return np.eye(len(names))[[names.index(name) for name in R]]
    try:
        contrasts = np.atleast_2d(np.asarray(R, dtype=float))
    except (TypeError, ValueError) as error:
        raise ValueError(f"R must be numbers, or names of parameters: {error}.") from error
    if contrasts.ndim != 2 or contrasts.shape[1] != len(names) or not len(contrasts):
        raise ValueError(
            f"R must have one column for each of the {len(names)} parameters {list(names)}, got shape "
            f"{contrasts.shape}."
        )
    if not np.isfinite(contrasts).all():
        raise ValueError("R has missing or infinite coefficients.")
    return contrasts


def _values(r: Any, n_hypotheses: int) -> np.ndarray:
    """Return the values (q,) under the hypothesis."""
    try:
        values = np.broadcast_to(np.asarray(r, dtype=float), n_hypotheses)
    except (TypeError, ValueError) as error:
        raise ValueError(f"r must be a number, or one for each of the {n_hypotheses} hypotheses: {error}.") from error
    if not np.isfinite(values).all():
        raise ValueError("r has missing or infinite values.")
    return values
