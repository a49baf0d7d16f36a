"""Regression for dependent data, the scikit-learn way.

Public names are imported when first used, so that ``import skdep`` costs next to nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

__version__ = "0.1.0.dev0"

_HOME = {
    "BayesLogit": "skdep.bayes",
    "LogitRegressor": "skdep.logit",
    "GEERegressor": "skdep.gee",
    "GEEClassifier": "skdep.gee",
    "MixedLinear": "skdep.mixed",
    "MixedLogit": "skdep.glmm",
    "interaction": "skdep.clusters",
    "show_progress": "skdep._progress",
}
_MODULES = (
    "bayes",
    "clusters",
    "datasets",
    "distributed",
    "exceptions",
    "families",
    "formula",
    "gee",
    "glmm",
    "inference",
    "links",
    "logit",
    "mixed",
    "plotting",
    "survey",
)

__all__ = [
    "BayesLogit",
    "GEEClassifier",
    "GEERegressor",
    "LogitRegressor",
    "MixedLinear",
    "MixedLogit",
    "__version__",
    "interaction",
    "show_progress",
]

if TYPE_CHECKING:
    from skdep._progress import show_progress
    from skdep.bayes import BayesLogit
    from skdep.clusters import interaction
    from skdep.gee import GEEClassifier, GEERegressor
    from skdep.glmm import MixedLogit
    from skdep.logit import LogitRegressor
    from skdep.mixed import MixedLinear


def __getattr__(name: str) -> object:
    if name in _HOME:
        value = getattr(import_module(_HOME[name]), name)
        globals()[name] = value
        return value
    if name in _MODULES:
        return import_module(f"skdep.{name}")
    raise AttributeError(f"module 'skdep' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOME, *_MODULES})
