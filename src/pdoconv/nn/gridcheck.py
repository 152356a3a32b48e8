"""Warn once when a strided layer meets a side that breaks the exact symmetry (the grid rule)."""

import warnings

import torch
from torch import Tensor, nn

from pdoconv.grid import good_sides, keeps_grid
from pdoconv.groups import Group


def warn_off_grid(
    layer: nn.Module, x: Tensor, group: Group, kernel: int, stride: int, padding: int, dilation: int = 1
) -> None:
    """Warn, once for each layer, naming the nearest sides that keep lattice symmetries exact."""
    if layer._off_grid_warned or torch.compiler.is_compiling() or len(group.lattice_elements) == 1:
        return
    for side in x.shape[2:]:
        if not keeps_grid(side, kernel, stride, padding, dilation):
            low, high = good_sides(side, kernel, stride, padding, dilation)
            layer._off_grid_warned = True  # type: ignore[assignment]  # a plain attribute, set by the layers
            warnings.warn(
                f"{type(layer).__name__}: side {side} with kernel {kernel}, stride {stride}, padding {padding} breaks "
                f"the exact symmetry under {group}. Sides {low}, {high} and others that differ by {stride} keep it.",
                stacklevel=3,
            )
            return
