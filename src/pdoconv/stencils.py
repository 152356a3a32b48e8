r"""Numerical schemes: a monomial derivative becomes weights on a grid of spacing 1.

A scheme is a small frozen value with `weights(exponents, size)`. One solver (moment conditions) serves all of them.
Weights are for cross-correlation, as in `torch.nn.functional.conv2d`: nothing is flipped at run time.
"""

from dataclasses import dataclass
from functools import lru_cache
from math import factorial
from typing import Protocol

import numpy as np

from pdoconv.grid import Matrix, axis_of
from pdoconv.operators import Exponents, Operator


class Stencils(Protocol):
    """A numerical scheme."""

    def weights(self, exponents: Exponents, size: int) -> Matrix:
        """Return the weights `(size,) * dim` of the monomial derivative, row 0 = top."""
        ...


@lru_cache(maxsize=256)
def centred(n: int, accuracy: int = 2) -> Matrix:
    r"""Return the narrowest centred weights for $d^n/dx^n$, on offsets -r..r, exact to $O(h^{\mathrm{accuracy}})$.

    Solves the moment conditions $\sum_x w_x x^q / q! = \delta_{qn}$ for $q = 0, \dots, 2r$ in float64.

    Raises:
        ValueError: If n is negative or the accuracy is not a positive even number.

    >>> centred(2).tolist(), centred(3).tolist()
    ([1.0, -2.0, 1.0], [-0.5, 1.0, 0.0, -1.0, 0.5])
    """
    if n < 0 or accuracy < 2 or accuracy % 2:
        raise ValueError(f"centred: expected n >= 0 and an even accuracy >= 2, received n={n}, accuracy={accuracy}.")
    reach = (n + 1) // 2 + accuracy // 2 - 1 if n else 0
    x = np.arange(-reach, reach + 1, dtype=np.float64)
    q = np.arange(len(x))
    moments = x ** q[:, None] / np.array([factorial(i) for i in q])[:, None]
    w = np.linalg.solve(moments, (q == n).astype(np.float64))
    w = (w + (-1) ** n * w[::-1]) / 2 + 0.0
    scale = factorial(2 * reach)  # the weights are fractions with a small denominator: remove the rounding
    w = np.asarray(np.rint(w * scale) / scale, dtype=np.float64)
    w.setflags(write=False)
    return w


def truncation_constant(n: int, accuracy: int = 2) -> float:
    r"""Return c in $D_n f = f^{(n)} + c h^a f^{(n+a)} + O(h^{a+2})$ for accuracy a.

    >>> [round(truncation_constant(n) * 12, 12) for n in range(5)]
    [0.0, 2.0, 1.0, 3.0, 2.0]
    """
    w = centred(n, accuracy)
    x = np.arange(len(w)) - len(w) // 2
    return float((w * x.astype(np.float64) ** (n + accuracy)).sum() / factorial(n + accuracy))


@dataclass(frozen=True)
class FiniteDifference:
    """Products of 1-D centred differences; with accuracy 2 on 5x5 the authors' fifteen schemes."""

    accuracy: int = 2

    def weights(self, exponents: Exponents, size: int) -> Matrix:
        """Return the product stencil, zero-padded to `size` in every direction; y points up.

        Raises:
            ValueError: If a 1-D scheme is wider than `size`.
        """
        stencil = np.ones((1,) * len(exponents))
        for coordinate, n in enumerate(exponents):
            w = centred(n, self.accuracy)
            if len(w) > size:
                raise ValueError(
                    f"A derivative of order {n} at accuracy {self.accuracy} needs {len(w)} points, the kernel has "
                    f"{size}: use kernel_size={len(w)} or operators of lower order."
                )
            axis, sign = axis_of(coordinate)
            shape = [1] * len(exponents)
            shape[axis] = size
            stencil = stencil * np.pad(w, (size - len(w)) // 2)[::sign].reshape(shape)
        return stencil


def finite_difference(accuracy: int = 2) -> FiniteDifference:
    """Return centred finite differences; accuracy 2 is the authors' scheme.

    Raises:
        ValueError: If the accuracy is not a positive even number.
    """
    centred(0, accuracy)
    return FiniteDifference(accuracy)


def discretise(operator: Operator, stencils: Stencils, size: int) -> Matrix:
    """Return the weights `(size,) * dim` of an operator.

    >>> from pdoconv.operators import derivatives
    >>> u, v = derivatives(2)
    >>> discretise(u**2 + v**2, finite_difference(), 3).tolist()
    [[0.0, 1.0, 0.0], [1.0, -4.0, 1.0], [0.0, 1.0, 0.0]]
    """
    total = np.zeros((size,) * operator.dim)
    for exponents, c in operator.terms:
        total = total + c * stencils.weights(exponents, size)
    return total
