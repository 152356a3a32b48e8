"""Checks that layers share: the dimension of the group and the dtype of the input."""

import torch
from torch import Tensor, nn
from torch.autograd import forward_ad

from pdoconv.fields import FieldType


def require_type(name: str, *fields: object) -> None:
    """Raise `ValueError` unless all are field types."""
    for field in fields:
        if not isinstance(field, FieldType):
            raise ValueError(f"{name}: expected a field type such as cyclic(8).regular(4), received {field!r}.")


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


def require_maps(name: str, x: Tensor, channels: int | None = None) -> None:
    """Raise `ValueError` unless `x` is a floating-point tensor `(batch, channels, height, width)`."""
    if x.dim() != 4 or channels not in (None, x.shape[1]):
        raise ValueError(
            f"{name}: expected (batch, {channels or 'channels'}, height, width), received {tuple(x.shape)}."
        )
    if not x.is_floating_point():
        raise ValueError(f"{name}: expected floating-point maps, received {x.dtype}: convert with x.float().")


def autocast_on(x: Tensor) -> bool:
    """Tell whether autocast is on for a tensor's device."""
    return x.device.type != "meta" and torch.is_autocast_enabled(x.device.type)


def require_geometry(name: str, kernel_size: int, stride: int, dilation: int) -> None:
    """Raise `ValueError` unless all are whole numbers of at least 1; filter families may ask for an odd kernel too."""
    for role, value in (("kernel_size", kernel_size), ("stride", stride), ("dilation", dilation)):
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise ValueError(f"{name}: {role} must be one whole number >= 1, received {value!r}.")


def padding_pixels(name: str, padding: int | str, kernel_size: int, stride: int, dilation: int) -> int:
    """Return a padding in pixels; `ValueError` unless it is a whole number, `"valid"`, or `"same"` at stride 1."""
    if padding == "same":
        if stride != 1:
            raise ValueError(f"{name}: padding='same' needs stride 1, received stride {stride}: give a number.")
        if kernel_size % 2 == 0:
            raise ValueError(f"{name}: padding='same' needs an odd kernel_size, received {kernel_size}: give a number.")
        return dilation * (kernel_size - 1) // 2
    if padding == "valid":
        return 0
    if isinstance(padding, bool) or not isinstance(padding, int) or padding < 0:
        raise ValueError(f"{name}: padding must be one whole number >= 0, 'same' or 'valid', received {padding!r}.")
    return padding


def transformed() -> bool:
    """Tell whether `torch.func` transforms or forward-mode differentiation are at work: own operators lack both."""
    return torch._C._are_functorch_transforms_active() or forward_ad._current_level >= 0
