r"""Uncorrelated effects of columns that are nearly collinear, such as an intercept and a slope over calendar years.

Columns with uncorrelated effects may not be centred, but their cross-products lose digits. Inside, the engine then
works with orthogonal columns Z_c = Z R^-1 and the covariance R Sigma R', which is of no special form; to the outside
nothing changes: factors have their blocks, effects belong to the columns Z.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from scipy import sparse

from skdep._linalg import smallest_scaled_eigenvalue
from skdep.mixed.cross_products import CrossProducts, TermProducts
from skdep.mixed.evaluation import Derivatives, State
from skdep.mixed.information import Information
from skdep.mixed.parameters import CovarianceParameters
from skdep.mixed.small_matrices import lower_factor_of

__all__ = ["Framed", "needs_frame"]

# Scaled cross-products of the columns of a term with eigenvalues below this call for orthogonal columns.
_COLLINEAR = 1e-2


def needs_frame(products: CrossProducts, parameters: CovarianceParameters) -> bool:
    """Say whether a term has uncorrelated effects, and columns nearly collinear, but not quite."""
    return any(
        1e-11 < smallest_scaled_eigenvalue(term.own.sum(axis=2)) < _COLLINEAR
        for term, numbers in zip(products.terms, parameters.block_numbers, strict=True)
        if len(set(numbers)) > 1
    )


class Framed:
    """An engine of orthogonal columns behind the face of one of the given columns.

    Parameters
    ----------
    make : callable
        Makes the inner engine of products and parameters.
    products : CrossProducts
        Cross-products of the given columns.
    parameters : CovarianceParameters
        Layout of the covariance parameters.
    """

    def __init__(
        self,
        make: Callable[[CrossProducts, CovarianceParameters], Any],
        products: CrossProducts,
        parameters: CovarianceParameters,
    ):
        self.products, self.parameters = products, parameters
        self.frames = [_frame(*part) for part in zip(products.terms, parameters.blocks, strict=True)]
        self.backs = [np.linalg.inv(frame) for frame in self.frames]
        inner = CovarianceParameters(parameters.sizes, parameters.structure)
        # the derivatives of R Sigma R' by the variances
        inner.__dict__["basis"] = tuple(
            np.einsum("ab,ibc,dc->iad", frame, basis, frame)
            for frame, basis in zip(self.frames, parameters.basis, strict=True)
        )
        self.engine = make(_turned(products, self.backs), inner)
        self.is_cheap, self.reml = self.engine.is_cheap, self.engine.reml

    def value(self, factors: Sequence[np.ndarray]) -> State:
        """Evaluate the criterion."""
        turned = [lower_factor_of(frame @ T) for frame, T in zip(self.frames, factors, strict=True)]
        state = self.engine.value(turned)
        return replace(state, factors=list(factors), work={"inner": state})

    def derivatives(self, state: State) -> Derivatives:
        """Differentiate the criterion by Sigma."""
        return self._outside(self.engine.derivatives(self._inner(state)))

    def exact_derivatives(self, state: State) -> Derivatives | None:
        """Differentiate the criterion by Sigma, exactly, where that does not take too long."""
        exact = self.engine.exact_derivatives(self._inner(state))
        return None if exact is None else self._outside(exact)

    def information(self, state: State) -> Information:
        """Return the traces and products of which degrees of freedom are made."""
        return self.engine.information(self._inner(state))

    def effects(self, state: State) -> list[np.ndarray]:
        """Return the predicted random effects of each term (n_levels, q)."""
        effects = self.engine.effects(self._inner(state))
        return [part @ back.T for part, back in zip(effects, self.backs, strict=True)]

    def conditional_variances(self, state: State) -> list[np.ndarray]:
        """Return the variance of the effects of each level given beta (q, q, n_levels), relative to sigma2."""
        parts = self.engine.conditional_variances(self._inner(state))
        return [np.einsum("ab,bcl,dc->adl", back, part, back) for part, back in zip(parts, self.backs, strict=True)]

    def fixed_effect_products(self, state: State) -> list[np.ndarray]:
        """Return d b_j / d beta of each term (n_levels, q, p)."""
        parts = self.engine.fixed_effect_products(self._inner(state))
        return [np.einsum("ab,lbp->lap", back, part) for part, back in zip(parts, self.backs, strict=True)]

    def effect_variance(self, state: State, levels: Sequence[np.ndarray], Z: Sequence[np.ndarray]) -> np.ndarray:
        """Return the variance of z'b given beta (n_rows,), relative to sigma2, for rows of known levels."""
        turned = [z @ back for z, back in zip(Z, self.backs, strict=True)]
        return self.engine.effect_variance(self._inner(state), levels, turned)

    @staticmethod
    def _inner(state: State) -> State:
        return replace(state.work["inner"], border=state.border)

    def _outside(self, derivatives: Derivatives) -> Derivatives:
        gradients = [
            frame.T @ gradient @ frame for frame, gradient in zip(self.frames, derivatives.gradients, strict=True)
        ]
        return replace(derivatives, gradients=gradients)


def _frame(term: TermProducts, blocks: Sequence[np.ndarray]) -> np.ndarray:
    """Return upper triangular R, for which the columns Z R^-1 are orthogonal; the identity where that is not needed."""
    gram = term.own.sum(axis=2)
    if len(blocks) == 1 or not 1e-11 < smallest_scaled_eigenvalue(gram) < _COLLINEAR:
        return np.eye(term.q)
    return np.linalg.cholesky(gram / gram[0, 0]).T


def _turned(products: CrossProducts, backs: Sequence[np.ndarray]) -> CrossProducts:
    """Return cross-products of the columns Z R^-1."""
    terms = tuple(
        TermProducts(
            np.einsum("ba,bcl,cd->adl", back, term.own, back),
            np.einsum("rbl,ba->ral", term.border, back),
            term.to_user @ back,
        )
        for term, back in zip(products.terms, backs, strict=True)
    )
    between = {
        (b, c): (_each(products, b, backs).T @ matrix @ _each(products, c, backs)).tocsr()
        for (b, c), matrix in products.between.items()
    }
    return replace(products, terms=terms, between=between)


def _each(products: CrossProducts, term: int, backs: Sequence[np.ndarray]) -> sparse.csr_matrix:
    return sparse.kron(sparse.eye_array(products.terms[term].n_levels), backs[term], format="csr")
