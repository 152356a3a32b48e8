"""Pooling over the group, and over space without losing the symmetry."""

from collections.abc import Callable
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pdoconv.fields import FieldType
from pdoconv.nn.blocks import blocks, joined, norm, widened
from pdoconv.nn.checks import require_dim
from pdoconv.nn.gridcheck import warn_off_grid

EPS = 1e-5  # added to squared norms
CONVOLUTIONS: dict[int, Callable[..., Tensor]] = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}
MAXIMA: dict[int, Callable[..., Tensor]] = {1: F.max_pool1d, 2: F.max_pool2d, 3: F.max_pool3d}
MEANS: dict[int, Callable[..., Tensor]] = {1: F.avg_pool1d, 2: F.avg_pool2d, 3: F.avg_pool3d}


class GroupPool(nn.Module):
    """Reduce every field to one scalar field: the result no longer depends on the group element.

    Args:
        in_type: Type of the input, fields of any kind. Of those that the group does not permute the norm is taken, as
            `NormPool` does.
        reduction: `"max"` or `"mean"` over the channels of a permuted field.

    Attributes:
        out_type: Trivial fields, one for each input field.

    Raises:
        ValueError: If `reduction` is unknown, or an input is not of that type.
    """

    def __init__(self, in_type: FieldType, reduction: Literal["max", "mean"] = "max") -> None:
        """Check and keep the arguments."""
        super().__init__()
        if reduction not in ("max", "mean"):
            raise ValueError(f"GroupPool: reduction must be 'max' or 'mean', received {reduction!r}.")
        self.in_type, self.out_type = in_type, in_type.group.trivial(in_type.fields)
        self.reduction = reduction

    def forward(self, x: Tensor) -> Tensor:
        """Map `(batch, channels, *space)` to `(batch, fields, *space)`."""
        self.in_type.check(x, "GroupPool")
        return self.activate(x)

    def activate(self, x: Tensor) -> Tensor:
        """Compute the output of a checked input."""
        parts = []
        for kind, _, part in blocks(x, self.in_type):
            if not kind.permutes:
                parts.append(norm(part, EPS).to(x.dtype))
            else:
                parts.append(part.amax(2) if self.reduction == "max" else part.mean(2))
        return joined(parts)

    def extra_repr(self) -> str:
        """Print types and reduction."""
        return f"{self.in_type} -> {self.out_type}, {self.reduction}"


class _Pool(nn.Module):
    """Window geometry shared by the two pools of torch; warns once for sides that break the grid rule."""

    only_dim: int | None = None

    def __init__(self, in_type: FieldType, kernel_size: int, *, stride: int | None = None, padding: int = 0) -> None:
        super().__init__()
        require_dim(self, in_type)
        self.in_type = self.out_type = in_type
        self.kernel_size, self.padding = kernel_size, padding
        self.stride = kernel_size if stride is None else stride
        if min(self.kernel_size, self.stride) < 1 or padding < 0 or 2 * padding > kernel_size:
            raise ValueError(
                f"{type(self).__name__}: expected kernel_size >= 1, stride >= 1 and 0 <= padding <= kernel_size / 2, "
                f"received {kernel_size}, {self.stride}, {padding}."
            )
        self._off_grid_warned = False

    def _check(self, x: Tensor) -> None:
        self.in_type.check(x, type(self).__name__)
        warn_off_grid(self, x, self.in_type.group, self.kernel_size, self.stride, self.padding)

    def extra_repr(self) -> str:
        """Print geometry."""
        return f"{self.in_type}, kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}"


class MaxPool(_Pool):
    """Spatial max pooling that keeps lattice symmetries exact on sides that obey the grid rule.

    Of fields whose channels the group does not permute, the one of largest norm in the window is taken.

    Args:
        in_type: Type of input and output.
        kernel_size: Side of the window.
        stride: Step; default the window's side.
        padding: Pixels added on every side.

    Raises:
        ValueError: If the geometry is out of range, the group is of another dimension, or an input is not of that type.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Map `(batch, channels, *space)` to `(batch, channels, *space')`."""
        self._check(x)
        return self.activate(x)

    def activate(self, x: Tensor) -> Tensor:
        """Compute the output of a checked input."""
        pool, window = MAXIMA[self.in_type.group.dim], (self.kernel_size, self.stride, self.padding)
        if self.in_type.permuted:
            return pool(x, *window)
        parts = []
        for kind, _, part in blocks(x, self.in_type):
            if kind.permutes:
                parts.append(pool(part.flatten(1, 2), *window))
                continue
            # no EPS, and no half precision: lengths that tie are taken by their place, which turns with the map
            _, places = pool(widened(part.detach()).square().sum(2), *window, return_indices=True)
            flat = part.flatten(3).gather(3, places.flatten(2)[:, :, None].expand(-1, -1, kind.dim, -1))
            parts.append(torch.unflatten(flat, 3, places.shape[2:]).flatten(1, 2))
        return joined(parts)


class AvgPool(_Pool):
    """Spatial average pooling that keeps lattice symmetries exact; arguments of `MaxPool`."""

    def forward(self, x: Tensor) -> Tensor:
        """Map `(batch, channels, *space)` to `(batch, channels, *space')`."""
        self._check(x)
        return MEANS[self.in_type.group.dim](x, self.kernel_size, self.stride, self.padding)


class BlurPool(nn.Module):
    r"""Anti-aliased subsampling: a Gaussian $e^{-|x|^2/2\sigma^2}$, normalised, then every `stride`-th pixel.

    The blur is round, so it disturbs no rotation, and removes what the coarser grid cannot carry.

    Args:
        in_type: Type of input and output.
        stride: Step.
        sigma: Width of the Gaussian in pixels; default 0.5 * stride.
        padding: Pixels of reflection on every side; default the reach of the Gaussian, which keeps sides 1 mod stride.

    Raises:
        ValueError: If `stride`, `sigma` or `padding` is out of range, the group is of another dimension, or an input is
            not of that type.
    """

    only_dim: int | None = None
    taps: Tensor

    def __init__(
        self, in_type: FieldType, stride: int = 2, *, sigma: float | None = None, padding: int | None = None
    ) -> None:
        """Make the taps of the Gaussian."""
        super().__init__()
        require_dim(self, in_type)
        self.in_type = self.out_type = in_type
        self.stride, self.sigma = stride, 0.5 * stride if sigma is None else sigma
        if stride < 1 or self.sigma <= 0 or (padding is not None and padding < 0):
            raise ValueError(
                f"{type(self).__name__}: expected stride >= 1, sigma > 0, padding >= 0, received {stride}, {sigma}, "
                f"{padding}."
            )
        reach = max(1, round(3 * self.sigma))
        self.padding = reach if padding is None else padding
        self.kernel_size = 2 * reach + 1
        self._off_grid_warned = False
        self.register_buffer("taps", self._gaussian(), persistent=False)

    def _gaussian(self) -> Tensor:
        x = torch.arange(self.kernel_size, dtype=torch.float64, device="cpu") - self.kernel_size // 2
        line = torch.exp(-(x**2) / (2 * self.sigma**2))
        taps = line
        for _ in range(self.in_type.group.dim - 1):
            taps = taps[..., None] * line
        return taps / taps.sum()

    def _apply(self, fn, recurse=True):  # type: ignore[no-untyped-def]  # torch's own signature is untyped
        """Keep the taps in float64: they are cast to the input's dtype when used."""
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        self.taps = self._gaussian().to(self.taps.device)
        return self

    def forward(self, x: Tensor) -> Tensor:
        """Map `(batch, channels, *space)` to `(batch, channels, *space')`."""
        name, dim = type(self).__name__, self.in_type.group.dim
        self.in_type.check(x, name)
        if not x.is_floating_point():
            raise ValueError(f"{name}: expected floating-point maps, received {x.dtype}: convert with x.float().")
        warn_off_grid(self, x, self.in_type.group, self.kernel_size, self.stride, self.padding)
        if self.padding:
            x = F.pad(x, [self.padding] * 2 * dim, mode="reflect")
        weight = self.taps.to(x.dtype).expand(x.shape[1], 1, *self.taps.shape)
        return CONVOLUTIONS[dim](x, weight, stride=self.stride, groups=x.shape[1])

    def extra_repr(self) -> str:
        """Print geometry."""
        return f"{self.in_type}, stride={self.stride}, sigma={self.sigma}, padding={self.padding}"


class MaxPool1d(MaxPool):
    """`MaxPool` on the line."""

    only_dim = 1


class MaxPool2d(MaxPool):
    """`MaxPool` on the plane."""

    only_dim = 2


class MaxPool3d(MaxPool):
    """`MaxPool` in space."""

    only_dim = 3


class AvgPool1d(AvgPool):
    """`AvgPool` on the line."""

    only_dim = 1


class AvgPool2d(AvgPool):
    """`AvgPool` on the plane."""

    only_dim = 2


class AvgPool3d(AvgPool):
    """`AvgPool` in space."""

    only_dim = 3


class BlurPool1d(BlurPool):
    """`BlurPool` on the line."""

    only_dim = 1


class BlurPool2d(BlurPool):
    """`BlurPool` on the plane."""

    only_dim = 2


class BlurPool3d(BlurPool):
    """`BlurPool` in space."""

    only_dim = 3
