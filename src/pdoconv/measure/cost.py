"""What a network costs, counted and not timed."""

from typing import cast

import torch
from torch import Tensor, nn

from pdoconv.measure.error import eval_mode

PLAIN = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.Linear)


def multiply_adds(module: nn.Module, shape: tuple[int, ...]) -> int:
    """Return the multiply-adds of convolutions and linear layers for one input, computed densely.

    A layer counts the entries of its dense kernel at every pixel of its output, whichever way it computes. Sampling,
    norms and activations are left out.

    Args:
        module: A network of this package's and torch's layers.
        shape: Of one input without the batch, `(channels, *space)`.

    >>> multiply_adds(nn.Conv2d(2, 3, 5, padding=2), (2, 8, 8))
    9600
    """
    total = 0

    def count(layer: nn.Module, _: object, y: Tensor) -> None:
        nonlocal total
        make = getattr(layer, "kernel", None)
        kernel = cast(Tensor, make() if callable(make) else layer.weight)
        total += kernel.numel() * (y.numel() // kernel.shape[0])  # one input: stacks of converted networks count whole

    counted = [part for part in module.modules() if isinstance(part, PLAIN) or callable(getattr(part, "kernel", None))]
    handles = [part.register_forward_hook(count) for part in counted]
    like = next(module.parameters(), torch.empty(0))
    try:
        with eval_mode(module), torch.no_grad():
            module(torch.zeros(1, *shape, dtype=like.dtype, device=like.device))
    finally:
        for handle in handles:
            handle.remove()
    return total
