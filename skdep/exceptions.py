"""Warnings that name what went wrong in a fit, and a filter can catch by class.

Numerical trouble derives from scikit-learn's `ConvergenceWarning`: code written for scikit-learn catches it too.
"""

from __future__ import annotations

from sklearn.exceptions import ConvergenceWarning

__all__ = [
    "CollinearityWarning",
    "ConvergenceWarning",
    "FewClustersWarning",
    "SeparationWarning",
    "SingularFitWarning",
    "TimeOrderWarning",
    "WeightWarning",
    "WorkingCorrelationWarning",
]


class SeparationWarning(ConvergenceWarning):
    """Some maximum likelihood estimates are infinite: a combination of features predicts the outcome without error."""


class SingularFitWarning(ConvergenceWarning):
    """A covariance matrix was estimated on the boundary of its parameter space."""


class CollinearityWarning(ConvergenceWarning):
    """Some features are linear combinations of others: their coefficients are not separately estimable."""


class WorkingCorrelationWarning(ConvergenceWarning):
    """A working correlation had to be repaired, or could not be estimated as asked."""


class FewClustersWarning(UserWarning):
    """There are too few clusters for the sandwich estimator to mean what it says."""


class TimeOrderWarning(UserWarning):
    """No times were given, so that the order of rows within each cluster was taken for the order in time."""


class WeightWarning(UserWarning):
    """The weights were used in a way that may not be what was meant."""
