"""Batch normalisation over fields: statistics and parameters are shared by the channels of a field."""

import torch
from torch import Tensor
from torch.nn.modules.batchnorm import _BatchNorm

from pdoconv.fields import FieldType, require_uniform
from pdoconv.nn.checks import require_dim, require_dtype


class BatchNorm(_BatchNorm):
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
        ValueError: If `in_type` is mixed or of another dimension, or an input is not of that type or has another dtype
            than the parameters.
    """

    only_dim: int | None = None

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
        require_uniform(in_type, type(self).__name__)
        super().__init__(in_type.fields, eps, momentum, affine, track_running_stats, device=device, dtype=dtype)
        require_dim(self, in_type)
        self.in_type = self.out_type = in_type

    def forward(self, x: Tensor) -> Tensor:
        """Map `(batch, channels, *space)` to the same shape."""
        self.in_type.check(x, type(self).__name__)
        parameter = self.running_mean if self.weight is None else self.weight
        if parameter is not None:
            require_dtype(self, x, parameter)
        fields, size = self.in_type.fields, self.in_type.field_size
        # group and first axis of space in one: some backends take no more than three axes after the fields
        joined = x.reshape(x.shape[0], fields, size * x.shape[2], *x.shape[3:])
        return super().forward(joined).reshape(x.shape)

    def _check_input_dim(self, input: Tensor) -> None:
        """Torch's hook for the number of axes: `forward` has checked them."""

    def extra_repr(self) -> str:
        """Print the type."""
        return f"{self.in_type}, eps={self.eps}, momentum={self.momentum}"


class BatchNorm1d(BatchNorm):
    """`BatchNorm` on the line."""

    only_dim = 1


class BatchNorm2d(BatchNorm):
    """`BatchNorm` on the plane."""

    only_dim = 2


class BatchNorm3d(BatchNorm):
    """`BatchNorm` in space."""

    only_dim = 3
