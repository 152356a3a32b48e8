r"""Layers for stacks: maps whose group axis lies in the batch, `(batch * |G|, channels, *space)`.

Entry $b |G| + g$ is what an ordinary network would hold of image b, seen from group element g. The group moves the
maps and permutes the entries: $(r f)_g = r \cdot f_{r^{-1} g}$. Any operation that does the same to every entry keeps
the symmetry: normalisation, pooling, concatenation, whatever an ordinary network's own `forward` does with channels.
So only the layers that mix places are replaced to make the network equivariant (`pdoconv.convert`).
"""

from collections.abc import Mapping
from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pdoconv.filters import Filters, pointwise
from pdoconv.groups import Group
from pdoconv.nn.conv import CONVOLUTIONS
from pdoconv.nn.gridcheck import warn_off_grid
from pdoconv.nn.kernel import GroupKernel
from pdoconv.nn.transposed import TRANSPOSED

Reads = Literal["group", "image", "self"]


class Geometry(NamedTuple):
    """Stride, padding and dilation, in pixels, the same on every axis."""

    stride: int
    padding: int
    dilation: int


class Layout(NamedTuple):
    """How a stack is opened, so that an ordinary convolution sees all its entries, and closed again.

    Attributes:
        order: Entries, |G|.
        ins: Channels of each entry before the convolution.
        outs: Channels of each entry behind it.
        image: Take the first entry only, for they are alike.
        by_entry: Channels are opened as `(entry, channel)`, which costs nothing, else as `(channel, entry)`.
    """

    order: int
    ins: int
    outs: int
    image: bool
    by_entry: bool

    def opened(self, x: Tensor) -> Tensor:
        """Map `(batch * |G|, channels, *space)` to `(batch, |G| * channels, *space)`."""
        space = x.shape[2:]
        if self.image or self.by_entry:
            x = x.reshape(-1, self.order * self.ins, *space)
            return x[:, : self.ins] if self.image else x
        return x.reshape(-1, self.order, self.ins, *space).transpose(1, 2).flatten(1, 2)

    def closed(self, y: Tensor) -> Tensor:
        """Map back."""
        if self.by_entry:
            return y.reshape(-1, self.outs, *y.shape[2:])
        return y.reshape(-1, self.outs, self.order, *y.shape[2:]).transpose(1, 2).flatten(0, 1)


def _entries_first(kernel: Tensor, order: int, axis: int) -> Tensor:
    """Bring an axis of `(channel, entry)` to `(entry, channel)`."""
    return torch.unflatten(kernel, axis, (-1, order)).transpose(axis, axis + 1).flatten(axis, axis + 1)


class StackedConv(GroupKernel):
    r"""A group convolution of stacks, also grouped, depthwise or transposed.

    Args:
        group: The group.
        in_channels: Channels of each entry of the input.
        out_channels: Channels of each entry of the output.
        kernel_size: Side of the kernel.
        filters: Filter family.
        stride: Sampling step; of a transposed convolution, the step between the kernels that it adds up.
        padding: Pixels on every side.
        dilation: Spacing of the taps.
        groups: Groups of channels that do not mix, as in `nn.Conv2d`.
        bias: Learn one number for each channel.
        padding_mode: As in `nn.Conv2d`.
        transposed: Compute the transposed convolution, without output padding: so input and output share their centre.
        reads: `"group"`: entry g of the output reads the entries of all elements h, by weights indexed by
            $g^{-1} h$; `"image"`: the entries of the input are all alike, as of an image that was repeated, and one of
            them is read; `"self"`: entry g reads entry g only, which is all that is needed in front of a mean over the
            entries.
        before: What is done to the input first, such as `Halve`.
        shown: Attributes for code that reads those of `nn.Conv2d`, such as `stride=(2, 2)` where `before` halves.

    Attributes:
        weight: `(out_channels, in_channels / groups, R, basis)`, R = |G| or 1.
        bias: `(out_channels,)` or `None`.
    """

    def __init__(
        self,
        group: Group,
        in_channels: int,
        out_channels: int,
        kernel_size: int = 1,
        *,
        filters: Filters,
        stride: int = 1,
        padding: int = 0,
        dilation: int = 1,
        groups: int = 1,
        bias: bool = True,
        padding_mode: str = "zeros",
        transposed: bool = False,
        reads: Reads = "group",
        before: nn.Module | None = None,
        shown: Mapping[str, object] | None = None,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        """Make weights and constants."""
        if in_channels % groups or out_channels % groups:
            raise ValueError(
                f"StackedConv: expected channels that are multiples of groups={groups}, received {in_channels} and "
                f"{out_channels}."
            )
        one = group.regular if reads == "group" else group.trivial
        super().__init__(
            one(in_channels // groups), group.regular(out_channels), kernel_size, filters, bias, device, dtype
        )
        self.in_channels, self.out_channels, self.groups, self.centred = in_channels, out_channels, groups, groups == 1
        by_entry = groups == 1 or reads == "self"
        self.layout = Layout(group.order, in_channels, out_channels, reads == "image", by_entry)
        self.geometry, self.padding_mode = Geometry(stride, padding, dilation), padding_mode
        self.shown = dict(shown or {})
        for name, value in self.shown.items():
            setattr(self, name, value)
        self.transposed, self.reads = transposed, reads
        self.before = before
        self._off_grid_warned = False
        self.reset_parameters()

    def forward(self, x: Tensor) -> Tensor:
        """Map `(batch * |G|, in_channels, *space)` to `(batch * |G|, out_channels, *space')`."""
        dim, (stride, padding, dilation) = self.in_type.group.dim, self.geometry
        x = self.layout.opened(x if self.before is None else self.before(x))
        if stride > 1 and not self.transposed:
            warn_off_grid(self, x, self.in_type.group, self.side, *self.geometry)
        if padding and self.padding_mode != "zeros":
            x, padding = F.pad(x, [padding] * 2 * dim, mode=self.padding_mode), 0
        kernel, bias, groups = self.arranged()
        if self.transposed:
            y = self._convolved(TRANSPOSED[dim], x, kernel, bias, stride, padding, 0, groups, dilation)
        else:
            y = self._convolved(CONVOLUTIONS[dim], x, kernel, bias, stride, padding, dilation, groups)
        return self.layout.closed(y)

    def arranged(self) -> tuple[Tensor, Tensor | None, int]:
        """Return kernel, bias and groups for torch's convolution of channels `(entry, channel)`, or `(channel, entry)`.

        The second order is that of `GroupConv`; it keeps the channels of one group together, with all their entries.
        """
        n, bias = self.layout.order, self.bias
        groups = self.groups * (n if self.reads == "self" else 1)

        def kernel() -> Tensor:
            dense = self.kernel()
            if self.layout.by_entry:
                dense = _entries_first(dense, n, 0)
                dense = _entries_first(dense, n, 1) if self.reads == "group" else dense
            if self.transposed:
                dense = torch.unflatten(dense, 0, (groups, -1)).transpose(1, 2).flatten(0, 1)
            return dense

        spread = None if bias is None else bias.repeat(n) if self.layout.by_entry else bias.repeat_interleave(n)
        return self._remembered("arranged", kernel), spread, groups

    def reset_parameters(self) -> None:
        """Draw the weights anew; of a transposed convolution a pixel sees one kernel in `stride ** dim`."""
        super().reset_parameters()
        if self.transposed:
            with torch.no_grad():
                self.weight.mul_(self.geometry.stride ** (self.in_type.group.dim / 2))

    def extra_repr(self) -> str:
        """Print channels and geometry."""
        text = f"{self.in_channels}, {self.out_channels}, kernel_size={self.side}, group={self.in_type.group.name}"
        values = {**self.geometry._asdict(), "groups": self.groups, "transposed": self.transposed, "reads": self.reads}
        for (name, value), default in zip(values.items(), (1, 0, 1, 1, False, "group"), strict=True):
            if value != default:
                text += f", {name}={value!r}"
        return text + ("" if self.bias is not None else ", bias=False")


class StackedLinear(GroupKernel):
    """A linear map that joins all entries of a stack: `(batch * |G|, ..., in)` to `(batch * |G|, ..., out)`.

    Args:
        group: The group.
        in_features: Channels of each entry of the input, which lie on the last axis.
        out_features: Channels of each entry of the output.
        bias: Learn one number for each channel.
    """

    def __init__(
        self,
        group: Group,
        in_features: int,
        out_features: int,
        *,
        bias: bool = True,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        """Make weights and constants."""
        super().__init__(group.regular(in_features), group.regular(out_features), 1, pointwise(), bias, device, dtype)
        self.in_features, self.out_features, self.order = in_features, out_features, group.order
        self.reset_parameters()

    def forward(self, x: Tensor) -> Tensor:
        """Map the last axis."""
        x = x.reshape(-1, self.order, *x.shape[1:]).movedim(1, -2).flatten(-2)
        y = F.linear(x, *self.arranged())
        return torch.unflatten(y, -1, (self.order, -1)).movedim(-2, 1).flatten(0, 1)

    def arranged(self) -> tuple[Tensor, Tensor | None]:
        """Return matrix and bias for channels `(entry, channel)`."""
        n = self.order

        def matrix() -> Tensor:
            return _entries_first(_entries_first(self.kernel().flatten(1), n, 0), n, 1)

        return self._remembered("arranged", matrix), None if self.bias is None else self.bias.repeat(n)

    def extra_repr(self) -> str:
        """Print channels."""
        return f"{self.in_features}, {self.out_features}, group={self.in_type.group.name}, bias={self.bias is not None}"


class StackedGroupNorm(nn.GroupNorm):
    """`nn.GroupNorm` whose groups hold the channels of all entries, so that orientations stay comparable.

    Args:
        order: Entries of a stack, |G|.
        num_groups: Groups of channels; as many as channels for what replaces instance normalisation.
        num_channels: Channels of each entry.
        eps: Added to the variance.
        affine: Learn a factor and a shift for each channel.
    """

    def __init__(self, order: int, num_groups: int, num_channels: int, eps: float = 1e-5, affine: bool = True) -> None:
        """Make the parameters."""
        super().__init__(num_groups, num_channels, eps, affine)
        self.order = order

    def forward(self, x: Tensor) -> Tensor:
        """Map `(batch * |G|, channels, *space)` to the same shape."""
        together = x.reshape(-1, self.order, *x.shape[1:]).transpose(1, 2)
        y = F.group_norm(together, self.num_groups, self.weight, self.bias, self.eps)
        return y.transpose(1, 2).flatten(0, 1)
