r"""The sampling design of a survey: strata, primary sampling units, further stages, finite populations.

At each stage units are drawn from strata; the strata of a later stage are the units of the stage before, perhaps
stratified again. Units are nested in their stratum whatever their labels: unit 1 of one stratum is not unit 1 of
another. A later stage adds variance only as far as the stage before was drawn from a finite population, and only if its
own population is given: without one its units are taken as all there are (and at the first stage as drawn with
replacement), as in R's survey.

References
----------
Särndal, Swensson and Wretman (1992), Model Assisted Survey Sampling, Springer, chapter 4.
Lumley (2010), Complex Surveys, Wiley, chapters 2 and 3.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from skdep._docs import read_more
from skdep.clusters import encode_factors

__all__ = ["LONELY_PSU", "DesignSummary", "Stage", "SurveyDesign", "survey_design"]

LONELY_PSU = ("fail", "remove", "adjust", "average")


@dataclass(frozen=True, slots=True, eq=False)
class Stage:
    """Units drawn at one stage.

    Parameters
    ----------
    unit : ndarray of shape (n_rows,)
        Number of each row's unit; every number occurs.
    stratum_of_unit : ndarray of shape (n_units,)
        Number of each unit's stratum.
    n_units : ndarray of shape (n_strata,)
        Units in the sample, by stratum.
    fraction : ndarray of shape (n_strata,)
        Sampling fraction; 0 for an infinite population.
    parent : ndarray of shape (n_units,) or None
        Number of each unit's unit at the stage before; None at the first stage.
    stratum_labels : ndarray of shape (n_strata,)
        Labels of the strata, for messages.
    """

    unit: np.ndarray
    stratum_of_unit: np.ndarray
    n_units: np.ndarray
    fraction: np.ndarray
    parent: np.ndarray | None
    stratum_labels: np.ndarray

    @property
    def lonely(self) -> np.ndarray:
        """Strata with a single unit of a larger population, whose variance cannot be estimated."""
        return (self.n_units == 1) & (self.fraction < 1.0)


@dataclass(frozen=True, slots=True)
class DesignSummary:
    """What a design-based fit remembers of its design.

    Parameters
    ----------
    n_psus, n_strata : int
        Primary sampling units, and strata, with observations in the domain.
    degf : int
        Degrees of freedom of the design: units less strata.
    n_stages : int
        Stages that add to the variance.
    stratified, finite : bool
        Whether strata, and finite populations, were given.
    lonely : tuple of str
        Strata of the first stage with a single unit, dealt with by `lonely_psu`.
    lonely_psu : str
        What was done with them.
    """

    n_psus: int
    n_strata: int
    degf: int
    n_stages: int
    stratified: bool
    finite: bool
    lonely: tuple[str, ...]
    lonely_psu: str

    def describe(self) -> str:
        """Say what the design is, as ``30 units in 15 strata, finite populations; 15 degrees of freedom``."""
        strata = f" in {self.n_strata} strata" if self.stratified else ""
        stages = f", {self.n_stages} stages" if self.n_stages > 1 else ""
        finite = ", finite populations" if self.finite else ""
        lonely = f", {len(self.lonely)} of a single unit ({self.lonely_psu})" if self.lonely else ""
        return f"{self.n_psus} units{strata}{lonely}{stages}{finite}; {self.degf} degrees of freedom"

    def to_frame(self) -> Any:
        """Return a DataFrame of one row."""
        import pandas as pd

        columns = {name: getattr(self, name) for name in ("n_psus", "n_strata", "degf", "n_stages")}
        columns |= {"stratified": self.stratified, "finite": self.finite, "n_lonely": len(self.lonely)}
        return pd.DataFrame(columns, index=["Design"])

    def __str__(self) -> str:
        return f"Survey design: {self.describe()}"

    def _repr_html_(self) -> str:
        from skdep._html import frame_html, result_html

        return result_html(frame_html(self.to_frame()), lead=str(self))


@dataclass(frozen=True, slots=True, eq=False)
class SurveyDesign:
    """A design, for rows in the caller's order.

    Parameters
    ----------
    stages : tuple of Stage
        Stages that add to the variance, the first always.
    n_rows : int
        Number of rows, those outside the domain included.
    n_psus, n_strata : int
        Units and strata of the first stage with rows of positive weight.
    stratified, finite : bool
        Whether strata, and populations, were given.
    lonely_psu : {"fail", "remove", "adjust", "average"}
        What to do with strata of a single unit.
    """

    stages: tuple[Stage, ...]
    n_rows: int
    n_psus: int
    n_strata: int
    stratified: bool
    finite: bool
    lonely_psu: str

    @property
    def degf(self) -> int:
        """Degrees of freedom: units less strata of the first stage, in the domain."""
        return self.n_psus - self.n_strata

    @property
    def plain(self) -> bool:
        """Whether units were drawn with replacement from one stratum."""
        return not (self.stratified or self.finite)

    def summary(self) -> DesignSummary:
        """Return what a fit remembers of the design."""
        first = self.stages[0]
        lonely = tuple(str(label) for label in first.stratum_labels[first.lonely])
        return DesignSummary(
            n_psus=self.n_psus,
            n_strata=self.n_strata,
            degf=self.degf,
            n_stages=len(self.stages),
            stratified=self.stratified,
            finite=self.finite,
            lonely=lonely,
            lonely_psu=self.lonely_psu,
        )


def survey_design(
    n_rows: int,
    *,
    groups: Any = None,
    strata: Any = None,
    fpc: Any = None,
    weights: np.ndarray | None = None,
    lonely_psu: str = "fail",
) -> SurveyDesign:
    """Describe a sampling design.

    Parameters
    ----------
    n_rows : int
        Number of rows.
    groups : array-like of shape (n_rows,) or (n_rows, n_stages), optional
        Labels of the primary sampling units, or of the units of every stage; without them rows are the units.
    strata : array-like of shape (n_rows,) or (n_rows, n_stages), optional
        Labels of the strata, of the first stage or of every stage.
    fpc : array-like of shape (n_rows,) or (n_rows, n_stages), optional
        Finite populations: numbers of units in the population of the row's stratum (all at least 1), or sampling
        fractions (all at most 1). An infinite number is sampling with replacement.
    weights : ndarray of shape (n_rows,), optional
        Sampling weights. Rows of weight zero are outside the domain of interest: their units count, for the variance,
        but not as degrees of freedom.
    lonely_psu : {"fail", "remove", "adjust", "average"}, default="fail"
        What to do with a stratum of a single unit, which says nothing of its variance: raise; give it none; centre it
        at the mean of all strata; or give it the mean of the other strata's.

    Returns
    -------
    SurveyDesign
        The design.

    Raises
    ------
    ValueError
        If labels are missing, populations vary within strata or are smaller than the sample, or a stratum has a single
        unit under ``lonely_psu="fail"``.

    Examples
    --------
    >>> from skdep.survey import survey_design
    >>> design = survey_design(6, groups=[1, 1, 2, 1, 2, 2], strata=["a", "a", "a", "b", "b", "b"])
    >>> design.n_psus, design.n_strata, design.degf
    (4, 2, 2)
    """
    if lonely_psu not in LONELY_PSU:
        raise ValueError(f"lonely_psu must be one of {list(LONELY_PSU)}, got {lonely_psu!r}.")
    units = [] if groups is None else encode_factors(groups, n_rows)
    unit_columns = [codes for codes, _, _ in units] or [np.arange(n_rows)]
    strata_columns = [] if strata is None else _named(lambda: encode_factors(strata, n_rows), "strata")
    populations = _populations(fpc, n_rows)
    for name, columns in (("strata", strata_columns), ("fpc", populations)):
        if len(columns) > len(unit_columns):
            raise ValueError(
                f"{name} has {len(columns)} columns for {len(unit_columns)} stage(s) of sampling units: give one "
                "column of groups a stage."
            )
    stages: list[Stage] = []
    for number in range(max(1, len(populations))):
        stages.append(
            _stage(
                unit_columns[number],
                strata_columns[number] if number < len(strata_columns) else None,
                populations[number] if number < len(populations) else None,
                stages[-1] if stages else None,
                units[number - 1][1] if number else None,
                number,
            )
        )
    inside = slice(None) if weights is None else weights > 0
    psus = np.unique(stages[0].unit[inside])
    design = SurveyDesign(
        stages=tuple(stages),
        n_rows=n_rows,
        n_psus=len(psus),
        n_strata=len(np.unique(stages[0].stratum_of_unit[psus])),
        stratified=strata is not None,
        finite=fpc is not None,
        lonely_psu=lonely_psu,
    )
    if lonely_psu == "fail":
        _check_not_lonely(design)
    return design


def _named(encode: Any, name: str) -> Any:
    """Encode labels; errors speak of `name`."""
    try:
        return encode()
    except ValueError as error:
        message = str(error).removeprefix("groups: ").replace("groups", name).replace("'group'", f"'{name}'")
        raise ValueError(f"{name}: {message}") from error


def _populations(fpc: Any, n_rows: int) -> list[np.ndarray]:
    """Return the columns of populations or sampling fractions, as numbers."""
    if fpc is None:
        return []
    try:
        values = np.asarray(fpc, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError(f"fpc must be numbers: {error}.") from error
    if values.ndim == 0:
        values = np.full(n_rows, float(values))
    if values.ndim > 2 or len(values) != n_rows:
        raise ValueError(f"fpc must have one row for each of the {n_rows} rows, got shape {values.shape}.")
    columns = [values] if values.ndim == 1 else list(values.T)
    for column in columns:
        if np.isnan(column).any():
            raise ValueError(f"fpc is missing in {int(np.isnan(column).sum())} rows, first in row {_first(column)}.")
        if not (column > 0).all():
            raise ValueError("fpc must be positive: numbers of units in the population, or sampling fractions.")
        if (column < 1).any() and (column > 1).any():
            raise ValueError(
                "fpc has values below and above 1: give numbers of units in the population (all at least 1), or "
                "sampling fractions (all at most 1)."
            )
    return columns


def _first(column: np.ndarray) -> int:
    return int(np.flatnonzero(np.isnan(column))[0])


def _stage(
    unit: np.ndarray,
    strata: tuple[np.ndarray, np.ndarray, str] | None,
    population: np.ndarray | None,
    before: Stage | None,
    labels_before: np.ndarray | None,
    number: int,
) -> Stage:
    """Return a stage: units numbered within strata, and strata within units of the stage before."""
    outer = np.zeros(len(unit), dtype=np.intp) if before is None else before.unit
    stratum, labels = outer, np.array(["all"], dtype=object)
    if strata is not None:
        codes, levels, _ = strata
        _, first, stratum = np.unique(outer * len(levels) + codes, return_index=True, return_inverse=True)
        labels = np.asarray(levels, dtype=object)[codes[first]]
    elif before is not None and labels_before is not None:
        first = np.unique(outer, return_index=True)[1]
        labels = np.array([f"unit {row}" for row in first], dtype=object)
    n_labels = int(unit.max()) + 1
    _, first, unit = np.unique(stratum * n_labels + unit, return_index=True, return_inverse=True)
    stratum_of_unit = stratum[first]
    n_units = np.bincount(stratum_of_unit, minlength=len(labels))
    fraction = np.zeros(len(labels))
    if population is not None:
        fraction = _fractions(population, stratum, n_units, labels, number)
    parent = None if before is None else before.unit[first]
    return Stage(unit.reshape(-1), stratum_of_unit, n_units, fraction, parent, labels)


def _fractions(
    population: np.ndarray, stratum: np.ndarray, n_units: np.ndarray, labels: np.ndarray, number: int
) -> np.ndarray:
    """Return sampling fractions by stratum; populations must be constant within strata and hold the sample."""
    first = np.unique(stratum, return_index=True)[1]
    values = population[first]
    varying = population != values[stratum]
    if varying.any():
        row = int(np.flatnonzero(varying)[0])
        raise ValueError(
            f"fpc of stage {number + 1} varies within stratum {labels[stratum[row]]!r}: {values[stratum[row]]:g} and "
            f"{population[row]:g} (row {row}). It is the population that the units of the stratum were drawn from, the "
            "same for all of them."
            f"{read_more('survey_design')}"
        )
    if (population <= 1.0).all():
        return values
    few = values < n_units
    if few.any():
        h = int(np.flatnonzero(few)[0])
        raise ValueError(
            f"fpc of stage {number + 1} says that stratum {labels[h]!r} has {values[h]:g} units, but {n_units[h]} are "
            "in the sample. It counts sampling units (of this stage), not observations."
            f"{read_more('survey_design')}"
        )
    return n_units / values


def _check_not_lonely(design: SurveyDesign) -> None:
    """Raise if a stratum of some stage has a single unit."""
    reached = True
    for number, stage in enumerate(design.stages):
        lonely = stage.lonely
        if lonely.any() and reached:
            label = stage.stratum_labels[int(np.flatnonzero(lonely)[0])]
            where = f"stratum {label!r}" if number == 0 else f"stage {number + 1}, {label}"
            raise ValueError(
                f"{int(lonely.sum())} strata have a single sampling unit, first {where}: their variance cannot be "
                "estimated. Merge strata, or set lonely_psu='adjust' (centre at the overall mean, conservative), "
                "'average' (the mean of other strata) or 'remove' (no variance: for units drawn with certainty)."
                f"{read_more('survey_design')}"
            )
        reached = bool((stage.fraction > 0).any())
