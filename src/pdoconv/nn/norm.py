"""Batch normalisation over fields: statistics and parameters are shared by the channels of a field."""

import torch
from torch import Tensor, nn

from pdoconv.fields import FieldType, require_uniform, split_fields


class BatchNorm2d(nn.BatchNorm3d):
    """Normalise each field over batch, group and space.

    Sharing over the group axis is what keeps equivariance: with statistics a channel the group action, which permutes
    channels, would meet other scales.

    Args:
        in_type: Type of input and output, all trivial or all regular.
        eps: Added to the variance.
        momentum: Weight of the newest batch in the running statistics.
        affine: Learn a scale and a shift a field.
        track_running_stats: Keep running statistics for eval mode.
        device: Device of the parameters.
        dtype: Floating type of the parameters.

    Attributes:
        weight, bias, running_mean, running_var: `(fields,)`.

    Raises:
        ValueError: If `in_type` is mixed, or an input is not of that type.
    """

    def __init__(
        self,
        in_type: FieldType,
        *,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        """Make parameters and statistics, one a field."""
        require_uniform(in_type, "BatchNorm2d")
        super().__init__(in_type.fields, eps, momentum, affine, track_running_stats, device=device, dtype=dtype)
        self.in_type = self.out_type = in_type

    def forward(self, x: Tensor) -> Tensor:
        """Map `(batch, channels, height, width)` to the same shape."""
        self.in_type.check(x, "BatchNorm2d")
        return super().forward(split_fields(x, self.in_type)).flatten(1, 2)

    def extra_repr(self) -> str:
        """Print the type."""
        return f"{self.in_type}, eps={self.eps}, momentum={self.momentum}"
