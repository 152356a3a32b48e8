r"""TNRD: trained nonlinear reaction diffusion (Chen & Pock, IEEE TPAMI 2017).

A few steps down the gradient of an energy, each with filters, influence functions and weight of its own:
$u_{t+1} = u_t - \frac{1}{s^2} \sum_i k_i^\top \phi_i(k_i * u_t) - \lambda_t\, c\, (u_t - f)$ with filters $k_i$
of side s and zero mean. The energy is
$\frac{1}{s^2} \sum_i \sum_x \rho_i\big((k_i * u)(x)\big) + \frac{\lambda}{2} |u - f|_c^2$ where $\phi_i = \rho_i'$.
Images are continued by reflection, and the adjoint $k_i^\top$ belongs to the convolution of the continued image, so
the step is the energy's gradient up to the border. As published but for two things: influence functions are piecewise
linear between the knots, not sums of Gaussians at them (a step costs a fraction), and the factor $1/s^2$, the mean over
the patches that hold a pixel.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pdoconv.models.correction import require_pictures


class Influence(nn.Module):
    r"""Functions $\phi_i$ of filter responses, one for each channel: linear between equidistant knots and beyond them.

    Args:
        channels: Number of functions.
        knots: Number of knots, odd, so that one is at 0.
        reach: The knots cover [-reach, reach].

    Attributes:
        values: Values at the knots, `(channels, knots)`; at first $z / (1 + (z / 0.2)^2) / 4$, which smooths weak
            responses and leaves strong ones, as Perona and Malik's diffusion does.

    Raises:
        ValueError: If there are fewer than 3 knots or an even number, or `reach` is not positive.
    """

    def __init__(self, channels: int, knots: int = 63, reach: float = 1.24) -> None:
        """Make the first functions."""
        super().__init__()
        if knots < 3 or knots % 2 == 0 or reach <= 0:
            raise ValueError(
                f"Influence: expected an odd number of at least 3 knots and reach > 0, received {knots} and {reach}."
            )
        self.reach = reach
        z = reach * torch.arange(-(knots // 2), knots // 2 + 1) / (knots // 2)
        self.values = nn.Parameter((z / (1 + (z / 0.2) ** 2) / 4).repeat(channels, 1))

    def forward(self, z: Tensor) -> Tensor:
        """Map responses `(batch, channels, height, width)` to the same shape."""
        channels, knots = self.values.shape
        place = z.to(self.values.dtype) * ((knots - 1) / (2 * self.reach))  # in intervals from the middle
        left = (place.detach() + (knots - 1) / 2).nan_to_num(0).clamp(0, knots - 2).long()
        index = (left + torch.arange(channels, device=z.device)[:, None, None] * (knots - 1)).flatten()
        # the line of each interval, continued to the middle: few passes over the maps, as they take the time
        slopes = self.values.diff(dim=1)
        starts = torch.arange(knots - 1, device=z.device) - (knots - 1) / 2
        heights = self.values[:, :-1] - slopes * starts.to(slopes.dtype)
        height = heights.flatten().index_select(0, index).view_as(z)
        slope = slopes.flatten().index_select(0, index).view_as(z)
        return torch.addcmul(height, slope, place)

    def extra_repr(self) -> str:
        """Print the geometry."""
        return f"{self.values.shape[0]} functions, {self.values.shape[1]} knots in +-{self.reach:g}"


class Diffusion(nn.Module):
    """One step: filters, influence functions, weight of the data.

    Args:
        filters: Number of filters.
        channels: Channels of the image.
        kernel_size: Odd side of the filters.
        knots: Knots of the influence functions.

    Attributes:
        weight: The filters in a basis without constants, `(filters, channels * (kernel_size^2 - 1))`; at first near its
            elements, from low frequencies to high ones.
        log_reaction: Logarithm of the weight of the data.
    """

    basis: Tensor

    def __init__(self, filters: int, channels: int, kernel_size: int, knots: int) -> None:
        """Make the parameters."""
        super().__init__()
        self.channels, self.kernel_size = channels, kernel_size
        self._set_constants(torch.get_default_dtype(), torch.device("cpu"))
        self.weight = nn.Parameter(torch.eye(filters, channels * len(self.basis)))
        with torch.no_grad():
            self.weight.add_(torch.randn_like(self.weight), alpha=0.05)
        self.influence = Influence(filters, knots)
        self.log_reaction = nn.Parameter(torch.tensor(math.log(0.1)))

    def kernels(self) -> Tensor:
        """Return the filters `(filters, channels, side, side)`, of zero mean and unit norm."""
        each = torch.unflatten(F.normalize(self.weight, dim=1), 1, (self.channels, -1))
        return torch.unflatten(each @ self.basis, 2, (self.kernel_size, self.kernel_size))

    def smoothing(self, u: Tensor) -> Tensor:
        """Return the gradient of the energy's first part for images `(batch, channels, height, width)`."""
        kernels, reach = self.kernels(), self.kernel_size // 2
        answers = self.influence(F.conv2d(mirrored(u, reach), kernels))
        return folded(F.conv_transpose2d(answers, kernels), reach) / self.kernel_size**2

    def forward(self, u: Tensor, f: Tensor, confidence: Tensor | None = None) -> Tensor:
        """Take one step from `u`; `confidence`, `(batch, 1, height, width)`, says where `f` is to be trusted."""
        reaction = self.log_reaction.exp() * (u - f)
        return u - self.smoothing(u) - (reaction if confidence is None else reaction * confidence)

    def _set_constants(self, dtype: torch.dtype, device: torch.device) -> None:
        """Make the basis from float64, so that no conversion of the module costs precision."""
        basis = cosines(self.kernel_size)[1:].to(device=device, dtype=dtype)
        self.register_buffer("basis", basis, persistent=False)

    def _apply(self, fn, recurse=True):  # type: ignore[no-untyped-def]  # torch's own signature is untyped
        """Follow `.to()`, `.double()` and their like with a fresh basis."""
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        self._set_constants(self.weight.dtype, self.weight.device)
        return self


class TNRD(nn.Module):
    """Steps of reaction and diffusion from the degraded image; made by `tnrd`.

    Args:
        steps: The steps, in order.
        in_channels: Channels of the input: the image, then none or one with the confidence in it, such as a mask.
        out_channels: Channels of the image.
    """

    def __init__(self, steps: list[Diffusion], in_channels: int, out_channels: int) -> None:
        """Keep the steps."""
        super().__init__()
        self.steps = nn.ModuleList(steps)
        self.in_channels, self.out_channels = in_channels, out_channels

    def forward(self, x: Tensor) -> Tensor:
        """Map `(batch, in_channels, height, width)`, images in [0, 1], to `(batch, out_channels, height, width)`."""
        require_pictures(x, self.in_channels, "TNRD")
        f = u = x[:, : self.out_channels]
        confidence = x[:, self.out_channels :] if self.in_channels > self.out_channels else None
        for step in self.steps:
            u = step(u, f, confidence)
        return u


def tnrd(
    *,
    steps: int = 5,
    filters: int = 24,
    kernel_size: int = 5,
    knots: int = 63,
    in_channels: int = 1,
    out_channels: int = 1,
) -> TNRD:
    """Return the network, from images `(batch, in_channels, height, width)` in [0, 1] to `(batch, out_channels, ...)`.

    Args:
        steps: Number of steps.
        filters: Filters of every step; the published network has as many as there are basis elements.
        kernel_size: Odd side of the filters, at least 3.
        knots: Knots of the influence functions, an odd number.
        in_channels: Channels of the input: `out_channels`, or one more for the confidence in the data: 1 where a pixel
            is known, 0 where it is not.
        out_channels: Channels of the image.

    Raises:
        ValueError: If an argument is out of range.

    >>> sum(p.numel() for p in tnrd().parameters())  # 5 (24 * 24 + 24 * 63 + 1)
    10445
    """
    if steps < 1 or filters < 1 or out_channels < 1:
        raise ValueError(
            f"tnrd: expected at least one step, filter and channel, received {steps}, {filters}, {out_channels}."
        )
    if kernel_size < 3 or kernel_size % 2 == 0:
        raise ValueError(f"tnrd: kernel_size must be odd and at least 3, received {kernel_size}.")
    if in_channels - out_channels not in (0, 1):
        raise ValueError(
            f"tnrd: expected in_channels to be out_channels, or one more for the confidence in the data, received "
            f"{in_channels} and {out_channels}."
        )
    made = [Diffusion(filters, out_channels, kernel_size, knots) for _ in range(steps)]
    return TNRD(made, in_channels, out_channels)


def cosines(side: int) -> Tensor:
    """Return the orthonormal cosine basis `(side^2, side^2)` of patches, by rising frequency, the constant first.

    >>> cosines(3).shape, bool(torch.allclose(cosines(3) @ cosines(3).T, torch.eye(9, dtype=torch.float64)))
    (torch.Size([9, 9]), True)
    """
    x = torch.arange(side, dtype=torch.float64)
    line = torch.cos(math.pi / side * (x + 0.5) * x[:, None]) * math.sqrt(2 / side)
    line[0] /= math.sqrt(2)
    both = torch.einsum("ax,by->abxy", line, line).flatten(2).flatten(0, 1)
    order = (x[:, None] ** 2 + x**2).flatten().argsort(stable=True)
    return both[order]


def mirrored(u: Tensor, reach: int) -> Tensor:
    """Continue images by `reach` pixels on every side, the border pixel repeated.

    Raises:
        ValueError: If a side is shorter than `reach`.

    >>> mirrored(torch.tensor([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])[None, None], 1)[0, 0, 0]
    tensor([1., 1., 2., 3., 3.])
    """
    if min(u.shape[2:]) < reach:
        raise ValueError(f"tnrd: expected sides of at least {reach} pixels, received {tuple(u.shape[2:])}.")
    for axis in (2, 3):
        first, last = u.narrow(axis, 0, reach), u.narrow(axis, u.shape[axis] - reach, reach)
        u = torch.cat([first.flip(axis), u, last.flip(axis)], axis)
    return u


def folded(y: Tensor, reach: int) -> Tensor:
    """Apply the adjoint of `mirrored`: add what was found outside to the pixels that were copied there."""
    for axis in (2, 3):
        side = y.shape[axis] - 2 * reach
        first, inner, last = torch.split(y, [reach, side, reach], axis)
        inner = inner.clone()
        inner.narrow(axis, 0, reach).add_(first.flip(axis))
        inner.narrow(axis, side - reach, reach).add_(last.flip(axis))
        y = inner
    return y
