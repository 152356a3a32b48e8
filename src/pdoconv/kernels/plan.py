r"""What a fast group convolution computes: four sparse linear steps around one set of matrix products.

A layer's kernel is $\sum_{r,b} w_{oirb} K_{rb}$ with few distinct stencils $E_s$ in all $K_{rb}$, so the derivative
maps $E_s x$ are computed once and mixed by matrix products. In detail:

1. `enter`: a transform U of the group axis of every input field (a Fourier transform on the group, or nothing),
2. `passes`: the S stencils of every channel, axis by axis,
3. `couple`: derivative maps of a field to rows $z_{\lambda a q}$ that transform by the irreducible representations
   $\lambda$ (Clebsch-Gordan coefficients; sparse and orthogonal),
4. a matrix product a block: $\hat y_{\lambda a, oc} = \sum_{i,q} W^\lambda_{oc,iq} z_{\lambda a, iq}$, with W linear
   in the weights,
5. `leave`: the transform back.

By Schur's lemma the products need $S \sum_\lambda D_\lambda^3$ multiplications a pair of fields and pixel, at most
$2 |G| S$ for cyclic and dihedral groups, against $|G|^2$ times the taps for the dense kernel.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray

from pdoconv.filters import Filters
from pdoconv.groups import Group
from pdoconv.irreps import Irrep, irreps
from pdoconv.kernels.span import Span, span
from pdoconv.kernels.steerable import space
from pdoconv.kernels.table import Array, Table, passes
from pdoconv.representations import trivial


@dataclass(frozen=True, eq=False)
class Block:
    """A matrix product for each of `copies` rows: `(out_fields * outs, in_fields * ins)`."""

    copies: int
    outs: int
    ins: int


@dataclass(frozen=True, eq=False)
class Plan:
    """A fast group convolution of one pair of field kinds; the module's docstring has the steps.

    Attributes:
        enter: `(in channels of a field, the same)`.
        passes: One table an axis of space, the last axis (x) first.
        couple: From (stencil, channel of the field) to rows (block, copy, q).
        leave: From (block, copy, c) to the channels of a field.
        blocks: The matrix products.
        stencils: `(S, *kernel)`.
        mix: `(R * basis, sum of outs * ins)`: weights to blocks; `None`: `coordinates` expands them like a kernel.
        coordinates: `(|G|, basis, S)`; between trivial fields `(1, basis, S)`, of the equivariant kernels.
        pairs: `(|G|^2,)`, for every (g, h) the place of $(g^{-1} h, g)$.
    """

    enter: Table
    passes: tuple[Table, ...]
    couple: Table
    leave: Table
    blocks: tuple[Block, ...]
    stencils: Array
    mix: Array | None
    coordinates: Array
    pairs: NDArray[np.int64]

    @property
    def entries(self) -> int:
        """Entries of the blocks' matrices for one pair of fields."""
        return sum(block.outs * block.ins for block in self.blocks)


@lru_cache(maxsize=64)
def derivatives_plan(filters: Filters, group: Group, size: int, in_kind: str, out_kind: str) -> Plan:
    """Derivative maps first, then one product over (channel, stencil)."""
    s = _span(filters, group, size)
    count = len(s.stencils)
    n_in, n_out = (group.order if kind == "regular" else 1 for kind in (in_kind, out_kind))
    # q = (channel, stencil), as a kernel whose taps are the stencils
    couple = np.eye(n_in * count).reshape(count, n_in, -1).transpose(1, 0, 2).reshape(n_in * count, -1)
    return Plan(
        enter=Table.of(np.eye(n_in)[..., None]),
        passes=passes(s.stencils),
        couple=Table.of(couple[..., None]),
        leave=Table.of(np.eye(n_out)[..., None]),
        blocks=(Block(1, n_out, n_in * count),),
        stencils=s.stencils,
        mix=None,
        coordinates=_coordinates(filters, group, size, in_kind, out_kind),
        pairs=pairs(group),
    )


@lru_cache(maxsize=64)
def fourier_plan(filters: Filters, group: Group, size: int, in_kind: str, out_kind: str) -> Plan | None:
    """Group-Fourier: cost linear in |G|; `None` where the group does not map the span of the filters to itself."""
    s = _span(filters, group, size)
    if s.rho is None:
        return None
    coordinates = _coordinates(filters, group, size, in_kind, out_kind)
    every = irreps(group)
    inner, outer = (every if kind == "regular" else every[:1] for kind in (in_kind, out_kind))
    enter = np.concatenate([_rows(r, in_kind).reshape(-1, _size(group, in_kind)) for r in inner])
    couple, blocks, leave, mix = [], [], [], []
    for target in outer:
        z = _couplings(s, every, inner, target)  # (copies, q, S, channels after `enter`)
        # first rows of the transform: for a complex pair (cos, -sin), else every row and column
        back = _rows(target, out_kind) if not target.complex else _first_row(target)
        blocks.append(Block(len(z), back.shape[1], z.shape[1]))
        couple.append(z.reshape(-1, z.shape[2] * z.shape[3]))
        leave.append(back.reshape(-1, back.shape[2]))
        mix.append(_mix(coordinates, group, back[0], (z[0] @ enter), in_kind, out_kind))
    return Plan(
        enter=Table.of(enter[..., None]),
        passes=passes(s.stencils),
        couple=Table.of(np.concatenate(couple)[..., None]),
        leave=Table.of(np.concatenate(leave).T[..., None]),
        blocks=tuple(blocks),
        stencils=s.stencils,
        mix=np.concatenate(mix, axis=1),
        coordinates=coordinates,
        pairs=pairs(group),
    )


def pairs(group: Group) -> NDArray[np.int64]:
    """Return for every (g, h), flat, the place of $(r, g)$ with $r = g^{-1} h$."""
    return (group.relative * group.order + np.arange(group.order)[:, None]).ravel()


@lru_cache(maxsize=64)
def _span(filters: Filters, group: Group, size: int) -> Span:
    return span(np.asarray(filters.basis(group, size)), group)


def _coordinates(filters: Filters, group: Group, size: int, in_kind: str, out_kind: str) -> Array:
    s = _span(filters, group, size)
    if "regular" in (in_kind, out_kind):
        return s.coordinates
    kernels = space(filters, size, trivial(group), trivial(group)).basis
    flat = s.stencils.reshape(len(s.stencils), -1)
    return np.asarray(kernels.reshape(len(kernels), -1) @ np.linalg.pinv(flat))[None]


def _size(group: Group, kind: str) -> int:
    return group.order if kind == "regular" else 1


def _rows(irrep: Irrep, kind: str) -> Array:
    """Return the Fourier rows `(D, copies, channels)` of a field; a trivial one has its single channel."""
    return irrep.fourier() if kind == "regular" else np.ones((1, 1, 1))


def _first_row(irrep: Irrep) -> Array:
    rows = irrep.matrices[:, :1].transpose(1, 2, 0) * np.sqrt(irrep.dim / len(irrep.matrices))
    return np.ascontiguousarray(rows)


def _couplings(s: Span, every: tuple[Irrep, ...], inner: tuple[Irrep, ...], target: Irrep) -> Array:
    """Return `(copies, q, S, channels)`: how derivative maps combine to rows that transform by `target`."""
    channels = sum(r.dim * r.copies for r in inner)
    rows = [np.zeros((1 if target.complex else target.dim, 0, len(s.stencils), channels))]
    first_stencil = 0
    for sigma in (every[b] for b in s.blocks):
        first_channel = 0
        for mu in inner:
            for x in _intertwiners(sigma, mu, target):  # (copies, D_sigma, D_mu)
                for d in range(mu.copies):
                    row = np.zeros((len(x), len(s.stencils), channels))
                    where = first_channel + d + mu.copies * np.arange(mu.dim)
                    row[:, first_stencil : first_stencil + sigma.dim, where] = x
                    rows.append(row[:, None])
            first_channel += mu.dim * mu.copies
        first_stencil += sigma.dim
    return np.concatenate(rows, axis=1)


@lru_cache(maxsize=4096)
def _intertwiners(sigma: Irrep, mu: Irrep, target: Irrep) -> list[Array]:
    """Return orthonormal maps X `(copies, D_sigma, D_mu)` with (sigma x mu)(h) X_a = sum of X_a' target(h)_a'a."""
    both = np.einsum("hij,hkl->hikjl", sigma.matrices, mu.matrices)
    both = both.reshape(len(both), sigma.dim * mu.dim, -1)
    copies = 1 if target.complex else target.dim
    transfer = np.einsum("ha,hst->ast", target.matrices[:, :copies, 0], both) * target.dim / len(both)
    found: list[Array] = []
    left = transfer[0]
    while (size := np.linalg.norm(left, axis=0)).max(initial=0) > 1e-6:
        first = left[:, size.argmax()] / size.max()
        found.append((transfer @ first).reshape(copies, sigma.dim, mu.dim))
        left = left - np.outer(first, first @ left)
    return found


def _mix(a: Array, group: Group, back: Array, z: Array, in_kind: str, out_kind: str) -> Array:
    """Return `(R * basis, outs * ins)`: the block's matrix for each unit weight; z is `(ins, S, channels)`."""
    n = group.order
    if in_kind == out_kind == "regular":  # weight (r, b) joins g with h = g r
        left = np.einsum("cg,gbs->bcgs", back, a).reshape(-1, n * a.shape[2])
        parts = [left @ z[:, :, group.product[:, r]].transpose(2, 1, 0).reshape(-1, len(z)) for r in range(n)]
        return np.stack(parts).reshape(n * a.shape[1], -1)
    if out_kind == "regular":
        mix = np.einsum("cg,gbs,qs->bcq", back, a, z[:, :, 0], optimize=True)
    elif in_kind == "regular":
        mix = np.einsum("hbs,qsh->bq", a, z)
    else:
        mix = a[0] @ z[:, :, 0].T
    return np.asarray(mix).reshape(a.shape[1], -1)


@lru_cache(maxsize=512)
def constant(plan: Plan, name: str, dtype: torch.dtype, device: torch.device) -> torch.Tensor:
    """Return an array of a plan, or the matrix of one of its steps, as a tensor; integers stay integers."""
    value = getattr(plan, name)
    array = value.dense()[:, :, 0] if isinstance(value, Table) else value
    return torch.tensor(array, dtype=torch.int64 if array.dtype.kind == "i" else dtype, device=device)
