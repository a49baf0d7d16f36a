"""Set samplers of the same posterior side by side: effective draws per second, and whether their draws agree."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from benchmarks.table import Table
from benchmarks.timing import Estimates, Options, Program, compare
from skdep.bayes.convergence import convergence, mcse_mean, mcse_sd

__all__ = ["Sampled", "Stopwatch", "agreement", "compare_samplers", "least_ess", "sampled", "stopwatch"]

_FORMATS = {
    "times fewer": ".3g",
    "ESS": ",.0f",
    "compile s": ".2g",
    "means differ": ".3f",
    "means z": ".1f",
    "sds differ": ".1%",
    "sds z": ".1f",
    "R-hat": ".3f",
}


@dataclass(frozen=True)
class Sampled(Estimates):
    """What a sampler found: draws, besides the means and standard deviations of them.

    `seconds` is the time from data to draws, warm-up included, without `compile_seconds`: the time to build and compile
    the model, None where there is no such step. `cpu_seconds` is what all processors spent meanwhile, which says more
    than the clock where others run too; None where it is not known. `warm_up` is the share of the sampler's work that
    went into draws that were thrown away.
    """

    draws: np.ndarray | None = None  # (n_chains, n_draws, n_parameters): intercept, slopes, standard deviations
    cpu_seconds: float | None = None
    compile_seconds: float | None = None
    warm_up: float = 0.0


@dataclass
class Stopwatch:
    """Seconds by the clock, and of all threads of this process."""

    seconds: float = 0.0
    cpu_seconds: float = 0.0


@contextmanager
def stopwatch() -> Iterator[Stopwatch]:
    """Time a block; the result is there when the block ends."""
    watch = Stopwatch()
    begin, begin_cpu = time.perf_counter(), time.process_time()
    yield watch
    watch.seconds, watch.cpu_seconds = time.perf_counter() - begin, time.process_time() - begin_cpu


def sampled(draws: np.ndarray, seconds: float | None = None, **details: Any) -> Sampled:
    """Return draws with their means and standard deviations."""
    flat = draws.reshape(-1, draws.shape[-1])
    return Sampled(flat.mean(axis=0), flat.std(axis=0, ddof=1), seconds, draws=draws, **details)


def compare_samplers(
    title: str, data: Any, programs: list[Program], options: Options, *, warm_up: Any, describe: str = ""
) -> Table:
    """Time samplers of one posterior as `timing.compare` times fits, and judge what they drew.

    Parameters
    ----------
    title, describe : str
        Heading of the table, and a line on the data.
    data : BayesData
        What every program samples, in every round by another seed.
    programs : list of Program
        skdep first; their `fit` returns `Sampled`.
    options : Options
        Number of rounds, and what to leave out.
    warm_up : BayesData
        Small data, sampled once by each program of this process, so that imports are not timed.

    Returns
    -------
    Table
        Times of `compare`; ``ESS`` and ``ESS/s``, medians over rounds of the least effective sample size, in bulk or
        tails, of any parameter; and how far the draws of all rounds are from those of the first program.
    """
    found: dict[str, list[Sampled]] = {program.name: [] for program in programs}
    recorded = [replace(program, fit=_recorder(program.fit, found[program.name])) for program in programs]
    table = compare(title, data, recorded, options, warm_up=warm_up, describe=describe)
    ran = [row for row in table.rows if "remark" not in row]
    # what was drawn from the small data comes before the rounds
    kept = {row["program"]: found[row["program"]][-len(row["seconds"]) :] for row in ran}
    judged = [_judged(row, kept[row["program"]], ran[0], kept[ran[0]["program"]]) for row in ran]
    rows = judged + [row for row in table.rows if "remark" in row]
    return replace(table, rows=rows, formats={**table.formats, **_FORMATS})


def least_ess(draws: np.ndarray) -> float:
    """Return the least effective sample size of any parameter, of the bulk of the draws or of their tails.

    Parameters
    ----------
    draws : ndarray of shape (n_chains, n_draws, n_parameters)
        Draws.

    Returns
    -------
    float
        Effective number of draws; 0 where chains do not move, so that there is none.
    """
    checks = convergence(draws)
    if checks.n_undefined:
        return 0.0
    return min(checks.min_ess_bulk, checks.min_ess_tail)


def agreement(draws: np.ndarray, others: np.ndarray) -> dict[str, float]:
    """Compare two sets of draws of one posterior, at the parameter where they differ most.

    Parameters
    ----------
    draws, others : ndarray of shape (n_chains, n_draws, n_parameters)
        Draws of two samplers; numbers of chains and draws may differ.

    Returns
    -------
    dict of str to float
        ``"means differ"`` in posterior standard deviations and ``"sds differ"`` relative to them; ``"means z"`` and
        ``"sds z"`` the same in Monte Carlo standard errors of the difference.
    """
    means, spreads = zip(*((part.mean(axis=(0, 1)), part.std(axis=(0, 1), ddof=1)) for part in (draws, others)))
    mean_apart, spread_apart = np.abs(means[0] - means[1]), np.abs(spreads[0] - spreads[1])
    mean_error = np.hypot(mcse_mean(draws), mcse_mean(others))
    spread_error = np.hypot(mcse_sd(draws), mcse_sd(others))
    apart = {
        "means differ": mean_apart / spreads[1],
        "means z": mean_apart / mean_error,
        "sds differ": spread_apart / spreads[1],
        "sds z": spread_apart / spread_error,
    }
    return {name: float(np.max(value)) for name, value in apart.items()}


def _recorder(fit: Callable[[Any], Any], found: list[Sampled]) -> Callable[[Any], Any]:
    def recording(prepared: Any) -> Any:
        result = fit(prepared)
        found.append(result)
        return result

    return recording


def _judged(
    row: dict[str, Any], results: list[Sampled], our_row: dict[str, Any], ours: list[Sampled]
) -> dict[str, Any]:
    """Return the row with what the draws are worth, and what sets them apart from those of skdep."""
    effective = np.array([least_ess(result.draws) for result in results])
    per_second = effective / row["seconds"]
    our_speed = [least_ess(result.draws) / seconds for result, seconds in zip(ours, our_row["seconds"])]
    useful = 1.0 - np.array([result.warm_up for result in results])
    cpu_seconds = [result.cpu_seconds for result in results]
    judged = {name: value for name, value in row.items() if name != "times skdep"}
    judged |= {
        "ESS": float(np.median(effective)),
        "ESS/s": float(np.median(per_second)),
        # of the same rounds, so that a machine that slows down slows down both
        "times fewer": float(np.median(our_speed[: len(results)] / per_second)),
        "after warm-up": float(np.median(per_second / useful)) if np.any(useful < 1.0) else None,
        "ESS/CPU s": None if None in cpu_seconds else float(np.median(effective / cpu_seconds)),
        "compile s": results[0].compile_seconds,
        "R-hat": convergence(_pooled(results)).max_rhat,
    }
    if row["program"] != our_row["program"]:
        judged |= agreement(_pooled(results), _pooled(ours))
    return judged


def _pooled(results: list[Sampled]) -> np.ndarray:
    """Return the draws of all rounds as chains of one run."""
    return np.concatenate([result.draws for result in results])
