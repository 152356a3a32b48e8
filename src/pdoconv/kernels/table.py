"""Sparse steps of a plan, and how a set of stencils becomes one step an axis."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Ints = NDArray[np.int32]


@dataclass(frozen=True, eq=False)
class Table:
    """Sparse combinations of shifted maps: `out[m](p) = sum of coefficient * in[source](p + shift)` over row m.

    Attributes:
        starts: `(rows + 1,)`, where each row's terms begin.
        sources, shifts, coefficients: `(terms,)`; shifts in taps along the axis of the step.
        inputs: Number of input maps.
    """

    starts: Ints
    sources: Ints
    shifts: Ints
    coefficients: Array
    inputs: int

    @classmethod
    def of(cls, dense: Array) -> "Table":
        """Make a table of an array `(rows, inputs, shifts)`."""
        row, source, shift = np.nonzero(np.abs(dense) > 1e-12 * np.abs(dense).max())
        starts = np.searchsorted(row, np.arange(len(dense) + 1))
        values = np.ascontiguousarray(dense[row, source, shift])
        narrow = np.int32
        return cls(starts.astype(narrow), source.astype(narrow), shift.astype(narrow), values, dense.shape[1])

    @property
    def rows(self) -> int:
        """Number of output maps."""
        return len(self.starts) - 1

    def dense(self) -> Array:
        """Return the array `(rows, inputs, shifts)`."""
        array = np.zeros((self.rows, self.inputs, int(self.shifts.max(initial=0)) + 1))
        array[np.repeat(np.arange(self.rows), np.diff(self.starts)), self.sources, self.shifts] = self.coefficients
        return array

    def transposed(self) -> "Table":
        """Return the adjoint's table; its shifts count backwards."""
        return Table.of(self.dense().transpose(1, 0, 2))


def passes(stencils: Array) -> tuple[Table, ...]:
    """Factor stencils into one pass an axis, x first, through functions that are even or odd.

    The functions of the axes done so far span, parity by parity, what the stencils contain.
    """
    tables: list[Table] = []
    rest = stencils[..., None]  # (S, taps of the axes to come, taps of this axis, functions of those done)
    parity = np.zeros((1, 0))
    while rest.ndim > 3:
        k, functions = rest.shape[-2:]
        found: list[Array] = []
        signs: list[Array] = []
        flat = rest.reshape(-1, k, functions)
        for sign in (1, -1):
            for kind in sorted({tuple(row) for row in parity}):
                part = np.where((parity == np.array(kind)).all(1), (flat + sign * flat[:, ::-1]) / 2, 0).reshape(
                    len(flat), -1
                )
                basis = _sparse_basis(part, k, functions, sign)
                found += list(basis)
                signs += [np.array([*kind, sign])] * len(basis)
        functions_new = np.stack(found)  # (new functions, k, functions)
        tables.append(Table.of(functions_new.transpose(0, 2, 1)))
        dual = np.linalg.pinv(functions_new.reshape(len(found), -1))
        rest = (rest.reshape(-1, k * functions) @ dual).reshape(*rest.shape[:-2], -1)
        parity = np.stack(signs)
    tables.append(Table.of(rest.transpose(0, 2, 1)))
    return tuple(tables)


def _sparse_basis(part: Array, k: int, functions: int, sign: int) -> Array:
    """Return few functions `(count, k, functions)` that span the rows of `part`."""
    _, sizes, vectors = np.linalg.svd(part, full_matrices=False)
    rank = int((sizes > max(1e-9 * sizes.max(initial=0), 1e-12)).sum())
    used = np.flatnonzero(np.abs(part).max(0, initial=0).reshape(k, functions).max(0, initial=0) > 1e-12)
    plain = [(t, f) for f in used for t in range((k + (sign > 0)) // 2)]
    if rank == len(plain):  # nothing to gain: pairs of taps, the sparsest basis
        pairs = np.zeros((rank, k, functions))
        for row, (t, f) in enumerate(plain):
            pairs[row, t, f] = 1
            pairs[row, k - 1 - t, f] = sign if t != k - 1 - t else 1
        return pairs
    return vectors[:rank].reshape(rank, k, functions)
