"""Generalised linear mixed models: the marginal likelihood by Laplace's method or quadrature, and its maximum."""

from __future__ import annotations

from skdep.glmm.logit import MixedLogit

__all__ = ["MixedLogit"]
