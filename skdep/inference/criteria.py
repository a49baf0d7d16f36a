r"""Quasi-likelihood criteria to choose among mean models and working correlations.

Definitions used here, with phi the scale of the fit itself, Omega = sum D'A^{-1}D / phi the information under
independence at the fitted coefficients (no refit), and V_R the robust covariance:

    QL   = sum w Q(mu; y) / phi
    CIC  = trace(Omega V_R)
    QIC  = -2 QL + 2 CIC
    QICu = -2 QL + 2 p

References
----------
Pan (2001), Biometrics 57, 120-125: QIC and QICu.
Hin and Wang (2009), Statistics in Medicine 28, 642-658: CIC.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from skdep._html import frame_html, result_html
from skdep.inference._access import unwrap

__all__ = ["QICResult", "qic"]


@dataclass(frozen=True)
class QICResult:
    """Result of `qic`; smaller is better.

    Parameters
    ----------
    qic : float
        -2 quasi-likelihood + 2 CIC: compares mean models and working correlations.
    qicu : float
        -2 quasi-likelihood + 2 p: compares mean models only.
    cic : float
        The penalty alone, trace of Omega V_R: compares working correlations of one mean model.
    quasi_likelihood : float
        Sum of weighted quasi-likelihoods divided by phi.
    """

    qic: float
    qicu: float
    cic: float
    quasi_likelihood: float

    def to_frame(self) -> Any:
        """Return a DataFrame of one row."""
        import pandas as pd

        columns = {"qic": self.qic, "qicu": self.qicu, "cic": self.cic, "quasi_likelihood": self.quasi_likelihood}
        return pd.DataFrame(columns, index=["GEE"])

    def __str__(self) -> str:
        return (
            f"QIC {self.qic:.4f}   QICu {self.qicu:.4f}   CIC {self.cic:.4f}   "
            f"quasi-likelihood {self.quasi_likelihood:.4f}"
        )

    def _repr_html_(self) -> str:
        return result_html(frame_html(self.to_frame()))


def qic(est: Any) -> QICResult:
    """Return the quasi-likelihood criteria of a fitted GEE.

    Parameters
    ----------
    est : GEERegressor or GEEClassifier
        A fitted GEE, or a pipeline or search around one.

    Returns
    -------
    QICResult
        ``.qic``, ``.qicu``, ``.cic``, ``.quasi_likelihood``.

    Raises
    ------
    TypeError
        If the estimator is no GEE.

    See Also
    --------
    compare_correlations : These and other criteria, of every working correlation side by side.
    qic_scorer : To choose by QIC in a search.

    Notes
    -----
    QIC is weak at choosing the working correlation; compare CIC for that, and mean models by QIC. Compare only fits of
    the same observations, best with `scale` fixed at that of the largest mean model, since phi divides the
    quasi-likelihood.

    Examples
    --------
    >>> from skdep import GEEClassifier
    >>> from skdep.datasets import load_ohio
    >>> from skdep.inference import qic
    >>> ohio = load_ohio()
    >>> fit = GEEClassifier(working_correlation="exchangeable").fit(ohio.data, ohio.target, groups=ohio.groups)
    >>> round(qic(fit).cic, 2)
    4.79
    """
    inner = unwrap(est)
    if not hasattr(inner, "_criteria"):
        raise TypeError(f"QIC is defined for a GEE; {type(inner).__name__} has a likelihood or posterior instead.")
    return QICResult(**inner._criteria)
