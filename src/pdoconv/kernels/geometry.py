"""Numbers that say how a layer walks over its input, and the memory format of maps."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor


class Geometry(NamedTuple):
    """Fields on both sides and how the kernel moves; padding is with zeros."""

    in_fields: int
    out_fields: int
    stride: int
    padding: int
    dilation: int


def out_space(taps: Sequence[int], space: Sequence[int], geometry: Geometry) -> tuple[int, ...]:
    """Return the size of the output for a kernel and a size of the input."""
    return tuple(
        (n + 2 * geometry.padding - geometry.dilation * (k - 1) - 1) // geometry.stride + 1
        for n, k in zip(space, taps, strict=True)
    )


def without_gaps(x: Tensor) -> tuple[Tensor, torch.memory_format]:
    """Return `x` without gaps, and the order of its axes in memory: contiguous or channels_last."""
    last = {4: torch.channels_last, 5: torch.channels_last_3d}.get(x.dim(), torch.contiguous_format)
    layout = last if not x.is_contiguous() and x.is_contiguous(memory_format=last) else torch.contiguous_format
    return x.contiguous(memory_format=layout), layout


def empty(x: Tensor, channels: int, space: Sequence[int], layout: torch.memory_format) -> Tensor:
    """Return an uninitialised map like `x` of other channels and size."""
    return torch.empty((x.shape[0], channels, *space), dtype=x.dtype, device=x.device, memory_format=layout)
