"""A network on stacks, seen from outside: images in; invariant numbers, maps, vectors or features on the group out."""

import copy
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves, tree_map

from pdoconv.fields import FieldType
from pdoconv.groups import Group

Output = Literal["invariant", "regular", "vector"] | FieldType


class Converted(nn.Module):
    """A converted network: equivariant or invariant, with the arguments and outputs of the original.

    Every tensor among the arguments whose first axis is the batch is repeated for each group element, the network runs
    on the stack, and every floating-point output whose first axis is that of the stack is brought back: by the mean
    over the elements, each turned back by its element where the output has vectors; or with the group as channels.

    A loss that the network itself computes is the mean of the losses of all orientations.

    Attributes:
        net: The original's code with new layers, on stacks.
        group: The group.
        output: `"invariant"`, `"regular"`, `"vector"` or a field type.
        in_type: Type of the images.
        out_type: Type of the output, or of the first of several.
        report: What happened to each layer, see `pdoconv.conversion_report`.
        example_side: Side of the example that it was converted with; measurements are made on it.
        folds: Paths of convolutions, and of the batch normalisation that alone reads each: `export` makes one of both.
    """

    def __init__(self, net: nn.Module, group: Group, channels: int, output: Output) -> None:
        """Keep the parts; `out_type` and `report` are set by `convert`."""
        super().__init__()
        self.net, self.group, self.output = net, group, output
        self.in_type = group.trivial(channels)
        self.out_type: FieldType | None = None
        self.report: Any = None
        self.folds: dict[str, str] = {}
        self.example_side: int | None = None
        self.train(net.training)

    def forward(self, x: Any = None, *args: Any, **kwargs: Any) -> Any:
        """Run on images `(batch, channels, *space)` and whatever else the original takes, by place or by name."""
        args = args if x is None else (x, *args)
        images = next(t for t in tree_leaves((args, kwargs)) if isinstance(t, Tensor))
        batch, n = images.shape[0], self.group.order

        def lift(x: Any) -> Any:
            fits = isinstance(x, Tensor) and x.dim() > 0 and x.shape[0] == batch
            return x.repeat_interleave(n, 0) if fits else x

        def lower(y: Any) -> Any:
            fits = isinstance(y, Tensor) and y.dim() > 0 and y.is_floating_point() and y.shape[0] == n * batch
            return self.lowered(y.reshape(-1, n, *y.shape[1:])) if fits else y

        args, kwargs = tree_map(lift, (args, kwargs))
        return tree_map(lower, self.net(*args, **kwargs))

    def lowered(self, entries: Tensor) -> Tensor:
        """Map `(batch, |G|, channels, *space)` to the output `(batch, channels, *space)`."""
        if self.output == "invariant":
            return entries.mean(1)
        if self.output == "regular":
            return entries.transpose(1, 2).flatten(1, 2)
        field = vectors(self.group, entries.shape[2]) if self.output == "vector" else self.output
        assert isinstance(field, FieldType)
        turns = torch.stack([torch.as_tensor(field.matrix(matrix)) for matrix in self.group.matrices])
        return torch.einsum("gij,bgj...->bi...", turns.to(entries), entries) / self.group.order

    def __deepcopy__(self, memo: dict[int, Any]) -> "Converted":
        """Copy, also where the network's code keeps results of its last run."""
        other = type(self).__new__(type(self))
        memo.update({id(self): other, **loose(self)})
        other.__dict__.update(copy.deepcopy(self.__dict__, memo))
        return other

    def extra_repr(self) -> str:
        """Print group and output."""
        return f"{self.group.name}, output={str(self.output)!r}"


def loose(net: nn.Module) -> dict[int, Tensor]:
    """Return copies of the tensors with a history that modules keep, which torch does not copy, by `id`."""
    kept = (t for part in net.modules() for t in tree_leaves(vars(part)) if isinstance(t, Tensor))
    return {id(t): t.detach().clone() for t in kept if t.grad_fn is not None}


def vectors(group: Group, channels: int) -> FieldType:
    """Return the type of so many channels that are components of vectors; `ValueError` if they are not."""
    if channels % group.dim:
        raise ValueError(f"convert: output='vector' needs {group.dim} channels a vector, received {channels} channels.")
    return group.vector(channels // group.dim)


def out_type(group: Group, output: Output, channels: int) -> FieldType:
    """Return the type of an output that has so many channels in the original network; `ValueError` if it cannot."""
    if isinstance(output, FieldType):
        if sum(output.sizes) != channels:
            raise ValueError(
                f"convert: output={str(output)!r} has {sum(output.sizes)} channels, the network's output {channels}."
            )
        return output
    if output == "vector":
        return vectors(group, channels)
    return group.trivial(channels) if output == "invariant" else group.regular(channels)
