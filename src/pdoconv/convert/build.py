"""Put new layers and tensors into the places of old ones."""

import operator
from collections.abc import Callable, Mapping
from typing import Literal

import torch
from torch import nn

from pdoconv.convert.axes import Axis, Widths
from pdoconv.convert.layers import CHANNEL_ATTRIBUTES
from pdoconv.convert.model import Converted
from pdoconv.convert.plan import Plan

Override = nn.Module | Literal["keep"] | Callable[[nn.Module], nn.Module]
"""What to do with a module that cannot be converted."""


def size(dims: tuple[Axis | None, ...], widths: Widths) -> int:
    """Return the number of entries of a tensor."""
    total = 1
    for one in dims:
        total *= 1 if one is None else one.width(widths)
    return total


def build(twin: Converted, plan: Plan, widths: Widths, override: Mapping[str, Override]) -> None:
    """Put the new layers and tensors into the places of the old ones."""
    net = twin.net
    places: dict[int, list[tuple[nn.Module, str]]] = {}
    for parent in twin.modules():
        for name, child in parent._modules.items():
            if child is not None:
                places.setdefault(id(child), []).append((parent, name))
    made = [(step.seen.module, step.make(widths)) for step in plan.steps if step.make is not None]
    for path, choice in override.items():
        if choice != "keep":
            old = net.get_submodule(path)
            made.append((old, choice if isinstance(choice, nn.Module) else choice(old)))
    for old, new in made:
        like = next(old.parameters(), None)
        if like is not None:
            new.to(like.device, like.dtype)
        new.train(old.training)
        for parent, name in places[id(old)]:
            parent._modules[name] = new
    for path, dims in plan.tensors.items():
        owner, _, name = path.rpartition(".")
        parent = operator.attrgetter(owner)(net) if owner else net
        old_tensor = getattr(parent, name)
        shape = [n if one is None else one.width(widths) for n, one in zip(old_tensor.shape, dims, strict=True)]
        if list(old_tensor.shape) != shape:
            fresh = old_tensor.new_empty(shape)
            fill_like(fresh, old_tensor.detach())
            setattr(parent, name, nn.Parameter(fresh) if isinstance(old_tensor, nn.Parameter) else fresh)
            for attribute in CHANNEL_ATTRIBUTES:  # of a layer of torch's with a forward of its own
                if name == "weight" and hasattr(parent, attribute):
                    several = isinstance(getattr(parent, attribute), tuple)
                    setattr(parent, attribute, tuple(shape) if several else shape[0])


def fill_like(new: torch.Tensor, old: torch.Tensor) -> None:
    """Fill a tensor of another size with the beginning of an old one along each axis, over and over."""
    with torch.no_grad():
        for place in range(old.dim()):
            index = torch.arange(new.shape[place], device=old.device) % old.shape[place]
            old = old.index_select(place, index)
        new.copy_(old)
