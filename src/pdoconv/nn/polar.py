r"""Log-polar images about a predicted origin (polar transformer: Esteves et al., 2018).

Row i of a polar image looks along the angle $2\pi i / \mathrm{rows}$, column j at the radius
$r^{j / \mathrm{columns}}$. About the origin a rotation of the image rolls the rows, a magnification shifts the columns,
and a convolution that wraps around the rows commutes with both, but for the two ends of the radius.
"""

import math
import warnings

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pdoconv.grid import axis_of
from pdoconv.nn.checks import require_geometry, require_maps


def centroid(heat: Tensor, *, stride: int = 1, size: tuple[int, int] | None = None) -> Tensor:
    r"""Return the centre of mass $\sum h\,p / \sum h$ of a heat map, in pixels of the image it was made from.

    Args:
        heat: `(batch, 1, rows, columns)`, nowhere negative (take a softplus first).
        stride: Pixels of the image from one cell to the next.
        size: Height and width of the image, whose pixels 0, stride, 2 stride, ... the cells lie on, as after
            convolutions with padding (k - 1) / 2. Default: the cells are centred on the image. The two differ by up to
            (stride - 1) / 2 pixels where (side - 1) mod stride is not 0: the grid rule.

    Returns:
        `(batch, 2)`: x to the right and y up, from the centre of the image, in float32 at least. Without any mass it is
        the centre.

    Raises:
        ValueError: If the heat map has another shape, the stride is no whole number of at least 1, or an image of that
            size does not give so many cells.

    >>> heat = torch.zeros(1, 1, 14, 14)
    >>> heat[0, 0, 0, 13] = 1.0  # pixel (0, 26) of 28 x 28
    >>> centroid(heat, stride=2, size=(28, 28))
    tensor([[12.5000, 13.5000]])
    """
    require_maps("centroid", heat, 1)
    require_geometry("centroid", 1, stride, 1)
    cells = tuple(heat.shape[2:])
    if size is not None and tuple((side - 1) // stride + 1 for side in size) != cells:
        raise ValueError(
            f"centroid: an image of {tuple(size)} has {tuple((side - 1) // stride + 1 for side in size)} cells of "
            f"stride {stride}, received a heat map of {cells}: give the height and width of the image."
        )
    mass = heat[:, 0].to(torch.promote_types(heat.dtype, torch.float32))  # positions need more than 8 bits
    moments = []
    for axis, sign in (axis_of(0), axis_of(1)):
        side = stride * (cells[axis] - 1) + 1 if size is None else size[axis]
        pixel = torch.arange(cells[axis], dtype=mass.dtype, device=mass.device) * stride
        moments.append((mass.sum(-3 - axis) * (sign * (pixel - (side - 1) / 2))).sum(-1))
    return torch.stack(moments, -1) / mass.sum((1, 2)).clamp_min(1e-30)[:, None]


class LogPolar(nn.Module):
    r"""Sample images on a log-polar grid: row i, column j at $o + r^{j/W} (\cos(2\pi i/H), \sin(2\pi i/H))$.

    Esteves et al. (2018), with angles counter-clockwise from the x axis. An image turned by $2\pi k / H$ about the
    origin o has its rows rolled by +k, one magnified by $r^{m/W}$ its columns shifted by +m. For quarter turns about
    the centre and H a multiple of 4 this is exact to rounding; otherwise as good as bilinear interpolation is. Beyond
    the image there are zeros.

    The authors' code takes H angles from 0 to $2\pi$ with both ends, so that two rows are the same, and shifts the
    radii to begin at 0; neither obeys the laws above, so both are left out here.

    Args:
        size: Rows H (angles) and columns W (radii) of the polar image; one number for both.
        radius: r, in pixels, above 1; the last column lies at $r^{(W-1)/W}$. Default: half the diagonal of the image,
            $0.5 \sqrt{\mathrm{height}^2 + \mathrm{width}^2}$.

    Raises:
        ValueError: If `size` or `radius` is out of range, the image is too small or not of shape
            `(batch, channels, height, width)`, or the origin is not one point an image.

    >>> LogPolar((32, 20))(torch.zeros(2, 3, 28, 28)).shape
    torch.Size([2, 3, 32, 20])
    """

    def __init__(self, size: int | tuple[int, int], *, radius: float | None = None) -> None:
        """Check and keep the arguments."""
        super().__init__()
        pair = size if isinstance(size, tuple) else (size, size)
        if len(pair) != 2 or any(isinstance(n, bool) or not isinstance(n, int) or n < 1 for n in pair):
            raise ValueError(f"LogPolar: size must be rows and columns, whole numbers >= 1, received {size!r}.")
        if radius is not None and not 1 < radius < math.inf:
            raise ValueError(f"LogPolar: radius must be above 1 pixel, the first column's, received {radius}.")
        self.size, self.radius = pair, radius

    def forward(self, x: Tensor, origin: Tensor | None = None) -> Tensor:
        """Map `(batch, channels, height, width)` to `(batch, channels, rows, columns)`.

        Args:
            x: Images.
            origin: `(batch, 2)`, in pixels from the centre of the image, x to the right and y up; default the centre.
        """
        require_maps("LogPolar", x)
        if origin is not None and origin.shape != (x.shape[0], 2):
            raise ValueError(
                f"LogPolar: expected an origin (x, y) for each of {x.shape[0]} images, ({x.shape[0]}, 2), received "
                f"{tuple(origin.shape)}."
            )
        radius = math.hypot(*x.shape[2:]) / 2 if self.radius is None else self.radius
        if radius <= 1:
            raise ValueError(
                f"LogPolar: half the diagonal of {tuple(x.shape[2:])} is {radius:.2f} pixels, expected more than 1, "
                f"the radius of the first column: give larger images or radius=."
            )
        exact = torch.promote_types(x.dtype, torch.float32)  # positions need more than 8 bits
        rows, columns = (torch.arange(n, dtype=exact, device=x.device) / n for n in self.size)
        angle, distance = 2 * math.pi * rows[:, None], radius**columns
        grid = []
        for i, along in enumerate((angle.cos(), angle.sin())):  # grid_sample speaks of half sides, y down
            place = (distance * along).expand(x.shape[0], -1, -1)
            if origin is not None:
                place = place + origin[:, i, None, None].to(exact)
            axis, sign = axis_of(i)
            grid.append(place * (sign * 2 / x.shape[axis]))
        return F.grid_sample(x.to(exact), torch.stack(grid, -1), align_corners=False).to(x.dtype)

    def extra_repr(self) -> str:
        """Print size and radius."""
        return f"{self.size}" if self.radius is None else f"{self.size}, radius={self.radius}"


class PolarConv2d(nn.Conv2d):
    """`nn.Conv2d` for polar images: padded by (k - 1) / 2, around the circle along rows, by zeros along columns.

    `layer(x.roll(k s, -2)) == layer(x).roll(k, -2)` exactly, with stride s, where s divides the number of rows.
    On other numbers the circle of angles does not close, and the layer warns once.

    Args:
        in_channels: Channels of the input.
        out_channels: Channels of the output.
        kernel_size: Odd side of the kernel.
        stride: Sampling step along rows and columns.
        bias: Learn one number a channel.
        device: Device of the parameters.
        dtype: Floating type of the parameters.

    Raises:
        ValueError: If the geometry is out of range, or an input has other channels or fewer rows than the padding.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int = 3,
        *,
        stride: int = 1,
        bias: bool = True,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        """Check the geometry and make the parameters."""
        require_geometry("PolarConv2d", kernel_size, stride, 1)
        if kernel_size % 2 == 0:
            raise ValueError(f"PolarConv2d: expected an odd kernel_size, with a centre, received {kernel_size}.")
        padding = (0, kernel_size // 2)
        super().__init__(in_channels, out_channels, kernel_size, stride, padding, bias=bias, device=device, dtype=dtype)
        self._off_grid_warned = False

    def forward(self, input: Tensor) -> Tensor:
        """Map `(batch, in_channels, rows, columns)` to `(batch, out_channels, rows / s, ceil(columns / s))`."""
        require_maps("PolarConv2d", input, self.in_channels)
        wrap, rows, stride = self.kernel_size[0] // 2, input.shape[2], self.stride[0]
        if rows < wrap:
            raise ValueError(
                f"PolarConv2d: kernel_size {self.kernel_size[0]} wraps around {wrap} rows, received {rows}: give polar "
                f"images with more rows, or take a smaller kernel."
            )
        if rows % stride and not self._off_grid_warned and not torch.compiler.is_compiling():
            self._off_grid_warned = True
            warnings.warn(
                f"PolarConv2d: stride {stride} does not divide {rows} rows, so the circle of angles does not close and "
                f"rotations no longer roll the rows. Multiples of {stride} keep it.",
                stacklevel=2,
            )
        x = F.pad(input, (0, 0, wrap, wrap), mode="circular")
        return F.conv2d(x, self.weight, self.bias, self.stride, self.padding)
