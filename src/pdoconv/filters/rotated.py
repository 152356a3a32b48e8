"""Rotated pixels: the taps of an ordinary kernel, moved by rearranging them (Cohen & Welling, 2016: p4 and p4m).

Exact, for groups whose elements map the pixel lattice to itself, and for kernels of even side too, which turn about
their centre.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch

from pdoconv.filters.base import Basis
from pdoconv.grid import move
from pdoconv.groups import Group


@dataclass(frozen=True)
class RotatedFilters:
    """Every tap of a kernel, row-major: a weight `(out, in, R, k * k)` is a set of ordinary kernels."""

    def basis(self, group: Group, size: int) -> Basis:
        """Return `(|G|, size ** dim, *kernel)`: tap b where element g carries it.

        Raises:
            ValueError: If an element does not map the pixel lattice to itself, or `size` is less than 1.
        """
        return _basis(group, size)


@lru_cache(maxsize=64)
def _basis(group: Group, size: int) -> Basis:
    if len(group.lattice_elements) < group.order or group.continuous:
        raise ValueError(
            f"Rotated pixels: expected a group of quarter turns and flips such as C4 or D4, received {group}: use "
            f"pdoconv.filters.interpolated() for other angles, hexagonal() for turns by 60 degrees."
        )
    basis = taps_moved(group, size, "nearest")
    basis.setflags(write=False)
    return basis


def taps_moved(group: Group, size: int, mode: str) -> Basis:
    """Return `(|G|, size ** dim, *kernel)`: every tap moved by every element, exactly or by interpolation of a mode.

    Raises:
        ValueError: If `size` is less than 1.
    """
    if size < 1:
        raise ValueError(f"A kernel has a side of at least 1, received {size}.")
    taps = torch.eye(size**group.dim, dtype=torch.float64, device="cpu").view(1, -1, *(size,) * group.dim)
    return np.ascontiguousarray(torch.cat([move(taps, matrix, mode=mode) for matrix in group.matrices]).numpy())


def rotated() -> RotatedFilters:
    """Return the family of rotated pixels: G-CNN (Cohen & Welling, 2016); with `cyclic(1)` an ordinary convolution.

    >>> from pdoconv import cyclic
    >>> rotated().basis(cyclic(4), 3).shape
    (4, 9, 3, 3)
    """
    return RotatedFilters()
