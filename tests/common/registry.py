"""Every estimator that the common tests know: a new one joins by a line in `CASES`."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass, field, fields, replace
from functools import cache
from typing import Any

import numpy as np
import sklearn
from sklearn.base import BaseEstimator, clone

from skdep import BayesLogit, GEEClassifier, GEERegressor, LogitRegressor, MixedLinear, MixedLogit
from skdep.bayes import Normal
from skdep.inference import qic

# How many checks `estimator_checks_generator` yields, by minor version of scikit-learn and kind. A version that is not
# listed must reach the floor: fewer would mean that a tag or a skip ended the list early.
N_CHECKS = {"1.9": {"classifier": 63, "regressor": 59}}
LEAST_CHECKS = {"classifier": 50, "regressor": 45}

MINOR_VERSION = tuple(int(part) for part in sklearn.__version__.split(".")[:2])

# Checks that skip themselves, whatever the estimator: this one, new in 1.9, does unless SCIPY_ARRAY_API=1 is set.
SKIPPED_CHECKS = {"check_array_api_input"} if MINOR_VERSION >= (1, 9) else set()


@dataclass(frozen=True)
class Rows:
    """Rows of clustered data in random order, with every kind of metadata; `n_rows` is the length of all arrays."""

    X: np.ndarray
    y: np.ndarray
    groups: np.ndarray
    time: np.ndarray
    offset: np.ndarray
    group_weight: np.ndarray

    @property
    def n_rows(self) -> int:
        """Number of rows."""
        return len(self.y)

    def take(self, rows: Any) -> Rows:
        """Return some rows, in the order asked for."""
        return Rows(*(getattr(self, part.name)[rows] for part in fields(self)))

    def but(self, **changes: Any) -> Rows:
        """Return the same with some parts replaced."""
        return replace(self, **changes)

    @staticmethod
    def stack(parts: list[Rows]) -> Rows:
        """Return the rows of all parts, one part after the other."""
        return Rows(*(np.concatenate([getattr(part, key.name) for part in parts]) for key in fields(Rows)))


@dataclass(frozen=True, eq=False)
class Case:
    """An estimator and what the common tests must know about it."""

    estimator: BaseEstimator
    kind: str  # "classifier" or "regressor"
    data: Callable[[], Rows]
    # integer weights repeat "rows" of the same group or whole "clusters"; or weights are "sampling" or "precision" ones
    weights: str
    cov_types: tuple[str, ...]  # available where groups are given
    needs_time: bool = False  # whether the fit depends on the order of rows, unless times are given
    metadata: tuple[str, ...] = ("groups", "offset", "time")  # what fit takes besides sample_weight
    refused_metadata: tuple[str, ...] = ()  # what fit requests, and refuses under these parameters
    counts_clusters: bool = False  # whether there is n_clusters_
    group_effects: bool = False  # whether groups have effects: values in the fitted state, and used by predict
    criterion: Callable[[Any], Any] | None = None  # from skdep.inference, of a fit
    df_methods: tuple[str, ...] = ()  # small-sample methods of coef_table
    exact: dict[str, Any] = field(default_factory=dict)  # parameters under which invariances hold to rounding
    unconverged: dict[str, Any] = field(default_factory=lambda: {"max_iter": 1, "tol": 1e-15})  # and that it says so
    posterior: bool = False  # whether the fit is draws of a posterior: no maximum, no tests, and it keeps counted rows
    rounding: float = 0.0  # relative accuracy to which fits of the same data agree, where rounding is magnified
    y_units: dict[str, int] = field(default_factory=dict)  # power of the unit of y that a fitted attribute has
    numbered_features: str = ""  # parameter that lists features by number
    scale_equivariant: bool = True  # whether rescaling a feature rescales its coefficient
    shift_equivariant: bool = True  # whether shifting a feature moves only the intercept
    no_sklearn_checks: str = ""  # why scikit-learn's checks cannot be run, if they cannot
    expected_failed_checks: dict[str, str] = field(default_factory=dict)  # name of the check -> why it must fail

    @property
    def name(self) -> str:
        """The estimator with its parameters, without spaces."""
        return repr(self.estimator).replace(" ", "").replace("\n", "")

    @property
    def survey_metadata(self) -> set[str]:
        """What fit takes of the design of a survey, which the rows do not have."""
        return {"strata", "fpc", "replicate_weights"} & set(inspect.signature(self.estimator.fit).parameters)

    def rtol(self, tolerance: float) -> float:
        """Return a relative tolerance, larger where the case says that rounding is magnified."""
        return max(tolerance, self.rounding)

    @property
    def n_checks(self) -> tuple[int, bool]:
        """Number of scikit-learn's checks, and whether that is exact."""
        minor = ".".join(map(str, MINOR_VERSION))
        return (N_CHECKS[minor][self.kind], True) if minor in N_CHECKS else (LEAST_CHECKS[self.kind], False)

    def unfitted(self, **params: Any) -> Any:
        """Return a fresh estimator, with some parameters set."""
        return clone(self.estimator).set_params(**params)

    def fit(self, rows: Rows, *, sample_weight: Any = None, estimator: Any = None, **metadata: Any) -> Any:
        """Fit to the rows with all metadata that the estimator takes; keywords override."""
        given = {key: getattr(rows, key) for key in self.metadata} | metadata
        if given["groups"] is None:
            given.pop("group_weight", None)
        return (estimator or self.unfitted()).fit(rows.X, rows.y, sample_weight=sample_weight, **given)

    @property
    def restricted(self) -> bool:
        """Whether the likelihood is the restricted one, which knows the units of features."""
        return self.estimator.get_params().get("method") == "reml" and self.weights != "sampling"

    def renumbered(self, order: list[int]) -> Any:
        """Return a fresh estimator for the same features in another order."""
        name = self.numbered_features
        return self.unfitted(**{name: [order.index(j) for j in getattr(self.estimator, name)]} if name else {})

    def sample_weight(self, rows: Rows) -> np.ndarray:
        """Return weights of the kind that the estimator takes; none is zero."""
        rng = np.random.default_rng(5)
        if self.weights in ("sampling", "precision"):
            return rng.uniform(0.5, 3.0, rows.n_rows)
        if self.weights == "rows":
            return rng.integers(1, 4, rows.n_rows).astype(float)
        levels, codes = np.unique(rows.groups, return_inverse=True)
        return rng.integers(1, 4, len(levels))[codes].astype(float)


@cache
def _design(n_clusters: int = 150, most: int = 4, seed: int = 0) -> tuple[Rows, np.ndarray, np.ndarray]:
    """Return rows without an outcome in random order, their linear predictor, and their cluster's effect.

    Clusters have up to `most` rows.
    """
    rng = np.random.default_rng(seed)
    times = [np.sort(rng.choice(most, size=size, replace=False)) for size in rng.integers(1, most + 1, n_clusters)]
    groups = np.repeat(np.arange(n_clusters), [len(visits) for visits in times])
    n_rows = len(groups)
    X = np.column_stack([rng.normal(size=n_rows), rng.integers(2, size=n_clusters)[groups], rng.uniform(-1, 1, n_rows)])
    effect = rng.normal(scale=0.6, size=n_clusters)[groups]
    offset = rng.uniform(-0.3, 0.3, n_rows)
    eta = 0.2 + X @ [0.5, -0.6, 0.8] + offset
    order = rng.permutation(n_rows)
    group_weight = rng.uniform(0.5, 2.5, n_clusters)[groups]
    rows = Rows(X, np.zeros(n_rows), groups * 3 + 1, np.concatenate(times).astype(float), offset, group_weight)
    return rows.take(order), eta[order], effect[order]


def gaussian_rows() -> Rows:
    """Continuous outcomes."""
    rows, eta, effect = _design()
    return rows.but(y=eta + effect + np.random.default_rng(1).normal(scale=0.8, size=rows.n_rows))


def multilevel_rows() -> Rows:
    """Continuous outcomes with correlated intercepts and slopes of the first feature."""
    rows, eta, effect = _design(n_clusters=60, most=8)
    rng = np.random.default_rng(1)
    slope = rng.normal(scale=0.5, size=200)[rows.groups]
    return rows.but(y=eta + effect + (slope + 0.4 * effect) * rows.X[:, 0] + rng.normal(scale=0.7, size=rows.n_rows))


def count_rows() -> Rows:
    """Counts."""
    rows, eta, effect = _design()
    return rows.but(y=np.random.default_rng(1).poisson(np.exp(0.4 * eta + effect)).astype(float))


def binary_rows() -> Rows:
    """Labels of two classes, both frequent."""
    rows, eta, effect = _design()
    probability = 1.0 / (1.0 + np.exp(-eta - effect))
    return rows.but(y=(np.random.default_rng(1).uniform(size=rows.n_rows) < probability).astype(int))


def multilevel_binary_rows() -> Rows:
    """Labels of two classes, with large correlated intercepts and slopes of the first feature."""
    rows, eta, effect = _design(n_clusters=60, most=12, seed=1)
    rng = np.random.default_rng(4)
    slope = rng.normal(scale=0.9, size=200)[rows.groups]
    eta = eta + 2.2 * effect + (slope + 0.5 * effect) * rows.X[:, 0]
    return rows.but(y=(rng.uniform(size=rows.n_rows) < 1.0 / (1.0 + np.exp(-eta))).astype(int))


def few_levels_rows() -> Rows:
    """Labels of two classes in few groups, with large intercepts: what is drawn takes longer than what is maximised."""
    rows, eta, effect = _design(n_clusters=24, most=12, seed=2)
    probability = 1.0 / (1.0 + np.exp(-eta - 2.2 * effect))
    return rows.but(y=(np.random.default_rng(4).uniform(size=rows.n_rows) < probability).astype(int))


def _logit(*cov_types: str, **params: Any) -> dict[str, Any]:
    return {
        "estimator": LogitRegressor(**params),
        "kind": "classifier",
        "data": binary_rows,
        "weights": "sampling" if params.get("weight_type") == "sampling" else "rows",
        "cov_types": ("model", "hc0", "hc1", "cluster", *cov_types),
        "metadata": ("groups", "offset"),
    }


def _gee(estimator: BaseEstimator) -> dict[str, Any]:
    classifier = isinstance(estimator, GEEClassifier)
    return {
        "estimator": estimator,
        "kind": "classifier" if classifier else "regressor",
        "data": binary_rows if classifier else gaussian_rows,
        "weights": "sampling" if estimator.weight_type == "sampling" else "clusters",
        "cov_types": ("naive", "robust", "df", "md", "kc", "fg", "mbn", "jackknife"),
        "needs_time": estimator.working_correlation in ("ar1", "unstructured"),
        "counts_clusters": True,
        "criterion": qic,
        "y_units": {"scale_": 2, "association_": 0} if getattr(estimator, "family", None) == "gaussian" else {},
    }


def _mixed(**params: Any) -> dict[str, Any]:
    weight_type = params.get("weight_type", "frequency")
    sampling, slopes = weight_type == "sampling", "random_slopes" in params
    return {
        "estimator": MixedLinear(**params),
        "kind": "regressor",
        "data": multilevel_rows,
        "weights": "rows" if weight_type == "frequency" else weight_type,
        "cov_types": ("model", "robust"),
        "metadata": ("groups", "offset", *(["group_weight"] if sampling else [])),
        "refused_metadata": () if sampling else ("group_weight",),
        "group_effects": True,
        "df_methods": () if sampling else ("satterthwaite", *([] if "method" in params else ["kenward-roger"])),
        "exact": {"tol": 1e-13},
        "y_units": {"sigma2_": 2, "random_covariance_": 2, "random_effects_": 1, "random_effects_sd_": 1},
        "numbered_features": "random_slopes" if slopes else "",
        "shift_equivariant": not slopes or "covariance" not in params,
    }


def _mixed_logit(**params: Any) -> dict[str, Any]:
    sampling, slopes = params.get("weight_type") == "sampling", "random_slopes" in params
    return {
        "estimator": MixedLogit(**params),
        "kind": "classifier",
        "data": multilevel_binary_rows,
        "weights": "sampling" if sampling else "rows",
        "cov_types": ("model", "robust"),
        "metadata": ("groups", "offset", *(["group_weight"] if sampling else [])),
        "refused_metadata": () if sampling else ("group_weight",),
        "group_effects": True,
        "exact": {"tol": 1e-13},
        "numbered_features": "random_slopes" if slopes else "",
        # the penalty on slopes' standard deviations is one of the features as they are
        "shift_equivariant": not slopes or ("covariance" not in params and "penalty" not in params),
    }


def _bayes(**params: Any) -> dict[str, Any]:
    return {
        "estimator": BayesLogit(method="pairs", n_draws=50, random_state=0, **params),
        "kind": "classifier",
        "data": few_levels_rows,
        "weights": "rows",
        "cov_types": ("posterior",),
        "metadata": ("groups", "offset"),
        "group_effects": True,
        # the default prior of the intercept is one of log odds at an offset of zero
        "exact": {"prior": {"Intercept": Normal(0.0, 1e5)}},
        "unconverged": {"n_draws": 8},
        "posterior": True,
        "rounding": 1e-6,
    }


CASES = [
    Case(**_logit()),
    Case(**_logit(penalty="firth")),
    Case(**_logit(penalty="l2"), scale_equivariant=False),
    Case(**_logit("design", weight_type="sampling")),
    Case(**_gee(GEERegressor())),
    Case(**_gee(GEERegressor(working_correlation="exchangeable"))),
    Case(**_gee(GEERegressor(working_correlation="ar1"))),
    Case(**_gee(GEERegressor(working_correlation="unstructured"))),
    Case(**_gee(GEERegressor(working_correlation="exchangeable", weight_type="frequency"))),
    Case(**_gee(GEERegressor(working_correlation="ar1", dof="n", weight_type="frequency"))),
    Case(
        **_gee(GEERegressor("poisson", working_correlation="exchangeable")) | {"data": count_rows},
        no_sklearn_checks="the checks give outcomes below zero to a regressor that does not say positive_only",
    ),
    Case(**_gee(GEEClassifier())),
    Case(**_gee(GEEClassifier(working_correlation="exchangeable"))),
    Case(**_gee(GEEClassifier(working_correlation="unstructured", weight_type="frequency"))),
    Case(**_mixed()),
    Case(**_mixed(random_slopes=[0])),
    Case(**_mixed(random_slopes=[0], covariance="diagonal", method="ml")),
    Case(**_mixed(method="ml", cov_type="robust")),
    Case(**_mixed(random_slopes=[0], weight_type="precision")),
    Case(**_mixed(weight_type="sampling")),
    Case(**_mixed(random_slopes=[0], weight_type="sampling", weight_scaling="none", method="ml")),
    Case(**_mixed_logit()),
    Case(**_mixed_logit(n_quadrature=1)),
    Case(**_mixed_logit(random_slopes=[0], n_quadrature=1)),
    Case(**_mixed_logit(random_slopes=[0], covariance="diagonal", n_quadrature=1)),
    Case(**_mixed_logit(n_quadrature=7, cov_type="robust")),
    Case(**_mixed_logit(penalty="weak")),
    Case(**_mixed_logit(weight_type="sampling")),
    Case(**_mixed_logit(random_slopes=[0], weight_type="sampling", weight_scaling="none", n_quadrature=1)),
    Case(**_bayes()),
]

CHECKED = [case for case in CASES if not case.no_sklearn_checks]


def ids(cases: list[Case]) -> list[str]:
    """Return names for pytest."""
    return [case.name for case in cases]
