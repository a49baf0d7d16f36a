"""Print peak memory before and after one fit: ``python -m benchmarks.memory_of_fit FOLDER gee|mixed WHICH``.

WHICH is a working correlation, or the program that fits the mixed model. Run by the memory cases. The data come from
files, so that nothing larger than they, and the form of them that a program wants, was in this process before the fit.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np

__all__ = ["peak_bytes"]

_FEW = 1000  # rows of the fit that loads all that is imported late


def peak_bytes() -> int:
    """Return the peak resident size of this process.

    Linux lets a new process inherit the ``ru_maxrss`` of the one that started it, so its own high-water mark is read
    where the system has one.
    """
    status = Path("/proc/self/status")
    if status.exists():
        for line in status.read_text(encoding="ascii").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def _gee(arrays: dict[str, np.ndarray], structure: str) -> Callable[[], object]:
    from skdep import GEEClassifier

    model = GEEClassifier(working_correlation=structure)
    names = ("groups", "time") if structure in ("ar1", "unstructured") else ("groups",)

    def fit(n_rows: int | None = None) -> None:
        metadata = {name: arrays[name][:n_rows] for name in names}
        model.fit(arrays["X"][:n_rows], arrays["y"][:n_rows], **metadata)

    fit(_FEW)
    return fit


def _mixed(arrays: dict[str, np.ndarray], program: str, folder: Path) -> Callable[[], object]:
    from benchmarks.cases.memory import MIXED_PROGRAMS
    from benchmarks.mixed_data import MixedData

    peer = MIXED_PROGRAMS[program]()
    data = MixedData(arrays["X"], arrays["y"], arrays["groups"], slope=arrays["X"].shape[1] > 0)
    peer.fit(peer.prepare(data.head(_FEW), folder))
    prepared = peer.prepare(data, folder)
    return lambda: peer.fit(prepared)


def main(folder: str, kind: str, which: str) -> None:
    arrays = {path.stem: np.load(path) for path in Path(folder).glob("*.npy")}
    fit = _gee(arrays, which) if kind == "gee" else _mixed(arrays, which, Path(folder))
    before = peak_bytes()
    fit()
    print(json.dumps({"before": before, "after": peak_bytes()}))


if __name__ == "__main__":
    main(*sys.argv[1:])
