r"""Filters on the hexagonal lattice, exact for turns by 60 degrees (Hoogeboom et al., 2018: p6 and p6m).

A map on that lattice is stored in an array by axial coordinates: the cell in row v and column u, counted from the
centre, lies at $x = u + v/2$, $y = -\frac{\sqrt{3}}{2} v$. A hexagonal kernel of radius R is an array of side 2R + 1
whose cells with $\max(|u|, |v|, |u + v|) \le R$ are used: 7 for side 3, 19 for side 5. A turn by 60 degrees carries
(u, v) to $(u + v, -u)$.
"""

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from pdoconv.filters.base import Basis
from pdoconv.grid import Matrix
from pdoconv.groups import Group

LATTICE: Matrix = np.array([[1.0, 0.5], [0.0, -math.sqrt(0.75)]])
"""From axial coordinates (u, v), column and row, to (x, y)."""


@dataclass(frozen=True)
class HexagonalFilters:
    """The cells of a hexagonal kernel, row by row: a weight is `(out, in, R, cells)`."""

    def basis(self, group: Group, size: int) -> Basis:
        """Return `(|G|, cells, size, size)`: cell b where element g carries it, in axial coordinates.

        Raises:
            ValueError: If an element does not map the hexagonal lattice to itself, or `size` is even or less than 1.
        """
        return _basis(group, size)


@lru_cache(maxsize=64)
def _basis(group: Group, size: int) -> Basis:
    if size < 1 or size % 2 == 0:
        raise ValueError(f"Hexagonal filters need an odd kernel_size, received {size}.")
    radius = size // 2
    v, u = np.nonzero(hexagon(radius))
    cells = np.stack([u - radius, v - radius])
    basis = np.zeros((group.order, cells.shape[1], size, size))
    for g, matrix in enumerate(axial(group)):
        to_u, to_v = matrix @ cells + radius
        basis[g, np.arange(cells.shape[1]), to_v, to_u] = 1
    basis.setflags(write=False)
    return basis


def hexagon(radius: int) -> NDArray[np.bool_]:
    """Return which cells of an axial array of side 2 * radius + 1 are in the hexagon of that radius.

    >>> hexagon(1).astype(int)
    array([[0, 1, 1],
           [1, 1, 1],
           [1, 1, 0]])
    """
    v, u = np.indices((2 * radius + 1,) * 2) - radius
    return np.asarray(np.maximum(np.maximum(abs(u), abs(v)), abs(u + v)) <= radius)


def axial(group: Group) -> NDArray[np.int64]:
    r"""Return the elements as matrices of whole numbers on axial coordinates (u, v), $B^{-1} A B$, `(|G|, 2, 2)`.

    Raises:
        ValueError: If an element does not map the hexagonal lattice to itself.
    """
    wanted = "expected a group of turns by 60 degrees and flips such as C6, D6 or C3"
    if group.dim != 2 or group.continuous:
        raise ValueError(f"Hexagonal lattice: {wanted}, received {group!r}.")
    found = np.linalg.inv(LATTICE) @ group.matrices @ LATTICE
    whole = np.rint(found)
    if np.abs(found - whole).max() > 1e-9:
        raise ValueError(f"Hexagonal lattice: {wanted}, received {group}: for quarter turns use filters.rotated().")
    return whole.astype(np.int64)


def hexagonal() -> HexagonalFilters:
    """Return the family of hexagonal filters: HexaConv (Hoogeboom et al., 2018).

    Maps are axial arrays: `pdoconv.nn.HexagonalResample` makes them of images.

    >>> from pdoconv import cyclic
    >>> hexagonal().basis(cyclic(6), 3).shape
    (6, 7, 3, 3)
    """
    return HexagonalFilters()
