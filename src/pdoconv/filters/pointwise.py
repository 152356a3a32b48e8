"""The order-0 family: one tap, the same for every group element (1x1 group convolutions)."""

from dataclasses import dataclass

import numpy as np

from pdoconv.filters.base import Basis
from pdoconv.groups import Group


@dataclass(frozen=True)
class PointwiseFilters:
    """The identity operator alone."""

    def basis(self, group: Group, size: int) -> Basis:
        """Return ones of shape `(|G|, 1, 1, ...)`; `ValueError` unless `size` is 1."""
        if size != 1:
            raise ValueError(f"Pointwise filters have kernel_size 1, received {size}.")
        return np.ones((group.order, 1) + (1,) * group.dim)


def pointwise() -> PointwiseFilters:
    """Return the family of 1x1 filters."""
    return PointwiseFilters()
