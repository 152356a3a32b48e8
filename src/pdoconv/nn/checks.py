"""Checks that layers share: the dimension of the group and the dtype of the input."""

import torch
from torch import Tensor, nn

from pdoconv.fields import FieldType


def require_dim(layer: nn.Module, field: FieldType) -> None:
    """Raise `ValueError` unless the group acts in `layer.only_dim` dimensions, or in 1, 2 or 3 where that is `None`."""
    name, only, group = type(layer).__name__, layer.only_dim, field.group
    if group.dim not in (1, 2, 3):
        raise ValueError(f"{name}: expected a group of dimension 1, 2 or 3, received {group!r}.")
    if only not in (None, group.dim):
        other = name.removesuffix(f"{only}d") + f"{group.dim}d"
        raise ValueError(f"{name}: expected a group of dimension {only}, received {group!r}: use {other}.")


def require_dtype(layer: nn.Module, x: Tensor, parameter: Tensor) -> None:
    """Raise `ValueError` unless an input has the dtype of a layer's parameters, or autocast is on."""
    if x.dtype != parameter.dtype and not autocast_on(x):
        raise ValueError(
            f"{type(layer).__name__}: expected {parameter.dtype} as the weights have, received {x.dtype}: "
            f"convert the input with x.to({parameter.dtype}) or the layer with layer.to({x.dtype})."
        )


def autocast_on(x: Tensor) -> bool:
    """Tell whether autocast is on for a tensor's device."""
    return x.device.type != "meta" and torch.is_autocast_enabled(x.device.type)
