"""What all priors of one number share: validation, stacking, repr, central ranges."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from numbers import Real
from typing import Any, ClassVar, TypeVar

import numpy as np

__all__ = ["Distribution", "stack", "unchecked"]

D = TypeVar("D", bound="Distribution")


class Distribution:
    """A distribution of one number, given by a few numbers: the fields of a frozen dataclass."""

    _positive: ClassVar[tuple[str, ...]] = ("scale",)

    def __post_init__(self) -> None:
        for name, value in self._parameters().items():
            if isinstance(value, bool) or not isinstance(value, Real) or not np.isfinite(float(value)):
                raise ValueError(
                    f"{type(self).__name__}: {name} should be a finite number, got {value!r}. For a prior that differs "
                    "between features, pass a dict from feature to prior."
                )
            if name in self._positive and not float(value) > 0:
                raise ValueError(f"{type(self).__name__}: {name} should be greater than 0, got {value!r}.")

    def _parameters(self) -> dict[str, Any]:
        """Return the values of the fields by name."""
        return {field.name: getattr(self, field.name) for field in fields(self)}  # type: ignore[arg-type]

    def __repr__(self) -> str:
        shown = ", ".join(
            f"{name}={value:.6g}" if np.ndim(value) == 0 else f"{name}={value!r}"
            for name, value in self._parameters().items()
        )
        return f"{type(self).__name__}({shown})"

    def quantile(self, probability: Any) -> Any:
        """Return the value below which the given share of the distribution lies.

        Parameters
        ----------
        probability : float or array-like
            Shares between 0 and 1.

        Returns
        -------
        float or ndarray
            Quantiles, of the same shape.
        """
        raise NotImplementedError

    def interval(self, level: float = 0.95) -> tuple[float, float]:
        """Return the central range that holds a share of the distribution.

        Parameters
        ----------
        level : float, default=0.95
            The share.

        Returns
        -------
        tuple of float
            Lower and upper end.
        """
        if not 0.0 < level < 1.0:
            raise ValueError(f"level should be between 0 and 1, got {level!r}.")
        return float(self.quantile(0.5 - 0.5 * level)), float(self.quantile(0.5 + 0.5 * level))


def unchecked(kind: type[D], **parameters: Any) -> D:
    """Make a distribution whose parameters are arrays, which users may not pass."""
    made = object.__new__(kind)
    for name, value in parameters.items():
        object.__setattr__(made, name, value)
    return made


def stack(distributions: Sequence[D]) -> D:
    """Combine distributions of one class into one object whose parameters are arrays of shape (k,).

    Its methods then take arrays whose last axis has length k, an entry for each distribution.
    """
    first = distributions[0]
    names = first._parameters()
    return unchecked(
        type(first), **{name: np.array([getattr(each, name) for each in distributions], dtype=float) for name in names}
    )
