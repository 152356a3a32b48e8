"""What a trained network needs before it: pixels as users have them become the numbers that it was trained on."""

from collections.abc import Sequence

import torch
import torch.fx
from torch import Tensor, nn


@torch.fx.wrap
def _standardised(x: Tensor, mean: Tensor, std: Tensor) -> Tensor:
    if not x.is_floating_point():
        raise ValueError(f"Normalise: expected pixels as floats in [0, 1], received {x.dtype}: use x.float() / 255.")
    shape = (-1, *[1] * (x.dim() - 2))
    return (x - mean.to(x.dtype).view(shape)) / std.to(x.dtype).view(shape)


class Normalise(nn.Module):
    """Standardise images: `(x - mean) / std` of each channel, with x in [0, 1].

    Args:
        mean: One for each channel.
        std: One for each channel, above 0.

    Attributes:
        mean, std: Buffers `(channels,)`, float32.

    Raises:
        ValueError: If there are not as many of both, one is not finite, or an input is not of floats.

    >>> Normalise([0.5], [0.25])(torch.tensor([[[[0.0, 1.0]]]]))
    tensor([[[[-2.,  2.]]]])
    """

    mean: Tensor
    std: Tensor

    def __init__(self, mean: Sequence[float], std: Sequence[float]) -> None:
        """Keep the numbers."""
        super().__init__()
        m, s = (torch.tensor(tuple(values), dtype=torch.float32, device="cpu") for values in (mean, std))
        if m.shape != s.shape or not len(m) or not (m.isfinite().all() and s.isfinite().all() and (s > 0).all()):
            raise ValueError(f"Normalise: expected as many finite means as deviations above 0, received {mean}, {std}.")
        self.register_buffer("mean", m)
        self.register_buffer("std", s)

    def forward(self, x: Tensor) -> Tensor:
        """Map `(batch, channels, *space)` to the same shape."""
        return _standardised(x, self.mean, self.std)
