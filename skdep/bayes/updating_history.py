"""What is kept of every batch: enough to plot how a prior turned into a posterior."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from skdep.bayes.prior_density import PriorSpec

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["QUANTILES", "UpdateHistory", "parameters_of"]

QUANTILES = (0.05, 0.5, 0.95)
# Draws of the prior that its quantiles are taken from.
_PRIOR_DRAWS = 4000


@dataclass(frozen=True, eq=False)
class UpdateHistory:
    """Posteriors after each batch, in the units of the features.

    Parameters
    ----------
    names : tuple of str
        Names of the parameters: ``"Intercept"``, features, ``"sd[factor, effect]"``.
    prior_quantiles : ndarray of shape (3, k)
        5 %, 50 % and 95 % quantiles of the prior, from draws.
    mean, sd : ndarray of shape (n_batches, k)
        Means and standard deviations of the posterior after each batch.
    quantiles : ndarray of shape (n_batches, 3, k)
        5 %, 50 % and 95 % quantiles of the posterior after each batch.
    log_evidence : ndarray of shape (n_batches,)
        Log probability of each batch given those before it, discounted by the forgetting factor.
    n_rows : ndarray of int of shape (n_batches,)
        Rows of each batch, without those of weight zero.
    methods : tuple of str
        How each posterior was sampled.

    Examples
    --------
    >>> import numpy as np
    >>> from skdep.bayes.logit import BayesLogit
    >>> X, y = np.arange(8.0)[:, None], np.array([0, 0, 1, 0, 1, 0, 1, 1])
    >>> model = BayesLogit(random_state=0).fit(X[:4], y[:4]).partial_fit(X[4:], y[4:])
    >>> model.history_.n_rows
    array([4, 4])
    """

    names: tuple[str, ...]
    prior_quantiles: np.ndarray
    mean: np.ndarray
    sd: np.ndarray
    quantiles: np.ndarray
    log_evidence: np.ndarray
    n_rows: np.ndarray
    methods: tuple[str, ...]

    @classmethod
    def begin(cls, prior: PriorSpec) -> UpdateHistory:
        """Return the history before the first batch.

        Parameters
        ----------
        prior : PriorSpec
            The prior.

        Returns
        -------
        UpdateHistory
            No batches.
        """
        layout = prior.layout
        names = [*layout.coefficient_names]
        names += [f"sd[{term.name}, {effect}]" for term in layout.random for effect in term.effects]
        at_start = np.quantile(parameters_of(prior, prior.sample_points(0, _PRIOR_DRAWS)), QUANTILES, axis=0)
        none = np.empty((0, len(names)))
        return cls(
            tuple(names), at_start, none, none, np.empty((0, 3, len(names))), np.empty(0), np.empty(0, dtype=int), ()
        )

    def appended(
        self, prior: PriorSpec, points: np.ndarray, *, log_evidence: float, n_rows: int, method: str
    ) -> UpdateHistory:
        """Return the history with one more batch.

        Parameters
        ----------
        prior : PriorSpec
            Knows what is where in points.
        points : ndarray of shape (n_chains, n_draws, P)
            Draws of the posterior.
        log_evidence : float
            Log probability of the batch given those before it.
        n_rows : int
            Its rows.
        method : str
            How the draws were made.

        Returns
        -------
        UpdateHistory
            The longer history.
        """
        draws = parameters_of(prior, points.reshape(-1, points.shape[-1]))
        return UpdateHistory(
            self.names,
            self.prior_quantiles,
            np.vstack([self.mean, draws.mean(axis=0)]),
            np.vstack([self.sd, draws.std(axis=0, ddof=1)]),
            np.concatenate([self.quantiles, np.quantile(draws, QUANTILES, axis=0)[None]]),
            np.append(self.log_evidence, log_evidence),
            np.append(self.n_rows, n_rows),
            (*self.methods, method),
        )

    def to_frame(self) -> pd.DataFrame:
        """Return a table with a row for each batch and parameter.

        Returns
        -------
        DataFrame
            Columns ``batch`` (0 is the prior), ``parameter``, ``mean``, ``sd`` (NaN for the prior), ``low``,
            ``median``, ``high``: the 5 %, 50 % and 95 % quantiles.
        """
        import pandas as pd

        n, k = len(self.mean), len(self.names)
        empty = np.full((1, k), np.nan)
        low, median, high = np.concatenate([self.prior_quantiles[None], self.quantiles]).transpose(1, 0, 2)
        return pd.DataFrame(
            {
                "batch": np.repeat(np.arange(n + 1), k),
                "parameter": np.tile(np.array(self.names, dtype=object), n + 1),
                "mean": np.vstack([empty, self.mean]).ravel(),
                "sd": np.vstack([empty, self.sd]).ravel(),
                "low": low.ravel(),
                "median": median.ravel(),
                "high": high.ravel(),
            }
        )

    def __str__(self) -> str:
        n_rows = ", ".join(f"{n:g}" for n in self.n_rows)
        return f"{len(self.mean)} batches of {n_rows} rows\n{self.to_frame().to_string(index=False, na_rep='')}"

    def _repr_html_(self) -> str:
        from skdep._html import frame_html, result_html

        return result_html(frame_html(self.to_frame(), max_rows=40), lead=str(self).partition("\n")[0])


def parameters_of(prior: PriorSpec, points: np.ndarray) -> np.ndarray:
    """Return coefficients and standard deviations of random effects (n, k) at points (n, P), in the user's units.

    Parameters
    ----------
    prior : PriorSpec
        Knows what is where in points.
    points : ndarray of shape (n, P)
        Points.
    """
    layout = prior.layout
    coefficients = prior.working_coefficients(points) @ layout.to_user.T
    sds = [np.sqrt(np.diagonal(term.covariance(points), axis1=-2, axis2=-1)) for term in layout.random]
    return np.hstack([coefficients, *sds])
