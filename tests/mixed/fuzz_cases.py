"""Small hard linear mixed models, drawn at random from seeds.

`RandomState` and not `Generator`: its streams are frozen, so that the data are the same wherever the results of lme4 in
``tests/reference/mixed_fuzz.json`` are compared with. The numbers given to lme4 come from here as well.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cache

import numpy as np
import pandas as pd

CASES_PER_RECIPE = 12


@dataclass(frozen=True)
class Recipe:
    """What the cases of one kind have in common; a tuple of alternatives is drawn from."""

    layout: tuple[str, ...] = ("one",)  # one, nested2, nested3, crossed2, crossed3, partly (crossed) or chain (linked)
    n_rows: tuple[int, int] = (20, 200)
    n_levels: tuple[int, int] = (5, 15)  # of the first factor
    sizes: tuple[str, ...] = ("random",)  # even, random, unequal, singletons
    features: tuple[tuple[str, ...], ...] = (("normal", "binary"),)
    slopes: tuple[int, ...] = (0,)  # the first so many features have random slopes, on the first factor only
    random_intercept: bool = True
    fit_intercept: bool = True
    covariance: tuple[str, ...] = ("full",)
    truth: tuple[str, ...] = ("regular",)  # regular, zero, part, line, tiny, huge, negative
    errors: str = "normal"  # or heavy
    weights: str | None = None  # precision or frequency
    offset: bool = False
    scale: tuple[float, ...] = (1.0,)  # unit of the outcome
    mean: float = 0.0  # of the outcome, in that unit


_ANY_LAYOUT = ("one", "nested2", "nested3", "crossed2", "crossed3", "partly", "chain")
_ANY_TRUTH = ("regular", "zero", "part", "line", "tiny", "huge", "negative")
_ANY_UNIT = (1e-6, 1e-3, 1.0, 1e3, 1e6)

RECIPES = {
    "few_groups": Recipe(n_levels=(2, 6), slopes=(0, 1), truth=_ANY_TRUTH),
    "few_groups_three_effects": Recipe(
        n_levels=(2, 6), n_rows=(30, 200), features=(("normal", "normal"),), slopes=(2,), truth=_ANY_TRUTH
    ),
    "singletons": Recipe(sizes=("singletons",), n_levels=(6, 20), slopes=(0, 0, 1), truth=_ANY_TRUTH),
    "unequal": Recipe(sizes=("unequal",), n_levels=(4, 20), slopes=(0, 1, 2), truth=_ANY_TRUTH),
    "zero_variance": Recipe(slopes=(0, 1, 2), covariance=("full", "diagonal"), truth=("zero", "part")),
    "negative_correlation": Recipe(slopes=(0, 0, 1), truth=("negative",), sizes=("even", "random")),
    "correlation_one": Recipe(slopes=(1, 2), truth=("line",)),
    "full": Recipe(n_rows=(40, 400), n_levels=(8, 30), features=(("normal", "uniform"),), slopes=(1, 2)),
    "diagonal": Recipe(
        n_rows=(40, 400), features=(("normal", "far"),), slopes=(1, 2), covariance=("diagonal",), truth=_ANY_TRUTH
    ),
    "years": Recipe(n_levels=(4, 20), features=(("year",), ("year", "cluster")), slopes=(1,), truth=_ANY_TRUTH),
    "years_diagonal": Recipe(features=(("year",),), slopes=(1,), covariance=("diagonal",), truth=_ANY_TRUTH),
    "years_squared": Recipe(n_rows=(40, 200), features=(("year", "year2"),), slopes=(0, 1), truth=_ANY_TRUTH),
    "small_features": Recipe(features=(("small", "normal"), ("small", "large")), slopes=(1, 2), truth=_ANY_TRUTH),
    "large_features": Recipe(features=(("large", "normal"), ("large", "small")), slopes=(1, 2), truth=_ANY_TRUTH),
    "outcome_units": Recipe(slopes=(0, 1), scale=_ANY_UNIT, truth=_ANY_TRUTH),
    "outcome_far": Recipe(slopes=(0, 1), mean=1e6, scale=(1e-3, 1.0, 1e3), truth=_ANY_TRUTH),
    "aliased": Recipe(
        features=(("normal", "binary", "sum"), ("normal", "copy", "normal"), ("normal", "constant", "cluster", "sum")),
        slopes=(0, 1),
        layout=("one", "crossed2"),
    ),
    "intercept_only": Recipe(layout=("one", "crossed2", "nested2"), features=((),), truth=_ANY_TRUTH),
    "no_intercept": Recipe(fit_intercept=False, slopes=(0, 1, 2), truth=_ANY_TRUTH),
    "slope_only": Recipe(random_intercept=False, slopes=(1, 2), covariance=("full", "diagonal"), truth=_ANY_TRUTH),
    "cluster_level": Recipe(n_levels=(6, 20), features=(("normal", "cluster", "cluster"),), slopes=(0, 1)),
    "nested_two": Recipe(layout=("nested2",), n_rows=(30, 400), slopes=(0, 1), truth=_ANY_TRUTH),
    "nested_three": Recipe(layout=("nested3",), n_rows=(40, 400), n_levels=(2, 6), truth=_ANY_TRUTH),
    "crossed_two": Recipe(layout=("crossed2",), n_rows=(30, 400), n_levels=(2, 20), truth=_ANY_TRUTH),
    "crossed_three": Recipe(layout=("crossed3",), n_rows=(40, 400), n_levels=(3, 12), truth=_ANY_TRUTH),
    "crossed_slopes": Recipe(
        layout=("crossed2", "crossed3"), n_rows=(60, 400), slopes=(1, 2), covariance=("full", "diagonal")
    ),
    "partly_crossed": Recipe(layout=("partly", "chain"), sizes=("random", "unequal"), slopes=(0, 1), truth=_ANY_TRUTH),
    "precision_weights": Recipe(
        layout=("one", "crossed2"), slopes=(0, 1), weights="precision", truth=("regular", "huge", "zero")
    ),
    "frequency_weights": Recipe(layout=("one", "crossed2"), n_rows=(20, 100), weights="frequency", truth=_ANY_TRUTH),
    "offset": Recipe(layout=("one", "nested2"), slopes=(0, 1), offset=True, truth=_ANY_TRUTH),
    "heavy_tails": Recipe(errors="heavy", slopes=(0, 1, 2), layout=("one", "crossed2"), truth=_ANY_TRUTH),
    "huge_variance": Recipe(layout=("one", "crossed2", "nested2"), slopes=(0, 1), truth=("huge",)),
    "tiny_variance": Recipe(layout=("one", "crossed2", "nested2"), slopes=(0, 1), truth=("tiny",)),
    "many_effects": Recipe(
        n_rows=(24, 60), n_levels=(8, 15), features=(("normal", "normal"),), slopes=(1, 2), truth=("regular", "line")
    ),
}
# Everything at once: each part drawn on its own.
for _part in range(3):
    RECIPES[f"anything_{_part}"] = Recipe(
        layout=_ANY_LAYOUT,
        n_rows=(20, 400),
        n_levels=(2, 12),
        sizes=("even", "random", "unequal", "singletons"),
        features=(
            ("normal", "cluster"),
            ("year", "small"),
            ("large", "normal", "sum"),
            ("binary", "far"),
            ("uniform",),
        ),
        slopes=(0, 1),
        covariance=("full", "diagonal"),
        truth=_ANY_TRUTH,
        weights=(None, "precision", "frequency")[_part],
        offset=_part == 1,
        fit_intercept=_part != 2,
        errors=("normal", "heavy", "normal")[_part],
        scale=_ANY_UNIT,
        mean=(0.0, 0.0, 100.0)[_part],
    )


@dataclass(frozen=True)
class FuzzCase:
    """Rows and model of one case, as a user of `MixedLinear` has them."""

    name: str
    X: pd.DataFrame
    y: np.ndarray
    groups: pd.DataFrame  # a column a factor
    slopes: dict[str, list[str]]  # features with random slopes, by factor
    params: dict = field(default_factory=dict)  # further parameters of MixedLinear
    weights: np.ndarray | None = None
    offset: np.ndarray | None = None

    @property
    def reml(self) -> bool:
        """Whether the criterion is the restricted one."""
        return self.params["method"] == "reml"

    @property
    def n_effective(self) -> float:
        """Number of rows that the likelihood has, repeated ones counted."""
        repeated = self.weights is not None and self.params["weight_type"] == "frequency"
        return float(self.weights.sum()) if repeated else float(len(self.y))


def case_names() -> list[str]:
    """Return the names of all cases."""
    return [f"{recipe}_{number}" for recipe in RECIPES for number in range(CASES_PER_RECIPE)]


@cache
def make_case(name: str) -> FuzzCase:
    """Draw a case."""
    recipe_name, number = name.rsplit("_", 1)
    recipe, seed = RECIPES[recipe_name], 1000 * list(RECIPES).index(recipe_name) + int(number)
    random = np.random.RandomState(seed)
    groups = _groups(random, recipe)
    X = _features(random, groups["f0"].to_numpy(), _draw(random, recipe.features))
    slopes = {"f0": list(X.columns[: _draw(random, recipe.slopes)])}
    weights = _weights(random, len(X), recipe.weights)
    covariance, truth = _draw(random, recipe.covariance), _draw(random, recipe.truth)
    offset = random.normal(scale=3.0, size=len(X)) if recipe.offset else None

    y = _errors(random, groups["f0"].to_numpy(), recipe, truth)
    if recipe.weights == "precision":
        y = y / np.sqrt(weights)
    for factor in groups:
        Z = _standardised(X[slopes.get(factor, [])])
        if recipe.random_intercept:
            Z = np.column_stack([np.ones(len(X)), Z])
        y = y + _effects(random, Z, groups[factor].to_numpy(), truth)
    y = y + _standardised(X) @ random.normal(size=X.shape[1])
    unit = _draw(random, recipe.scale)
    y = unit * (y + recipe.mean + (0.0 if offset is None else offset))
    params = {
        "random_intercept": recipe.random_intercept,
        "fit_intercept": recipe.fit_intercept,
        "covariance": covariance,
        "method": ("reml", "ml")[seed % 2],
        "weight_type": recipe.weights or "frequency",
    }
    return FuzzCase(name, X, y, groups, slopes, params, weights, None if offset is None else unit * offset)


def _draw(random, options):
    return options[random.randint(len(options))]


def _groups(random, recipe: Recipe) -> pd.DataFrame:
    """Draw labels of every factor; each level has a row at least."""
    layout, sizes = _draw(random, recipe.layout), _draw(random, recipe.sizes)
    n_levels = random.randint(recipe.n_levels[0], recipe.n_levels[1] + 1)
    inner = [random.randint(2, 5) for _ in range({"nested2": 1, "nested3": 2}.get(layout, 0))]
    cells = n_levels * int(np.prod(inner))
    smallest = max(recipe.n_rows[0], 2 * cells + 5)
    n_rows = int(smallest * (max(recipe.n_rows[1], smallest) / smallest) ** random.uniform())
    if inner:
        codes = [_codes(random, n_rows, cells, sizes)]
        for parts in reversed(inner):
            codes.insert(0, codes[0] // parts)
    else:
        codes = [_codes(random, n_rows, n_levels, sizes)]
    if layout in ("crossed2", "crossed3"):
        for _ in range(int(layout[-1]) - 1):
            codes.append(_codes(random, n_rows, random.randint(2, n_levels + 3), sizes))
    elif layout == "partly":  # each level meets three levels of the other factor at most
        codes.append((2 * codes[0] + random.randint(0, 3, n_rows)) % max(2, n_levels))
    elif layout == "chain":  # neighbours share one level of the other factor
        codes.append(codes[0] + random.randint(0, 2, n_rows))
    return pd.DataFrame({f"f{number}": part for number, part in enumerate(codes)})


def _codes(random, n_rows: int, n_levels: int, sizes: str) -> np.ndarray:
    rest = n_rows - n_levels
    if sizes == "even":
        more = np.arange(rest) % n_levels
    elif sizes == "unequal":  # each level half as large as the one before
        more = np.minimum(np.floor(-np.log2(random.uniform(size=rest))), n_levels - 1).astype(int)
    elif sizes == "singletons":  # half of the levels, or more, have one row
        more = random.randint(0, max(1, n_levels // 2), rest)
    else:
        more = random.randint(0, n_levels, rest)
    return random.permutation(np.concatenate([np.arange(n_levels), more]))


def _features(random, codes: np.ndarray, kinds: tuple[str, ...]) -> pd.DataFrame:
    n, columns = len(codes), {}
    for number, kind in enumerate(kinds):
        columns[f"x{number}"] = _feature(random, codes, kind, n, list(columns.values()))
    return pd.DataFrame(columns, index=range(n))


def _feature(random, codes: np.ndarray, kind: str, n: int, before: list[np.ndarray]) -> np.ndarray:
    """Draw one feature; those that depend on others are functions of the features `before`."""
    if kind == "binary":
        return random.permutation(np.arange(n) % 2).astype(float)
    if kind == "uniform":
        return random.uniform(size=n)
    if kind == "cluster":
        return random.normal(size=codes.max() + 1)[codes]
    if kind == "year":
        return 2000.0 + random.randint(0, 11, n)
    if kind == "year2":
        return before[-1] ** 2
    if kind == "copy":
        return 2.0 * before[-1]
    if kind == "sum":
        return before[0] + before[1]
    if kind == "constant":
        return np.full(n, 3.0)
    unit, mean = {"normal": (1.0, 0.3), "small": (1e-6, 0.5), "large": (1e6, 0.5), "far": (1.0, 1e3)}[kind]
    return unit * (random.normal(size=n) + mean)


def _standardised(columns: pd.DataFrame) -> np.ndarray:
    """Return columns of mean zero and mean square one; a constant column becomes zero."""
    values = columns.to_numpy(dtype=float).reshape(len(columns), -1)
    spread = values.std(axis=0)
    return np.where(spread > 0, (values - values.mean(axis=0)) / np.where(spread > 0, spread, 1.0), 0.0)


def _weights(random, n: int, kind: str | None) -> np.ndarray | None:
    if kind is None:
        return None
    return 10.0 ** random.uniform(-2, 2, n) if kind == "precision" else random.randint(1, 4, n).astype(float)


def _errors(random, codes: np.ndarray, recipe: Recipe, truth: str) -> np.ndarray:
    n = len(codes)
    errors = random.standard_t(1.5, n) if recipe.errors == "heavy" else random.normal(size=n)
    if truth == "negative":  # means of levels differ by less than independent errors make them differ
        means = np.bincount(codes, errors) / np.bincount(codes)
        errors = errors - 0.9 * means[codes]
    return errors


def _effects(random, Z: np.ndarray, codes: np.ndarray, truth: str) -> np.ndarray:
    """Draw the part of the outcome that a factor's random effects make."""
    q = Z.shape[1]
    factor = np.tril(random.normal(size=(q, q)))
    normal = random.normal(size=(codes.max() + 1, q))
    if truth in ("zero", "negative"):
        factor = 0.0 * factor
    elif truth == "part":  # one effect does not vary
        factor[random.randint(q)] = 0.0
    elif truth == "line":  # all effects are multiples of one
        factor[:, 1:] = 0.0
    factor = {"tiny": 0.02, "huge": 40.0}.get(truth, 1.0) * factor
    return np.sum(Z * (normal @ factor.T)[codes], axis=1)
