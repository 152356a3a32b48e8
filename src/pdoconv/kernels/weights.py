"""From a layer's weight `(out_fields, in_fields, R, basis)` to the flat block weights of a plan, and the adjoint."""

import torch
from torch import Tensor

from pdoconv.kernels.plan import Plan, constant


def flatten(plan: Plan, weight: Tensor) -> Tensor:
    """Return every block's matrix `(out_fields * outs, in_fields * ins)`, flat, one after the other."""
    if plan.mix is None:
        a, pairs = (constant(plan, name, weight.dtype, weight.device) for name in ("coordinates", "pairs"))
        return expand(weight, a, pairs, plan.leave.rows, plan.enter.inputs).flatten()
    mixed = weight.flatten(2) @ constant(plan, "mix", weight.dtype, weight.device)
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
    mix = constant(plan, "mix", flat.dtype, flat.device)
    return (torch.cat(shaped, 2) @ mix.T).view(*shape)


def expand(w: Tensor, filters: Tensor, pairs: Tensor, outs: int, ins: int) -> Tensor:
    """Return the kernel `(out_fields, outs, in_fields, ins, taps)` of a weight `(out_fields, in_fields, R, basis)`.

    Args:
        w: The weight.
        filters: `(|G|, basis, taps)`, the moved basis; taps of pixels, or coordinates in stencils. Between trivial
            fields `(1, basis, taps)`, the equivariant kernels.
        pairs: `pdoconv.kernels.plan.pairs` of the group.
        outs: Channels of an output field, 1 or |G|.
        ins: Channels of an input field.
    """
    if w.shape[2] > 1:  # w[o, i, r, b] F[g, b] -> [o, i, r, g], then pick r = g^-1 h
        every = torch.einsum("oirb,gbt->oirgt", w, filters).flatten(2, 3)
        return torch.unflatten(every.index_select(2, pairs), 2, (outs, ins)).transpose(1, 2)
    if outs > 1:
        return torch.einsum("oib,gbt->ogit", w[:, :, 0], filters).unsqueeze(3)
    if ins > 1:
        return torch.einsum("oib,hbt->oiht", w[:, :, 0], filters).unsqueeze(1)
    return torch.einsum("oib,bt->oit", w[:, :, 0], filters[0])[:, None, :, None]


def _collect(plan: Plan, dense: Tensor, shape: torch.Size | list[int]) -> Tensor:
    a = constant(plan, "coordinates", dense.dtype, dense.device)
    if shape[2] > 1:
        back = constant(plan, "pairs", dense.dtype, dense.device).argsort()
        every = dense.transpose(1, 2).flatten(2, 3).index_select(2, back)  # (o, i, (r, g), s)
        return torch.einsum("oirgs,gbs->oirb", torch.unflatten(every, 2, (len(a), len(a))), a)
    if plan.leave.rows > 1:
        return torch.einsum("ogis,gbs->oib", dense[:, :, :, 0], a).unsqueeze(2)
    if plan.enter.inputs > 1:
        return torch.einsum("oihs,hbs->oib", dense[:, 0], a).unsqueeze(2)
    return torch.einsum("ois,bs->oib", dense[:, 0, :, 0], a[0]).unsqueeze(2)
