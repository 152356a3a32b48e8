r"""An equivariant neural PDE that restores images: the learned PDE with more fields, and no table of terms.

The image is lifted to regular fields of a group, $u(0) = \Psi f$; these flow along
$\partial u / \partial t = \Phi_2\, \sigma(\Phi_1 u)$ with PDO-eConv operators $\Phi_1, \Phi_2$ and a pointwise
$\sigma$; and what a last operator makes of $u(T)$ is added to the image. The coefficients are constant in time, or
piecewise constant with several `stages`. So all steps and all directions share them: that is why there are few.

Every part commutes with the group, so the network does: exactly for symmetries of the pixel lattice, for other angles
as well as the operators are discretised.
"""

import torch
from torch import nn

from pdoconv.groups import Group
from pdoconv.models.correction import Correction
from pdoconv.nn import PDOConv2d, Sequential
from pdoconv.pde import PDEBlock
from pdoconv.pointgroups import cyclic


def pde_restorer(
    *,
    group: Group | None = None,
    fields: int = 6,
    steps: int = 4,
    stages: int = 1,
    solver: str = "euler",
    kernel_size: int = 3,
    dilation: int = 2,
    in_channels: int = 1,
    out_channels: int = 1,
) -> Correction:
    r"""Return the network, from images `(batch, in_channels, height, width)` in [0, 1] to `(batch, out_channels, ...)`.

    Args:
        group: A finite group of the plane; default `cyclic(8)`.
        fields: Regular fields that flow.
        steps: Time steps of each stage, of length 1.
        stages: Number of stages, each with operators of its own.
        solver: Fixed-step solver of `pdoconv.pde.PDEBlock`.
        kernel_size: Odd side of the kernels of the flow, whose operators are of second order on 3 pixels, of fourth
            on 5; those of the first and the last operator have side 5.
        dilation: Distance in pixels of the taps of $\Phi_2$: 2 takes its derivatives on the grid of twice the spacing,
            and the flow reaches further for the same price.
        in_channels: Channels of the input; more than `out_channels` for a mask beside the image.
        out_channels: Channels of the output, corrections of the first ones of the input.

    Raises:
        ValueError: If the group is not a finite one of the plane, a number is less than 1, or there are more channels
            in the output than in the input.

    >>> sum(p.numel() for p in pde_restorer().parameters())
    3631
    """
    group = cyclic(8) if group is None else group
    if group.dim != 2 or group.continuous:
        raise ValueError(f"pde_restorer: expected a finite group of the plane, for regular fields, received {group!r}.")
    if min(fields, steps, stages, in_channels, out_channels) < 1:
        raise ValueError(
            f"pde_restorer: fields, steps, stages and channels must be at least 1, received {fields}, {steps}, "
            f"{stages}, {in_channels} and {out_channels}."
        )
    hidden = group.regular(fields)
    layers: list[nn.Module] = [PDOConv2d(group.trivial(in_channels), hidden, 5, padding="same")]
    for _ in range(stages):
        rate = Sequential(
            PDOConv2d(hidden, hidden, kernel_size, padding="same"),
            nn.ReLU(),
            PDOConv2d(hidden, hidden, kernel_size, padding="same", dilation=dilation),
        )
        _damp(rate[2])
        layers.append(PDEBlock(rate, steps=steps, solver=solver, time=float(steps)))
    layers.append(PDOConv2d(hidden, group.trivial(out_channels), 5, padding="same"))
    _damp(layers[-1])
    return Correction(Sequential(*layers), in_channels, out_channels)


def _damp(layer: nn.Module) -> None:
    """Make a layer's first weights small: a slow flow, a small correction."""
    assert isinstance(layer, PDOConv2d)
    with torch.no_grad():
        layer.weight.mul_(0.1)
