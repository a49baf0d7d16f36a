"""What likelihood-based comparisons need to know of a fit, read off any estimator; and whether two fits compare."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from sklearn.base import is_classifier

from skdep._docs import read_more
from skdep._fingerprint import DataFingerprint
from skdep._stack import level_of_caller
from skdep.exceptions import ConvergenceWarning
from skdep.inference._access import is_posterior, unwrap

__all__ = [
    "LikelihoodFit",
    "check_same_data",
    "is_pseudo_likelihood",
    "likelihood_fit",
    "likelihood_ratio",
    "pseudo_likelihood_fit",
    "refitted_by_ml",
]


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
    features : tuple of str
        All features, those without a coefficient too.
    random : dict of str to tuple of str
        Names of the random effects by factor.
    blocks : dict of str to tuple of int
        Number of the block of each random effect by factor: effects of different blocks are uncorrelated.
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
    features: tuple[str, ...] = ()
    random: dict[str, tuple[str, ...]] = field(default_factory=dict)
    blocks: dict[str, tuple[int, ...]] = field(default_factory=dict)
    singular: bool = False
    converged: bool = True
    clustered: bool = False
    approximation: Any = None
    model: Any = None
    order: tuple[str, ...] = ()

    @property
    def n_variances(self) -> int:
        """Number of variances and covariances, the residual variance included."""
        sizes = [numbers.count(number) for numbers in self.blocks.values() for number in set(numbers)]
        return sum(q * (q + 1) // 2 for q in sizes) + (not self.binary)

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
        if is_posterior(inner):
            hint = "none that is maximised; compare log_evidence_, or loo() by skdep.bayes.loo.compare_elpd"
        raise TypeError(f"{kind} has no likelihood: {hint}.")
    _check_not_penalised(inner, kind)
    if getattr(inner, "weight_type", None) == "sampling":
        raise ValueError(
            f"{kind} was fitted to sampling weights, by a pseudo-likelihood: it is not comparable as a likelihood is. "
            "Use wald_test, whose covariance is that of the design; two fits of LogitRegressor to the same sampling "
            "weights do compare."
            f"{read_more('survey_tests')}"
        )
    if not np.isfinite(inner.loglik_):
        raise ValueError(
            f"{kind} fits its data without error: the likelihood is infinite, there is nothing to compare."
        )
    fitted = inner._inference
    return _read(inner, float(inner.loglik_), round(fitted.n_obs - fitted.residual_df["model"]))


def is_pseudo_likelihood(est: Any) -> bool:
    """Say whether a fit, not of a mixed model, maximised the likelihood of rows with sampling weights."""
    inner = unwrap(est)
    weighted = getattr(inner, "weight_type", None) == "sampling" and not hasattr(inner, "random_covariance_")
    return weighted and hasattr(inner, "loglik_")


def pseudo_likelihood_fit(est: Any) -> LikelihoodFit:
    """Read off a fit what it maximised as if rows were independent: a likelihood but for the design, or the clusters.

    Parameters
    ----------
    est : LogitRegressor, GEERegressor or GEEClassifier
        Fitted by maximum pseudo-likelihood, or with the working correlation ``"independence"``. The quasi-likelihood
        of a GEE is not divided by its scale.

    Raises
    ------
    TypeError
        If the estimator maximised nothing of the kind.
    ValueError
        If it did with a penalty, or has no finite maximum.
    """
    inner = unwrap(est)
    kind = type(inner).__name__
    if hasattr(inner, "_criteria"):
        correlation = getattr(inner.working_correlation, "name", inner.working_correlation)
        if correlation != "independence":
            raise TypeError(
                f"{kind} with working_correlation={correlation!r} maximises no likelihood, but with 'independence': "
                "use wald_test to test coefficients, qic to compare."
                f"{read_more('gee_tests')}"
            )
        found = inner._criteria
        loglik = found["quasi_likelihood"] * inner.scale_
        n_fixed = round(found["qicu"] / 2.0 + found["quasi_likelihood"])
    elif hasattr(inner, "loglik_") and not hasattr(inner, "random_covariance_"):
        _check_not_penalised(inner, kind)
        fitted = inner._inference
        loglik, n_fixed = float(inner.loglik_), round(fitted.n_obs - fitted.residual_df["model"])
    else:
        raise TypeError(f"{kind} maximises no likelihood of independent rows: use wald_test to test coefficients.")
    if not np.isfinite(loglik) or getattr(inner, "separated_", False):
        raise ValueError(
            f"{kind} has no finite maximum: features separate the outcomes, or leave no error."
            f"{read_more('infinite_estimates')}"
        )
    if inner._inference.data is None:
        raise ValueError(f"{kind} has kept nothing to tell its data by: fit it again with this version of skdep.")
    return _read(inner, loglik, n_fixed)


def _check_not_penalised(inner: Any, kind: str) -> None:
    if getattr(inner, "penalty", None) is not None:
        raise ValueError(
            f"{kind} was fitted with penalty={inner.penalty!r}: its log-likelihood is not maximised, and differences "
            "of it follow no known distribution. Fit with penalty=None."
            f"{read_more('infinite_estimates')}"
        )


def _read(inner: Any, loglik: float, n_fixed: int) -> LikelihoodFit:
    """Return the fit's likelihood and what it is a likelihood of."""
    fitted = inner._inference
    model, order = getattr(inner, "_model", None), tuple(getattr(inner, "_working_order", ()))
    blocks = {} if model is None or not order else dict(zip(order, model.parameters.block_numbers, strict=True))
    if not hasattr(model, "products"):
        model = None  # an integral is not made of cross-products
    random = dict(getattr(inner, "random_names_", {}))
    return LikelihoodFit(
        kind=type(inner).__name__,
        loglik=loglik,
        reml=bool(getattr(model, "reml", False)),
        names=fitted.names,
        n_fixed=n_fixed,
        n_obs=fitted.n_obs,
        data=fitted.data,
        binary=is_classifier(inner),
        named=hasattr(inner, "feature_names_in_"),
        features=inner._parameter_names()[int(inner.fit_intercept) :],
        random=random,
        blocks={name: blocks[name] for name in random},
        singular=bool(getattr(inner, "singular_", False)),
        converged=bool(inner.converged_),
        clustered=fitted.n_clusters is not None,
        approximation=getattr(inner, "_approximation", None) if random else None,
        model=model,
        order=order,
    )


def check_same_data(fits: list[LikelihoodFit]) -> None:
    """Raise ValueError unless all fits are of one likelihood: same kind of outcome, rows, outcomes and weights."""
    first = fits[0]
    for other in fits[1:]:
        if first.binary != other.binary:
            raise ValueError(f"{first.kind} and {other.kind} are models of different kinds of outcomes.")
        if first.data is None or other.data is None:
            raise ValueError(
                "Fits to chunks do not keep what tells fits of the same data from others: fit with `fit`, or use "
                "wald_test."
            )
        if not first.data.same_rows(other.data) or abs(first.n_obs - other.n_obs) > 1e-9 * first.n_obs:
            raise ValueError(
                f"The fits are of different data: {first.n_obs:g} and {other.n_obs:g} observations, with outcomes of "
                f"mean {first.data.outcome[0]:.6g} and {other.data.outcome[0]:.6g}, standard deviation "
                f"{first.data.outcome[1]:.6g} and {other.data.outcome[1]:.6g}. Fit all models to the same rows, "
                "outcomes and weights."
                f"{read_more('model_comparison')}"
            )
        if abs(first.log_weights - other.log_weights) > 1e-9 * first.n_obs:
            raise ValueError(
                "sample_weight means different things in the fits: give all of them the same weight_type."
                f"{read_more('weight_type')}"
            )
    settings = {fit.approximation for fit in fits if fit.approximation is not None}
    if len(settings) > 1:
        raise ValueError(
            f"The likelihoods are approximated by different numbers of quadrature nodes, {sorted(map(str, settings))} "
            "('integral' stands for as many as it takes): give all fits the same n_quadrature."
            f"{read_more('quadrature_comparison')}"
        )


def likelihood_ratio(small: LikelihoodFit, large: LikelihoodFit, *, scale: float = 1.0) -> float:
    """Return twice the difference of log-likelihoods over a scale; zero, with a warning, where it is negative.

    Parameters
    ----------
    small, large : LikelihoodFit
        The fits, nested.
    scale : float, default=1.0
        What log-likelihoods are divided by.
    """
    statistic = 2.0 * (large.loglik - small.loglik) / scale
    size = max(abs(large.loglik) / scale, 1.0)
    if statistic < -(1e-6 + 1e-9 * size):
        warnings.warn(
            f"The log-likelihood of the full model is less than that of the reduced one by {-statistic / 2:.3g}: the "
            "full model did not reach its maximum. The statistic is set to zero; fit it with a larger max_iter or a "
            "smaller tol.",
            ConvergenceWarning,
            stacklevel=level_of_caller(),
        )
    return statistic if statistic > 1e-7 + 1e-12 * size else 0.0


def refitted_by_ml(fit: LikelihoodFit) -> LikelihoodFit:
    """Return the maximum likelihood fit of the same model; REML fits are refitted from their cross-products."""
    if not fit.reml:
        return fit
    from skdep.mixed.fit import canonical, fit_products, loglik_of

    model = fit.model
    _, optimum = fit_products(
        model.products,
        model.parameters,
        reml=False,
        max_iter=200,
        tol=model.optimization.tol or 1e-10,
    )
    loglik = loglik_of(model.products, optimum.state.border, optimum.state.value)
    refit = replace(
        model, factors=tuple(canonical(optimum.state.factors)), reml=False, loglik=loglik, converged=optimum.converged
    )
    return replace(fit, loglik=loglik, reml=False, model=refit, converged=optimum.converged, singular=refit.singular)
