"""Restoration of pictures: what is trained, on what, for how long; the same for every system of a task."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn

from pdoconv.models import dncnn, pde_restorer, tnrd
from pdoconv.pde import LearnedPDE
from pdoconv.pde.tasks import Task, task

Build = Callable[[int, int], nn.Module]
"""A network from input channels (with a mask, if the task has one) and channels of the picture."""

GREEDY = 8
"""Batches that coefficients are first estimated from."""


@dataclass(frozen=True)
class Restorer:
    """A system that is trained.

    Attributes:
        title: Name in tables.
        build: Makes the network.
        lr: Highest learning rate.
        coefficient_lr: That of a learned PDE's coefficients and scales, which are larger than weights.
        greedy: Begin with the coefficients that `pdoconv.pde.greedy` finds on `GREEDY` batches.
    """

    title: str
    build: Build
    lr: float
    coefficient_lr: float = 0.0
    greedy: bool = False


def _learned(steps: int, *, bounded: bool, hidden: int = 0, indicators: int = 1) -> Build:
    def build(_: int, channels: int) -> LearnedPDE:
        beside = indicators if channels == 1 else 1  # three colours and one more field are four, too
        net = LearnedPDE(
            steps, channels=channels, indicators=beside, padding="replicate", bounded=bounded, hidden=hidden
        )
        net.diffuse(1.0)
        return net

    return build


def _network(make: Callable[..., nn.Module]) -> Build:
    return lambda inputs, outputs: make(in_channels=inputs, out_channels=outputs)


SYSTEMS: dict[str, Restorer] = {
    "lpde": Restorer("L-PDE, polynomial", _learned(15, bounded=False), 0.0, 0.01, greedy=True),
    "lpde-bounded": Restorer("L-PDE, bounded invariants", _learned(12, bounded=True), 0.0, 0.02, greedy=True),
    "lpde-general": Restorer(
        "L-PDE, function of the invariants", _learned(12, bounded=True, hidden=32, indicators=3), 0.005, 0.03
    ),
    "neural-pde": Restorer("Equivariant neural PDE", _network(pde_restorer), 6e-3),
    "tnrd": Restorer("TNRD type", _network(tnrd), 1e-2),
    "dncnn": Restorer("DnCNN type", _network(dncnn), 5e-3),
}
"""Systems by the name that the command line uses."""


@dataclass(frozen=True)
class Restoration:
    """Settings of a run."""

    task: str = "denoise"
    system: str = "lpde-general"
    sigma: float = 25.0
    """Of the noise, in units of 1/255, for `"denoise"`."""
    steps: int = 2500
    batch: int = 8
    patch: int = 48
    seed: int = 0

    def __post_init__(self) -> None:
        """Raise `ValueError` for settings that cannot be run."""
        self.problem()
        if self.system not in SYSTEMS:
            raise ValueError(f"Unknown system {self.system!r}: expected one of {', '.join(SYSTEMS)}.")
        if min(self.steps, self.batch) < 1 or self.patch < 16 or self.seed < 0:
            raise ValueError(
                f"Expected steps >= 1, batch >= 1, patch >= 16 and seed >= 0, received {self.steps}, {self.batch}, "
                f"{self.patch}, {self.seed}."
            )

    def problem(self) -> Task:
        """Return the task."""
        return task(self.task, self.sigma)

    def network(self) -> nn.Module:
        """Return the network, freshly initialised from the seed."""
        torch.manual_seed(self.seed)
        problem = self.problem()
        masks = problem.channels if problem.channels > 1 else 1
        return SYSTEMS[self.system].build(problem.channels + masks * problem.needs_known, problem.channels)
