"""Every private name of scikit-learn that skdep uses, in one place, so that a change there is mended here."""

from __future__ import annotations

from sklearn.base import _fit_context
from sklearn.utils._param_validation import Interval, StrOptions

__all__ = ["Interval", "StrOptions", "fit_context"]

fit_context = _fit_context(prefer_skip_nested_validation=True)
