"""What likelihood-based comparisons need to know of a fit, read off any estimator; and whether two fits compare."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from sklearn.base import is_classifier

from skdep._fingerprint import DataFingerprint
from skdep.inference._access import unwrap

__all__ = ["LikelihoodFit", "check_same_data", "likelihood_fit", "refitted_by_ml"]


@dataclass(frozen=True)
class LikelihoodFit:
    """The maximised likelihood of a fit, and what it is a likelihood of.

    Parameters
    ----------
    kind : str
        Class of the estimator.
    loglik : float
        Log-likelihood, or REML criterion over -2.
    reml : bool
        Which of the two.
    names : tuple of str
        Coefficients.
    n_fixed : int
        Number of estimable coefficients.
    n_obs : float
        Number of observations.
    data : DataFingerprint
        Fingerprint of the data.
    binary : bool
        Whether the outcome is binary.
    named : bool
        Whether features had names of their own.
    random : dict of str to tuple of str
        Names of the random effects by factor.
    diagonal : bool
        Whether random effects are uncorrelated.
    singular : bool
        Whether an estimated covariance matrix is.
    converged : bool
        Whether the maximum was found.
    clustered : bool
        Whether groups were given.
    approximation : object
        How the likelihood was computed, where it is an integral: the number of quadrature nodes, or "integral" if it is
        known not to change with more; fits with other settings do not compare.
    model : LinearMixedFit or None
        Cross-products and parameters, where the fit has them.
    order : tuple of str
        Factors in the order of the model's terms.
    """

    kind: str
    loglik: float
    reml: bool
    names: tuple[str, ...]
    n_fixed: int
    n_obs: float
    data: DataFingerprint
    binary: bool
    named: bool
    random: dict[str, tuple[str, ...]] = field(default_factory=dict)
    diagonal: bool = False
    singular: bool = False
    converged: bool = True
    clustered: bool = False
    approximation: Any = None
    model: Any = None
    order: tuple[str, ...] = ()

    @property
    def n_variances(self) -> int:
        """Number of variances and covariances, the residual variance included."""
        sizes = map(len, self.random.values())
        return sum(q if self.diagonal else q * (q + 1) // 2 for q in sizes) + (not self.binary)

    @property
    def n_params(self) -> int:
        """Number of parameters."""
        return self.n_fixed + self.n_variances

    @property
    def log_weights(self) -> float:
        """Sum of the logarithms of precision weights."""
        return 0.0 if self.model is None else float(self.model.products.log_weights)

    @property
    def criterion(self) -> str:
        """Name of what was maximised."""
        return "REML" if self.reml else "ML"


def likelihood_fit(est: Any) -> LikelihoodFit:
    """Read the likelihood off a fitted estimator.

    Raises
    ------
    TypeError
        If the estimator has no likelihood.
    ValueError
        If what was maximised is no likelihood of the data: penalised, or weighted by sampling weights.
    """
    inner = unwrap(est)
    kind = type(inner).__name__
    if not hasattr(inner, "loglik_"):
        hint = "use wald_test to test coefficients, qic to compare" if hasattr(inner, "_criteria") else "see its class"
        raise TypeError(f"{kind} has no likelihood: {hint}.")
    if getattr(inner, "penalty", None) is not None:
        raise ValueError(
            f"{kind} was fitted with penalty={inner.penalty!r}: its log-likelihood is not maximised, and differences "
            "of it follow no known distribution. Fit with penalty=None."
        )
    if getattr(inner, "weight_type", None) == "sampling":
        raise ValueError(
            f"{kind} was fitted to sampling weights, by a pseudo-likelihood: it is not comparable as a likelihood is. "
            "Use wald_test, whose covariance is that of the design."
        )
    if not np.isfinite(inner.loglik_):
        raise ValueError(
            f"{kind} fits its data without error: the likelihood is infinite, there is nothing to compare."
        )
    fitted = inner._inference
    model = getattr(inner, "_model", None)
    if not hasattr(model, "products"):
        model = None  # an integral is not made of cross-products
    random = dict(getattr(inner, "random_names_", {}))
    return LikelihoodFit(
        kind=kind,
        loglik=float(inner.loglik_),
        reml=bool(getattr(model, "reml", False)),
        names=fitted.names,
        n_fixed=round(fitted.n_obs - fitted.residual_df["model"]),
        n_obs=fitted.n_obs,
        data=fitted.data,
        binary=is_classifier(inner),
        named=hasattr(inner, "feature_names_in_"),
        random=random,
        diagonal=getattr(inner, "covariance", "full") == "diagonal" or max(map(len, random.values()), default=1) == 1,
        singular=bool(getattr(inner, "singular_", False)),
        converged=bool(inner.converged_),
        clustered=fitted.n_clusters is not None,
        approximation=getattr(inner, "_approximation", None) if random else None,
        model=model,
        order=tuple(getattr(inner, "_working_order", ())),
    )


def check_same_data(fits: list[LikelihoodFit]) -> None:
    """Raise ValueError unless all fits are of one likelihood: same kind of outcome, rows, outcomes and weights."""
    first = fits[0]
    for other in fits[1:]:
        if first.binary != other.binary:
            raise ValueError(f"{first.kind} and {other.kind} are models of different kinds of outcomes.")
        if not first.data.same_rows(other.data) or abs(first.n_obs - other.n_obs) > 1e-9 * first.n_obs:
            raise ValueError(
                f"The fits are of different data: {first.n_obs:g} and {other.n_obs:g} observations, with outcomes of "
                f"mean {first.data.outcome[0]:.6g} and {other.data.outcome[0]:.6g}, standard deviation "
                f"{first.data.outcome[1]:.6g} and {other.data.outcome[1]:.6g}. Fit all models to the same rows, "
                "outcomes and weights."
            )
        if abs(first.log_weights - other.log_weights) > 1e-9 * first.n_obs:
            raise ValueError("sample_weight means different things in the fits: give all of them the same weight_type.")
    settings = {fit.approximation for fit in fits if fit.approximation is not None}
    if len(settings) > 1:
        raise ValueError(
            f"The likelihoods are approximated by different numbers of quadrature nodes, {sorted(map(str, settings))} "
            "('integral' stands for as many as it takes): give all fits the same n_quadrature."
        )


def refitted_by_ml(fit: LikelihoodFit) -> LikelihoodFit:
    """Return the maximum likelihood fit of the same model; REML fits are refitted from their cross-products."""
    if not fit.reml:
        return fit
    from skdep.mixed.fit import canonical, fit_products, loglik_of

    model = fit.model
    _, optimum, _ = fit_products(
        model.products,
        diagonal=model.parameters.diagonal,
        reml=False,
        max_iter=200,
        tol=model.optimization.tol or 1e-10,
    )
    loglik = loglik_of(model.products, optimum.state.border, optimum.state.value)
    refit = replace(
        model, factors=tuple(canonical(optimum.state.factors)), reml=False, loglik=loglik, converged=optimum.converged
    )
    return replace(fit, loglik=loglik, reml=False, model=refit, converged=optimum.converged, singular=refit.singular)
