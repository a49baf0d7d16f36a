r"""Hadamard matrices: entries +1 and -1, rows orthogonal. They balance half-samples and successive differences.

An order above 2 is a multiple of 4. Matrices are built, not tabulated: from quadratic residues of a finite field (two
constructions of Paley) and as Kronecker products of smaller ones (Sylvester). That gives every order up to 88 and most
of the others (92 is the first that takes more); the least order that is large enough is a few replicates away.

References
----------
Sylvester (1867), Philosophical Magazine 34, 461-475: products. Paley (1933), Journal of Mathematics and Physics 12,
311-320: orders q + 1 and 2 (q + 1) from a field of q elements.
"""

from __future__ import annotations

from functools import cache
from itertools import product

import numpy as np

__all__ = ["hadamard_matrix", "least_hadamard_order"]


def hadamard_matrix(order: int) -> np.ndarray:
    """Build a Hadamard matrix whose first row and column are +1.

    Parameters
    ----------
    order : int
        1, 2 or a multiple of 4.

    Returns
    -------
    matrix : ndarray of int8 of shape (order, order)
        Rows are orthogonal, and so are columns.

    Raises
    ------
    ValueError
        If the order is impossible, or no construction here has it.

    Examples
    --------
    >>> from skdep.survey.hadamard import hadamard_matrix
    >>> hadamard_matrix(4)
    array([[ 1,  1,  1,  1],
           [ 1, -1,  1, -1],
           [ 1, -1, -1,  1],
           [ 1,  1, -1, -1]], dtype=int8)
    """
    if order > 2 and order % 4:
        raise ValueError(f"A Hadamard matrix of order {order} is impossible: orders are 1, 2 and multiples of 4.")
    if _construction(order) is None:
        raise ValueError(
            f"No construction here gives a Hadamard matrix of order {order}; the next larger order that has one is "
            f"{least_hadamard_order(max(order, 1))}."
        )
    matrix = _build(order)
    matrix = matrix * matrix[:, :1]
    return matrix * matrix[:1]


def least_hadamard_order(n: int) -> int:
    """Return the least order, `n` or above, of a Hadamard matrix that `hadamard_matrix` builds."""
    if n <= 2:
        return max(n, 1)
    order = -(-n // 4) * 4
    while _construction(order) is None:
        order += 4
    return order


@cache
def _construction(order: int) -> tuple[str, int] | None:
    """Say how an order is built: by Paley from a field of so many elements, or as a product with so large a factor."""
    if order in (1, 2):
        return "product", 1
    if order < 1 or order % 4:
        return None
    if _prime_power(order - 1) is not None:
        return "paley one", order - 1
    q = order // 2 - 1
    if q % 4 == 1 and _prime_power(q) is not None:
        return "paley two", q
    for factor in range(2, order // 2 + 1):
        if order % factor == 0 and _construction(factor) is not None and _construction(order // factor) is not None:
            return "product", factor
    return None


def _build(order: int) -> np.ndarray:
    if order == 1:
        return np.ones((1, 1), dtype=np.int8)
    if order == 2:
        return np.array([[1, 1], [1, -1]], dtype=np.int8)
    how, number = _construction(order) or ("", 0)
    if how == "product":
        return np.kron(_build(number), _build(order // number))
    residues = _residue_matrix(number)
    bordered = np.zeros((number + 1, number + 1), dtype=np.int8)
    bordered[1:, 1:] = residues
    bordered[0, 1:] = 1
    identity = np.eye(number + 1, dtype=np.int8)
    if how == "paley one":
        bordered[1:, 0] = -1
        return bordered + identity
    bordered[1:, 0] = 1
    return np.kron(bordered, np.array([[1, 1], [1, -1]], dtype=np.int8)) + np.kron(
        identity, np.array([[1, -1], [-1, -1]], dtype=np.int8)
    )


def _residue_matrix(q: int) -> np.ndarray:
    """Return chi(a - b) for all a, b of the field of q elements: 1 for squares, -1 for others, 0 for zero."""
    prime, degree = _prime_power(q) or (q, 1)
    place = prime ** np.arange(degree)
    digits = np.arange(q)[:, None] // place % prime  # elements are polynomials, their coefficients the digits
    difference = np.zeros((q, q), dtype=np.intp)
    for power in range(degree):
        difference += (digits[:, None, power] - digits[None, :, power]) % prime * place[power]
    chi = np.full(q, -1, dtype=np.int8)
    chi[0] = 0
    chi[_squares(prime, degree, digits) @ place] = 1
    return chi[difference]


def _squares(prime: int, degree: int, digits: np.ndarray) -> np.ndarray:
    """Return the digits of all nonzero squares of the field, each twice."""
    if degree == 1:
        return digits[1:] ** 2 % prime
    # x generates the field if its powers, by x^degree = sum of tail_i x^i, do not return to 1 too early
    for tail in product(range(1, prime), *[range(prime)] * (degree - 1)):
        powers = _powers(prime, np.array(tail), prime**degree - 1)
        if powers is not None:
            return np.concatenate([powers[::2], powers[::2]])
    raise AssertionError("every finite field has a primitive polynomial")


def _powers(prime: int, tail: np.ndarray, order: int) -> np.ndarray | None:
    """Return the digits of x^0, x^1, ... up to `order` of them, all different; None if they repeat."""
    degree = len(tail)
    powers = np.zeros((order, degree), dtype=np.intp)
    powers[0, 0] = 1
    for exponent in range(1, order):
        before = powers[exponent - 1]
        powers[exponent, 1:] = before[:-1]
        powers[exponent] = (powers[exponent] + before[-1] * tail) % prime
        if (powers[exponent] == powers[0]).all():
            return None
    return powers


@cache
def _prime_power(q: int) -> tuple[int, int] | None:
    """Return (p, k) of q = p^k, p prime; None if q is no power of an odd prime."""
    if q < 3 or q % 2 == 0:
        return None
    prime = next((d for d in range(3, int(q**0.5) + 1, 2) if q % d == 0), q)
    degree = 0
    while q % prime == 0:
        q //= prime
        degree += 1
    return (prime, degree) if q == 1 else None
