"""Find the place where a converted network breaks the law, such as by `x[..., 0]`, which no layer shows."""

import copy
from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from pdoconv.convert.model import Converted
from pdoconv.groups import Group

BROKEN = 1e-3  # far above rounding, far below what broken symmetries give
LARGE = 2**22  # entries of a stack of examples above which the place is not looked for


def broken(twin: Converted, shape: tuple[int, ...]) -> tuple[str, str] | None:
    """Return path and description of the first place that breaks the law, or `None`.

    A copy of the network, with other numbers where parameters are all alike, runs on white noise and on the same noise
    turned. Outputs that are neither numbers nor maps of channels are not judged.
    """
    try:
        probe = _lively(twin)
        like = next((p for p in probe.parameters() if p.is_floating_point()), torch.empty(0))
        x = torch.randn(1, shape[1], *[max(shape[2:])] * twin.group.dim, generator=torch.Generator().manual_seed(0))
        x = x.to(like.device, like.dtype)
        for g in _few(twin.group):
            moved = twin.in_type.transform(x, g)
            ends = (Recorded(probe, only="").run(y) for y in (x, moved))
            found = _first(twin.group, g, *ends)
            if found is None:
                continue
            if _first(twin.group, 0, Recorded(probe, only="").run(x), Recorded(probe, only="").run(x, seed=1)):
                return "", "draws random numbers, which do not turn with the image"
            if x.numel() * twin.group.order <= LARGE:
                found = _first(twin.group, g, *(Recorded(probe).run(y) for y in (x, moved))) or found
            name, side, error = found
            owner, text = (name.rpartition(".")[0], f"its code in front of {name!r}") if side == "in" else (name, "it")
            return owner, f"{text} does not turn with the image: relative error {error:.1e}"
    except Exception as error:  # whatever the network's own code raises on a square, or for want of memory
        return "", f"whether it turns with the image could not be measured: {error}"
    return None


class Recorded:
    """What the modules of a network read and return in a run."""

    def __init__(self, probe: Converted, only: str | None = None) -> None:
        """Record all modules, or one."""
        self.probe, self.events = probe, list[tuple[str, str, list[Tensor]]]()
        self.names = {id(m): n for n, m in reversed(list(probe.net.named_modules())) if only is None or n == only}

    def run(self, x: Tensor, seed: int = 0) -> list[tuple[str, str, list[Tensor]]]:
        """Return path, `"in"` or `"out"`, and tensors, in the order of the run."""
        handles = []
        for part in self.probe.net.modules():
            if id(part) in self.names:
                handles += [part.register_forward_pre_hook(self._enter), part.register_forward_hook(self._leave)]
        try:
            with torch.no_grad(), torch.random.fork_rng(devices=[]):
                torch.manual_seed(seed)
                self.probe(x)
        finally:
            for handle in handles:
                handle.remove()
        return self.events

    def _enter(self, part: nn.Module, args: object) -> None:
        self._keep(part, "in", args)

    def _leave(self, part: nn.Module, args: object, output: object) -> None:
        self._keep(part, "out", output)

    def _keep(self, part: nn.Module, side: str, values: object) -> None:
        tensors = [t.clone() for t in tree_leaves(values) if isinstance(t, Tensor) and t.is_floating_point()]
        self.events.append((self.names[id(part)], side, tensors))


def _first(
    group: Group, g: int, plain: list[tuple[str, str, list[Tensor]]], moved: list[tuple[str, str, list[Tensor]]]
) -> tuple[str, str, float] | None:
    """Return the first event, with its error, whose tensors do not move as stacks do."""
    for (name, side, before), (_, _, after) in zip(plain, moved, strict=True):
        for x, y in zip(before, after, strict=True):
            error = min(_errors(group, g, x, y), default=0.0)
            if error > BROKEN:
                return name, side, error
    return None


def _errors(group: Group, g: int, x: Tensor, y: Tensor) -> Iterator[float]:
    """Yield how far a stack is from having moved, read with channels first, last, or with maps flattened."""
    n, dim = group.order, group.dim
    if x.dim() not in (2, 2 + dim) or x.shape[0] % n or x.shape != y.shape:
        return
    readings = [(x, y), (x.movedim(-1, 1), y.movedim(-1, 1))]
    if x.dim() == 2:
        sides = [m for m in range(1, 65) if x.shape[1] % m**dim == 0]
        readings = [(torch.unflatten(x, 1, (-1, *[m] * dim)), torch.unflatten(y, 1, (-1, *[m] * dim))) for m in sides]
    for a, b in readings:
        if len(set(a.shape[2:])) == 1:
            field = group.regular(a.shape[1])
            a = field.transform(torch.unflatten(a, 0, (-1, n)).transpose(1, 2).flatten(1, 2), g)
            b = torch.unflatten(b, 0, (-1, n)).transpose(1, 2).flatten(1, 2)
            yield float((a - b).norm() / a.norm().clamp_min(1e-30))


def _few(group: Group) -> list[int]:
    """Return a motion of the grid, and a reflection if there is one."""
    some = [g for g in group.lattice_elements if not np.allclose(group.matrices[g], np.eye(group.dim))]
    flips = [g for g in some if np.linalg.det(group.matrices[g]) < 0]
    turns = [g for g in some if g not in flips]
    return turns[:1] + flips[:1]


def _lively(twin: Converted) -> Converted:
    """Return a copy in which no branch is silent: parameters that are all alike get other numbers."""
    probe = copy.deepcopy(twin).eval()
    if any(p.dtype in (torch.float16, torch.bfloat16) for p in probe.parameters()):
        probe = probe.float()
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        for p in probe.parameters():
            if p.is_floating_point() and p.numel() and bool((p == p.flatten()[0]).all()):
                p.add_(0.2 * torch.randn_like(p))
    return probe
