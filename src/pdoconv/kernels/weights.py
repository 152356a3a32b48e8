"""From a layer's weight `(out_fields, in_fields, R, basis)` to the flat block weights of a plan, and the adjoint."""

from functools import lru_cache

import torch
from torch import Tensor

from pdoconv.kernels.plan import Plan


def flatten(plan: Plan, weight: Tensor) -> Tensor:
    """Return every block's matrix `(out_fields * outs, in_fields * ins)`, flat, one after the other."""
    if plan.mix is None:
        return _expand(plan, weight).flatten()
    mixed = weight.flatten(2) @ _constant(plan, "mix", weight.dtype, weight.device)
    parts = torch.split(mixed, [block.outs * block.ins for block in plan.blocks], 2)
    shaped = [torch.unflatten(p, 2, (b.outs, b.ins)).transpose(1, 2) for p, b in zip(parts, plan.blocks, strict=True)]
    return torch.cat([part.flatten() for part in shaped])


def gather(plan: Plan, flat: Tensor, shape: torch.Size | list[int]) -> Tensor:
    """Apply the adjoint of `flatten`: from a gradient of the blocks to that of a weight of this shape."""
    out_fields, in_fields, _, _ = shape
    if plan.mix is None:
        return _collect(plan, flat.view(out_fields, plan.leave.rows, in_fields, plan.enter.inputs, -1), shape)
    parts = torch.split(flat, [out_fields * in_fields * block.outs * block.ins for block in plan.blocks])
    shaped = [
        p.view(out_fields, b.outs, in_fields, b.ins).transpose(1, 2).flatten(2)
        for p, b in zip(parts, plan.blocks, strict=True)
    ]
    mix = _constant(plan, "mix", flat.dtype, flat.device)
    return (torch.cat(shaped, 2) @ mix.T).view(*shape)


def _expand(plan: Plan, w: Tensor) -> Tensor:
    """Return `(out_fields, out, in_fields, in, stencil)`: a dense kernel whose taps are the stencils."""
    a = _constant(plan, "coordinates", w.dtype, w.device)
    if w.shape[2] > 1:  # w[o, i, g^-1 h, b] A[g, b, s]
        every = torch.einsum("oirb,gbs->oirgs", w, a).flatten(2, 3)
        pairs = _constant(plan, "pairs", torch.int64, w.device)
        return torch.unflatten(every.index_select(2, pairs), 2, (len(a), len(a))).transpose(1, 2)
    if plan.leave.rows > 1:
        return torch.einsum("oib,gbs->ogis", w[:, :, 0], a).unsqueeze(3)
    if plan.enter.inputs > 1:
        return torch.einsum("oib,hbs->oihs", w[:, :, 0], a).unsqueeze(1)
    return torch.einsum("oib,bs->ois", w[:, :, 0], a.mean(0))[:, None, :, None]


def _collect(plan: Plan, dense: Tensor, shape: torch.Size | list[int]) -> Tensor:
    a = _constant(plan, "coordinates", dense.dtype, dense.device)
    if shape[2] > 1:
        back = _constant(plan, "pairs", torch.int64, dense.device).argsort()
        every = dense.transpose(1, 2).flatten(2, 3).index_select(2, back)  # (o, i, (r, g), s)
        return torch.einsum("oirgs,gbs->oirb", torch.unflatten(every, 2, (len(a), len(a))), a)
    if plan.leave.rows > 1:
        return torch.einsum("ogis,gbs->oib", dense[:, :, :, 0], a).unsqueeze(2)
    if plan.enter.inputs > 1:
        return torch.einsum("oihs,hbs->oib", dense[:, 0], a).unsqueeze(2)
    return torch.einsum("ois,bs->oib", dense[:, 0, :, 0], a.mean(0)).unsqueeze(2)


@lru_cache(maxsize=256)
def _constant(plan: Plan, name: str, dtype: torch.dtype, device: torch.device) -> Tensor:
    return torch.tensor(getattr(plan, name), dtype=dtype, device=device)
