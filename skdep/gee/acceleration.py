r"""Anderson acceleration: a better next step from the last few, where plain scoring steps go round in circles.

Fisher scoring moves beta at a given association, and the association follows: a fixed-point iteration that may cycle or
creep where the association is badly determined. The steps f taken at the last few betas say how f depends on beta; the
combination of them with the smallest f, in the metric of the bread, is where the next step should start from.

References
----------
Anderson (1965), Journal of the ACM 12, 547-560; Walker and Ni (2011), SIAM Journal on Numerical Analysis 49, 1715-1735.
"""

from __future__ import annotations

import numpy as np

__all__ = ["AndersonMixing"]


class AndersonMixing:
    """The last betas and scoring steps, and the step they suggest.

    Parameters
    ----------
    most : int
        Number of differences that are kept.
    """

    def __init__(self, most: int):
        self.most = most
        self.betas: list[np.ndarray] = []
        self.steps: list[np.ndarray] = []

    def remember(self, beta: np.ndarray, step: np.ndarray) -> None:
        """Add a beta and the scoring step from it."""
        self.betas = [*self.betas[-self.most :], beta]
        self.steps = [*self.steps[-self.most :], step]

    def suggest(self, bread: np.ndarray) -> np.ndarray | None:
        """Return the step from the last beta that the memory suggests, None if it cannot tell.

        `bread` (p, p) gives lengths their metric.
        """
        step = self.steps[-1]
        if len(self.betas) < 2:
            return None
        beta_differences = np.diff(np.column_stack(self.betas), axis=1)
        step_differences = np.diff(np.column_stack(self.steps), axis=1)
        values, vectors = np.linalg.eigh(bread)
        root = (vectors * np.sqrt(np.maximum(values, 0.0))).T
        with np.errstate(over="ignore", invalid="ignore"):
            left, right = root @ step_differences, root @ step
            if not (np.isfinite(left).all() and np.isfinite(right).all()):
                return None
            weights = np.linalg.lstsq(left, right, rcond=1e-8)[0]
            suggested = step - (beta_differences + step_differences) @ weights
        return suggested if np.isfinite(suggested).all() else None
