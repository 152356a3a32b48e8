"""What becomes of a layer."""

import copy
import math
from dataclasses import dataclass

from torch import nn

from pdoconv.convert.axes import Axis, Widths, axis
from pdoconv.convert.geometry import SHOWN, padding_of, same
from pdoconv.convert.steps import FamilyOf, Step
from pdoconv.convert.trace import AvgPool, Conv, MaxPool, Seen, Transposed, own_forward
from pdoconv.grid import good_sides, keeps_grid
from pdoconv.groups import Group
from pdoconv.nn.halving import Crop, GridPool, Halve
from pdoconv.nn.stacked import Reads, StackedConv, StackedGroupNorm, StackedLinear


@dataclass
class Planner:
    """Plans one layer.

    Attributes:
        path: Its name in the network.
        seen: The layer as it was met.
        group: The group.
        family: Filters by dimension and side of the kernel.
        symmetric: Replace strides that break quarter turns.
        final: Whether only a mean over the group comes behind it.
        notes: Takes what is worth knowing, by path.
    """

    path: str
    seen: Seen
    group: Group
    family: FamilyOf
    symmetric: bool
    final: bool
    notes: dict[str, str]

    def step(self) -> Step:
        """Return what becomes of it; `ValueError` where it has no equivariant twin."""
        module = self.seen.module
        if isinstance(module, Conv):
            return self.convolution(module)
        if isinstance(module, nn.Linear):
            return self.linear(module)
        if isinstance(module, MaxPool | AvgPool):
            return self.pool(module)
        return self.norm(module)

    def width(self, one: Axis | None, size: int) -> Axis:
        """Return the axis of a layer's channels; where it is not known, of a fixed number."""
        return one if one is not None and one.width() * one.inner == size else axis(size, "not known")

    def convolution(self, module: Conv) -> Step:
        """Plan a convolution; `ValueError` for one that has no equivariant twin."""
        size, stride, dilation = (same(module, name) for name in ("kernel_size", "stride", "dilation"))
        dim = len(module.kernel_size)
        if dim != self.group.dim:
            raise ValueError(f"a convolution of {dim} dimensions, the group acts in {self.group.dim}")
        before: nn.Module | None = None
        transposed = isinstance(module, Transposed)
        padding = padding_of(module, self.seen, size, stride, dilation)
        text, sides, results = "", list(self.seen.shape[2:]), list(self.seen.result[2:])
        pads = list(self.seen.pads[: 2 * dim])
        if own_forward(module):
            self.notes[self.path] = f"{type(module).__name__} has a forward of its own, which is not kept"
        if transposed and any(module.output_padding):
            if any(out != stride * side for side, out in zip(sides, results, strict=True)):
                raise ValueError(
                    f"output_padding={module.output_padding} breaks the symmetry: a kernel of even side needs none, or "
                    f"upsample, then convolve"
                )
            before, transposed = nn.Upsample(scale_factor=stride), False
            size, stride, padding, dilation = size | 1, 1, size // 2, 1
            text = f"upsampling by {module.stride[0]}, then "
        elif not transposed and self.symmetric and stride in (2, 4, 8):
            shares = [sum(pads[2 * i : 2 * i + 2]) for i in reversed(range(dim))] if pads else [0] * dim
            ceiling = all(out == -(-(n - p) // stride) for n, p, out in zip(sides, shares, results, strict=True))
            reach = dilation * (size - 1)
            if ceiling and reach % 2 == 0:
                times = stride.bit_length() - 1
                before, stride, padding = Halve(times), 1, reach // 2
                text = "halving, then " if times == 1 else f"halving {times} times, then "
                if any(pads):
                    before, sides = (
                        nn.Sequential(Crop(pads), before),
                        [n - p for n, p in zip(sides, shares, strict=True)],
                    )
        if not transposed and before is None:
            self.grid(size, stride, padding, dilation)
            if len({tuple(pads[i : i + 2]) for i in range(0, len(pads), 2) if pads[i] != pads[i + 1]}):
                self.notes[self.path] = f"behind padding by {pads}, more on one side: quarter turns are not exact"
        ins, outs = self.width(self.seen.into, module.in_channels), self.width(self.seen.out, module.out_channels)
        if ins.inner > 1:
            raise ValueError("reads flattened maps")
        depthwise = module.groups > 1 and module.groups == module.in_channels
        reads: Reads = "group" if self.seen.lifted else "image"
        if self.final and reads == "group":
            reads = "self"
        filters = self.family(dim, size)
        basis = int(filters.basis(self.group, size).shape[1])
        relative = self.group.order if reads == "group" else 1
        pixels = math.prod(sides if transposed else results)
        bias, mode = module.bias is not None, module.padding_mode

        def counts(widths: Widths) -> tuple[int, int, int]:
            return ins.width(widths), outs.width(widths), ins.width(widths) if depthwise else module.groups

        def make(widths: Widths) -> nn.Module:
            i, o, groups = counts(widths)
            return StackedConv(
                self.group,
                i,
                o,
                size,
                filters=filters,
                stride=stride,
                padding=padding,
                dilation=dilation,
                groups=groups,
                bias=bias,
                padding_mode=mode,
                transposed=transposed,
                reads=reads,
                before=before,
                shown={name: getattr(module, name) for name in SHOWN},
            )

        def weights(widths: Widths) -> int:
            i, o, groups = counts(widths)
            return o * (i // groups) * relative * basis + int(bias) * o

        def products(widths: Widths) -> int:
            i, o, groups = counts(widths)
            return self.group.order * o * (i // groups) * relative * int(size**dim) * pixels

        kind = {
            "group": "group",
            "image": "lifting",
            "self": "pointwise" if size == 1 else "orientation by orientation",
        }
        name = f"{kind[reads]} {'transposed ' if transposed else ''}convolution {'x'.join([str(size)] * dim)}"
        old = module.weight.numel() * math.prod(sides if isinstance(module, Transposed) else results)
        return Step(self.path, self.seen, text + name, make, weights, products, old)

    def linear(self, module: nn.Linear) -> Step:
        """Plan a linear layer; `ValueError` for one that reads places."""
        into, outs, bias = self.seen.into, self.width(self.seen.out, module.out_features), module.bias is not None
        if into is None and self.seen.lifted:
            raise ValueError("reads places, not channels: its weights do not turn with the image")
        ins, pixels = self.width(into, module.in_features), math.prod(self.seen.result[1:-1])
        if ins.inner > 1:
            return self.flattened(ins, outs, module)
        mixed = self.seen.lifted and not self.final
        n = self.group.order if mixed else 1

        def make(widths: Widths) -> nn.Module:
            i, o = ins.width(widths), outs.width(widths)
            return StackedLinear(self.group, i, o, bias=bias) if mixed else nn.Linear(i, o, bias)

        def weights(widths: Widths) -> int:
            return outs.width(widths) * (ins.width(widths) * n + bias)

        def products(widths: Widths) -> int:
            return self.group.order * outs.width(widths) * ins.width(widths) * n * pixels

        becomes = "linear map of all orientations" if mixed else "linear map, the same for each orientation"
        return Step(self.path, self.seen, becomes, make, weights, products, module.weight.numel() * pixels)

    def flattened(self, ins: Axis, outs: Axis, module: nn.Linear) -> Step:
        """Plan a linear layer behind flattened maps: a convolution with a kernel as large as they are."""
        if len(ins.space) != self.group.dim or len(set(ins.space)) > 1:
            raise ValueError(f"reads flattened maps of sides {ins.space}: expected equal sides")
        size, dim = ins.space[0], len(ins.space)
        filters = self.family(dim, size)
        basis = int(filters.basis(self.group, size).shape[1])
        reads: Reads = "image" if not self.seen.lifted else "self" if self.final else "group"
        relative, bias = self.group.order if reads == "group" else 1, module.bias is not None

        def make(widths: Widths) -> nn.Module:
            conv = StackedConv(
                self.group, ins.width(widths), outs.width(widths), size, filters=filters, bias=bias, reads=reads
            )
            new = nn.Sequential(nn.Unflatten(1, (ins.width(widths), *ins.space)), conv, nn.Flatten())
            shown = {"in_features": ins.width(widths) * size**dim, "out_features": outs.width(widths)}
            new.__dict__.update(shown)  # code may read them
            return new

        def weights(widths: Widths) -> int:
            return outs.width(widths) * (ins.width(widths) * relative * basis + int(bias))

        def products(widths: Widths) -> int:
            return self.group.order * outs.width(widths) * ins.width(widths) * relative * int(size**dim)

        return Step(
            self.path, self.seen, f"convolution over the whole map, {size} pixels a side", make, weights, products
        )

    def norm(self, module: nn.Module) -> Step:
        """Plan a layer with parameters of single channels."""
        kind, n = type(module), self.group.order
        size = next(getattr(module, a) for a in CHANNEL_ATTRIBUTES if hasattr(module, a))
        size = size[-1] if isinstance(size, tuple) else size
        if next(module.parameters(recurse=False), None) is None and "InstanceNorm" in kind.__name__:
            size = self.seen.shape[1]  # without parameters torch takes any number of channels
        one = self.width(self.seen.into, size) if size > 1 else axis(1, "one number")
        if one.inner > 1:
            raise ValueError("has a parameter for each place of flattened maps")
        parameters = [p for p in module.parameters(recurse=False)]

        def make(widths: Widths) -> nn.Module:
            c = one.width(widths)
            if isinstance(module, nn.GroupNorm):
                groups = next(g for g in range(min(c, module.num_groups), 0, -1) if c % g == 0)
                new: nn.Module = StackedGroupNorm(n, groups, c, module.eps, module.affine)
            elif isinstance(module, nn.modules.instancenorm._InstanceNorm) and not module.track_running_stats:
                new = StackedGroupNorm(n, c, c, module.eps, module.affine)
            elif isinstance(module, nn.LayerNorm):
                affine, shift = module.elementwise_affine, module.bias is not None
                new = nn.LayerNorm(c, module.eps, affine, shift) if len(module.normalized_shape) == 1 else module
            elif isinstance(module, nn.PReLU):
                new = nn.PReLU(c)
            else:
                new = _like_norm(module, c)
            for name, old in module.named_parameters(recurse=False):
                if bool((old == old.flatten()[0]).all()):  # as it was initialised, such as 0 at the end of a branch
                    nn.init.constant_(getattr(new, name), old.flatten()[0].item())
            return new

        becomes = f"{kind.__name__} as it was"
        if isinstance(module, nn.GroupNorm) or "InstanceNorm" in kind.__name__:
            becomes = f"{kind.__name__} over all orientations"
        return Step(self.path, self.seen, becomes, make, lambda widths: len(parameters) * one.width(widths))

    def pool(self, module: nn.Module) -> Step:
        """Plan pooling: with a stride that breaks quarter turns, pooling at every pixel, then halving."""
        try:
            size, stride = (same(module, name, self.group.dim) for name in ("kernel_size", "stride"))
            padding = same(module, "padding", self.group.dim)
        except ValueError:
            raise ValueError("pools over windows whose sides differ") from None
        sides, results = self.seen.shape[2:], self.seen.result[2:]
        ceiling = all(out == -(-side // stride) for side, out in zip(sides, results, strict=True))
        spread = getattr(module, "dilation", 1) != 1
        if self.symmetric and stride in (2, 4, 8) and ceiling and size % 2 and not spread:
            kind, times = type(module), stride.bit_length() - 1

            def make(_: Widths) -> nn.Module:
                every = {} if isinstance(module, MaxPool) else {"count_include_pad": module.count_include_pad}
                return nn.Sequential(kind(size, 1, size // 2, **every), Halve(times))

            return Step(self.path, self.seen, f"{kind.__name__} at every pixel, then halving", make)
        if stride > 1 and size < max(sides) + padding:  # else the window holds the whole map
            self.grid(size, stride, padding, 1)
            kept = copy.deepcopy(module)
            return Step(
                self.path,
                self.seen,
                f"{type(module).__name__} as it was",
                lambda _: GridPool(kept, self.group, size, stride, padding),
            )
        return Step(self.path, self.seen, f"{type(module).__name__} as it was")

    def grid(self, size: int, stride: int, padding: int, dilation: int) -> None:
        """Note a stride that breaks quarter turns on the sides of the example."""
        for side in self.seen.shape[2:]:
            if not keeps_grid(side, size, stride, padding, dilation):
                low, high = good_sides(side, size, stride, padding, dilation)
                self.notes[self.path] = (
                    f"side {side} with kernel {size}, stride {stride}, padding {padding}: quarter turns are not exact; "
                    f"on {low} or {high} they are"
                )


CHANNEL_ATTRIBUTES = ("num_features", "num_channels", "normalized_shape", "num_parameters")
"""Where layers of torch keep their number of channels."""


def _like_norm(module: nn.Module, channels: int) -> nn.Module:
    """Return a layer of batch or instance normalisation with other channels."""
    assert isinstance(module, nn.modules.batchnorm._NormBase)
    kind = next(cls for cls in type(module).__mro__ if cls.__module__.startswith("torch.nn"))
    new: nn.Module = kind(
        channels,
        eps=module.eps,
        momentum=module.momentum,
        affine=module.affine,
        track_running_stats=module.track_running_stats,
    )
    return new
