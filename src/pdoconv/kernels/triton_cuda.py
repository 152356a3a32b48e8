"""The CUDA kernels, in Triton: derivative maps are made tile by tile in registers and never stored by `forward`.

Status: unmeasured: no GPU timing has been made; method="auto" therefore stays with the dense kernel on CUDA. The
kernels run for method="fourier" and method="derivatives", where triton can be imported; it is imported on first use.

The steps `passes` and `couple` of a plan are taken together: a row z is a sum over few channels of the transformed
field and all taps. `forward` has a program for each tile of output rows and pixels of each copy of a block;
`weight_gradient` writes partial sums over pixels and adds them in a fixed order; `input_gradient` makes the gradients
of rows z for as many fields at a time as `CHUNK` allows. `enter` and `leave` are matrix products of torch.

Maps are float32, bfloat16 or float16, sums float32; tf32 is used where `torch.backends.cuda.matmul` allows it.
"""

import math
from collections.abc import Sequence
from functools import lru_cache
from types import ModuleType
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pdoconv.kernels.geometry import Geometry, out_space, without_gaps
from pdoconv.kernels.plan import Plan
from pdoconv.kernels.portable import blocks
from pdoconv.kernels.table import Array, Table

DTYPES = (torch.float32, torch.bfloat16, torch.float16)
CAPABILITY = (8, 0)  # of the oldest device triton compiles for
ROWS, INNER, PIXELS = 64, 16, 128  # largest tile of a product, rows z made at once, pixels of a tile
PROGRAMS = 512  # of one weight gradient's launch, about
CHUNK = 2**25  # numbers of gradients of rows z at once


@lru_cache(maxsize=1)
def kernels() -> ModuleType | None:
    """Return the module of the kernels, or `None` where triton cannot be imported."""
    try:
        from pdoconv.kernels import triton_kernels
    except ImportError:
        return None
    return triton_kernels


@lru_cache(maxsize=1)
def available() -> bool:
    """Tell whether triton and CUDA devices new enough for it are there."""
    if torch.version.hip is not None or not torch.cuda.is_available():
        return False
    devices = range(torch.cuda.device_count())
    return all(torch.cuda.get_device_capability(d) >= CAPABILITY for d in devices) and kernels() is not None


def supports(x: Tensor, geometry: Geometry) -> bool:
    """Tell whether the kernels take a tensor of this device and dtype; any stride, no float64."""
    return x.device.type == "cuda" and x.dtype in DTYPES and available()


class Terms(NamedTuple):
    """Rows as sums over channels and taps: `sources` `(rows, slots)`, `coefficients` `(rows, slots, taps)`, padded."""

    sources: Tensor
    coefficients: Tensor


def forward(plan: Plan, x: Tensor, flat: Tensor, bias: Tensor | None, geometry: Geometry) -> Tensor:
    """Return the convolution of `x` `(batch, in_channels, *space)` with flat block weights, in its memory format."""
    layout = without_gaps(x)[1]
    space = out_space(plan.stencils.shape[1:], x.shape[2:], geometry)
    maps = _turn(plan, "enter", x, geometry.in_fields)
    out_rows, pixels = plan.leave.inputs, len(x) * math.prod(space)
    y = x.new_empty((len(x), geometry.out_fields, out_rows, *space))
    weights, first_row = blocks(plan, flat.to(x.dtype), geometry), 0
    for number, (block, weight) in enumerate(zip(plan.blocks, weights, strict=True)):
        rows = geometry.out_fields * block.outs
        tile = _tile(rows)
        _launch(
            "forward", (_tiles(pixels, PIXELS), _tiles(rows, tile), block.copies), x,
            maps, *_terms(plan, number, x.device), weight, y,
            pixels, geometry.in_fields, plan.enter.rows, block.ins, rows, block.outs, out_rows, first_row,
            *_three(x.shape[2:]), *_three(space), geometry.stride, geometry.padding, geometry.dilation,
            *_sizes(plan, number), _precision(), tile, INNER, PIXELS,
        )  # fmt: skip
        first_row += block.copies * block.outs
    y = _turn(plan, "leave", y, geometry.out_fields).flatten(1, 2)
    if bias is not None:
        y += bias.to(y.dtype).repeat_interleave(plan.leave.rows).view(-1, *[1] * len(space))
    return y.contiguous(memory_format=layout)


def weight_gradient(plan: Plan, x: Tensor, gy: Tensor, geometry: Geometry) -> Tensor:
    """Return the gradient of the flat block weights."""
    space = gy.shape[2:]
    maps = _turn(plan, "enter", x, geometry.in_fields)
    grad = _turn(plan, "leave", gy.to(x.dtype), geometry.out_fields, back=True)
    out_rows, pixels = plan.leave.inputs, len(x) * math.prod(space)
    parts, first_row = [], 0
    for number, block in enumerate(plan.blocks):
        rows, columns = geometry.out_fields * block.outs, geometry.in_fields * block.ins
        tile = _tile(rows)
        grid = _tiles(columns, INNER), _tiles(rows, tile)
        splits = max(1, min(block.copies * _tiles(pixels, PIXELS), PROGRAMS // max(1, math.prod(grid))))
        partial = x.new_empty((splits, rows, columns), dtype=torch.float32)
        _launch(
            "weight_gradient", (*grid, splits), x,
            maps, *_terms(plan, number, x.device), grad, partial,
            pixels, block.copies, geometry.in_fields, plan.enter.rows, block.ins, rows, block.outs, out_rows, first_row,
            *_three(x.shape[2:]), *_three(space), geometry.stride, geometry.padding, geometry.dilation,
            *_sizes(plan, number), _precision(), tile, INNER, PIXELS,
        )  # fmt: skip
        first_row += block.copies * block.outs
        parts.append(partial.sum(0).flatten())
    return torch.cat(parts).to(x.dtype)


def input_gradient(plan: Plan, gy: Tensor, flat: Tensor, geometry: Geometry, space: Sequence[int]) -> Tensor:
    """Return the gradient of an `x` of size `space`, in the memory format of `gy`."""
    layout = without_gaps(gy)[1]
    grad = _turn(plan, "leave", gy, geometry.out_fields, back=True).flatten(3)
    rows, channels, pixels = plan.couple.rows, plan.enter.rows, len(gy) * math.prod(space)
    weights = blocks(plan, flat.to(gy.dtype), geometry)
    parts = torch.split(grad, [block.copies * block.outs for block in plan.blocks], 2)
    grads = [torch.unflatten(p, 2, (b.copies, b.outs)) for p, b in zip(parts, plan.blocks, strict=True)]
    gx = gy.new_empty((len(gy), geometry.in_fields, channels, *space))
    chunk = max(1, CHUNK // max(1, len(gy) * rows * grad.shape[-1]))
    for first in range(0, geometry.in_fields, chunk):
        fields = min(chunk, geometry.in_fields - first)
        made = [
            torch.einsum("ociq,noacp->niaqp", w[:, :, first : first + fields], g).flatten(2, 3)
            for w, g in zip(weights, grads, strict=True)
        ]
        z = torch.cat(made, 2)
        _launch(
            "adjoint", (_tiles(pixels, PIXELS), _tiles(fields * channels, INNER)), gy,
            z, *_terms(plan, None, gy.device), gx,
            pixels, fields, rows, channels, geometry.in_fields, first,
            *_three(gy.shape[2:]), *_three(space), geometry.stride, geometry.padding, geometry.dilation,
            *_sizes(plan, None), INNER, PIXELS,
        )  # fmt: skip
    gx = _turn(plan, "enter", gx, geometry.in_fields, back=True)
    return gx.flatten(1, 2).contiguous(memory_format=layout)


def _launch(name: str, grid: tuple[int, ...], like: Tensor, *arguments: Tensor | int | str) -> None:
    module = kernels()
    assert module is not None  # `supports` was asked
    if math.prod(grid):
        with torch.cuda.device_of(like):  # type: ignore[no-untyped-call]
            getattr(module, name)[grid](*arguments)


def _tiles(size: int, tile: int) -> int:
    return -(-size // tile)


def _tile(rows: int) -> int:
    """Return the rows of a tile: a power of two that the matrix units take."""
    return min(ROWS, max(16, 1 << (rows - 1).bit_length()))


def _three(space: Sequence[int]) -> tuple[int, ...]:
    return (1,) * (3 - len(space)) + tuple(space)


def _sizes(plan: Plan, number: int | None) -> tuple[int, ...]:
    """Return what a kernel is compiled for: slots, taps an axis, axes."""
    taps = plan.stencils.shape[1:]
    return _packed(plan, number)[0].shape[1], *_three(taps), len(taps)


def _precision() -> str:
    return "tf32" if torch.backends.cuda.matmul.fp32_precision == "tf32" else "ieee"


def _turn(plan: Plan, name: str, x: Tensor, fields: int, *, back: bool = False) -> Tensor:
    """Apply `enter` or `leave`, or its transpose, to every field: contiguous `(batch, fields, rows, *space)`."""
    space = x.shape[1 - plan.stencils.ndim :]
    table: Table = getattr(plan, name)
    maps = x.contiguous().view(len(x), fields, table.rows if back else table.inputs, math.prod(space))
    matrix = _matrix(plan, name, back, x.dtype, x.device)
    if matrix is not None:
        maps = matrix @ maps
    return maps.reshape(*maps.shape[:3], *space)


@lru_cache(maxsize=256)
def _matrix(plan: Plan, name: str, back: bool, dtype: torch.dtype, device: torch.device) -> Tensor | None:
    """Return a transform of a field's channels; `None` for the identity."""
    array = getattr(plan, name).dense()[:, :, 0]
    if len(array) == array.shape[1] and (array == np.eye(len(array))).all():
        return None
    return torch.tensor(array.T if back else array, dtype=dtype, device=device)


@lru_cache(maxsize=512)
def _terms(plan: Plan, number: int | None, device: torch.device) -> Terms:
    """Return the terms of a block's rows z; of no block: those of the adjoint, a row for each channel."""
    index, coefficients = _packed(plan, number)
    return Terms(torch.tensor(index, device=device), torch.tensor(coefficients, dtype=torch.float32, device=device))


@lru_cache(maxsize=512)
def _packed(plan: Plan, number: int | None) -> tuple[NDArray[np.int32], Array]:
    couple, channels = plan.couple, plan.enter.rows
    stencil, channel = np.divmod(couple.sources.astype(np.int64), channels)
    row = np.repeat(np.arange(couple.rows), np.diff(couple.starts))
    pairs, place = np.unique(row * channels + channel, return_inverse=True)
    taps = np.zeros((len(pairs), plan.stencils[0].size))
    np.add.at(taps, place, couple.coefficients[:, None] * plan.stencils.reshape(len(plan.stencils), -1)[stencil])
    rows, sources = np.divmod(pairs, channels)
    if number is None:
        return _pad(sources, rows, taps, channels)
    first = sum(block.copies * block.ins for block in plan.blocks[:number])
    count = plan.blocks[number].copies * plan.blocks[number].ins
    mine = (rows >= first) & (rows < first + count)
    return _pad(rows[mine] - first, sources[mine], taps[mine], count)


def _pad(
    rows: NDArray[np.int64], sources: NDArray[np.int64], taps: Array, count: int
) -> tuple[NDArray[np.int32], Array]:
    """Put the terms of each row side by side, and terms of coefficient 0 behind those of short rows."""
    order = np.argsort(rows, kind="stable")
    rows, sources, taps = rows[order], sources[order], taps[order]
    slot = np.arange(len(rows)) - np.searchsorted(rows, rows)
    slots = int(slot.max(initial=0)) + 1
    index = np.zeros((count, slots), dtype=np.int32)
    coefficients = np.zeros((count, slots, taps.shape[1]))
    index[rows, slot], coefficients[rows, slot] = sources, taps
    return index, coefficients
