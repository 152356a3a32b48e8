"""Batch normalisation of the norms of fields, for fields that turn: harmonic networks (Worrall et al., CVPR 2017)."""

import torch
from torch import Tensor, nn

from pdoconv.fields import FieldType
from pdoconv.nn.blocks import by_channel, norms
from pdoconv.nn.checks import require_dim, require_dtype, require_type


class MagnitudeBatchNorm2d(nn.Module):
    r"""Normalise the norm of every field and keep its direction: $y = \mathrm{relu}(N(|v|))\, v / |v|$.

    N is batch normalisation, with a scale and a shift a field: normalisation and nonlinearity in one.
    $|v|$ stands for $\sqrt{|v|^2 + 10^{-5}}$, so that fields that are zero stay zero, with finite gradients.

    Args:
        in_type: Type of input and output, fields of any kind on the plane.
        eps: Added to the variance of the norms.
        momentum: Weight of the newest batch in the running statistics.
        device: Device of the parameters.
        dtype: Floating type of the parameters.

    Attributes:
        norm: The `nn.BatchNorm2d` of the norms, of as many channels as there are fields.

    Raises:
        ValueError: If `in_type` is of another dimension, or an input is not of that type or has another dtype than the
            parameters.
    """

    only_dim = 2

    def __init__(
        self,
        in_type: FieldType,
        *,
        eps: float = 1e-5,
        momentum: float = 0.1,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        """Make parameters and statistics, one a field."""
        super().__init__()
        require_type(type(self).__name__, in_type)
        require_dim(self, in_type)
        self.in_type = self.out_type = in_type
        self.norm = nn.BatchNorm2d(in_type.fields, eps, momentum, device=device, dtype=dtype)

    def forward(self, x: Tensor) -> Tensor:
        """Map `(batch, channels, height, width)` to the same shape."""
        self.in_type.check(x, type(self).__name__)
        require_dtype(self, x, self.norm.weight)
        return self.activate(x)

    def activate(self, x: Tensor) -> Tensor:
        """Compute the output of a checked input."""
        size = norms(x, self.in_type, 1e-5)
        factor = self.norm(size.to(self.norm.weight.dtype)).relu() / size
        return x * by_channel(factor.to(x.dtype), self.in_type)

    def extra_repr(self) -> str:
        """Print the type."""
        return f"{self.in_type}"
