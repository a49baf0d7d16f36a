"""Clustered data to learn and test with: published studies, and generators whose truth is known.

The loaders return a `sklearn.utils.Bunch` that holds, besides ``data`` and ``target``, the cluster (``groups``) and the
occasion (``time``) of every row. The generators follow the ``make_*`` functions of scikit-learn and return
``(X, y, groups)``.
"""

from __future__ import annotations

from skdep.datasets._loaders import load_dietox, load_epil, load_ohio, load_respiratory
from skdep.datasets._make import make_clustered_classification, make_clustered_regression

__all__ = [
    "load_dietox",
    "load_epil",
    "load_ohio",
    "load_respiratory",
    "make_clustered_classification",
    "make_clustered_regression",
]
