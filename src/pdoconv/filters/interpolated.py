r"""Interpolated rotation: the taps of an ordinary kernel, turned with it (ORN's active rotating filters).

A kernel of 3x3 turns as a ring (Zhou et al., 2017): its eight outer taps move along the border, one place for 45
degrees, and the centre stays. Other kernels are turned by bilinear interpolation, with zeros outside their frame. Both
are exact for quarter turns and flips only; between them interpolation blurs, and no finer grid makes up for it.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from pdoconv.filters.base import Basis
from pdoconv.filters.rotated import taps_moved
from pdoconv.groups import Group

_RING = ((1, 2), (0, 2), (0, 1), (0, 0), (1, 0), (2, 0), (2, 1), (2, 2))  # (row, column), counter-clockwise from x


@dataclass(frozen=True)
class InterpolatedFilters:
    """Every tap of a kernel, row-major, turned by interpolation.

    Args:
        ring: Turn kernels of 3x3 as a ring.
        disk: Leave out the taps beyond the disk whose diameter is the side of the kernel (Marcos et al., 2017): they
            would leave the frame when they turn. Their weights have no effect at any angle.
    """

    ring: bool = True
    disk: bool = False

    def basis(self, group: Group, size: int) -> Basis:
        """Return `(|G|, size * size, size, size)`: tap b where element g carries it, in shares.

        Raises:
            ValueError: If the group is not of the plane, or `size` is even or less than 1.
        """
        return _basis(self, group, size)


@lru_cache(maxsize=64)
def _basis(filters: InterpolatedFilters, group: Group, size: int) -> Basis:
    if group.dim != 2:
        raise ValueError(f"Interpolated filters: expected a group of the plane, received {group!r}.")
    if size < 1 or size % 2 == 0:
        raise ValueError(f"Interpolated filters need an odd kernel_size, received {size}.")
    if filters.ring and size == 3:
        basis = np.stack([_ring(matrix) for matrix in group.matrices])
    else:
        basis = taps_moved(group, size, "bilinear")
    if filters.disk:
        line = np.arange(size) - size // 2
        basis *= (line[:, None] ** 2 + line**2 <= (size / 2) ** 2).reshape(-1, 1, 1)
    basis.setflags(write=False)
    return basis


def _ring(matrix: np.ndarray) -> Basis:
    """Return `(9, 3, 3)`: the taps of a 3x3 kernel moved along its border, a place for every 45 degrees."""
    moved = np.zeros((9, 3, 3))
    moved[4, 1, 1] = 1
    for place, (row, column) in enumerate(_RING):
        angle = place * np.pi / 4  # of the direction in which the tap lies; its length does not count
        x, y = matrix @ (np.cos(angle), np.sin(angle))
        to = float(np.round(np.arctan2(y, x) / (np.pi / 4), 9)) % 8
        share = to % 1
        for step, weight in ((0, 1 - share), (1, share)):
            moved[3 * row + column][_RING[(int(to) + step) % 8]] += weight
    return moved


def interpolated(*, ring: bool = True, disk: bool = False) -> InterpolatedFilters:
    """Return the family of interpolated filters: ORN (Zhou et al., 2017), with `disk` RotEqNet (Marcos et al., 2017).

    Args:
        ring: Turn kernels of 3x3 as a ring: exact for multiples of 45 degrees as a permutation of the taps.
        disk: Leave out the taps beyond a disk.

    >>> from pdoconv import cyclic
    >>> interpolated().basis(cyclic(8), 3)[1, 5]  # the tap to the right, turned by 45 degrees
    array([[0., 0., 1.],
           [0., 0., 0.],
           [0., 0., 0.]])
    """
    return InterpolatedFilters(ring, disk)
