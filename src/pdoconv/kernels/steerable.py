r"""The space of equivariant kernels between two kinds of fields.

A kernel K(x), `(D_out, D_in)` at every tap, is equivariant iff $\rho_{out}(g)\, K(g^{-1} x)\, \rho_{in}(g)^{-1} = K(x)$
for all g (Weiler & Cesa, 2019; for operators, Jenner & Weiler, 2022). Averaging over the group projects onto them.
With $F_b^{(g)}$ the basis filter b moved by g and $e_i, e_j$ unit vectors of the two fields they are all
combinations of

$$K_{bij} = \sum_g \rho_{out}(g)\, e_i\, (\rho_{in}(g)\, e_j)^T\, F_b^{(g)}.$$

* *Regular on one side.* Its unit vectors are all copies of the first, so e of that side stays the first; what is left
  is independent, one kernel for every b and every unit vector of the other side. For a regular output these are the
  layers of PDO-eConv, operators in the frame of the output; else operators in the frame of the input.
* *Otherwise* the operators are those that turned copies of the family's span; one side needs only unit vectors whose
  copies span its field. Gram-Schmidt in the order b, i, j drops what depends on those before, and every kernel is
  scaled to norm $\sqrt{D_{out}}$: all weights move an output channel alike.

Nothing is left to the machine: neither signs nor the order depend on a decomposition.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from pdoconv.filters import Filters
from pdoconv.filters.base import orders_of
from pdoconv.groups import Group
from pdoconv.representations import Representation

Array = NDArray[np.float64]
_DEPENDS = 1e-6  # what is left of a vector that depends on those before, by rounding


@dataclass(frozen=True, eq=False)
class Space:
    """Kernels of one pair of kinds.

    Attributes:
        copies: R, unit vectors of the side that is not regular; 1 where neither is.
        basis: `(R * B, D_out, D_in, *kernel)`, read-only.
        orders: For each kernel the order of its operator, 0 for families without operators.
    """

    copies: int
    basis: Array
    orders: tuple[int, ...]


@lru_cache(maxsize=256)
def space(filters: Filters, size: int, out: Representation, into: Representation) -> Space:
    """Return the equivariant kernels from fields `into` to fields `out`."""
    moved = filters.basis(out.group, size)
    orders = orders_of(filters, moved.shape[1])
    regular = [r.name == "regular" for r in (out, into)]
    if any(regular):
        if regular[0]:
            found = _average(moved, out.matrices[:, :, :1], into.matrices)
        else:
            found = _average(moved, out.matrices, into.matrices[:, :, :1])
        found = found.swapaxes(0, 1)  # unit vector, then operator
        basis, copies = found.reshape(-1, *found.shape[2:]), len(found)
        orders = orders * copies
    else:
        moved, orders = _closed(filters, out.group, size)
        starts = [list(_generators(r)) for r in (out, into)]
        if len(starts[0]) * into.dim < len(starts[1]) * out.dim:
            starts[1] = list(range(into.dim))
        else:
            starts[0] = list(range(out.dim))
        found = _average(moved, out.matrices[:, :, starts[0]], into.matrices[:, :, starts[1]])
        largest = float(np.linalg.norm(moved.reshape(*moved.shape[:2], -1), axis=2).max()) * len(moved)
        kept, copies = _independent(found.reshape(-1, *found.shape[2:]), largest), 1
        basis = np.stack([kernel for _, kernel in kept]) if kept else found[:0, 0]
        basis = basis * np.sqrt(out.dim)
        orders = tuple(orders[index // found.shape[1]] for index, _ in kept)
    basis = basis.reshape(*basis.shape[:3], *moved.shape[2:])
    basis.setflags(write=False)
    return Space(copies, basis, tuple(orders))


def count(filters: Filters, size: int, out: Representation, into: Representation) -> tuple[int, int]:
    """Return (R, B): numbers of kernels, without making those of regular fields."""
    if out.name == "regular":
        return into.dim, filters.basis(out.group, size).shape[1]
    if into.name == "regular":
        return out.dim, filters.basis(out.group, size).shape[1]
    return 1, len(space(filters, size, out, into).basis)


def _average(moved: Array, left: Array, right: Array) -> Array:
    """Return $(b, (i, j), D_{out}, D_{in}, taps)$ of `moved (|G|, b, *kernel)`, `left (|G|, D_out, i)` and `right`."""
    order, filters = moved.shape[:2]
    pairs = np.einsum("gai,gcj->gijac", left, right).reshape(order, -1)
    found = moved.reshape(order, -1).T @ pairs
    shape = (filters, -1, left.shape[2] * right.shape[2], left.shape[1], right.shape[1])
    return np.ascontiguousarray(np.moveaxis(found.reshape(shape), 1, -1))


@lru_cache(maxsize=64)
def _closed(filters: Filters, group: Group, size: int) -> tuple[Array, tuple[int, ...]]:
    """Add turned copies of filters until the span holds them all: filter b of the frame h, moved by g, is b at g h."""
    moved = filters.basis(group, size)
    orders = orders_of(filters, moved.shape[1])
    every = moved.reshape(-1, int(np.prod(moved.shape[2:])))
    largest = float(np.linalg.norm(every, axis=1).max())
    if np.linalg.matrix_rank(every, tol=_DEPENDS * largest) == moved.shape[1]:
        return moved, orders
    places = [divmod(index, moved.shape[1]) for index, _ in _independent(every, largest)]
    copies = [moved[group.product[:, h], b] for h, b in places]
    return np.stack(copies, axis=1), tuple(orders[b] for _, b in places)


@lru_cache(maxsize=256)
def _generators(r: Representation) -> tuple[int, ...]:
    """Return unit vectors, as few as come first, whose copies span the field."""
    found: list[int] = []
    copies = np.zeros((0, r.dim))
    for c in range(r.dim):
        more = np.concatenate([copies, r.matrices[:, :, c]])
        rank = np.linalg.matrix_rank(more, tol=1e-6)
        if rank > np.linalg.matrix_rank(copies, tol=1e-6):
            found.append(c)
            copies = more
        if rank == r.dim:
            break
    return tuple(found)


def _independent(candidates: Array, largest: float) -> list[tuple[int, Array]]:
    """Gram-Schmidt in order; return places and unit vectors of those not made of the ones before, beside `largest`."""
    flat = candidates.reshape(len(candidates), -1)
    kept: list[tuple[int, Array]] = []
    basis = np.zeros((min(flat.shape), flat.shape[1]))
    for index, vector in enumerate(flat):
        left = vector
        for _ in range(2):  # the second time for rounding
            left = left - basis[: len(kept)].T @ (basis[: len(kept)] @ left)
        size = np.linalg.norm(left)
        if size > _DEPENDS * largest:
            basis[len(kept)] = left / size
            kept.append((index, (left / size).reshape(candidates.shape[1:])))
    return kept
