"""Group convolutions: one layer, any filter family, any fields, one to three dimensions.

The layer is `torch.nn.functional.conv1d`, `conv2d` or `conv3d` with the dense kernel of `pdoconv.nn.kernel`, or an
operator that computes the same with less work (`pdoconv.kernels`).
"""

from collections.abc import Callable
from contextlib import nullcontext
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from pdoconv.fields import FieldType
from pdoconv.filters import Filters
from pdoconv.kernels import choice, ops
from pdoconv.kernels.choice import Method
from pdoconv.kernels.geometry import Geometry
from pdoconv.nn.checks import (
    autocast_on,
    padding_pixels,
    require_dim,
    require_dtype,
    require_geometry,
    require_type,
    transformed,
)
from pdoconv.nn.gridcheck import warn_off_grid
from pdoconv.nn.kernel import GroupKernel

PADDING_MODES = ("zeros", "reflect", "replicate", "circular")
CONVOLUTIONS: dict[int, Callable[..., Tensor]] = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}


class GroupConv(GroupKernel):
    r"""Convolution between feature fields of one group: `layer(act(g, x)) == act(g, layer(x))`.

    The group says how many dimensions space has; `GroupConv1d`, `GroupConv2d`, `GroupConv3d` insist on one number.

    Args:
        in_type: Type of the input, with fields of any kind.
        out_type: Type of the output, of the same group.
        kernel_size: Side of the kernel; odd in some families, see there.
        filters: Filter family, such as `pdoconv.filters.paper()` or `pdoconv.filters.pointwise()`.
        stride: Sampling step. With a step above 1 lattice symmetries stay exact only for sides that obey the grid
            rule $(L + 2p - d(k-1) - 1) \bmod s = 0$; the layer warns once when it meets another side.
        padding: Pixels added on every side, or `"same"` (stride 1), or `"valid"`.
        dilation: Spacing of the kernel's taps.
        bias: Learn one number for each direction of a field that no element moves: one a permuted field, none for
            irreducible fields but the trivial one.
        padding_mode: `"zeros"`, `"reflect"`, `"replicate"` or `"circular"`.
        init: `"unit"`: unit variance through deep stacks; `"authors"`: their 3x3 He initialisation (truncated normal).
        method: How to compute: `"dense"`: expand the kernel and call torch's convolution; `"derivatives"`: derivative
            maps of the input first, mixed by one product; `"fourier"`: the same through the Fourier transform on the
            group, with cost linear in |G|; `"auto"`: the Fourier way where it is expected to be faster (wide layers of
            stride 1 in float32 or float64 on CPUs), else dense. All give the same but for rounding. The other ways are
            for types all regular or all trivial.
        device: Device of the parameters.
        dtype: Floating type of the parameters.

    Attributes:
        weight: `(out_fields, in_fields, R, basis)`, coefficients of the equivariant kernels between a field of the
            input and one of the output. Where one side is regular, R is the number of channels of a field of the other
            side, for regular -> regular indexed by the relative element $g^{-1}h$; otherwise 1. Mixed types have these
            for each pair of blocks, flat, by blocks of the output, then of the input (`pieces` lists them).
        bias: One for each dimension that the group leaves alone, `(out_fields,)` for trivial and regular fields; or
            `None`.

    Raises:
        ValueError: If an argument is out of range, the types belong to different groups or to another dimension, or no
            map between them is equivariant.
    """

    only_dim: int | None = None

    def __init__(
        self,
        in_type: FieldType,
        out_type: FieldType,
        kernel_size: int = 1,
        *,
        filters: Filters,
        stride: int = 1,
        padding: int | str = 0,
        dilation: int = 1,
        bias: bool = True,
        padding_mode: Literal["zeros", "reflect", "replicate", "circular"] = "zeros",
        init: Literal["unit", "authors"] = "unit",
        method: Method = "auto",
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
        if padding_mode not in PADDING_MODES:
            raise ValueError(f"{name}: padding_mode must be one of {PADDING_MODES}, received {padding_mode!r}.")
        if not isinstance(filters, Filters):
            raise ValueError(
                f"{name}: expected a filter family such as pdoconv.filters.paper(), received {filters!r}: "
                f"pdoconv.filters.family() finds one by name."
            )
        if init not in ("unit", "authors"):
            raise ValueError(f"{name}: init must be 'unit' or 'authors', received {init!r}.")
        pixels = padding_pixels(name, padding, kernel_size, stride, dilation)
        super().__init__(in_type, out_type, kernel_size, filters, bias, device, dtype)
        self.init, self.method = init, method
        self.stride, self.padding, self.dilation, self.padding_mode = stride, pixels, dilation, padding_mode
        self._off_grid_warned = False
        self._fast = choice.fast(method, filters, in_type, out_type, kernel_size)
        self.reset_parameters()

    def forward(self, x: Tensor) -> Tensor:
        """Map `(batch, in_channels, *space)` to `(batch, out_channels, *space')`.

        Raises:
            ValueError: If `x` has the wrong shape or dtype.
        """
        self.in_type.check(x, type(self).__name__)
        require_dtype(self, x, self.weight)
        dim, padding = self.in_type.group.dim, self.padding
        if self.stride > 1:
            warn_off_grid(self, x, self.in_type.group, self.kernel_size, self.stride, padding, self.dilation)
        if padding and self.padding_mode != "zeros":
            x = F.pad(x, [padding] * 2 * dim, mode=self.padding_mode)
            padding = 0
        if self._fast is not None and self._takes_fast(x, self._fast):
            return self._forward_fast(x, self._fast.plan, padding)
        bias, kernel = self.dense_bias(), self._remembered("dense", self.kernel)
        return self._convolved(CONVOLUTIONS[dim], x, kernel, bias, self.stride, padding, self.dilation)

    def _forward_fast(self, x: Tensor, plan: str, padding: int) -> Tensor:
        """Compute by the operators of `pdoconv.kernels.ops`, in float32 or float64."""
        exact = torch.promote_types(x.dtype, torch.float32)
        low = torch.get_autocast_dtype(x.device.type) if autocast_on(x) else x.dtype
        with torch.autocast(x.device.type, enabled=False) if autocast_on(x) else nullcontext():
            flat = self._remembered(f"{exact}", lambda: ops.blocks(self.weight.to(exact), plan))
            bias = None if self.bias is None else self.bias.to(exact)
            geometry = Geometry(self.in_type.fields, self.out_type.fields, self.stride, padding, self.dilation)
            return ops.forward(x.to(exact), flat, plan, list(geometry), bias).to(low)  # type: ignore[no-any-return]

    def _takes_fast(self, x: Tensor, fast: choice.Fast) -> bool:
        """Tell whether this input is computed the fast way; say so once if a method asked for has no kernel for it."""
        if torch.compiler.is_exporting() or torch._C._get_tracing_state() or transformed():
            return False
        if x.device != self.weight.device or x.device.type == "meta":  # torch's convolution says what is wrong
            return False
        reach = self.dilation * (self.kernel_size - 1) - (2 * self.padding if self.padding_mode == "zeros" else 0)
        for n in x.shape[2:]:
            if n < 1 or n <= reach:  # torch's convolution says what is wrong
                return False
        exact = x.dtype in (torch.float32, torch.float64) and not autocast_on(x)
        fits = x.device.type == "cpu" and exact and self.stride == 1
        if self.method == "auto":
            return fits and fast.wins(x.shape[0], x.shape[2:]) and choice.native_pays()
        if x.device.type == "cuda" and x.dtype != torch.float64 and choice.triton_available():
            return True  # maps in half precision go through it in float32
        if not fits:
            what = f"{x.device.type}, {x.dtype}{'' if exact else ' or autocast'}, stride {self.stride}"
            choice.warn_once(f"no kernel of method={self.method!r} for {what}; plain torch operations in float32 or 64")
        elif not choice.native_available():
            choice.warn_once(f"method={self.method!r} without the CPU kernel; plain torch operations")
        return True

    def __getstate__(self) -> dict[str, object]:
        """Leave what holds in this process only out of pickles and copies."""
        return {**super().__getstate__(), "_fast": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Find the fast path in this process."""
        super().__setstate__({"method": "auto", **state})  # type: ignore[no-untyped-call]  # torch's gap
        self._fast = choice.fast(self.method, self.filters, self.in_type, self.out_type, self.kernel_size)

    def extra_repr(self) -> str:
        """Print types and geometry."""
        text = f"{self.in_type} -> {self.out_type}, kernel_size={self.kernel_size}"
        for name, default in (
            ("stride", 1),
            ("padding", 0),
            ("dilation", 1),
            ("padding_mode", "zeros"),
            ("method", "auto"),
        ):
            if getattr(self, name) != default:
                text += f", {name}={getattr(self, name)!r}"
        return text + ("" if self.bias is not None else ", bias=False")


class GroupConv1d(GroupConv):
    """`GroupConv` on the line: maps are `(batch, channels, length)`."""

    only_dim = 1


class GroupConv2d(GroupConv):
    """`GroupConv` on the plane: maps are `(batch, channels, height, width)`."""

    only_dim = 2


class GroupConv3d(GroupConv):
    """`GroupConv` in space: maps are `(batch, channels, depth, height, width)`."""

    only_dim = 3
