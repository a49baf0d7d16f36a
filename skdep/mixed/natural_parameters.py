"""Parameters as users name them: coefficients, standard deviations and correlations of effects, residual SD."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from skdep.mixed.border import Border
from skdep.mixed.cross_products import CrossProducts
from skdep.mixed.parameters import CovarianceParameters

__all__ = ["NaturalParameter", "natural_parameters", "natural_values"]


@dataclass(frozen=True)
class NaturalParameter:
    """One parameter of a linear mixed model.

    Parameters
    ----------
    name : str
        Its name.
    kind : {"coefficient", "sd", "correlation", "residual"}
        What it is.
    first, second : int
        Number of the coefficient; or numbers of the effects.
    term : int
        Number of the term in working order.
    """

    name: str
    kind: Literal["coefficient", "sd", "correlation", "residual"]
    first: int = 0
    second: int = 0
    term: int = -1


def natural_parameters(
    coefficients: Sequence[str],
    effects: Mapping[str, Sequence[str]],
    working_order: Sequence[str],
    layout: CovarianceParameters,
) -> tuple[NaturalParameter, ...]:
    """List the parameters: coefficients, then by factor standard deviations and correlations, then the residual SD.

    Parameters
    ----------
    coefficients : sequence of str
        Names of the coefficients.
    effects : mapping from str to sequence of str
        Names of the random effects by factor.
    working_order : sequence of str
        Factors in the order of the terms.
    layout : CovarianceParameters
        Layout of the covariance parameters: which effects are correlated.
    """
    result = [NaturalParameter(name, "coefficient", k) for k, name in enumerate(coefficients)]
    for factor, names in effects.items():
        term = list(working_order).index(factor)
        for a, name in enumerate(names):
            result.append(NaturalParameter(f"SD of {name} by {factor}", "sd", a, a, term))
        blocks = layout.block_numbers[term]
        for a, name in enumerate(names):
            for b in (b for b in range(a + 1, len(names)) if blocks[a] == blocks[b]):
                label = f"Correlation of {name} and {names[b]} by {factor}"
                result.append(NaturalParameter(label, "correlation", a, b, term))
    return (*result, NaturalParameter("Residual SD", "residual"))


def natural_values(
    parameters: Sequence[NaturalParameter],
    products: CrossProducts,
    back: np.ndarray,
    origin: np.ndarray,
    factors: Sequence[np.ndarray],
    border: Border,
) -> np.ndarray:
    """Return the values (n_parameters,) in the user's columns and units.

    Parameters
    ----------
    parameters : sequence of NaturalParameter
        Which ones.
    products : CrossProducts
        Cross-products of the fit.
    back, origin : ndarray
        Map of the fixed effects, as in `LinearMixedFit`.
    factors : sequence of ndarray
        Relative covariance factors T.
    border : Border
        Fixed effects and residual variance there.
    """
    coefficients = origin + back @ border.beta * products.y_scale
    residual = float(np.sqrt(border.sigma2)) * products.y_scale
    roots = [term.to_user @ T for term, T in zip(products.terms, factors, strict=True)]
    lengths = [np.sqrt(np.sum(root**2, axis=1)) for root in roots]

    def value(parameter: NaturalParameter) -> float:
        if parameter.kind == "coefficient":
            return coefficients[parameter.first]
        if parameter.kind == "residual":
            return residual
        root, length = roots[parameter.term], lengths[parameter.term]
        if parameter.kind == "sd":
            return length[parameter.first] * residual
        size = length[parameter.first] * length[parameter.second]
        inner = float(root[parameter.first] @ root[parameter.second])
        return float(np.clip(inner / size, -1.0, 1.0)) if size > 0 else np.nan

    return np.array([value(parameter) for parameter in parameters])
