"""One layer in several filter families: the playground shows by how much each breaks the law at 45 degrees.

Every layer maps a patch to four regular fields of C8 in one pixel. The families of operators discretise the same four
differential operators, with the same coefficients; interpolated pixels and circular harmonics turn the kernel that the
default family makes of them. `untied` draws other coefficients for each group element: no law holds.
"""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from pdoconv import operators as ops
from pdoconv.export.ordinary import convolution
from pdoconv.filters import harmonics, interpolated, paper, pdo
from pdoconv.playground.networks import write_onnx
from pdoconv.pointgroups import cyclic
from pdoconv.stencils import band_limited, gaussian, isotropic

GROUP = cyclic(8)
FIELDS = 4
SIDE = 5
NORM_AT = 0.4  # radians per pixel where the outputs have mean square 1
DIRECTIONS = 64
FREQUENCIES = (0.1, 0.2, 0.3, 0.4, 0.6, 0.8, 1.0, 1.3, 1.6)
Array = NDArray[np.float64]


@dataclass(frozen=True)
class Family:
    """What the page says of a family.

    Attributes:
        title: Its name for people.
        text: What it is, in a sentence.
        call: How a user asks for it; empty if nobody should.
    """

    title: str
    text: str
    call: str = ""


FAMILIES = {
    "gaussian": Family(
        "Gaussian, corrected (default)",
        "Gaussian derivatives, changed as little as makes the error of fourth order in the grid spacing.",
        "pdo.filters.family('gaussian')",
    ),
    "paper": Family(
        "Finite differences (the paper's)",
        "Central differences: the error is of second order in the grid spacing.",
        "pdo.filters.paper()",
    ),
    "isotropic": Family(
        "Isotropic differences",
        "Differences whose leading error is the same in all directions: fourth order.",
        "pdo.filters.family('isotropic')",
    ),
    "band-limited": Family(
        "Band-limited",
        "Weights that make the error small for all frequencies below a limit, not only for the smallest.",
        "pdo.filters.family('band-limited')",
    ),
    "gaussian-raw": Family(
        "Gaussian, sampled",
        "Samples of Gaussian derivatives, cut off at 5 x 5: the error does not vanish on smooth pictures.",
        "pdo.filters.family('gaussian-raw')",
    ),
    "harmonics": Family(
        "Circular harmonics",
        "Gaussian rings times waves of the angle, sampled: steerable filters.",
        "pdo.filters.harmonics()",
    ),
    "interpolated": Family(
        "Interpolated pixels",
        "An ordinary kernel, turned with bilinear interpolation.",
        "pdo.filters.interpolated()",
    ),
    "untied": Family(
        "Not tied",
        "Every channel has its own weights, nothing is turned: an ordinary convolution. The law does not hold.",
    ),
}
"""Families by the names of their files, in the order in which the page lists them."""


def kernels(name: str) -> Array:
    """Return the kernels of a family's layer, `(32, 1, 5, 5)`, of unit output at `NORM_AT`.

    Raises:
        ValueError: If there is no such family.
    """
    if name not in FAMILIES:
        raise ValueError(f"Unknown family {name!r}: expected one of {', '.join(FAMILIES)}.")
    operators = tuple(ops.paper())
    rng = np.random.default_rng(0)
    weights = rng.standard_normal((FIELDS, len(operators)))  # derivatives of all orders count alike at 1 rad per pixel
    schemes: dict[str, Any] = {
        "gaussian": pdo(operators, gaussian(), weights="operators"),
        "paper": paper(weights="operators"),
        "isotropic": pdo(operators, isotropic(), weights="operators"),
        "band-limited": pdo(operators, band_limited(), weights="operators"),
        "gaussian-raw": pdo(operators, gaussian(corrected=False), weights="operators"),
    }
    if name in schemes:
        found = np.einsum("fb,gbyx->fgyx", weights, schemes[name].basis(GROUP, SIDE))
    else:
        basis = schemes["gaussian"].basis(GROUP, SIDE)
        upright = np.einsum("fb,byx->fyx", weights, basis[0])
        if name == "untied":
            own = rng.standard_normal((FIELDS, GROUP.order, len(operators)))
            found = np.einsum("fgb,byx->fgyx", own, basis[0])
        else:
            other = (harmonics() if name == "harmonics" else interpolated()).basis(GROUP, SIDE)
            fitted = np.linalg.lstsq(other[0].reshape(len(other[0]), -1).T, upright.reshape(FIELDS, -1).T)[0]
            found = np.einsum("bf,gbyx->fgyx", fitted, other)
    flat = found.reshape(FIELDS * GROUP.order, 1, SIDE, SIDE)
    unit: Array = flat / np.sqrt(np.mean(_outputs(flat, patches(NORM_AT, 0.0)) ** 2))
    return unit


def patches(frequency: float, degrees: float) -> Array:
    r"""Return plane waves on a patch, turned counter-clockwise by an angle: `(128, 1, 5, 5)`.

    The wave vectors are $f (\cos a, \sin a)$ for 64 directions a, each as cosine and as sine about the patch's middle.

    Args:
        frequency: f in radians per pixel.
        degrees: Angle.
    """
    line = np.arange(SIDE) - SIDE // 2
    x, y = np.meshgrid(line, -line)  # y up
    angle = 2 * np.pi * np.arange(DIRECTIONS) / DIRECTIONS + math.radians(degrees)
    phase = frequency * (np.cos(angle)[:, None, None] * x + np.sin(angle)[:, None, None] * y)
    waves: Array = np.concatenate([np.cos(phase), np.sin(phase)])[:, None]
    return waves


def law_error(outputs: Any, frequency: float, degrees: float = 45.0) -> float:
    """Return the relative error of the law for plane waves: of the output for turned ones, to the turned output.

    Args:
        outputs: A function from patches `(n, 1, 5, 5)` to `(n, 32)` or `(n, 32, 1, 1)`.
        frequency: In radians per pixel.
        degrees: Angle, a multiple of 45.

    Raises:
        ValueError: If the angle is no multiple of 45 degrees.
    """
    if degrees % 45:
        raise ValueError(f"law_error: expected a multiple of 45 degrees, which C8 has, received {degrees}.")
    before, after = (
        np.asarray(outputs(patches(frequency, angle)), dtype=np.float64).reshape(-1, FIELDS, GROUP.order)
        for angle in (0.0, degrees)
    )
    expected = np.roll(before, round(degrees / 45), axis=2)
    return float(np.linalg.norm(after - expected) / np.linalg.norm(expected))


def layer_errors(name: str) -> dict[str, float]:
    """Return the error of a family at 45 degrees by frequency, in float64."""
    weight = kernels(name)
    return {f"{k:g}": law_error(lambda x: _outputs(weight, x), k) for k in FREQUENCIES}


def write_layer(name: str, path: Path) -> float:
    """Write a family's layer: patches `x` `(n, 1, 5, 5)` to `y` `(n, 32, 1, 1)`; return the difference to torch."""
    layer = layer_module(name)
    x = torch.from_numpy(patches(NORM_AT, 0.0)).float()
    return write_onnx(layer, path, {"x": x}, ("y",), {"x": {0: "n"}})


def layer_module(name: str) -> nn.Module:
    """Return a family's layer as `nn.Conv2d`."""
    weight: Tensor = torch.from_numpy(kernels(name)).float()
    return convolution(weight, None, stride=1, padding=0, dilation=1)


def _outputs(weight: Array, x: Array) -> Array:
    found: Array = x.reshape(len(x), -1) @ weight.reshape(len(weight), -1).T
    return found
