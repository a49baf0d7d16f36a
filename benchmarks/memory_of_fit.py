"""Print peak memory before and after one GEE fit: ``python -m benchmarks.memory_of_fit FOLDER STRUCTURE``.

Run by the memory case. The data come from files, so that nothing larger than they was in this process before the fit.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np

from skdep import GEEClassifier

__all__ = ["peak_bytes"]


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


def main(folder: str, structure: str) -> None:
    X, y, groups, time = (np.load(Path(folder) / f"{name}.npy") for name in ("X", "y", "groups", "time"))
    model = GEEClassifier(working_correlation=structure)
    few = slice(0, 1000)
    timed = structure in ("ar1", "unstructured")
    model.fit(X[few], y[few], groups=groups[few], time=time[few] if timed else None)  # loads all that is imported late
    before = peak_bytes()
    model.fit(X, y, groups=groups, time=time if timed else None)
    print(json.dumps({"before": before, "after": peak_bytes()}))


if __name__ == "__main__":
    main(*sys.argv[1:])
