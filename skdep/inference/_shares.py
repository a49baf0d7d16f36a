r"""Variances on one footing: what each factor, the residual and the fixed part contribute to that of an outcome.

Effects with covariance matrix Sigma contribute z'Sigma z to the variance of a row, which depends on the row where
slopes vary; its mean over rows is tr(Sigma M), M the mean of z z'. M, and the variance of the fixed part, come from
what the fit keeps: cross-products of a linear model, means of products of columns of a logistic one. No data are
needed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.base import is_classifier

from skdep.inference._access import unwrap
from skdep.mixed.cross_products import CrossProducts

__all__ = ["Shares", "fixed_variance", "nested_factors", "random_effects_model", "variance_shares"]

# Variance of the standard logistic distribution: of the latent outcome whose sign a logistic model describes.
_LOGISTIC_VARIANCE = np.pi**2 / 3.0


@dataclass(frozen=True)
class Shares:
    """Variances of a row, the fixed part not counted.

    Parameters
    ----------
    factors : dict of str to float
        Mean over rows of the variance that a factor contributes.
    residual : float
        Residual variance; on the latent scale for a binary outcome.
    """

    factors: dict[str, float]
    residual: float

    @property
    def total(self) -> float:
        """Sum of all."""
        return sum(self.factors.values()) + self.residual


def random_effects_model(est: Any) -> Any:
    """Return the fitted mixed model in `est`, or raise TypeError."""
    inner = unwrap(est)
    if not hasattr(inner, "random_covariance_"):
        raise TypeError(
            f"{type(inner).__name__} has no random effects: variance components are those of a mixed model."
        )
    return inner


def variance_shares(inner: Any) -> Shares:
    """Return the variances of a fitted mixed model."""
    if is_classifier(inner):
        moments = inner._model.term_moments
        sums = {name: np.sum(sigma * moments[name]) for name, sigma in inner.random_covariance_.items()}
        return Shares({name: float(value) for name, value in sums.items()}, _LOGISTIC_VARIANCE)
    products: CrossProducts = inner._model.products
    factors = {}
    for name, covariance in inner.random_covariance_.items():
        k = inner._working_order.index(name)
        root = np.linalg.inv(products.terms[k].to_user)
        factors[name] = float(np.sum((root @ covariance @ root.T) * _mean_outer_product(products, k)))
    return Shares(factors, float(inner.sigma2_))


def _mean_outer_product(products: CrossProducts, k: int) -> np.ndarray:
    """Return the weighted mean of z z' of a term, in working columns, whose mean square is one."""
    own, weights = products.terms[k].own, _level_weights(products, k)
    summed = own.sum(axis=2) if weights is None else own @ weights
    return summed / np.diag(summed).max()


def _level_weights(products: CrossProducts, k: int) -> np.ndarray | None:
    """Return the sampling weights of the levels of a term; those of other terms than the first from rows they share."""
    weights = products.level_weights
    if weights is None or k == 0:
        return weights
    shared = products.between[0, k].tocoo()
    result = np.zeros(products.terms[k].n_levels)
    result[shared.col // products.terms[k].q] = weights[shared.row // products.terms[0].q]
    return result


def nested_factors(inner: Any) -> dict[str, tuple[str, ...]]:
    """Return by factor those within whose levels its levels lie: each level together with one level of theirs only."""
    if len(inner.random_covariance_) < 2:
        return dict.fromkeys(inner.random_covariance_, ())
    if is_classifier(inner):
        return dict(inner._model.outer_factors)
    products, order = inner._model.products, inner._working_order
    outer: dict[str, tuple[str, ...]] = {name: () for name in inner.random_covariance_}
    for (b, c), matrix in products.between.items():
        pairs = matrix.tocoo()
        rows, columns = pairs.row // products.terms[b].q, pairs.col // products.terms[c].q
        n_pairs = len(np.unique(rows.astype(np.int64) * products.terms[c].n_levels + columns))
        for inside, outside in ((b, c), (c, b)):
            if n_pairs == products.terms[inside].n_levels > products.terms[outside].n_levels:
                outer[order[inside]] += (order[outside],)
    return outer


def fixed_variance(inner: Any) -> float:
    """Return the variance over rows of the fixed part of the linear predictor, offset left out; denominator n - 1."""
    fitted = inner._inference
    if is_classifier(inner):
        slopes = np.ravel(inner.coef_)
        variance = float(slopes @ inner._model.feature_covariance @ slopes)
    else:
        variance = _linear_fixed_variance(inner)
    return max(variance, 0.0) * fitted.n_obs / max(fitted.n_obs - 1.0, 1.0)


def _linear_fixed_variance(inner: Any) -> float:
    """Return the mean square about the mean of the fixed part of a linear mixed model."""
    model, fitted, split = inner._model, inner._inference, int(inner.fit_intercept)
    p = model.products.n_params
    gram = model.products.gram[split:p, split:p]
    # the constant adds nothing to the variance: without it, no digits are lost to a distant origin
    slopes = np.linalg.lstsq(model.back[split:, split:], fitted.estimate[split:], rcond=None)[0]
    if split:
        weight = model.products.gram[0, 0]
        mean = float(model.products.gram[0, 1:p] @ slopes) / weight
    elif getattr(inner, "weight_type", None) == "sampling":
        raise ValueError("The variance of the fixed part is not known of a fit without intercept to sampling weights.")
    else:
        weight = fitted.data.total
        mean = float(fitted.data.features[:, 0] @ inner.coef_)
    return float(slopes @ gram @ slopes) / weight - mean**2
