"""Run a network once and follow its channels: through layers by what they are, through other code by tensor operations.

The example goes through the network's own `forward`, whatever it does. Every dimension of every tensor on the way is
an `Axis` of channels or a fixed number; layers make new axes, operations pass them on, unite them or pin them.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.weak import WeakIdKeyDictionary

from pdoconv.convert.axes import Axis, axis, divide, pin, unify
from pdoconv.convert.calls import Call, Labels
from pdoconv.convert.rules import follow

Conv = nn.modules.conv._ConvNd
Transposed = nn.modules.conv._ConvTransposeNd
Norm = nn.modules.batchnorm._NormBase
BATCH = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm)
MaxPool = nn.modules.pooling._MaxPoolNd
AvgPool = nn.modules.pooling._AvgPoolNd
PRODUCTS = (Conv, nn.Linear)
PLAIN = (Norm, nn.GroupNorm, nn.LayerNorm, nn.PReLU, MaxPool, AvgPool)

UNKNOWN = (nn.MultiheadAttention, nn.RNNBase, nn.RNNCellBase, nn.Bilinear, nn.PixelShuffle, nn.PixelUnshuffle)
"""Layers that mix places or channels in ways that do not turn with the image."""


def is_known(module: nn.Module) -> bool:
    """Tell whether a layer is followed by what it is; all others are followed by the operations in their `forward`."""
    if getattr(module, "return_indices", False):  # pooling whose places somebody needs stays as it is
        return False
    return isinstance(module, PRODUCTS) or (isinstance(module, PLAIN) and not own_forward(module))


def own_forward(module: nn.Module) -> bool:
    """Tell whether a subclass of a layer of torch's has a `forward` of its own."""
    base = next(cls for cls in type(module).__mro__ if cls.__module__.startswith("torch.nn"))
    return getattr(type(module), "forward") is not getattr(base, "forward")  # noqa: B009  # mypy knows of no forward


@dataclass
class Seen:
    """A layer as it was met.

    Attributes:
        module: The layer.
        into, out: Axes of channels before and behind it.
        lifted: Whether its input depends on the group element.
        pads: What padding just added to its input.
        shape, result: Shapes of the first input and output.
    """

    module: nn.Module
    into: Axis | None
    out: Axis | None
    lifted: bool
    pads: tuple[int, ...]
    shape: torch.Size
    result: torch.Size


@dataclass
class Trace:
    """What a run showed.

    Attributes:
        layers: Known layers that were called, by path.
        tensors: Axes of parameters and buffers that other code uses, by path.
        outputs: Labels of the outputs.
        refused: What cannot be made equivariant, by path.
        notes: What may break the symmetry or fixes a width, by path.
        folds: Convolutions whose output is read by one layer of batch normalisation only: its path by theirs.
    """

    layers: dict[str, Seen] = field(default_factory=dict)
    tensors: dict[str, tuple[Axis | None, ...]] = field(default_factory=dict)
    outputs: list[Labels] = field(default_factory=list)
    refused: dict[str, str] = field(default_factory=dict)
    notes: dict[str, str] = field(default_factory=dict)
    folds: dict[str, str] = field(default_factory=dict)


class Tracer(TorchDispatchMode):  # type: ignore[no-untyped-call]  # torch's gap
    """The run itself: `Tracer(net).run(example)`."""

    def __init__(self, net: nn.Module, skip: Iterable[str] = ()) -> None:
        """Prepare to run a network; modules named in `skip` are the caller's."""
        super().__init__()  # type: ignore[no-untyped-call]  # torch's gap
        self.net, self.skip = net, set(skip)
        self.known: WeakIdKeyDictionary = WeakIdKeyDictionary()
        self.trace, self.path, self.inside = Trace(), [""], 0
        self.made: WeakIdKeyDictionary = WeakIdKeyDictionary()
        self.readers: dict[str, list[str]] = {}
        self.calls: list[str] = []
        self.multiples: list[tuple[Axis | None, int]] = []
        self.names = {id(m): name for name, m in reversed(list(net.named_modules()))}
        named = [*net.named_parameters(), *net.named_buffers()]
        self.owned = {id(t): name for name, t in named}

    def run(self, example: tuple[Any, ...]) -> Trace:
        """Run without gradients, and return what was seen.

        In eval mode; then in training mode, if that is possible, as networks may then have auxiliary outputs.
        """
        self._follow(example, training=False)
        for conv, readers in self.readers.items():
            norm = readers[0]
            batch = isinstance(self.net.get_submodule(norm), BATCH) if norm in self.trace.layers else False
            if batch and len(readers) == 1 and self.calls.count(norm) == self.calls.count(conv) == 1:
                self.trace.folds[conv] = norm
        kept = [(buffer, buffer.clone()) for buffer in self.net.buffers()]
        try:
            with torch.random.fork_rng(devices=[]):
                self._follow(tuple(torch.cat([x, x]) for x in example), training=True)
        except Exception:  # in training mode the network wants more than the example
            pass
        with torch.no_grad():
            for buffer, before in kept:
                buffer.copy_(before)
        for name in self._idle():
            self.trace.notes[name] = "not called with the example: it stays as it was, with its old widths"
        for found_axis, number in self.multiples:
            divide(found_axis, number)
        return self.trace

    def _idle(self) -> list[str]:
        """Return the layers with parameters that were not called."""
        return [
            name
            for name, part in self.net.named_modules()
            if is_known(part)
            and next(part.parameters(recurse=False), None) is not None
            and name not in self.trace.layers
            and not any(name == path or name.startswith(f"{path}.") for path in self.skip)
        ]

    def _follow(self, example: tuple[Any, ...], training: bool) -> None:
        """Run once, in a mode."""
        self.path, self.inside = [""], 0
        handles = [m.register_forward_pre_hook(self._enter, with_kwargs=True) for m in self.net.modules()]
        handles += [
            m.register_forward_hook(self._leave, with_kwargs=True, always_call=True) for m in self.net.modules()
        ]
        modes = {part: part.training for part in self.net.modules()}
        self.net.train(training)
        try:
            with torch.no_grad(), self:
                outputs = self.net(*example)
        finally:
            for handle in handles:
                handle.remove()
            for part, mode in modes.items():
                part.training = mode
        for leaf in tree_leaves(outputs):
            if isinstance(leaf, Tensor):
                self._read(leaf, "output")
                found = self.labels(leaf)
                self.trace.outputs.append(found)
                for one in found.dims:
                    pin(one, "an output of the network")

    def labels(self, x: Tensor) -> Labels:
        """Return what is known of a tensor; parameters and buffers are axes of their own until they meet others."""
        if x not in self.known:
            name = self.owned.get(id(x))
            fixed: tuple[Axis | None, ...] = (None,) * x.dim()
            if name is not None and x.is_floating_point():
                fixed = tuple(axis(size) if size > 1 else None for size in x.shape)
                self.trace.tensors[name] = fixed
            self.known[x] = Labels(fixed, False)
        found: Labels = self.known[x]
        return found

    def _read(self, x: Tensor, reader: str) -> None:
        if x in self.made:
            self.readers.setdefault(self.made[x], []).append(reader)

    def _enter(self, module: nn.Module, args: Any, kwargs: Any) -> None:
        name = self.names[id(module)]
        self.path.append(name)
        if is_known(module) or name in self.skip:
            self.inside += 1
        if isinstance(module, UNKNOWN) and name not in self.skip:
            self.trace.refused[name] = f"{type(module).__name__} mixes places or channels in a way that does not turn"

    def _leave(self, module: nn.Module, args: Any, kwargs: Any, output: Any) -> None:
        name = self.path.pop()
        if not (is_known(module) or name in self.skip):
            return
        self.inside -= 1
        if self.inside or not isinstance(output, Tensor):
            return
        inputs = [t for t in tree_leaves((args, kwargs)) if isinstance(t, Tensor)]
        x = inputs[0]
        before = self.labels(x)
        channel = x.dim() - 1 if isinstance(module, nn.Linear | nn.LayerNorm) else min(1, x.dim() - 1)
        if name in self.skip:
            for one in before.dims:
                pin(one, f"an input of {name}, which stays as it is")
            self.known[output] = Labels((None,) * output.dim(), True)
            return
        dims, into = list(before.dims), before.dims[channel]
        if output.dim() != x.dim():
            raise AssertionError(f"{name}: a layer changed the number of dimensions")
        if isinstance(module, Conv | nn.Linear):
            earlier = self.trace.layers.get(name)
            if earlier is not None:
                into = unify(earlier.into, into, f"{name} is used twice")
                earlier.lifted = earlier.lifted or before.lifted
                dims[channel] = earlier.out
            else:
                dims[channel] = self._made(module, into)
            lifted = True
        else:
            lifted = before.lifted
            if isinstance(module, nn.LayerNorm) and len(module.normalized_shape) > 1:
                self.trace.refused[name] = "LayerNorm over space has weights of places"
        for place in range(output.dim()):
            if place != channel and output.shape[place] != x.shape[place]:
                dims[place] = None
        self._read(x, name)
        self.calls.append(name)
        if isinstance(module, Conv):
            self.made[output] = name
        if name not in self.trace.layers:
            found = Seen(module, into, dims[channel], before.lifted, before.pads, x.shape, output.shape)
            self.trace.layers[name] = found
        self.known[output] = Labels(tuple(dims), lifted)

    def _made(self, module: nn.Module, into: Axis | None) -> Axis:
        """Return the channels that a convolution or a linear layer makes."""
        if isinstance(module, nn.Linear):
            return axis(module.out_features)
        assert isinstance(module, Conv)
        groups, ins, outs = module.groups, module.in_channels, module.out_channels
        if groups > 1 and groups == ins and into is not None and into.inner == 1:
            return Axis(into.atoms * (outs // ins))
        out = axis(outs)
        if groups > 1:
            self.multiples += [(into, groups), (out, groups)]
        return out

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run one operation and pass the axes on."""
        out = func(*args, **(kwargs or {}))
        if not self.inside:
            inputs, outputs = ([t for t in tree_leaves(x) if isinstance(t, Tensor)] for x in ((args, kwargs), out))
            if inputs and outputs:
                before, trace = [self.labels(t) for t in inputs], self.trace
                for t in inputs:
                    self._read(t, "code")
                call = Call(
                    func,
                    args,
                    kwargs or {},
                    inputs,
                    before,
                    outputs,
                    self.path[-1],
                    trace.notes,
                    trace.refused,
                    self.multiples,
                )
                for t, found in zip(outputs, follow(call), strict=False):
                    if not any(t is given for given in inputs):
                        self.known[t] = found
        return out
