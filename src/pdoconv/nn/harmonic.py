r"""Harmonic convolutions: complex maps of the rotation orders 0 to M (Worrall et al., CVPR 2017).

When the image turns by t, a map of order m is turned along and multiplied by $e^{imt}$. As fields of `so2()`: the real
and the imaginary part are two channels, which R(mt) mixes; for m = 0 they stay. Filters are
$W_m(r, \varphi) = R(r)\, e^{i(m\varphi + \beta)}$ with a learned profile R and a learned phase $\beta$, on the
rings of `pdoconv.filters.circular`.
"""

import math
from contextlib import nullcontext
from functools import lru_cache
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pdoconv.fields import FieldType
from pdoconv.filters.circular import ring_basis
from pdoconv.nn.blocks import joined
from pdoconv.nn.checks import autocast_on, padding_pixels, require_dtype, require_geometry, require_type
from pdoconv.nn.gridcheck import warn_off_grid
from pdoconv.pointgroups import so2
from pdoconv.representations import LARGEST_FREQUENCY, Representation, irrep


@lru_cache(maxsize=LARGEST_FREQUENCY + 1)
def harmonic(order: int) -> Representation:
    """Return the representation of a complex map: (real, imaginary), which `so2().irrep(order)` turns; 0 stays.

    Raises:
        ValueError: If the order is not a whole number from 0 to 24.

    >>> harmonic(0), harmonic(1)
    (Representation(SO2: complex, 2 channels), Representation(SO2: irrep(1), 2 channels))
    """
    if order == 0:
        return Representation(so2(), "complex", np.tile(np.arange(2), (so2().order, 1)))
    return irrep(so2(), order)


def harmonic_type(channels: int, max_order: int = 1) -> FieldType:
    """Return the type of `channels` complex maps of each order from 0 to `max_order`.

    Raises:
        ValueError: If `channels` is not at least 1 or the order not from 0 to 24.

    >>> harmonic_type(8)
    FieldType(SO2: 8 complex + 8 irrep(1))
    """
    return FieldType(so2(), tuple((harmonic(order), channels) for order in range(max_order + 1)))


class HarmonicConv2d(nn.Module):
    r"""Convolution of complex maps: $Y_n = \sum_p W_{n-p} \star X_p$, with $W_{-m} = \overline{W_m}$.

    Cross-correlation of an input of order p with a filter of order m has order p + m. Profiles and phases are one set
    for each |n - p|, shared by all pairs of orders with that difference, as published. There is no bias: only the
    order 0 could have one.

    Quarter turns are exact. At other angles the error on smooth maps is of second order in the grid spacing with orders
    0 and 1. Filters of order 2 and above have an error that no smoothness removes: on the grid their outer rings hold
    other orders, which differ by 4.

    Args:
        in_type: Type of the input: fields of `harmonic_type`, or real maps, `so2().trivial(n)`, as images. All
            blocks have the same number of fields.
        out_type: Type of the output, of complex fields; likewise.
        kernel_size: Side of the kernel.
        rings: Number of rings, at radii up to rings - 1/2 pixels; default kernel_size / 2 rounded down, at least 2.
        stride: Sampling step; above 1 quarter turns stay exact only for sides that obey the grid rule.
        padding: Pixels added on every side, or `"same"` (stride 1), or `"valid"`.
        phase: Learn phases.
        device: Device of the parameters.
        dtype: Floating type of the parameters.

    Attributes:
        orders: The absolute differences |n - p| of orders, ascending: one set of parameters each.
        weight: Profiles `(sets, rings, in, out)`.
        phase: Phases in radians `(sets, in, out)`, or `None`.

    Raises:
        ValueError: If an argument is out of range, or a type is not of such fields.

    >>> layer = HarmonicConv2d(so2().trivial(1), harmonic_type(8), 5, rings=4, padding="same")
    >>> layer(torch.zeros(1, 1, 28, 28)).shape, layer.weight.shape
    (torch.Size([1, 32, 28, 28]), torch.Size([2, 4, 1, 8]))
    """

    basis: Tensor
    dilation = 1
    padding_mode: Literal["zeros"] = "zeros"

    def __init__(
        self,
        in_type: FieldType,
        out_type: FieldType,
        kernel_size: int = 5,
        *,
        rings: int | None = None,
        stride: int = 1,
        padding: int | str = 0,
        phase: bool = True,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        """Check the arguments, find the orders and draw the parameters."""
        super().__init__()
        name = type(self).__name__
        require_type(name, in_type, out_type)
        require_geometry(name, kernel_size, stride, 1)
        rings = max(kernel_size // 2, 2) if rings is None else rings
        if isinstance(rings, bool) or not isinstance(rings, int) or rings < 1:
            raise ValueError(f"{name}: rings must be one whole number >= 1, received {rings!r}.")
        self.in_type, self.out_type, self.kernel_size, self.rings = in_type, out_type, kernel_size, rings
        self.stride, self.padding = stride, padding_pixels(name, padding, kernel_size, stride, 1)
        self._off_grid_warned = False
        self._in_orders, self._out_orders = _orders(in_type, name), _orders(out_type, name)
        if any(kind.dim == 1 for kind, _ in out_type.blocks):
            raise ValueError(f"{name}: the output is complex, received {out_type}: use harmonic_type(channels).")
        self.orders = tuple(sorted({abs(n - p) for n in self._out_orders for p in self._in_orders}))
        sets, channels = len(self.orders), (in_type.blocks[0][1], out_type.blocks[0][1])
        self.weight = nn.Parameter(torch.empty(sets, rings, *channels, device=device, dtype=dtype))
        self.phase = nn.Parameter(torch.empty(sets, *channels, device=device, dtype=dtype)) if phase else None
        self.register_buffer("basis", None, persistent=False)
        self._set_constants()
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw the authors' filters anew: profiles of standard deviation 0.4 sqrt(2 / (rings in out)), any phases.

        Their rings are sums over ceil(pi * kernel_size) points, ours are means: a weight is theirs times that number.
        """
        points = math.ceil(math.pi * self.kernel_size)
        nn.init.normal_(self.weight, std=0.4 * math.sqrt(2 / self.weight[0].numel()) * points)
        if self.phase is not None:
            nn.init.uniform_(self.phase, 0, 2 * math.pi)

    def forward(self, x: Tensor) -> Tensor:
        """Map `(batch, in_channels, height, width)` to `(batch, out_channels, height', width')`.

        Raises:
            ValueError: If `x` has the wrong shape or dtype.
        """
        self.in_type.check(x, type(self).__name__)
        require_dtype(self, x, self.weight)
        if self.stride > 1:
            warn_off_grid(self, x, self.in_type.group, self.kernel_size, self.stride, self.padding)
        return F.conv2d(x, self.kernel(), None, self.stride, self.padding)

    def kernel(self) -> Tensor:
        """Return the dense real weight `(out_channels, in_channels, height, width)`, differentiable."""
        exact = torch.promote_types(self.weight.dtype, torch.float32)
        if self._constants_on != (self.weight.device, exact):  # weights of another device or dtype were assigned
            self._set_constants()
        with torch.autocast(self.weight.device.type, enabled=False) if autocast_on(self.weight) else nullcontext():
            both = torch.einsum("srio,scrx->csoix", self.weight.to(exact), self.basis)
            re, im = both[0], both[1]  # (sets, out, in, taps)
            if self.phase is not None:
                beta = self.phase.to(exact).transpose(1, 2)[..., None]
                c, s = beta.cos(), beta.sin()
                re, im = c * re - s * im, s * re + c * im
            rows = []
            for n in self._out_orders:
                row = []
                for p, (kind, _) in zip(self._in_orders, self.in_type.blocks, strict=True):
                    place = self.orders.index(abs(n - p))
                    row.append(_real(re[place], im[place] if n >= p else -im[place], kind.dim))
                rows.append(joined(row, 1))
            return torch.unflatten(joined(rows, 0), 2, (self.kernel_size, self.kernel_size)).to(self.weight.dtype)

    def dense_bias(self) -> None:
        """Return `None`: there is no bias; as of the other convolutions."""

    def _set_constants(self) -> None:
        """Fill the buffer from float64 arrays, so that no conversion of the module ever costs precision."""
        found = np.stack([ring_basis(self.kernel_size, order, self.rings) for order in self.orders])
        parts = np.stack([found.real, found.imag], axis=1)
        self._constants_on = (self.weight.device, torch.promote_types(self.weight.dtype, torch.float32))
        device, dtype = self._constants_on
        self.basis = torch.tensor(parts, dtype=dtype, device="cpu").flatten(3).to(device)  # (sets, 2, rings, taps)

    def _apply(self, fn, recurse=True):  # type: ignore[no-untyped-def]  # torch's own signature is untyped
        """Follow `.to()`, `.double()`, `.to_empty()` and their like with fresh constants."""
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        self._set_constants()
        return self

    def extra_repr(self) -> str:
        """Print types and geometry."""
        text = f"{self.in_type} -> {self.out_type}, kernel_size={self.kernel_size}, rings={self.rings}"
        text += "".join(
            f", {k}={getattr(self, k)}" for k, usual in (("stride", 1), ("padding", 0)) if getattr(self, k) != usual
        )
        return text + ("" if self.phase is not None else ", phase=False")


def _real(re: Tensor, im: Tensor, columns: int) -> Tensor:
    """Return complex factors `(out, in, taps)` as real ones `(2 * out, columns * in, taps)`: the product with (re, im).

    A complex input has two columns, [[re, -im], [im, re]]; a real one has the first alone.
    """
    parts = [torch.stack((re, im), 1), torch.stack((-im, re), 1)][:columns]  # (out, 2, in, taps)
    return torch.stack(parts, 3).flatten(2, 3).flatten(0, 1)


def _orders(field: FieldType, name: str) -> tuple[int, ...]:
    """Return the rotation order of each block; `ValueError` unless all are complex or real maps, as many of each."""
    orders = {harmonic(order): order for order in range(LARGEST_FREQUENCY + 1)} | {irrep(so2(), 0): 0}
    if any(kind not in orders for kind, _ in field.blocks) or len({fields for _, fields in field.blocks}) > 1:
        raise ValueError(
            f"{name}: expected as many fields of each rotation order, as harmonic_type(8, max_order=1) has, or real "
            f"maps, so2().trivial(n), received {field}."
        )
    return tuple(orders[kind] for kind, _ in field.blocks)
