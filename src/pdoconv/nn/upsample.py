"""Finer maps by interpolation."""

from typing import Literal, get_args

import torch.nn.functional as F
from torch import Tensor, nn

from pdoconv.fields import FieldType
from pdoconv.nn.checks import require_type

Interpolation = Literal["nearest", "linear"]
LINEAR = {1: "linear", 2: "bilinear", 3: "trilinear"}


class Upsample(nn.Module):
    """Make a map finer by a whole factor, every channel alike, which is right for fields of any kind.

    The grids have one centre (torch's `align_corners=False`), so lattice symmetries are exact on every side. Flat maps
    stay flat: a convolution after it draws no checkerboard on them.

    Args:
        in_type: Type of input and output.
        scale_factor: Whole number by which every side is multiplied.
        mode: `"nearest"`: repeat pixels; `"linear"`: linear, on the plane bilinear, in space trilinear interpolation.

    Raises:
        ValueError: If an argument is out of range, or an input is not of that type or not of floating point.

    >>> import torch
    >>> from pdoconv import cyclic
    >>> Upsample(cyclic(4).trivial(1), mode="linear")(torch.tensor([[[[0.0, 1.0]]]]))[0, 0, 0]
    tensor([0.0000, 0.2500, 0.7500, 1.0000])
    """

    def __init__(self, in_type: FieldType, scale_factor: int = 2, *, mode: Interpolation = "nearest") -> None:
        """Check and keep the arguments."""
        super().__init__()
        require_type("Upsample", in_type)
        if isinstance(scale_factor, bool) or not isinstance(scale_factor, int) or scale_factor < 1:
            raise ValueError(f"Upsample: scale_factor must be one whole number >= 1, received {scale_factor!r}.")
        if mode not in get_args(Interpolation):
            raise ValueError(f"Upsample: mode must be one of {get_args(Interpolation)}, received {mode!r}.")
        self.in_type = self.out_type = in_type
        self.scale_factor, self.mode = scale_factor, mode

    def forward(self, x: Tensor) -> Tensor:
        """Map `(batch, channels, *space)` to `(batch, channels, *space * scale_factor)`."""
        self.in_type.check(x, "Upsample")
        if not x.is_floating_point():
            raise ValueError(f"Upsample: expected floating-point maps, received {x.dtype}: convert with x.float().")
        return self.activate(x)

    def activate(self, x: Tensor) -> Tensor:
        """Compute the output of a checked input."""
        mode = LINEAR[self.in_type.group.dim] if self.mode == "linear" else "nearest"
        return F.interpolate(x, scale_factor=self.scale_factor, mode=mode)

    def extra_repr(self) -> str:
        """Print type, factor and mode."""
        return f"{self.in_type}, scale_factor={self.scale_factor}, mode={self.mode!r}"
