r"""The space that a moving filter family spans: fixed stencils, and how the group acts on them.

Every moved filter is $F_b^{(g)} = \sum_s A_{gbs} E_s$ with a few fixed stencils $E_s$ (13 for the thirteen operators
on any kernel, for any group). Where the group maps the space to itself, $A_{hg,b} = \rho(h) A_{g,b}$ with an orthogonal
representation $\rho$, and the stencils are chosen in irreducible blocks of it.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pdoconv.groups import Group
from pdoconv.irreps import irreps

Array = NDArray[np.float64]
TOLERANCE = 1e-9


@dataclass(frozen=True, eq=False)
class Span:
    """Stencils and coordinates of a filter family.

    Attributes:
        stencils: `(S, *kernel)`.
        coordinates: A, `(|G|, basis, S)`.
        rho: `(|G|, S, S)`, or `None` where the group does not map the space to itself.
        blocks: For each irreducible block of `rho` the index of its representation in `irreps(group)`, in order.
    """

    stencils: Array
    coordinates: Array
    rho: Array | None
    blocks: tuple[int, ...]


def span(basis: Array, group: Group) -> Span:
    """Find the span of a basis `(|G|, basis, *kernel)`."""
    flat = basis.reshape(-1, int(np.prod(basis.shape[2:])))
    _, sizes, vectors = np.linalg.svd(flat, full_matrices=False)
    stencils = vectors[sizes > TOLERANCE * sizes[0]]
    taps, shape = basis.shape[2:], (*basis.shape[:2], len(stencils))
    coordinates = (flat @ stencils.T).reshape(shape)
    rho = _representation(coordinates, group)
    if rho is None:
        turn = _by_parity(np.eye(len(stencils)), stencils.reshape(-1, *taps), stencils)
        return Span((turn @ stencils).reshape(-1, *taps), coordinates @ turn.T, None, ())
    # the metric that the group keeps: the average of all moved ones
    values, axes = np.linalg.eigh(np.einsum("hts,htu->su", rho, rho) / group.order)
    root, inverse = (axes * values**0.5) @ axes.T, (axes * values**-0.5) @ axes.T
    stencils, coordinates, rho = inverse @ stencils, coordinates @ root, root @ rho @ inverse
    turn, blocks = _blocks(rho, group, stencils.reshape(-1, *taps), (root @ root) @ stencils)
    return Span((turn @ stencils).reshape(-1, *taps), coordinates @ turn.T, turn @ rho @ turn.T, blocks)


def _representation(coordinates: Array, group: Group) -> Array | None:
    r"""Solve $A_{hg} = \rho(h) A_g$ for all g and b at once; `None` if nothing does."""
    flat = coordinates.reshape(-1, coordinates.shape[2])
    moved = coordinates[group.product].reshape(group.order, *flat.shape)
    rho = np.einsum("sk,hkt->hts", np.linalg.pinv(flat), moved)
    wrong = np.abs(np.einsum("ks,hts->hkt", flat, rho) - moved).max()
    return rho if wrong < TOLERANCE * np.abs(flat).max() else None


def _blocks(rho: Array, group: Group, stencils: Array, dual: Array) -> tuple[Array, tuple[int, ...]]:
    """Return an orthogonal change of stencils into irreducible blocks, even or odd in each axis where possible."""
    rows: list[Array] = []
    blocks: list[int] = []
    for index, irrep in enumerate(irreps(group)):
        # transfer[a] carries the first vector of a block to its vector a
        transfer = np.einsum("ha,hst->ast", irrep.matrices[:, :, 0], rho) * irrep.dim / group.order
        values, vectors = np.linalg.eigh(transfer[0] + transfer[0].T)
        firsts = _by_parity(vectors[:, values > 1].T, stencils, dual)
        while len(firsts):
            block = transfer @ firsts[0]
            rows.extend(block)
            blocks.append(index)
            left = firsts - firsts @ block.T @ block  # a complex pair holds the partner among the first vectors
            firsts = _independent(left)
    return np.stack(rows), tuple(blocks)


def _independent(vectors: Array) -> Array:
    """Gram-Schmidt, dropping what depends on those before."""
    kept: list[Array] = []
    for vector in vectors:
        for other in kept:
            vector = vector - (vector @ other) * other
        if (size := float(np.linalg.norm(vector))) > 1e-6:
            kept.append(vector / size)
    return np.array(kept)


def _by_parity(vectors: Array, stencils: Array, dual: Array) -> Array:
    """Turn orthonormal coordinate vectors so that each stands for a stencil even or odd in each axis, if they allow."""
    weighted = np.zeros((len(vectors),) * 2)
    for axis in range(1, stencils.ndim):
        flipped = np.flip(stencils, axis).reshape(len(stencils), -1) @ dual.T
        weighted += 2.0**axis * vectors @ flipped.T @ vectors.T
    _, turn = np.linalg.eigh(weighted + weighted.T)
    return np.asarray(turn.T @ vectors)
