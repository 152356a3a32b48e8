"""The steps of a plan in plain torch operations: any device, dtype and stride; slower than the CPU kernel."""

import torch
import torch.nn.functional as F
from torch import Tensor

from pdoconv.kernels.geometry import Geometry, out_space
from pdoconv.kernels.plan import Plan, constant

CONV = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}
CONV_TRANSPOSE = {1: F.conv_transpose1d, 2: F.conv_transpose2d, 3: F.conv_transpose3d}


def forward(plan: Plan, x: Tensor, weight: Tensor, geometry: Geometry) -> Tensor:
    """Return the convolution of `x` `(batch, in_channels, *space)` with flat block weights."""
    space, z = _derive(plan, x, geometry)
    rows = []
    for block, w, part in zip(plan.blocks, blocks(plan, weight, geometry), _split_z(plan, z), strict=True):
        y = torch.einsum("ociq,niaqp->noacp", w, part)
        rows.append(y.reshape(*y.shape[:2], block.copies * block.outs, -1))
    leave = constant(plan, "leave", x.dtype, x.device)
    return torch.einsum("gr,norp->nogp", leave, torch.cat(rows, 2)).reshape(len(x), -1, *space)


def input_gradient(plan: Plan, gy: Tensor, weight: Tensor, geometry: Geometry, space: tuple[int, ...]) -> Tensor:
    """Return the gradient of an `x` of size `space`."""
    rows = _split_y(plan, gy, geometry)
    weights = blocks(plan, weight, geometry)
    parts = [torch.einsum("ocip,noacq->niapq", w, y) for w, y in zip(weights, rows, strict=True)]
    z = torch.cat([part.flatten(2, 3) for part in parts], 2)
    maps = torch.einsum("zm,nizp->nimp", constant(plan, "couple", gy.dtype, gy.device), z)
    stencils, channels = constant(plan, "stencils", gy.dtype, gy.device), plan.enter.inputs
    maps = maps.reshape(len(gy), geometry.in_fields, len(stencils), channels, -1).transpose(2, 3)
    extent = [geometry.dilation * (k - 1) for k in stencils.shape[1:]]
    # pixels at the end that no output of a strided layer has seen
    unseen = [
        n + 2 * geometry.padding - e - 1 - (m - 1) * geometry.stride
        for n, m, e in zip(space, gy.shape[2:], extent, strict=True)
    ]
    x = CONV_TRANSPOSE[len(space)](
        maps.reshape(-1, len(stencils), *gy.shape[2:]), stencils[:, None], None, geometry.stride, geometry.padding,
        unseen, 1, geometry.dilation,
    )  # fmt: skip
    x = torch.einsum(
        "cj,nicp->nijp",
        constant(plan, "enter", gy.dtype, gy.device),
        x.reshape(len(gy), -1, channels, x[0, 0].numel()),
    )
    return x.reshape(len(gy), -1, *space)


def weight_gradient(plan: Plan, x: Tensor, gy: Tensor, geometry: Geometry) -> Tensor:
    """Return the gradient of the flat block weights."""
    _, z = _derive(plan, x, geometry)
    parts = zip(_split_y(plan, gy, geometry), _split_z(plan, z), strict=True)
    return torch.cat([torch.einsum("noacp,niaqp->ociq", y, part).flatten() for y, part in parts])


def blocks(plan: Plan, flat: Tensor, geometry: Geometry) -> list[Tensor]:
    """Cut flat weights into `(out_fields, outs, in_fields, ins)` a block."""
    pair = geometry.out_fields * geometry.in_fields
    parts = torch.split(flat, [pair * block.outs * block.ins for block in plan.blocks])
    return [
        part.view(geometry.out_fields, block.outs, geometry.in_fields, block.ins)
        for part, block in zip(parts, plan.blocks, strict=True)
    ]


def _derive(plan: Plan, x: Tensor, geometry: Geometry) -> tuple[tuple[int, ...], Tensor]:
    """Return the output's size and the rows z `(batch, in_fields, rows, pixels)`."""
    dim, count = x.dim() - 2, len(plan.stencils)
    enter, stencils, couple = (constant(plan, name, x.dtype, x.device) for name in ("enter", "stencils", "couple"))
    fields = x.reshape(len(x), geometry.in_fields, len(enter), -1)
    fields = torch.einsum("cj,nijp->nicp", enter, fields).reshape(-1, 1, *x.shape[2:])
    maps = CONV[dim](fields, stencils[:, None], None, geometry.stride, geometry.padding, geometry.dilation)
    space = out_space(plan.stencils.shape[1:], x.shape[2:], geometry)
    maps = maps.reshape(len(x), geometry.in_fields, len(enter), count, -1).transpose(2, 3).flatten(2, 3)
    return space, torch.einsum("zm,nimp->nizp", couple, maps)


def _split_z(plan: Plan, z: Tensor) -> list[Tensor]:
    """Cut rows z into `(batch, in_fields, copies, ins, pixels)` a block."""
    parts = torch.split(z, [block.copies * block.ins for block in plan.blocks], 2)
    return [torch.unflatten(p, 2, (b.copies, b.ins)) for p, b in zip(parts, plan.blocks, strict=True)]


def _split_y(plan: Plan, y: Tensor, geometry: Geometry) -> list[Tensor]:
    """Transform an output and cut it into `(batch, out_fields, copies, outs, pixels)` a block."""
    leave = constant(plan, "leave", y.dtype, y.device)
    rows = torch.einsum("gr,nogp->norp", leave, y.reshape(len(y), geometry.out_fields, len(leave), -1))
    parts = torch.split(rows, [block.copies * block.outs for block in plan.blocks], 2)
    return [torch.unflatten(p, 2, (b.copies, b.outs)) for p, b in zip(parts, plan.blocks, strict=True)]
