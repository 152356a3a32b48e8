"""Side, stride, padding and dilation of a layer, where they are the same on every axis."""

from torch import nn

from pdoconv.convert.trace import Conv, Seen, Transposed, own_forward

SHOWN = ("kernel_size", "stride", "padding", "dilation")
"""Attributes of a convolution that the network's code may read: they stay as they were."""


def same(module: nn.Module, name: str, dim: int = 0) -> int:
    """Return an argument that is the same on every axis, else raise `ValueError`."""
    value = getattr(module, name)
    values = {value} if isinstance(value, int) else set(value)
    if len(values) > 1:
        raise ValueError(f"{name}={tuple(value)} differs by axis: it does not turn with the image")
    return int(values.pop())


def padding_of(module: Conv, seen: Seen, size: int, stride: int, dilation: int) -> int:
    """Return the padding of a convolution; `ValueError` for one that differs by side.

    A subclass with a `forward` of its own may pad by itself, as `Conv2dSame` of networks from TensorFlow.
    """
    reach = dilation * (size - 1)
    if isinstance(module.padding, str) and module.padding == "same":
        if reach % 2:
            raise ValueError("padding='same' of an even kernel pads more on one side")
        return reach // 2
    padding = 0 if isinstance(module.padding, str) else same(module, "padding")
    if own_forward(module) and not isinstance(module, Transposed):
        sides, results = seen.shape[2:], list(seen.result[2:])
        if results == [(side + 2 * padding - reach - 1) // stride + 1 for side in sides]:
            return padding
        if results != [-(-side // stride) for side in sides] or reach % 2:
            raise ValueError(
                f"{type(module).__name__} has a forward of its own, which makes sides {results} of {list(sides)}: a "
                f"convolution with kernel {size}, stride {stride} and equal padding on all sides does not"
            )
        return reach // 2
    return padding
