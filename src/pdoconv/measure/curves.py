"""Equivariance error over angle, grid size and depth; fitted orders."""

import math
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from torch import nn

from pdoconv.measure.error import equivariance_error
from pdoconv.nn.stacked import StackedConv, StackedGroupNorm, StackedLinear


def equivariance_curve(module: nn.Module, angles: Iterable[float], **options: object) -> dict[float, float]:
    """Return the error of `equivariance_error` for each angle in degrees; the options are passed on."""
    return {angle: equivariance_error(module, angle, **options) for angle in angles}  # type: ignore[arg-type]  # passed on


def error_over_size(
    module: nn.Module, sizes: Iterable[int] = (17, 33, 65, 129), *, waves: float = 2.0, **options: object
) -> dict[int, float]:
    """Return the error for one picture sampled on finer and finer grids.

    Args:
        module: Any module that takes inputs of these sizes.
        sizes: Sides of the grids; spacing 2 / (size - 1) on a picture of side 2.
        waves: Highest frequency of the picture, waves a unit of length.
        **options: Of `equivariance_error`; `rotation` is 45 degrees unless given.
    """
    given = {"rotation": 45.0, **options}
    frequencies = {size: 4 * math.pi * waves / (size - 1) for size in sizes}
    return {
        size: equivariance_error(module, size=size, frequency=k, **given)  # type: ignore[arg-type]  # passed on
        for size, k in frequencies.items()
    }


def typed_layers(module: nn.Module) -> dict[str, Any]:
    """Return the layers with an `out_type` within a module, by name; not those on stacks, within converted networks."""
    stacked = (StackedConv, StackedLinear, StackedGroupNorm)
    return {
        name: part
        for name, part in module.named_modules()
        if name and getattr(part, "out_type", None) is not None and not isinstance(part, stacked)
    }


def error_over_depth(module: nn.Module, rotation: float = 45.0, **options: object) -> dict[str, float]:
    """Return the error behind each layer that has an `out_type`, by name, in the order of the module's children.

    Args:
        module: Network with typed layers; others are passed over, also those within a converted network, whose maps
            are stacks: of a network without typed layers nothing is returned.
        rotation: Degrees.
        **options: Of `equivariance_error`.
    """
    layers = typed_layers(module)
    return {name: equivariance_error(module, rotation, at=name, **options) for name in layers}  # type: ignore[arg-type]  # passed on


def fitted_order(errors: Mapping[float, float] | Mapping[int, float]) -> float:
    """Return the slope of log error against log spacing, by least squares.

    Args:
        errors: Error by frequency (radians per pixel), or by size of the grid, as the other functions give them.

    Raises:
        ValueError: If there are fewer than two errors or one is not positive.

    >>> round(fitted_order({0.2: 4e-4, 0.1: 1e-4}), 6), round(fitted_order({17: 4e-4, 33: 1e-4}), 6)
    (2.0, 2.0)
    """
    if len(errors) < 2 or not all(e > 0 for e in errors.values()):
        raise ValueError(f"Expected at least two errors above 0, received {dict(errors)}.")
    spacing = [1 / (x - 1) if isinstance(x, int) else x for x in errors]
    return float(np.polyfit(np.log(spacing), np.log(list(errors.values())), 1)[0])
