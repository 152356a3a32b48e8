"""Neural ODE and its residual twin (Chen et al., 2018): plain networks, the baselines of `neural_pde`.

Three convolutions take the image from 28 to 6 pixels: 3x3, then 4x4 with stride 2 twice. What follows is either the
flow of one field of two 3x3 convolutions, each of which gets the time as a constant channel, or six residual blocks,
which are Euler steps of length 1 with a field each. GroupNorm, ReLU, the mean over space and a linear layer end both.
The authors solved with dopri5 and tolerance 1e-3: `solver="dopri5"`.
"""

from collections.abc import Sequence

from torch import Tensor, nn

from pdoconv.pde.block import PDEBlock, with_time


class TimedField(nn.Module):
    """The rate of change: GroupNorm, ReLU, convolution, twice, and GroupNorm; convolutions get the time as a channel.

    Args:
        width: Channels, an even number.
    """

    def __init__(self, width: int) -> None:
        """Make the layers."""
        super().__init__()
        self.norms = nn.ModuleList(_norm(width) for _ in range(3))
        self.convs = nn.ModuleList(nn.Conv2d(width + 1, width, 3, padding=1) for _ in range(2))

    def forward(self, t: float, x: Tensor) -> Tensor:
        """Map a time and `(batch, width, height, width)` to the same shape."""
        for norm, conv in zip(self.norms, self.convs, strict=False):
            x = conv(with_time(t, norm(x).relu()))
        return self.norms[-1](x)  # type: ignore[no-any-return]  # torch's gap


def neural_ode(
    *,
    classes: int = 10,
    width: int = 64,
    solver: str = "rk4",
    steps: int = 4,
    adjoint: bool = False,
    tolerance: float = 1e-3,
) -> nn.Sequential:
    """Return the Neural ODE: standardised images `(batch, 1, height, width)` to logits `(batch, classes)`.

    Args:
        classes: Number of classes.
        width: Channels, an even number.
        solver: Of `pdoconv.pde.PDEBlock`; the authors' is `"dopri5"`.
        steps: Of a fixed-step solver.
        adjoint: With an adaptive solver: gradients by the adjoint equation, as the authors had them.
        tolerance: Of an adaptive solver, relative and absolute.

    Raises:
        ValueError: If the width is not even, or the solver is unknown.

    >>> sum(p.numel() for p in neural_ode().parameters())
    208266
    """
    _require_even(width)
    flow = PDEBlock(
        TimedField(width), solver=solver, steps=steps, timed=True, adjoint=adjoint, rtol=tolerance, atol=tolerance
    )
    return _classifier(width, classes, [flow])


def neural_ode_resnet(*, classes: int = 10, width: int = 64, blocks: int = 6) -> nn.Sequential:
    """Return the residual twin of the Neural ODE: images and logits as there.

    Args:
        classes: Number of classes.
        width: Channels, an even number.
        blocks: Number of residual blocks.

    Raises:
        ValueError: If the width is not even, or there is no block.

    >>> sum(p.numel() for p in neural_ode_resnet().parameters())
    576778
    """
    _require_even(width)
    fields = [nn.Sequential(*_unit(width), *_unit(width)) for _ in range(blocks)]
    return _classifier(width, classes, [PDEBlock(fields, steps=blocks, time=blocks, solver="euler")])


def _unit(width: int) -> tuple[nn.Module, ...]:
    return _norm(width), nn.ReLU(), nn.Conv2d(width, width, 3, padding=1, bias=False)


def _norm(width: int) -> nn.GroupNorm:
    return nn.GroupNorm(width // 2, width)  # the authors' 32 groups at width 64


def _classifier(width: int, classes: int, middle: Sequence[nn.Module]) -> nn.Sequential:
    layers: list[nn.Module] = [nn.Conv2d(1, width, 3)]
    for _ in range(2):
        layers += [_norm(width), nn.ReLU(), nn.Conv2d(width, width, 4, stride=2, padding=1)]
    head = (_norm(width), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, classes))
    return nn.Sequential(*layers, *middle, *head)


def _require_even(width: int) -> None:
    if width < 2 or width % 2:
        raise ValueError(f"Expected an even width of at least 2, for groups of two channels; received {width}.")
