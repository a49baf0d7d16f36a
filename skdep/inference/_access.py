"""Find the fitted inference of an estimator, also inside a pipeline or a search."""

from __future__ import annotations

from typing import Any

from sklearn.utils.validation import check_is_fitted

from skdep._fitted import FittedInference

__all__ = ["fitted_inference", "unwrap"]


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


def fitted_inference(est: Any) -> FittedInference:
    """Return what the fit of `est` left for inference."""
    return unwrap(est)._inference
