r"""Explicit one-step solvers with a fixed step for $\mathrm{d}x/\mathrm{d}t = f(t, x)$.

They are made of additions and multiplications by numbers only. So the flow of a field that commutes with a group
commutes with it, whatever the step; a sample does not depend on the others of its batch; and `torch.compile` sees one
graph. Formulas: Hairer, Norsett, Wanner, Solving Ordinary Differential Equations I (1993), section II.1.
"""

import math
from collections.abc import Callable, Sequence

from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint as recompute

Field = Callable[[float, Tensor], Tensor]
Step = Callable[[Field, float, Tensor, float], Tensor]


def euler(field: Field, t: float, x: Tensor, dt: float) -> Tensor:
    """Go one step of order 1. With `dt` 1 it is a residual block: `x + field(t, x)`."""
    return x + dt * field(t, x)


def midpoint(field: Field, t: float, x: Tensor, dt: float) -> Tensor:
    """Go one step of order 2, with the rate in the middle of the step (Runge, 1895)."""
    return x + dt * field(t + dt / 2, x + dt / 2 * field(t, x))


def rk4(field: Field, t: float, x: Tensor, dt: float) -> Tensor:
    """Go one step of order 4, with four rates (Kutta, 1901)."""
    k1 = field(t, x)
    k2 = field(t + dt / 2, x + dt / 2 * k1)
    k3 = field(t + dt / 2, x + dt / 2 * k2)
    k4 = field(t + dt, x + dt * k3)
    return x + dt / 6 * (k1 + 2 * k2 + 2 * k3 + k4)


STEPS: dict[str, Step] = {"euler": euler, "midpoint": midpoint, "rk4": rk4}
"""One step by name: `STEPS[name](field, t, x, dt)` is the state at `t + dt`."""


def integrate(
    field: Field | Sequence[Field] | nn.ModuleList,
    x: Tensor,
    *,
    steps: int,
    solver: str = "rk4",
    time: float = 1.0,
    checkpoint: bool = False,
) -> Tensor:
    """Return the state at `time` that starts at time 0 as `x`.

    Args:
        field: Called `field(t, x)` with a float and a tensor; or a sequence of such functions, one for each step.
        x: State, of any shape.
        steps: Number of steps, all of length `time / steps`.
        solver: Name in `STEPS`: `"euler"`, `"midpoint"` or `"rk4"`.
        time: How far to go; negative goes back.
        checkpoint: Keep only the state at every step for the gradient, and compute each step again in the backward
            pass: the memory of one step and the same gradients, for one more forward pass.

    Raises:
        ValueError: If an argument is out of range, or there is not one field for each step.

    >>> import torch
    >>> integrate(lambda t, x: -x, torch.ones(1, dtype=torch.float64), steps=10)
    tensor([0.3679], dtype=torch.float64)
    """
    require_steps("integrate", steps, time)
    if solver not in STEPS:
        raise ValueError(f"integrate: solver must be one of {', '.join(STEPS)}, received {solver!r}.")
    fields: list[Field] = [*field] if isinstance(field, Sequence | nn.ModuleList) else [field] * steps
    if len(fields) != steps:
        raise ValueError(f"integrate: expected one field, or one for each of {steps} steps, received {len(fields)}.")
    step = STEPS[solver]
    for k, rate in enumerate(fields):
        t = k * time / steps
        if checkpoint:
            x = recompute(step, rate, t, x, time / steps, use_reentrant=False)
        else:
            x = step(rate, t, x, time / steps)
    return x


def require_steps(name: str, steps: int, time: float) -> None:
    """Raise `ValueError` unless there is at least one step, and the time is finite and not 0."""
    if isinstance(steps, bool) or not isinstance(steps, int) or steps < 1:
        raise ValueError(f"{name}: steps must be a whole number of at least 1, received {steps!r}.")
    if not math.isfinite(time) or time == 0:
        raise ValueError(f"{name}: time must be finite and not 0, received {time!r}.")
