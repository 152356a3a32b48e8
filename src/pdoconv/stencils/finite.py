"""Finite differences: products of one-dimensional centred schemes."""

from dataclasses import dataclass
from functools import lru_cache
from math import factorial

import numpy as np

from pdoconv.grid import Matrix, axis_of
from pdoconv.operators import Exponents


@lru_cache(maxsize=256)
def exact_moments(n: int, reach: int) -> Matrix:
    r"""Return the weights on offsets -r..r with $\sum_x w_x x^q / q! = \delta_{qn}$ for $q = 0, \dots, 2r$, in float64.

    Raises:
        ValueError: If n is not in 0..2r.

    >>> exact_moments(2, 1).tolist()
    [1.0, -2.0, 1.0]
    """
    if not 0 <= n <= 2 * reach:
        raise ValueError(f"A derivative of order {n} needs more than {2 * reach + 1} points: use a larger kernel.")
    x = np.arange(-reach, reach + 1, dtype=np.float64)
    q = np.arange(len(x))
    moments = x ** q[:, None] / np.array([factorial(i) for i in q])[:, None]
    w = np.linalg.solve(moments, (q == n).astype(np.float64))
    w = (w + (-1) ** n * w[::-1]) / 2 + 0.0
    scale = factorial(2 * reach)  # the weights are fractions with a small denominator: remove the rounding
    w = np.asarray(np.rint(w * scale) / scale, dtype=np.float64)
    w.setflags(write=False)
    return w


def centred(n: int, accuracy: int = 2) -> Matrix:
    r"""Return the narrowest centred weights for $d^n/dx^n$, exact to $O(h^{\mathrm{accuracy}})$.

    Raises:
        ValueError: If n is negative or the accuracy is not a positive even number.

    >>> centred(3).tolist()
    [-0.5, 1.0, 0.0, -1.0, 0.5]
    """
    if n < 0 or accuracy < 2 or accuracy % 2:
        raise ValueError(f"centred: expected n >= 0 and an even accuracy >= 2, received n={n}, accuracy={accuracy}.")
    return exact_moments(n, (n + 1) // 2 + accuracy // 2 - 1 if n else 0)


def truncation_constant(n: int, accuracy: int = 2) -> float:
    r"""Return c in $D_n f = f^{(n)} + c h^a f^{(n+a)} + O(h^{a+2})$ for accuracy a.

    >>> [round(truncation_constant(n) * 12, 12) for n in range(5)]
    [0.0, 2.0, 1.0, 3.0, 2.0]
    """
    w = centred(n, accuracy)
    x = np.arange(len(w)) - len(w) // 2
    return float((w * x.astype(np.float64) ** (n + accuracy)).sum() / factorial(n + accuracy))


def require_centre(scheme: str, size: int) -> None:
    """Raise `ValueError` for kernels of even side, which have no centre pixel."""
    if size % 2 == 0:
        raise ValueError(
            f"{scheme} need an odd kernel_size, received {size}: Gaussian and band-limited stencils have even sides "
            f"too (filters.pdo(stencils=stencils.gaussian()))."
        )


def product(lines: list[Matrix], size: int) -> Matrix:
    """Return the product stencil of one line of weights a coordinate, each zero-padded to `size`; y points up."""
    stencil = np.ones((1,) * len(lines))
    for coordinate, w in enumerate(lines):
        axis, sign = axis_of(coordinate)
        shape = [1] * len(lines)
        shape[axis] = size
        stencil = stencil * np.pad(w, (size - len(w)) // 2)[::sign].reshape(shape)
    return stencil


@dataclass(frozen=True)
class FiniteDifference:
    """Products of 1-D centred differences; with accuracy 2 on 5x5 the authors' fifteen schemes.

    The equivariance error is of the order of the accuracy.
    """

    accuracy: int = 2

    def __post_init__(self) -> None:
        """Check the accuracy."""
        centred(0, self.accuracy)

    def weights(self, exponents: Exponents, size: int) -> Matrix:
        """Return the product stencil, zero-padded to `size` in every direction.

        Raises:
            ValueError: If `size` is even or a 1-D scheme is wider.
        """
        require_centre("Finite differences", size)
        lines = [centred(n, self.accuracy) for n in exponents]
        for n, w in zip(exponents, lines, strict=True):
            if len(w) > size:
                raise ValueError(
                    f"A derivative of order {n} at accuracy {self.accuracy} needs {len(w)} points, the kernel has "
                    f"{size}: use kernel_size={len(w)} or operators of lower order."
                )
        return product(lines, size)


def finite_difference(accuracy: int = 2) -> FiniteDifference:
    """Return centred finite differences; accuracy 2 is the authors' scheme.

    Up to order 4, accuracy 2 fits kernels of 5, accuracy 4 of 7, accuracy 6 of 9.

    Raises:
        ValueError: If the accuracy is not a positive even number.
    """
    return FiniteDifference(accuracy)
