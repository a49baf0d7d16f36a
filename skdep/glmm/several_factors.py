r"""Laplace's approximation with several grouping factors, nested or crossed, and its derivatives.

At the mode u = Lambda'Z'd, d = s - w kappa', M = Lambda'Z'WZ Lambda + I, C = M^-1,

    -log L = -log p(y | u) + u'u / 2 + log|M| / 2.

Let e = C Lambda'z of a row, h = z'Lambda e its leverage, a = h w kappa''' / 2, v = C Lambda'Z'a, and finally
r = a - W Z Lambda v, the derivative of log|M| / 2 by the rows' fixed predictors, modes moving along. With sums over
rows, and z, e, u, v those of the term and the row's level,

    dF/dbeta = -X'(d - r),    dF/dT = sum of z (W e - (d - r) u + d v)'.

As u and v are Lambda' times D = Z'd and R = Z'r, the latter is 2 G T with the derivative by Sigma

    G = (sum over levels of P_jj - D_j D_j' + R_j D_j' + D_j R_j') / 2,    P = Z'WZ - Z'WZ Lambda C Lambda'Z'WZ,

which is formed where T is singular.

References
----------
Pinheiro and Bates (1995), Journal of Computational and Graphical Statistics 4, 12-35: Laplace's approximation.
Gilmour, Thompson and Cullis (1995), Biometrics 51, 1440-1450: average information.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import sparse

from skdep.glmm.rows import GlmmRows
from skdep.glmm.several_modes import Modes, find_modes
from skdep.glmm.several_precisions import sum_of_precisions
from skdep.glmm.several_system import InverseBlocks, SeveralPlan
from skdep.glmm.state import Gradient, State
from skdep.glmm.weighted_products import TermRows
from skdep.mixed.boundary import BOUNDARY
from skdep.mixed.parameters import CovarianceParameters

__all__ = ["SeveralFactorsLaplace"]

# Least eigenvalue of the approximate curvature, relative to the largest.
_LEAST_CURVATURE = 1e-8


class SeveralFactorsLaplace:
    """Criterion of a generalised linear mixed model with several grouping factors, by Laplace's approximation.

    Parameters
    ----------
    rows : GlmmRows
        The rows, sorted by the first term's codes.
    parameters : CovarianceParameters
        Layout of the covariance parameters.
    """

    def __init__(self, rows: GlmmRows, parameters: CovarianceParameters):
        self.rows, self.parameters = rows, parameters
        self.plan = SeveralPlan([TermRows(term) for term in rows.terms])
        self._row_multiplicity: np.ndarray | None = None
        self._level_multiplicities: list[np.ndarray] | None = None
        self._component_multiplicity: np.ndarray | None = None
        if rows.level_weights is not None:
            self._row_multiplicity = rows.level_weights[self.plan.first.codes]
            self._level_multiplicities = [self._row_multiplicity[term.first_rows] for term in self.plan.terms]
            by_column = np.concatenate(
                [
                    np.repeat(part, term.q)
                    for part, term in zip(self._level_multiplicities[1:], self.plan.later, strict=True)
                ]
            )
            self._component_multiplicity = np.ones(int(self.plan.layout.labels.max()) + 1)
            self._component_multiplicity[self.plan.layout.labels] = by_column

    def value(self, beta: np.ndarray, factors: Sequence[np.ndarray], start: State | None = None) -> State:
        """Evaluate the criterion.

        Parameters
        ----------
        beta : ndarray of shape (p,)
            Fixed effects.
        factors : sequence of ndarray of shape (q, q)
            Lower triangular T of each term.
        start : State or None
            Its modes are where the search for modes begins.
        """
        before = None
        if start is not None:
            near = start.work.get("found")
            before = (_joined(start.modes), None) if near is None else (near.point.u, near.system)
        found = find_modes(self.rows, self.plan, beta, factors, before, self._component_multiplicity)
        value = self._value(found)
        if not np.isfinite(value):
            raise np.linalg.LinAlgError("the criterion is not finite")
        u = found.point.u
        modes = [np.ascontiguousarray(self.plan.part(u, b).T) for b in range(len(factors))]
        return State(beta, list(factors), value, modes, {"u": u, "found": found})

    def _value(self, found: Modes) -> float:
        point, system = found.point, found.system
        if self._level_multiplicities is None:
            return point.objective + float(system.log_pivots.sum()) + system.half_log_det
        assert point.loss is not None and self._row_multiplicity is not None
        value = float(point.loss @ self._row_multiplicity) + system.half_log_det
        value += float(system.log_pivots @ self._level_multiplicities[0])
        for b, multiplicity in enumerate(self._level_multiplicities):
            value += 0.5 * float(np.sum(self.plan.part(point.u, b) ** 2, axis=1) @ multiplicity)
        return value

    def gradient(self, state: State) -> Gradient:
        """Differentiate the criterion, exactly.

        Parameters
        ----------
        state : State
            The criterion at some parameters.
        """
        work, rows, multiplicity = state.work, self.rows, self._row_multiplicity
        self._adjoint(state)
        moved = work["moved"] if multiplicity is None else work["moved"] * multiplicity
        factors = [self._factor_gradient(state, b) for b in range(len(state.factors))]
        sigma = [self._sigma_gradient(state, b, gradient) for b, gradient in enumerate(factors)]
        return Gradient(-np.dot(rows.fixed.T, moved), factors, sigma)

    def _adjoint(self, state: State) -> None:
        """Add to the state's work what its derivatives are made of."""
        work, plan = state.work, self.plan
        if "adjoint" in work:
            return
        point, system = work["found"].point, work["found"].system
        blocks = self._blocks(state)
        spread = self._leverages(blocks, state.factors)
        leverage = np.zeros(self.rows.n_rows)
        for term, T, rows_of in zip(plan.terms, state.factors, spread, strict=True):
            for a in range(term.q):
                for x in range(a + 1):
                    if T[a, x] != 0.0:
                        leverage += term.scaled(rows_of[x] * T[a, x], a)
        third = self._third(state)
        a_rows = 0.5 * leverage * third
        right = self._lambda_transposed(a_rows, state.factors)
        adjoint = system.solve(right[:, None])[:, 0]
        residual = point.residual
        change = a_rows
        for b, (term, T) in enumerate(zip(plan.terms, state.factors, strict=True)):
            change -= point.weight * term.spread(np.dot(plan.part(adjoint, b), T.T))
        work.update({"adjoint": adjoint, "spread": spread, "change": change, "moved": residual - change})

    def _blocks(self, state: State) -> InverseBlocks:
        if "blocks" not in state.work:
            state.work["blocks"] = state.work["found"].system.inverse_blocks()
        return state.work["blocks"]

    def _third(self, state: State) -> np.ndarray:
        """Return w kappa''' by row."""
        point = state.work["found"].point
        if point.third is None:
            eta = self.rows.fixed_predictor(state.beta)
            for b, (term, T) in enumerate(zip(self.plan.terms, state.factors, strict=True)):
                eta += term.spread(np.dot(self.plan.part(point.u, b), T.T))
            point.third = self.rows.family.derivatives(eta, 3)[3] * self.rows.weight
        return point.third

    def _lambda_transposed(self, values: np.ndarray, factors: Sequence[np.ndarray]) -> np.ndarray:
        """Return Lambda'Z'x of values by row."""
        parts = [np.dot(term.collect(values), T).ravel() for term, T in zip(self.plan.terms, factors, strict=True)]
        return np.concatenate(parts)

    def _leverages(self, blocks: InverseBlocks, factors: Sequence[np.ndarray]) -> list[list[np.ndarray]]:
        """Return e = C Lambda'z of each row at its own levels: by term, by effect (n_rows,)."""
        terms = self.plan.terms
        result: list[list[np.ndarray]] = []
        for b, term in enumerate(terms):
            block = np.einsum("xyl,ay->xal", blocks.own[b], factors[b])
            result.append([_over_columns(term, block[x], term.codes) for x in range(term.q)])
        for (b, c), block in blocks.between.items():
            cells = self.plan.cells[b, c]
            right, left = np.einsum("xyl,ay->xal", block, factors[c]), np.einsum("yxl,ay->xal", block, factors[b])
            for x in range(terms[b].q):
                for a in range(terms[c].q):
                    result[b][x] += terms[c].scaled(cells.take(right[x, a]), a)
            for x in range(terms[c].q):
                for a in range(terms[b].q):
                    result[c][x] += terms[b].scaled(cells.take(left[x, a]), a)
        return result

    def _factor_gradient(self, state: State, b: int) -> np.ndarray:
        """Return the derivative by the entries of T of a term."""
        work, term = state.work, self.plan.terms[b]
        weight = work["found"].point.weight
        if self._row_multiplicity is not None:
            weight = weight * self._row_multiplicity
        left, right = self._counted_products(state, b)
        result = np.dot(left.T, self.plan.part(work["u"], b)) + np.dot(right.T, self.plan.part(work["adjoint"], b))
        for a in range(term.q):
            weighted = term.scaled(weight, a)
            for c in range(term.q):
                result[a, c] += np.dot(weighted, work["spread"][b][c])
        return result

    def _level_products(self, state: State, b: int) -> tuple[np.ndarray, np.ndarray]:
        """Return -Z'(d - r) and Z'd (n_levels, q) of a term."""
        term = self.plan.terms[b]
        return -term.collect(state.work["moved"]), term.collect(state.work["found"].point.residual)

    def _counted_products(self, state: State, b: int) -> tuple[np.ndarray, np.ndarray]:
        """Return -Z'(d - r) and Z'd (n_levels, q) of a term, levels counting by their weights."""
        left, right = self._level_products(state, b)
        if self._level_multiplicities is None:
            return left, right
        counts = self._level_multiplicities[b][:, None]
        return left * counts, right * counts

    def _sigma_gradient(self, state: State, b: int, gradient: np.ndarray) -> np.ndarray:
        """Return the symmetric derivative by Sigma of a term."""
        T = state.factors[b]
        if np.abs(np.diag(T)).min() >= BOUNDARY:
            result = 0.5 * np.linalg.solve(T.T, gradient.T).T
            return 0.5 * (result + result.T)
        negative, residual = self._level_products(state, b)
        multiplicity = None if self._level_multiplicities is None else self._level_multiplicities[b]
        precision = sum_of_precisions(
            self.plan,
            state.work["found"].point.weight,
            state.work["found"].system,
            self._blocks(state).tail,
            b,
            multiplicity,
        )
        weighted = residual if multiplicity is None else residual * multiplicity[:, None]
        product = np.dot(weighted.T, residual + negative)
        return 0.5 * (precision - np.dot(weighted.T, residual) + product + product.T)

    def hessian(self, state: State) -> np.ndarray | None:
        """Return None: the exact second derivative is not at hand.

        Parameters
        ----------
        state : State
            The criterion at some parameters.
        """
        return None

    def curvature(self, state: State) -> np.ndarray:
        """Approximate the second derivative by a positive definite matrix.

        That of beta is its information at the working weights, that of Sigma the average information of the linearised
        model, moved to T; between them there is zero.

        Parameters
        ----------
        state : State
            The criterion at some parameters.
        """
        p, bounds = self.rows.n_fixed, self.parameters.bounds
        residual = state.work["found"].point.residual
        directions = np.empty((self.rows.n_rows, self.parameters.n_parameters))
        for b, (term, basis) in enumerate(zip(self.plan.terms, self.parameters.basis, strict=True)):
            collected = term.collect(residual)
            for number, matrix in enumerate(basis):
                directions[:, bounds[b] + number] = term.spread(np.dot(collected, matrix))
        result = np.zeros((p + directions.shape[1],) * 2)
        result[:p, :p] = self._information(state, self.rows.fixed)
        jacobian = self.parameters.jacobian(state.factors)
        positive = [_positive_part(matrix) for matrix in self.gradient(state).sigma]
        moved = 0.5 * jacobian.T @ self._information(state, directions) @ jacobian
        result[p:, p:] = _made_definite(moved + self.parameters.curvature_of_square(positive))
        return result

    def _information(self, state: State, columns: np.ndarray) -> np.ndarray:
        """Return Q'(W - WZ Lambda C Lambda'Z'W) Q of columns Q (n_rows, k)."""
        weight, system = state.work["found"].point.weight, state.work["found"].system
        parts = []
        for term, T in zip(self.plan.terms, state.factors, strict=True):
            collected = term.collect_many(weight, columns)
            parts.append(np.einsum("ac,lak->lck", T, collected.reshape(-1, term.q, columns.shape[1])))
        right = np.concatenate([part.reshape(-1, columns.shape[1]) for part in parts])
        solved = system.solve(right)
        if self._row_multiplicity is not None:
            assert self._level_multiplicities is not None
            weight = weight * self._row_multiplicity
            by_effect = [
                np.repeat(part, term.q) for part, term in zip(self._level_multiplicities, self.plan.terms, strict=True)
            ]
            right = right * np.concatenate(by_effect)[:, None]
        return np.dot(columns.T, columns * weight[:, None]) - np.dot(right.T, solved)

    def scores(self, state: State, clusters: np.ndarray, n_clusters: int) -> np.ndarray:
        """Return the gradient's share of each cluster (n_clusters, p + K), level weights included.

        Parameters
        ----------
        state : State
            The criterion at some parameters.
        clusters : ndarray of int of shape (n_rows,)
            Cluster of each row; every factor is nested in them.
        n_clusters : int
            Number of clusters.
        """
        self._adjoint(state)
        work, p, n_rows = state.work, self.rows.n_fixed, self.rows.n_rows
        moved, weight, rows = work["moved"], work["found"].point.weight, np.arange(n_rows)
        if self._row_multiplicity is not None:
            moved, weight = moved * self._row_multiplicity, weight * self._row_multiplicity
        result = np.empty((n_clusters, p + self.parameters.n_parameters))
        members = sparse.csr_matrix((moved, (clusters, rows)), shape=(n_clusters, n_rows))
        result[:, :p] = -(members @ self.rows.fixed)
        column = p
        for b, (term, entries) in enumerate(zip(self.plan.terms, self.parameters.entries, strict=True)):
            left, right = self._counted_products(state, b)
            u, v = self.plan.part(work["u"], b), self.plan.part(work["adjoint"], b)
            cluster_of_level = clusters[term.first_rows]
            for a, c in entries:
                by_row = term.scaled(weight * work["spread"][b][c], a)
                by_level = left[:, a] * u[:, c] + right[:, a] * v[:, c]
                result[:, column] = np.bincount(clusters, by_row, minlength=n_clusters)
                result[:, column] += np.bincount(cluster_of_level, by_level, minlength=n_clusters)
                column += 1
        return result

    def conditional_variances(self, state: State) -> list[np.ndarray]:
        """Return the variance of b = T u of each level (q, q, n_levels) by term, at the mode.

        Parameters
        ----------
        state : State
            The criterion at some parameters.
        """
        own = self._blocks(state).own
        return [np.einsum("ax,xyl,cy->acl", T, block, T) for T, block in zip(state.factors, own, strict=True)]


def _over_columns(term: TermRows, block: np.ndarray, codes: np.ndarray) -> np.ndarray:
    """Return the sum over columns of the values (q, n_levels) of each row's level times the column."""
    result = term.scaled(block[0].take(codes), 0)
    for a in range(1, term.q):
        result += term.scaled(block[a].take(codes), a)
    return result


def _joined(modes: Sequence[np.ndarray]) -> np.ndarray:
    """Return one vector of the modes (q, n_levels) of all terms."""
    return np.concatenate([np.ascontiguousarray(part.T).ravel() for part in modes])


def _positive_part(matrix: np.ndarray) -> np.ndarray:
    """Return a symmetric matrix with its negative eigenvalues set to zero."""
    values, vectors = np.linalg.eigh(matrix)
    return (vectors * np.maximum(values, 0.0)) @ vectors.T


def _made_definite(matrix: np.ndarray) -> np.ndarray:
    """Return a symmetric matrix with its eigenvalues bounded away from zero."""
    values, vectors = np.linalg.eigh(0.5 * (matrix + matrix.T))
    least = max(_LEAST_CURVATURE * float(values[-1]), 1e-12) if len(values) else 0.0
    return (vectors * np.maximum(values, least)) @ vectors.T
