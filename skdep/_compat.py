"""Every private name of scikit-learn that skdep uses, in one place, so that a change there is mended here.

So are names that only some of its versions have.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sklearn.base import _fit_context
from sklearn.utils._param_validation import Interval, StrOptions

from skdep._callbacks import followed

try:
    from sklearn.callback import CallbackSupportMixin
except ImportError:  # before scikit-learn 1.9, whose estimators have no set_callbacks

    class CallbackSupportMixin:  # type: ignore[no-redef]
        """Nothing: callbacks need scikit-learn 1.9."""


__all__ = ["CallbackSupportMixin", "Interval", "StrOptions", "fit_context"]


def fit_context(fit: Callable[..., Any]) -> Callable[..., Any]:
    """Validate parameters before a fit, and have its progress followed."""
    return _fit_context(prefer_skip_nested_validation=True)(followed(fit))
