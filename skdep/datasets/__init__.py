"""Clustered data to learn and test with: published studies, and generators whose truth is known.

The loaders return a `sklearn.utils.Bunch` that holds, besides ``data`` and ``target``, the cluster (``groups``) and the
occasion (``time``) of every row; in a study with several grouping factors ``groups`` has a column for each. Of a study
that counts successes, equal rows may come once, with their number as ``sample_weight``. A survey brings its design:
``sample_weight``, ``strata``, primary sampling units as ``groups``, and finite populations as ``fpc``. The generators
follow the ``make_*`` functions of scikit-learn and return ``(X, y, groups)``.
"""

from __future__ import annotations

from skdep.datasets._counts import load_cbpp
from skdep.datasets._longitudinal import (
    load_dietox,
    load_epil,
    load_ohio,
    load_orthodont,
    load_respiratory,
    load_sleepstudy,
)
from skdep.datasets._make import make_clustered_classification, make_clustered_regression
from skdep.datasets._multilevel import load_pastes, load_penicillin
from skdep.datasets._surveys import load_api, load_nhanes

__all__ = [
    "load_api",
    "load_cbpp",
    "load_dietox",
    "load_epil",
    "load_nhanes",
    "load_ohio",
    "load_orthodont",
    "load_pastes",
    "load_penicillin",
    "load_respiratory",
    "load_sleepstudy",
    "make_clustered_classification",
    "make_clustered_regression",
]
