"""What a filter family is, and how a saved file names the one it was trained with."""

import hashlib
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from pdoconv.groups import Group

Basis = NDArray[np.float64]


@runtime_checkable
class Filters(Protocol):
    """A filter family: a frozen, hashable value."""

    def __hash__(self) -> int:
        """Equal families have equal hashes: bases are cached by family."""
        ...

    def basis(self, group: Group, size: int) -> Basis:
        """Return `(|G|, basis, *kernel)`: basis filter b moved by group element g, read-only."""
        ...


def orders_of(filters: Filters, count: int) -> tuple[int, ...]:
    """Return the order of the derivative that each of `count` weights stands for; 0 in families without orders."""
    return tuple(getattr(filters, "orders", None) or [0] * count)


def fingerprint(filters: Filters, group: Group, size: int) -> str:
    """Return a short hash of a basis, equal on every machine: saved models carry it and refuse a mismatch."""
    rounded = np.round(filters.basis(group, size), 9) + 0.0
    return hashlib.sha256(str(rounded.shape).encode() + rounded.tobytes()).hexdigest()[:16]
