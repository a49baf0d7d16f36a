r"""Influence of clusters on a marginal model, without refitting.

Left out cluster i, the estimates move by about

.. math:: \hat\beta - \hat\beta_{(i)} \approx (B - B_i)^{-1} u_i ,

B_i the cluster's part of the bread B and u_i its score: one scoring step from the estimates, with working correlation
and scale as they are. For the identity link and independent rows it is exact. In coordinates in which B = I, B_i is the
leverage M_i of the cluster, whose trace is that of its block of the hat matrix H = D B^{-1} D'V^{-1}.

References
----------
Preisser and Qaqish (1996), Biometrika 83, 551-562. Cook (1977), Technometrics 19, 15-18. Belsley, Kuh and Welsch
(1980), Regression Diagnostics, Wiley, chapter 2. Pregibon (1981), Annals of Statistics 9, 705-724: the one-step
approximation.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from skdep._html import frame_html, result_html
from skdep._threads import threads_over_blocks
from skdep.clusters import Clusters
from skdep.formula.raw_rows import offset_of
from skdep.gee.equations import Equations, Evaluation, scaled_columns
from skdep.gee.given_rows import GEEMetadata
from skdep.gee.working_correlation import Block
from skdep.inference._features import last_step
from skdep.inference._marginal import MarginalData, check_marginal, data_of_fit, equations_at_fit
from skdep.inference._whitening import solved
from skdep.sandwich_corrections import CorrectionFrame, cluster_products, correction_frame, inverse_gap

__all__ = ["Influence", "influence"]

# Floats of the leverages of clusters that are held at a time.
_FLOATS = 4_000_000
# Clusters of less total leverage than this determine no direction alone.
_CERTAINLY_SHARED = 0.9
# Share of a coefficient's length in a direction above which it needs that direction.
_NEEDED = 1e-6


@dataclass(frozen=True)
class Influence:
    """Result of `influence`: a row a cluster, in the order of their labels.

    Parameters
    ----------
    clusters : DataFrame
        Columns ``n_rows``, ``leverage`` (total over its rows; over all clusters the number of coefficients) and
        ``cooks_distance``.
    dfbeta : DataFrame
        By how much each coefficient is larger with the cluster than without it; NaN where it cannot be estimated
        without.
    dfbetas : DataFrame
        The same in standard errors.
    rows : DataFrame
        Columns ``cluster``, ``leverage`` (diagonal of the hat matrix) and ``residual`` (Pearson, over the root of the
        scale), a row for each row of positive weight.
    cov_type : str
        Covariance that gave standard errors and Cook's distance its metric.
    """

    clusters: pd.DataFrame
    dfbeta: pd.DataFrame
    dfbetas: pd.DataFrame
    rows: pd.DataFrame
    cov_type: str

    def most_influential(self, n: int = 5, *, coefficient: str | None = None) -> pd.DataFrame:
        """Return the clusters that matter most.

        Parameters
        ----------
        n : int, default=5
            How many.
        coefficient : str, optional
            Name of a coefficient, for the largest changes of that one; by default the largest Cook's distances.

        Returns
        -------
        table : DataFrame
            Rows of `to_frame`, the most influential first.
        """
        if coefficient is None:
            by = self.clusters["cooks_distance"].to_numpy()
        elif coefficient in self.dfbetas:
            by = self.dfbetas[coefficient].abs().to_numpy()
        else:
            raise ValueError(f"There is no coefficient {coefficient!r}; the model has {list(self.dfbetas)}.")
        # NaN, of a cluster that a coefficient cannot do without, comes first
        order = np.argsort(-np.where(np.isnan(by), np.inf, by), kind="stable")
        return self.to_frame().iloc[order[:n]]

    def to_frame(self) -> pd.DataFrame:
        """Return sizes, leverages, Cook's distances and DFBETAS in one table."""
        return self.clusters.join(self.dfbetas.add_prefix("dfbetas "))

    def __str__(self) -> str:
        worst = self.most_influential().to_string(float_format=lambda value: f"{value:.4f}")
        return f"{self._heading()}\n{worst}"

    __repr__ = __str__

    def _heading(self) -> str:
        return (
            f"Influence of {len(self.clusters)} clusters on {self.dfbeta.shape[1]} coefficients, in {self.cov_type} "
            "standard errors; by Cook's distance:"
        )

    def _repr_html_(self) -> str:
        return result_html(frame_html(self.most_influential(), floats=".4f"), lead=self._heading())


def influence(
    est: Any,
    X: Any,
    y: Any,
    *,
    groups: Any = None,
    sample_weight: Any = None,
    offset: Any = None,
    time: Any = None,
    strata: Any = None,
    fpc: Any = None,
    cov_type: str | None = None,
) -> Influence:
    r"""Say how much each cluster matters for the estimates, without fitting again.

    Parameters
    ----------
    est : GEERegressor, GEEClassifier or LogitRegressor
        A fitted model, or a pipeline or search around one.
    X : array-like of shape (n_rows, n_features)
        Features of the fit.
    y : array-like of shape (n_rows,)
        Outcomes of the fit.
    groups : array-like of shape (n_rows,) or (n_rows, n_levels), optional
        Clusters of the fit. Of a fit with independent rows they may be other ones: what is deleted is the cluster given
        here, and without any the row.
    sample_weight, offset, time, strata, fpc : array-like, optional
        The rows' metadata, as in ``fit``.
    cov_type : str, optional
        Covariance whose standard errors are the unit of DFBETAS, and whose metric is that of Cook's distance; by
        default that of the working model (``"naive"``, ``"model"``), as Preisser and Qaqish have it.

    Returns
    -------
    Influence
        ``.clusters`` with leverages and Cook's distances, ``.dfbeta``, ``.dfbetas``, ``.rows``;
        ``.most_influential(n)``, ``.to_frame()``.

    Raises
    ------
    ValueError
        If these are not the data of the fit, it is penalised, or it lacks `cov_type`.
    TypeError
        If the estimator is another one.

    See Also
    --------
    skdep.plotting.InfluenceDisplay : The same as a picture.

    Notes
    -----
    Changes are those of one scoring step, with working correlation and scale held; with the identity link and
    independent rows they are exact. Cook's distance is the squared length of the change in the metric of the
    covariance, over the number of coefficients. Of repeated clusters, with frequency weights, one repetition is
    deleted. A cluster of leverage near that number of coefficients determines them alone; coefficients that cannot be
    estimated without it have NaN.

    References
    ----------
    .. [1] Preisser and Qaqish (1996), Deletion diagnostics for generalised estimating equations, Biometrika 83,
       551-562.

    Examples
    --------
    >>> import numpy as np
    >>> from skdep import GEERegressor
    >>> from skdep.datasets import load_epil
    >>> from skdep.inference import influence
    >>> epil = load_epil()
    >>> X = np.log(epil.data[["base", "age"]])
    >>> gee = GEERegressor("poisson", working_correlation="exchangeable").fit(X, epil.target, groups=epil.groups)
    >>> found = influence(gee, X, epil.target, groups=epil.groups)
    >>> found.most_influential(3)["cooks_distance"].round(2).to_dict()
    {49: 2.17, 25: 0.14, 18: 0.12}
    """
    offset = offset_of(est, X, offset)
    model, X = last_step(est, X)
    check_marginal(model, "influence")
    metadata = GEEMetadata(groups, sample_weight, offset, time, strata, fpc)
    given = data_of_fit(model, X, y, metadata)
    with threads_over_blocks(given.n_floats) as run:
        equations, at = equations_at_fit(model, given, run)
        frame = correction_frame(at.bread, given.back)
        found = _Deletions.of(equations, at, frame, run)
    fitted = model._inference
    working = "model" if "model" in fitted.covariances else "naive"
    cov_type = working if cov_type is None else cov_type
    covariance = fitted.covariance(cov_type)
    with np.errstate(divide="ignore", invalid="ignore"):
        if cov_type == working:
            cook = np.sum(found.moves**2, axis=1) / (at.scale * frame.root.shape[1])
        else:
            cook = _squared_lengths(found.dfbeta_of_all, covariance) / frame.root.shape[1]
        dfbetas = found.dfbeta / np.sqrt(np.diag(covariance))
    dfbetas[:, given.aliased] = np.nan
    found.dfbeta[:, given.aliased] = np.nan
    clusters = given.rows.clusters
    labels = pd.Index(clusters.levels, name=given.rows.factor_name)
    columns = list(given.names)
    return Influence(
        clusters=pd.DataFrame(
            {"n_rows": clusters.sizes, "leverage": found.leverage, "cooks_distance": cook}, index=labels
        ),
        dfbeta=pd.DataFrame(found.dfbeta, index=labels, columns=columns),
        dfbetas=pd.DataFrame(dfbetas, index=labels, columns=columns),
        rows=_rows(X, given, at, found.row_leverage),
        cov_type=cov_type,
    )


def _squared_lengths(moves: np.ndarray, covariance: np.ndarray) -> np.ndarray:
    """Return the squared lengths of moves (n, p) in the metric of a covariance, on its range."""
    unit = np.sqrt(np.diag(covariance))
    unit = np.where(unit > 0, unit, 1.0)
    values, vectors = np.linalg.eigh(covariance / np.outer(unit, unit))
    kept = values > 1e-10 * values[-1]
    return np.sum(((moves / unit) @ (vectors[:, kept] / np.sqrt(values[kept]))) ** 2, axis=1)


def _rows(X: Any, given: MarginalData, at: Evaluation, leverage: np.ndarray) -> pd.DataFrame:
    """Return leverages and residuals of rows, in the caller's order."""
    residual = at.residual
    mass = given.data.row_mass
    if mass is not None:
        residual = residual / np.sqrt(mass)
    numbers = given.caller_rows
    index = pd.Index(numbers) if not hasattr(X, "index") else X.index[numbers]
    labels = given.rows.clusters.levels[given.rows.clusters.codes]
    with np.errstate(divide="ignore", invalid="ignore"):
        columns = {"cluster": labels, "leverage": leverage, "residual": residual / np.sqrt(at.scale)}
    return pd.DataFrame(columns, index=index).iloc[np.argsort(numbers, kind="stable")]


@dataclass(frozen=True)
class _Deletions:
    """What deletion of each cluster does.

    Parameters
    ----------
    moves : ndarray of shape (n_clusters, r)
        Changes of the estimates in orthonormal coordinates; none in directions that the cluster determines alone.
    dfbeta_of_all, dfbeta : ndarray of shape (n_clusters, n_params)
        Changes of the coefficients; with NaN for those which cannot be estimated without the cluster.
    leverage : ndarray of shape (n_clusters,)
        Total leverage of clusters.
    row_leverage : ndarray of shape (n_rows,)
        Leverage of rows, in cluster order.
    """

    moves: np.ndarray
    dfbeta_of_all: np.ndarray
    dfbeta: np.ndarray
    leverage: np.ndarray
    row_leverage: np.ndarray

    @classmethod
    def of(
        cls, equations: Equations, at: Evaluation, frame: CorrectionFrame, run: Callable[..., Iterable[Any]]
    ) -> _Deletions:
        """Go over the blocks once."""
        data, structure = equations.data, equations.structure

        def block(item: tuple[tuple[slice, Block], Any]) -> tuple[np.ndarray, ...]:
            (rows, part), layout = item
            columns = scaled_columns(data, rows, at.factor, at.residual)
            if data.counts is not None:
                columns /= np.sqrt(data.counts[rows, None])  # of one repetition
            turned = columns[:, :-1] @ frame.root
            columns = np.column_stack([turned, columns[:, -1]])
            white = structure.whiten(layout, at.association, columns)
            inverse = solved(structure, layout, at.association, part.clusters, turned)
            moves, missing = _deleted(white[:, :-1], white[:, -1], part.clusters, frame)
            leverage = part.clusters.sum(np.einsum("np,np->n", white[:, :-1], white[:, :-1]))
            return moves, missing, leverage, np.einsum("np,np->n", turned, inverse)

        parts = list(run(block, zip(data.blocks, equations.layouts, strict=True)))
        moves, missing, leverage, row_leverage = (np.concatenate(part) for part in zip(*parts, strict=True))
        dfbeta = moves @ frame.back.T
        return cls(moves, dfbeta, np.where(missing, np.nan, dfbeta), leverage, row_leverage)


def _deleted(
    columns: np.ndarray, residual: np.ndarray, clusters: Clusters, frame: CorrectionFrame
) -> tuple[np.ndarray, np.ndarray]:
    """Return (I - M)^{-1} u of clusters (n, r), and which coefficients (n, n_params) need them."""
    scores = clusters.sum(columns * residual[:, None])
    n_clusters, rank = scores.shape
    moves, missing = np.empty_like(scores), np.zeros((n_clusters, len(frame.back)), dtype=bool)
    step = max(_FLOATS // max(rank * rank, 1), 1)
    for begin in range(0, n_clusters, step):
        chosen = slice(begin, begin + step)
        leverages = cluster_products(columns, columns, clusters.starts[chosen], clusters.sizes[chosen])
        total = np.trace(leverages, axis1=1, axis2=2)
        alone = begin + np.flatnonzero(total >= _CERTAINLY_SHARED)
        gaps = np.eye(rank) - leverages
        gaps[alone - begin] = np.eye(rank)
        moves[chosen] = np.linalg.solve(gaps, scores[chosen][:, :, None])[:, :, 0]
        moves[alone], missing[alone] = _of_much_leverage(leverages[alone - begin], scores[alone], frame)
    return moves, missing


def _of_much_leverage(
    leverages: np.ndarray, scores: np.ndarray, frame: CorrectionFrame
) -> tuple[np.ndarray, np.ndarray]:
    """Do the same for clusters that may determine directions alone, in which they have no score."""
    values, vectors = np.linalg.eigh(leverages)
    inverse = inverse_gap(np.clip(values, 0.0, 1.0))
    turned = (vectors.transpose(0, 2, 1) @ scores[:, :, None])[:, :, 0] * inverse
    share = np.sum((frame.back @ vectors) ** 2 * (inverse == 0.0)[:, None, :], axis=2)
    needed = share > _NEEDED**2 * np.sum(frame.back**2, axis=1)
    return (vectors @ turned[:, :, None])[:, :, 0], needed
