"""Dropout of whole fields."""

import torch
from torch import Tensor, nn

from pdoconv.fields import FieldType
from pdoconv.nn.blocks import by_channel


class FieldDropout(nn.Module):
    """Zero whole fields at random in training, all group channels and pixels of a field together.

    A mask that differed between the channels of a field would not commute with the group, sample by sample.

    Args:
        in_type: Type of input and output, fields of any kind.
        p: Probability that a field is dropped; the others are scaled by 1 / (1 - p).

    Raises:
        ValueError: If `p` is not in [0, 1), or an input is not of that type.
    """

    def __init__(self, in_type: FieldType, p: float = 0.5) -> None:
        """Check and keep the arguments."""
        super().__init__()
        if not 0 <= p < 1:
            raise ValueError(f"FieldDropout: p must be in [0, 1), received {p}.")
        self.in_type = self.out_type = in_type
        self.p = p

    def forward(self, x: Tensor) -> Tensor:
        """Map `(batch, channels, *space)` to the same shape."""
        self.in_type.check(x, "FieldDropout")
        if not self.training or self.p == 0:
            return x
        shape = (x.shape[0], self.in_type.fields) + (1,) * (x.dim() - 2)
        keep = torch.empty(shape, dtype=x.dtype, device=x.device).bernoulli_(1 - self.p) / (1 - self.p)
        return x * by_channel(keep, self.in_type)

    def extra_repr(self) -> str:
        """Print type and probability."""
        return f"{self.in_type}, p={self.p}"
