r"""Fourth-order equivariant stencils: the leading error is made round instead of small.

What disturbs equivariance is the part of a stencil's error that is not rotation-symmetric. A kernel of side 2r + 1 can
match all Taylor moments with exponents up to 2r. An operator P of order n is therefore asked to be
$P (1 + c_n h^2 \Delta) + O(h^4)$: its second-order error is P followed by the Laplacian, which turns as P does.
For n <= 2r - 2 every $c_n$ can be had, and a positive one smooths. For n = 2r - 1 and 2r it is forced by the highest
line derivative, $c_n$ = `truncation_constant(n)` (1/4 and 1/6 on 5x5). Operators of order 2r other than the powers of
the Laplacian would need two values at once and stay of second order: (2,4) and (4,4) on 5x5, (2,2) on 3x3.
"""

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from pdoconv.grid import Matrix
from pdoconv.operators import Exponents, Operator
from pdoconv.stencils.finite import exact_moments, product, require_centre, truncation_constant


@dataclass(frozen=True)
class Isotropic:
    r"""Isotropic stencils, smoothed by $\exp(c h^2 \Delta)$ in the orders that are free to be (n <= size - 3)."""

    smoothing: float = 0.0

    def __post_init__(self) -> None:
        """Check the smoothing."""
        if not 0 <= self.smoothing < math.inf:
            raise ValueError(f"isotropic: expected a finite smoothing >= 0, received {self.smoothing}.")

    def weights(self, exponents: Exponents, size: int) -> Matrix:
        """Return the stencil of one monomial derivative.

        Raises:
            ValueError: If `size` is even or the order of the derivative is not below it.
        """
        require_centre("Isotropic stencils", size)
        if sum(exponents) >= size:
            raise ValueError(
                f"A kernel of {size} points a side cannot carry an operator of order {sum(exponents)}: use "
                f"kernel_size={sum(exponents) + 1 | 1} or operators of lower order."
            )
        return _weights(exponents, size, self.smoothing)


@lru_cache(maxsize=512)
def _weights(exponents: Exponents, size: int, smoothing: float) -> Matrix:
    order, dim = sum(exponents), len(exponents)
    forced = order > size - 3
    c = truncation_constant(order) if forced else smoothing
    laplacian = Operator({tuple(2 * int(i == j) for j in range(dim)): 1.0 for i in range(dim)})
    total, power, j = np.zeros((size,) * dim), Operator({exponents: 1.0}), 0
    while c**j and (j < 2 if forced else 2 * j < dim * size):
        for e, coefficient in power.terms:
            if max(e) < size:  # higher exponents are not the grid's to choose
                lines = [exact_moments(n, size // 2) for n in e]
                total += c**j / math.factorial(j) * coefficient * product(lines, size)
        power, j = power * laplacian, j + 1
    total.setflags(write=False)
    return total


def isotropic(smoothing: float = 0.0) -> Isotropic:
    r"""Return fourth-order equivariant stencils, of orders below the kernel's side.

    Args:
        smoothing: c of $\exp(c h^2 \Delta)$, in pixels squared, for the orders up to size - 3; the higher ones come
            smoothed by themselves. A Gaussian of width sigma has $c = \sigma^2 / 2$.

    Raises:
        ValueError: If the smoothing is negative or not finite.
    """
    return Isotropic(float(smoothing))
