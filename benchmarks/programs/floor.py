"""What no Newton method can undercut: a single weighted Gram matrix in NumPy."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from benchmarks.simulate import Data
from benchmarks.timing import Estimates, Program

__all__ = ["weighted_gram"]


def _operands(data: Data, folder: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    design = data.with_intercept()
    return design, np.full((len(design), 1), 0.25), np.zeros_like(design)


def weighted_gram() -> Program:
    """Time X'WX, of which every Newton step needs one, with its working space allocated beforehand."""

    def product(operands: tuple[np.ndarray, np.ndarray, np.ndarray]) -> Estimates:
        design, weights, space = operands
        np.dot(design.T, np.multiply(weights, design, out=space))
        return Estimates(None)

    return Program(
        "NumPy, one X'WX", product, _operands, note="a floor, not a fit: one weighted Gram matrix, of many needed."
    )
