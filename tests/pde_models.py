"""Learned PDEs of every kind, for the tests."""

import torch

from pdoconv.pde import LearnedPDE
from pdoconv.stencils import isotropic

SOLVERS = ("euler", "midpoint", "rk4", "semi-implicit")
GENERAL = {
    "linear": {},
    "bounded": {"bounded": True},
    "hidden": {"bounded": True, "hidden": 4},
    "colour": {"channels": 3},
    "colour alone": {"channels": 3, "indicators": 0},
    "two indicators": {"indicators": 2, "bounded": True},
    "isotropic": {"stencils": isotropic(), "kernel_size": 5},
}


def random(size=0.04, steps=3, **options):
    """A model with random parameters, in float64."""
    model = LearnedPDE(steps=steps, **options).double()
    with torch.no_grad():
        for p in model.parameters():
            p.add_(size * torch.randn_like(p))
    return model


def value(tensor):
    """A tensor without axes as a number."""
    return float(tensor.detach())


def rand(*shape):
    """Random numbers in [0, 1), float64."""
    return torch.rand(*shape, dtype=torch.float64)
