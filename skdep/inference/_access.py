"""Find the fitted inference of an estimator, also inside a pipeline or a search."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.utils.validation import check_is_fitted

from skdep._fitted import FittedInference

__all__ = ["features_with_coefficient", "fitted_inference", "is_posterior", "unwrap"]


def unwrap(est: Any) -> Any:
    """Return the fitted skdep estimator in `est`: itself, the last step of a pipeline, the best of a search."""
    while not hasattr(est, "_inference"):
        if hasattr(est, "best_estimator_"):
            est = est.best_estimator_
        elif hasattr(est, "steps"):
            est = est.steps[-1][1]
        else:
            check_is_fitted(est)
            if getattr(est, "refit", True) is False:
                raise TypeError(f"{type(est).__name__} with refit=False keeps no fitted estimator; set refit=True.")
            raise TypeError(f"{type(est).__name__} is no fitted skdep estimator, nor a pipeline or search around one.")
    return est


def features_with_coefficient(inner: Any) -> np.ndarray:
    """Return the numbers of the features that have a coefficient: those of a mixed model's ``random_only`` have not."""
    fixed = getattr(inner, "_fixed_features", None)
    return np.arange(inner.n_features_in_) if fixed is None else fixed


def is_posterior(inner: Any) -> bool:
    """Say whether a fitted estimator is draws of a posterior."""
    return hasattr(inner, "draws_")


def fitted_inference(est: Any) -> FittedInference:
    """Return what the fit of `est` left for inference by estimates and their covariance.

    Raises
    ------
    TypeError
        If it is a posterior, which has no sampling distribution.
    """
    inner = unwrap(est)
    if is_posterior(inner):
        raise TypeError(
            f"{type(inner).__name__} has a posterior, and no sampling distribution of estimates: no tests and degrees "
            "of freedom. See summary() and posterior_table(); a hypothesis has a probability, its share of the draws, "
            "as (est.draws_['coef'][..., 0] > 0).mean()."
        )
    return inner._inference
