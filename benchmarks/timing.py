"""Run programs in turn on the same data, round after round, and set their times and estimates beside those of skdep."""

from __future__ import annotations

import gc
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from benchmarks.table import Table

__all__ = ["Estimates", "Options", "Program", "compare", "relative_difference"]


@dataclass(frozen=True)
class Options:
    """What the command line asks for."""

    repeats: int = 5
    quick: bool = False  # small data, to see that everything runs
    slow: bool | None = None  # True: even what is long or hopeless; None: all but that; False: nothing slow


@dataclass(frozen=True)
class Estimates:
    """What a program found: ``[intercept, *coef]`` and standard errors, None where it gives none."""

    coef: np.ndarray | None
    std_error: np.ndarray | None = None
    seconds: float | None = None  # taken by the program itself, where it runs in a process of its own
    loglik: float | None = None  # the criterion maximised, of models that are compared by it
    variances: np.ndarray | None = None  # of residuals and of random effects


@dataclass(frozen=True)
class Program:
    """One way to fit a model.

    `prepare` brings data into the form that the program wants and is not timed; `fit` is. `exact`, not timed, fits with
    a tight tolerance where the usual one would hide whether a program solves the same equations. `reference` returns
    what skdep estimates under the conventions of this program. `missing` says what is not installed, or None.
    """

    name: str
    fit: Callable[[Any], Estimates]
    prepare: Callable[[Any, Path], Any] = lambda data, folder: data
    exact: Callable[[Any], Estimates] | None = None
    reference: Callable[[Any], Estimates] | None = None
    missing: Callable[[], str | None] = lambda: None
    note: str = ""
    # "slow": minutes for all rounds at full size; "long": about a minute for one; "hopeless": hours, or more memory
    # than there is
    effort: str = "normal"
    most_rounds: int | None = None  # fewer rounds than the others, where one takes long
    own_process: bool = False


@dataclass
class _Record:
    """What became of a program."""

    program: Program
    seconds: list[float] = field(default_factory=list)
    prepared: Any = None
    estimates: Estimates | None = None
    exact: Estimates | None = None
    absent: str = ""  # why there are no times


def compare(
    title: str, data: Any, programs: list[Program], options: Options, *, warm_up: Any, describe: str = ""
) -> Table:
    """Time programs on `data` in interleaved rounds; the first is skdep, to which the others are compared.

    Parameters
    ----------
    title, describe : str
        Heading of the table, and a line on the data.
    data : Data or MixedData
        What is fitted, by every program in every round.
    programs : list of Program
        skdep first.
    options : Options
        Number of rounds, and what to leave out.
    warm_up : Data or MixedData
        Small data, fitted once by each program of this process, so that imports and caches are not timed.
    """
    records = [_Record(program, absent=_reason_to_leave_out(program, options)) for program in programs]
    with TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for number, record in enumerate(records):
            place = Path(folder) / str(number)
            place.mkdir()
            if not record.absent:
                _guarded(record, lambda record=record, place=place: _prepare(record, data, warm_up, place))
        for turn in range(options.repeats):
            start = turn % len(records)  # nobody always runs after the same neighbour
            for record in records[start:] + records[:start]:
                most = record.program.most_rounds or options.repeats
                if not record.absent and turn < most:
                    _guarded(record, lambda record=record: _time_once(record))
        for record in records:
            if record.program.exact is not None and not record.absent:
                _guarded(record, lambda record=record: _fit_exactly(record))
        rows = [_row(record, records[0], data) for record in records]
    notes = {record.program.name: record.program.note for record in records if record.program.note}
    formats = {f"{how}{what} differ": ".1e" for how in ("", "tight ") for what in ("coef", "SE", "variances")}
    formats.update({f"{how}logLik above": "+.1e" for how in ("", "tight ")})
    return Table(title, describe, rows, notes, formats)


def relative_difference(value: np.ndarray | None, reference: np.ndarray | None) -> float | None:
    """Return the largest relative difference, None where there is nothing to compare."""
    if value is None or reference is None:
        return None
    return float(np.max(np.abs(value - reference) / np.abs(reference)))


def _reason_to_leave_out(program: Program, options: Options) -> str:
    missing = program.missing()
    if missing:
        return f"not installed ({missing})"
    if program.effort == "hopeless" and not (options.slow or options.quick):
        return "left out: hopeless at this size, run with --slow"
    if program.effort == "long" and not (options.slow or options.quick):
        return "left out: takes long, run with --slow"
    if program.effort == "slow" and options.slow is False and not options.quick:
        return "left out: slow"
    return ""


def _prepare(record: _Record, data: Any, warm_up: Any, folder: Path) -> None:
    program = record.program
    if not program.own_process:
        program.fit(program.prepare(warm_up, folder))
    record.prepared = program.prepare(data, folder)


def _time_once(record: _Record) -> None:
    gc.collect()
    begin = time.perf_counter()
    record.estimates = record.program.fit(record.prepared)
    seconds = time.perf_counter() - begin
    record.seconds.append(seconds if record.estimates.seconds is None else record.estimates.seconds)


def _fit_exactly(record: _Record) -> None:
    assert record.program.exact is not None
    record.exact = record.program.exact(record.prepared)


def _guarded(record: _Record, action: Callable[[], None]) -> None:
    """Run; a peer that breaks is reported in its row, and does not end the others."""
    try:
        action()
    except Exception as error:
        if record.program.name == "skdep":
            raise
        record.absent = f"failed: {type(error).__name__}: {' '.join(str(error).split())[:200]}"


def _row(record: _Record, ours: _Record, data: Any) -> dict[str, Any]:
    program = record.program
    row: dict[str, Any] = {"program": program.name}
    if record.absent:
        return {**row, "remark": record.absent}
    row |= {
        "best s": min(record.seconds),
        "median s": float(np.median(record.seconds)),
        "times skdep": float(np.median(np.divide(record.seconds, ours.seconds[: len(record.seconds)]))),
        "seconds": record.seconds,
    }
    if program.reference is None or record.estimates is None:
        return row
    reference = program.reference(data)
    for found, how in ((record.estimates, ""), (record.exact, "tight ")):
        if found is not None:
            row[f"{how}coef differ"] = relative_difference(found.coef, reference.coef)
            row[f"{how}SE differ"] = relative_difference(found.std_error, reference.std_error)
            if found.variances is not None:
                row[f"{how}variances differ"] = relative_difference(found.variances, reference.variances)
            if found.loglik is not None and reference.loglik is not None:
                row[f"{how}logLik above"] = found.loglik - reference.loglik
    return row
