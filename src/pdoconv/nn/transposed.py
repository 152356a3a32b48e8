"""Transposed group convolutions: finer maps from coarse ones, with the symmetry kept.

Every pixel of the input stamps the kernel, times its value, into the output, `stride` pixels from the stamp of its
neighbour. The kernel is that of `GroupConv`: the layer from A to B is the adjoint of a group convolution from B to A.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from pdoconv.fields import FieldType
from pdoconv.filters import Filters, PDOFilters
from pdoconv.filters import default as default_filters
from pdoconv.nn.checks import padding_pixels, require_dim, require_dtype, require_geometry, require_type
from pdoconv.nn.kernel import GroupKernel

TRANSPOSED: dict[int, Callable[..., Tensor]] = {1: F.conv_transpose1d, 2: F.conv_transpose2d, 3: F.conv_transpose3d}


class GroupConvTranspose(GroupKernel):
    r"""Transposed convolution between feature fields of one group: `layer(act(g, x)) == act(g, layer(x))`.

    A side L becomes $(L - 1) s + d (k - 1) + 1 - 2p$, and both grids have one centre: lattice symmetries are exact on
    every side. There is no `output_padding`, which adds pixels on one side only and so moves the centre. To double a
    side use an even kernel (`kernel_size=2`, or 4 with `padding=1`), or `Upsample` and then a convolution; an odd
    kernel leads from side L to 2L - 1, as it comes from there by the grid rule.

    Where the stride divides the side of the kernel every pixel of the output gets equally many taps. Otherwise their
    number alternates, as with 3 and stride 2: 1, 2 or 4 in the plane, and the output has a checkerboard from the start.
    Learned kernels may draw one in any case; `Upsample` and a convolution never do on flat maps.

    Args:
        in_type: Type of the input, with fields of any kind.
        out_type: Type of the output, of the same group.
        kernel_size: Side of the kernel, even for even strides.
        filters: Filter family, such as `pdoconv.filters.default(2, 4)`.
        stride: Distance of two stamps, the factor by which the map becomes finer.
        padding: Pixels that are cut off on every side.
        dilation: Spacing of the kernel's taps.
        bias: Learn one number for each direction of a field that no element moves, as `GroupConv` does.
        device: Device of the parameters.
        dtype: Floating type of the parameters.

    Attributes:
        weight, bias: As those of `GroupConv`. Weights are larger by $s^{\mathrm{dim} / 2}$ at first: a pixel of the
            output gets a share $1 / s^\mathrm{dim}$ of the taps, and its variance is to be as behind a `GroupConv`.

    Raises:
        ValueError: If an argument is out of range, the types belong to different groups or to another dimension, no map
            between them is equivariant, or nothing of the output is left.
    """

    only_dim: int | None = None

    def __init__(
        self,
        in_type: FieldType,
        out_type: FieldType,
        kernel_size: int,
        *,
        filters: Filters,
        stride: int = 1,
        padding: int = 0,
        dilation: int = 1,
        bias: bool = True,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        """Check the arguments, build the basis and draw the weights."""
        name = type(self).__name__
        require_type(name, in_type, out_type)
        if in_type.group != out_type.group:
            raise ValueError(f"{name}: in_type is of {in_type.group}, out_type of {out_type.group}: use one group.")
        require_dim(self, in_type)
        require_geometry(name, kernel_size, stride, dilation)
        if isinstance(padding, str):
            raise ValueError(f"{name}: padding must be one whole number >= 0, received {padding!r}.")
        pixels = padding_pixels(name, padding, kernel_size, stride, dilation)
        if not isinstance(filters, Filters):
            raise ValueError(f"{name}: expected a filter family such as default(2, 4), received {filters!r}.")
        super().__init__(in_type, out_type, kernel_size, filters, bias, device, dtype)
        self.stride, self.padding, self.dilation = stride, pixels, dilation
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw the weights anew and set the bias to zero."""
        super().reset_parameters()
        with torch.no_grad():
            self.weight.mul_(self.stride ** (self.in_type.group.dim / 2))

    def forward(self, x: Tensor) -> Tensor:
        """Map `(batch, in_channels, *space)` to `(batch, out_channels, *space')`.

        Raises:
            ValueError: If `x` has the wrong shape or dtype, or is so small that the padding cuts off all.
        """
        self.in_type.check(x, type(self).__name__)
        require_dtype(self, x, self.weight)
        dim, reach = self.in_type.group.dim, self.dilation * (self.kernel_size - 1) + 1 - 2 * self.padding
        for side in x.shape[2:]:
            if side < 1 or (side - 1) * self.stride + reach < 1:
                raise ValueError(
                    f"{type(self).__name__}: of side {side} nothing is left with kernel {self.kernel_size}, stride "
                    f"{self.stride}, padding {self.padding}: use a smaller padding or a larger map."
                )
        kernel = self._remembered("dense", self.kernel).transpose(0, 1)
        geometry = (self.stride, self.padding, 0, 1, self.dilation)
        return self._convolved(TRANSPOSED[dim], x, kernel, self.dense_bias(), *geometry)

    def extra_repr(self) -> str:
        """Print types and geometry."""
        text = f"{self.in_type} -> {self.out_type}, kernel_size={self.kernel_size}, stride={self.stride}"
        for name, default in (("padding", 0), ("dilation", 1)):
            if getattr(self, name) != default:
                text += f", {name}={getattr(self, name)!r}"
        return text + ("" if self.bias is not None else ", bias=False")


class GroupConvTranspose1d(GroupConvTranspose):
    """`GroupConvTranspose` on the line: maps are `(batch, channels, length)`."""

    only_dim = 1


class GroupConvTranspose2d(GroupConvTranspose):
    """`GroupConvTranspose` on the plane: maps are `(batch, channels, height, width)`."""

    only_dim = 2


class GroupConvTranspose3d(GroupConvTranspose):
    """`GroupConvTranspose` in space: maps are `(batch, channels, depth, height, width)`."""

    only_dim = 3


class PDOConvTranspose(GroupConvTranspose):
    """Transposed convolution with filters made of partial differential operators; as it is, it doubles every side.

    Args:
        in_type: Type of the input.
        out_type: Type of the output.
        kernel_size: Side of the kernel.
        filters: PDO family; default `pdoconv.filters.default(dim, kernel_size)`.
        stride: Distance of two stamps.
        padding: Pixels that are cut off on every side.
        **kwargs: `dilation`, `bias`, `device`, `dtype`, see `GroupConvTranspose`.

    >>> from pdoconv import cyclic
    >>> C8 = cyclic(8)
    >>> layer = PDOConvTranspose(C8.regular(3), C8.regular(2))
    >>> layer(torch.zeros(1, 24, 9, 9)).shape, layer.weight.shape
    (torch.Size([1, 16, 18, 18]), torch.Size([2, 3, 8, 10]))
    """

    def __init__(
        self,
        in_type: FieldType,
        out_type: FieldType,
        kernel_size: int = 4,
        *,
        filters: PDOFilters | None = None,
        stride: int = 2,
        padding: int = 1,
        **kwargs: object,
    ) -> None:
        """Choose the filter family."""
        require_type(type(self).__name__, in_type, out_type)
        family = filters or default_filters(in_type.group.dim, kernel_size if isinstance(kernel_size, int) else 4)
        super().__init__(
            in_type,
            out_type,
            kernel_size,
            filters=family,
            stride=stride,
            padding=padding,
            **kwargs,  # type: ignore[arg-type]  # passed on
        )


class PDOConvTranspose1d(PDOConvTranspose, GroupConvTranspose1d):
    """`PDOConvTranspose` on the line: maps are `(batch, channels, length)`."""


class PDOConvTranspose2d(PDOConvTranspose, GroupConvTranspose2d):
    """`PDOConvTranspose` on the plane: maps are `(batch, channels, height, width)`."""


class PDOConvTranspose3d(PDOConvTranspose, GroupConvTranspose3d):
    """`PDOConvTranspose` in space: maps are `(batch, channels, depth, height, width)`."""
