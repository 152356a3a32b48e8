r"""What a numerical scheme is, and what can be said of its weights exactly: Taylor series, symbol, order.

A scheme is a small frozen value with `weights(exponents, size)`, linear in the operator. Weights are for
cross-correlation, as in `torch.nn.functional.conv2d`: nothing is flipped at run time. The grid spacing is 1.
"""

import math
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from pdoconv.grid import Matrix, axis_of
from pdoconv.operators import Exponents, Operator, monomials


class Stencils(Protocol):
    """A numerical scheme: a frozen, hashable value."""

    def __hash__(self) -> int:
        """Equal schemes have equal hashes: weights are cached by scheme."""
        ...

    def weights(self, exponents: Exponents, size: int) -> Matrix:
        """Return the weights `(size,) * dim` of the monomial derivative, row 0 = top."""
        ...


def discretise(operator: Operator, stencils: Stencils, size: int) -> Matrix:
    """Return the weights `(size,) * dim` of an operator.

    >>> from pdoconv.operators import derivatives
    >>> from pdoconv.stencils import finite_difference
    >>> u, v = derivatives(2)
    >>> discretise(u**2 + v**2, finite_difference(), 3).tolist()
    [[0.0, 1.0, 0.0], [1.0, -4.0, 1.0], [0.0, 1.0, 0.0]]
    """
    total = np.zeros((size,) * operator.dim)
    for exponents, c in operator.terms:
        total = total + c * stencils.weights(exponents, size)
    return total


def offsets(dim: int, size: int) -> NDArray[np.float64]:
    """Return the positions `(size ** dim, dim)` of the taps about the centre, in the order of the flattened weights.

    x points right, y up. On even sides the centre lies between pixels and all positions are half-integers.

    >>> offsets(1, 4).ravel().tolist()
    [-1.5, -0.5, 0.5, 1.5]
    """
    line = np.arange(size) - (size - 1) / 2
    arrays = np.meshgrid(*[line] * dim, indexing="ij")
    columns = [sign * arrays[axis] for axis, sign in map(axis_of, range(dim))]
    return np.stack(columns, axis=-1).reshape(-1, dim).astype(np.float64)


def symbol(weights: NDArray[np.float64], frequencies: NDArray[np.float64]) -> NDArray[np.complex128]:
    r"""Return $\hat w(k) = \sum_x w_x e^{i k \cdot x}$, what the weights make of the plane wave $e^{i k \cdot x}$.

    Args:
        weights: `(..., *kernel)`, as many kernel axes as `frequencies` has columns.
        frequencies: `(points, dim)`, radians per pixel.

    Returns:
        `(..., points)`; for an exact derivative it is the polynomial at $i k$.
    """
    dim = frequencies.shape[-1]
    waves = np.exp(1j * frequencies @ offsets(dim, weights.shape[-1]).T)
    return np.asarray(weights.reshape(*weights.shape[: weights.ndim - dim], -1) @ waves.T)


def expansion(weights: Matrix, order: int) -> Operator:
    r"""Return what the weights do, as a Taylor series: the operator $\sum_e \sum_x w_x \frac{x^e}{e!} \partial^e$.

    >>> from pdoconv.stencils import centred
    >>> expansion(centred(3), 5)
    Operator(u^3 + 0.25 u^5)
    """
    x = offsets(weights.ndim, len(weights))
    terms = {}
    for e in monomials(weights.ndim, order):
        moment = float(weights.ravel() @ np.prod(x ** np.array(e), axis=1)) / math.prod(map(math.factorial, e))
        terms[e] = moment if abs(moment) > 1e-10 else 0.0
    return Operator(terms)


def equivariance_order(operator: Operator, stencils: Stencils, size: int, *, reach: int = 8) -> float:
    r"""Return the order p of the equivariance error $O(h^p)$, exactly, from the Taylor series.

    The series of the operator's weights in a turned frame, turned back, is compared with the series in the first
    frame: the lowest degree d in which they differ gives $p = d - n$ for an operator of order n. What they have in
    common turns exactly, however far it is from the operator. An order of 0 or less says that the error does not vanish
    on fine grids.

    Args:
        operator: Homogeneous operator of order n.
        stencils: Numerical scheme.
        size: Side of the kernel.
        reach: Degrees above n that are looked at; `inf` if no difference is found there.
    """
    turn = _generic_rotation(operator.dim)
    top = operator.order + reach
    here = expansion(discretise(operator, stencils, size), top)
    turned = expansion(discretise(operator.in_frame(turn), stencils, size), top)
    difference = turned - here.in_frame(turn)
    degrees = [sum(e) for e, c in difference.terms if abs(c) > 1e-8]
    return min(degrees) - operator.order if degrees else math.inf


def _generic_rotation(dim: int) -> Matrix:
    """Return a rotation that is near no symmetry of the lattice (on the line: the reflection)."""
    if dim == 1:
        return -np.eye(1)
    turn = np.eye(dim)
    for i, angle in enumerate((0.6, 0.9, 0.4)[: dim * (dim - 1) // 2]):
        plane, (c, s) = np.eye(dim), (math.cos(angle), math.sin(angle))
        a, b = i % dim, (i + 1) % dim
        plane[a, a], plane[a, b], plane[b, a], plane[b, b] = c, -s, s, c
        turn = turn @ plane
    return turn
