"""Data for linear mixed models: a published study, course evaluations, and simulated ones of the sizes that hurt."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pandas as pd

__all__ = [
    "MixedData",
    "course_evaluations",
    "insteval",
    "intercepts_and_slopes",
    "ratings",
    "sleepstudy",
]


@dataclass(frozen=True, eq=False)
class MixedData:
    """Features, outcomes, and grouping factors with random intercepts; with `slope` also one of the first feature."""

    X: np.ndarray  # (n_rows, n_features), without a column for the intercept; n_features may be 0
    y: np.ndarray  # (n_rows,)
    groups: np.ndarray  # (n_rows,) or (n_rows, n_factors) numbers of levels
    slope: bool = False  # whether the effect of the first feature varies too, correlated with the intercept

    def factors(self) -> list[np.ndarray]:
        """Return the numbers of levels of each factor."""
        return list(np.atleast_2d(self.groups.T))

    def feature_names(self) -> list[str]:
        """Return ``x1``, ``x2``, ..."""
        return [f"x{j + 1}" for j in range(self.X.shape[1])]

    def factor_names(self) -> list[str]:
        """Return ``g1``, ``g2``, ..."""
        return [f"g{k + 1}" for k in range(len(self.factors()))]

    def with_intercept(self) -> np.ndarray:
        """Return the design with a leading column of ones (n_rows, 1 + n_features)."""
        return np.column_stack([np.ones(len(self.y)), self.X])

    def formula(self) -> str:
        """Return the model as lme4 writes it."""
        effects = "1 + x1" if self.slope else "1"
        return " + ".join(["y ~ 1", *self.feature_names(), *(f"({effects} | {name})" for name in self.factor_names())])

    def frame(self) -> pd.DataFrame:
        """Return all columns, factors as categories."""
        columns = {"y": self.y, **dict(zip(self.feature_names(), self.X.T))}
        codes = {name: pd.Categorical(factor) for name, factor in zip(self.factor_names(), self.factors())}
        return pd.DataFrame({**columns, **codes})

    def head(self, n_rows: int) -> MixedData:
        """Return the first rows."""
        return MixedData(self.X[:n_rows], self.y[:n_rows], self.groups[:n_rows], self.slope)


def sleepstudy() -> MixedData:
    """Return reaction times of 18 subjects over 10 days, with slopes."""
    from skdep.datasets import load_sleepstudy

    study = load_sleepstudy()
    groups = np.unique(np.asarray(study.groups), return_inverse=True)[1]
    return MixedData(study.data.to_numpy(dtype=float), np.asarray(study.target, dtype=float), groups, slope=True)


def intercepts_and_slopes(n_groups: int, group_size: int = 10, n_features: int = 5, *, seed: int = 0) -> MixedData:
    """Draw groups of equal size with correlated intercepts and slopes of the first feature, rows in random order."""
    rng = np.random.default_rng(seed)
    groups = rng.permutation(np.repeat(np.arange(n_groups), group_size))
    X = rng.standard_normal((len(groups), n_features))
    effects = rng.multivariate_normal([0.0, 0.0], [[0.5, 0.1], [0.1, 0.25]], size=n_groups)
    coef = np.where(np.arange(n_features) % 2, -0.5, 0.5)
    y = 1.0 + X @ coef + effects[groups, 0] + effects[groups, 1] * X[:, 0] + rng.standard_normal(len(groups))
    return MixedData(X, y, groups, slope=True)


def insteval() -> MixedData:
    """Return the 73,421 course evaluations of lme4: students, lecturers, departments by service.

    Without R or lme4 they are simulated, of the same shape.
    """
    code = (
        "d <- lme4::InstEval; args <- commandArgs(trailingOnly = TRUE); cell <- interaction(d$dept, d$service); "
        "writeBin(as.double(c(d$y, d$service == 1, as.integer(d$s), as.integer(d$d), as.integer(cell))), args[1])"
    )
    if shutil.which("Rscript") is not None:
        with TemporaryDirectory() as folder:
            path = Path(folder) / "insteval.bin"
            subprocess.run(["Rscript", "-e", code, str(path)], capture_output=True)
            if path.exists():
                y, service, *factors = np.fromfile(path).reshape(5, -1)
                groups = np.column_stack([factor.astype(int) - 1 for factor in factors])
                return MixedData(service[:, None], y, groups)
    return course_evaluations(73_421, 2_972, 1_128)


def course_evaluations(n_rows: int, n_students: int, n_lecturers: int, *, seed: int = 0) -> MixedData:
    """Draw evaluations from 1 to 5 by students of lecturers, who belong to 14 departments and teach some for others."""
    rng = np.random.default_rng(seed)
    student = rng.integers(n_students, size=n_rows)
    popularity = rng.lognormal(sigma=1.0, size=n_lecturers)
    lecturer = rng.choice(n_lecturers, size=n_rows, p=popularity / popularity.sum())
    service = rng.integers(2, size=n_rows)
    cell = 2 * rng.integers(14, size=n_lecturers)[lecturer] + service
    effects = zip((student, lecturer, cell), (0.32, 0.51, 0.11))
    y = 3.3 - 0.05 * service + sum(sd * rng.standard_normal(codes.max() + 1)[codes] for codes, sd in effects)
    y = np.clip(np.rint(y + 1.2 * rng.standard_normal(n_rows)), 1.0, 5.0)
    groups = np.column_stack([np.unique(codes, return_inverse=True)[1] for codes in (student, lecturer, cell)])
    return MixedData(service[:, None].astype(float), y, groups)


def ratings(n_users: int = 6_040, n_movies: int = 3_706, *, seed: int = 0) -> MixedData:
    """Draw ratings from 1 to 5, as many a user and a movie as in MovieLens 1M; no features, intercepts alone.

    Users have at least 20 ratings, 165 in the mean; movies from one to some thousands.
    """
    rng = np.random.default_rng(seed)
    mean, spread = 145.6 * n_movies / 3_706, 1.1
    extra = rng.lognormal(np.log(mean) - spread**2 / 2, spread, size=n_users)
    counts = np.minimum(20 + extra, 0.6 * n_movies).astype(int)
    liking = np.minimum(1.5 * rng.standard_normal(n_movies), 4.3)  # nobody is watched by all
    user = np.repeat(np.arange(n_users), counts)
    # the largest sums of log weight and Gumbel noise are a weighted draw without replacement
    movie = np.concatenate([np.argsort(-(liking + rng.gumbel(size=n_movies)))[:count] for count in counts])
    movie = np.unique(movie, return_inverse=True)[1]
    means = 3.4 + 0.42 * rng.standard_normal(n_users)[user] + 0.55 * rng.standard_normal(n_movies)[movie]
    y = np.clip(np.rint(means + 0.9 * rng.standard_normal(len(user))), 1.0, 5.0)
    order = rng.permutation(len(y))
    return MixedData(np.empty((len(y), 0)), y[order], np.column_stack([user, movie])[order])
