r"""`PDEBlock`: a layer whose output is where its input flows to, $\partial u / \partial t = F(t, u)$.

F is any module that keeps the shape, such as a few PDO-eConv layers: then the block solves a partial differential
equation with learned, equivariant right-hand side. With Euler's method and steps of length 1 it is a residual network
(Chen et al., 2018, Neural ordinary differential equations). If F commutes with a group, so does its flow.
"""

from collections.abc import Callable, Sequence
from importlib import import_module
from typing import Any

import torch
from torch import Tensor, nn

from pdoconv.fields import FieldType
from pdoconv.pde.solvers import STEPS, Field, integrate, require_steps

ADAPTIVE = ("dopri5", "dopri8", "bosh3", "fehlberg2", "adaptive_heun")
"""Solvers of torchdiffeq that choose the step themselves."""


class PDEBlock(nn.Module):
    r"""Solve $\partial u / \partial t = F(t, u)$ from time 0, where u is the input, to `time`.

    Fixed steps treat every sample alone. Adaptive ones share their steps among the batch, so that a sample's output
    moves with its batch-mates, within the tolerances. The normalisation in F should be
    `nn.GroupNorm(fields, channels, affine=False)`: batch statistics couple the samples too, running ones mix all times,
    and factors of single channels break the symmetry once they are trained. A smooth activation (GELU, SiLU, tanh)
    gives the solver its order; a kink costs an adaptive one many steps.

    Explicit steps are stable while `time / steps` times the largest rate stays below 2 (Euler, midpoint) or 2.78
    (RK4); a second-order operator with coefficient b has rates up to about 8 b for pixels of side 1.

    Args:
        field: F, called `field(x)`; or a sequence of modules, one for each step: F is constant in between.
        steps: Number of steps of a fixed-step solver; an adaptive one chooses its own.
        solver: `"euler"`, `"midpoint"`, `"rk4"`, or an adaptive one of torchdiffeq: `"dopri5"`, `"dopri8"`, `"bosh3"`,
            `"fehlberg2"`, `"adaptive_heun"`.
        time: Where to stop; negative flows back.
        timed: Call `field(t, x)`, with t a float or a tensor without axes. `with_time` makes it a channel.
        checkpoint: With fixed steps: keep only the state at every step, and compute steps again for the gradient.
        adjoint: With adaptive steps: gradients by solving the adjoint equation backwards, which takes the memory of
            one evaluation of F. They are as wrong as the tolerances are loose, by percents at 1e-3
            (`docs/design/007-pdes.md`), worse where F has kinks. Without it they are those of the steps taken.
        rtol: Relative tolerance of an adaptive solver.
        atol: Absolute tolerance of an adaptive solver.

    Attributes:
        in_type, out_type: Type of the field, if it has one.

    Raises:
        ValueError: If an argument is out of range, options do not fit the solver, torchdiffeq is not installed, or F
            changes shape or type.

    >>> from pdoconv import PDOConv2d, Sequential, cyclic
    >>> u = cyclic(8).regular(2)
    >>> PDEBlock(Sequential(PDOConv2d(u, u, padding=2), nn.Tanh()), steps=2)(torch.zeros(1, 16, 9, 9)).shape
    torch.Size([1, 16, 9, 9])
    """

    def __init__(
        self,
        field: nn.Module | Sequence[nn.Module],
        steps: int = 4,
        solver: str = "rk4",
        *,
        time: float = 1.0,
        timed: bool = False,
        checkpoint: bool = False,
        adjoint: bool = False,
        rtol: float = 1e-5,
        atol: float = 1e-6,
    ) -> None:
        """Check the arguments."""
        super().__init__()
        require_steps("PDEBlock", steps, time)
        if solver not in (*STEPS, *ADAPTIVE):
            raise ValueError(f"PDEBlock: solver must be one of {', '.join((*STEPS, *ADAPTIVE))}, received {solver!r}.")
        fixed = solver in STEPS
        if adjoint and fixed:
            raise ValueError(f"PDEBlock: adjoint needs an adaptive solver, received {solver!r}: use checkpoint=True.")
        if checkpoint and not fixed:
            raise ValueError(f"PDEBlock: checkpoint needs a fixed-step solver, received {solver!r}: use adjoint=True.")
        if min(rtol, atol) <= 0:
            raise ValueError(f"PDEBlock: rtol and atol must be positive, received {rtol}, {atol}.")
        if not fixed:
            torchdiffeq()
        several = isinstance(field, Sequence | nn.ModuleList)
        self.fields = nn.ModuleList(field if isinstance(field, Sequence | nn.ModuleList) else [field])
        if several and (not fixed or len(self.fields) != steps):
            raise ValueError(
                f"PDEBlock: a sequence of fields needs one for each step of a fixed-step solver, received "
                f"{len(self.fields)} for {steps} steps of {solver!r}."
            )
        self.steps, self.solver, self.time, self.timed = steps, solver, time, timed
        self.checkpoint, self.adjoint, self.rtol, self.atol = checkpoint, adjoint, rtol, atol
        found = [getattr(part, side, None) for part in self.fields for side in ("in_type", "out_type")]
        known = [kind for kind in found if kind is not None]
        if any(kind != known[0] for kind in known):
            raise ValueError(f"PDEBlock: the field must keep its type, received {' and '.join(map(str, known))}.")
        self.in_type: FieldType | None = known[0] if known else None
        self.out_type = self.in_type

    def forward(self, x: Tensor) -> Tensor:
        """Map `(batch, channels, *space)` to the same shape."""
        rates = [self._rate(field) for field in self.fields]
        if self.solver in STEPS:
            rates = rates if len(rates) == self.steps else rates * self.steps
            options = {"steps": self.steps, "solver": self.solver, "time": self.time, "checkpoint": self.checkpoint}
            return integrate(rates, x, **options)  # type: ignore[arg-type]  # mypy does not see through the dict
        solve, options = torchdiffeq().odeint, {"method": self.solver, "rtol": self.rtol, "atol": self.atol}
        if self.adjoint:
            solve, options = torchdiffeq().odeint_adjoint, {**options, "adjoint_params": tuple(self.parameters())}
        times = torch.tensor([0.0, self.time], dtype=torch.promote_types(x.dtype, torch.float32), device=x.device)
        return solve(rates[0], x, times, **options)[-1]  # type: ignore[no-any-return]

    def _rate(self, field: Callable[..., Tensor]) -> Field:
        """Return F as a function of time and state that sees to the shape."""

        def rate(t: float, x: Tensor) -> Tensor:
            y = field(t, x) if self.timed else field(x)
            if y.shape != x.shape:
                raise ValueError(
                    f"PDEBlock: the field must keep the shape, received {tuple(y.shape)} for {tuple(x.shape)}: as many "
                    f"channels as before, and padding that keeps the sides."
                )
            return y

        return rate

    def extra_repr(self) -> str:
        """Print solver and time."""
        how = f"steps={self.steps}" if self.solver in STEPS else f"rtol={self.rtol}, atol={self.atol}"
        return f"{self.solver}, {how}, time={self.time}" + (", timed=True" if self.timed else "")


def with_time(t: float | Tensor, x: Tensor) -> Tensor:
    """Put the time before the channels, as a field that no motion changes: a constant channel of trivial type.

    A layer behind it has `in_type=group.trivial(1) + ...`.

    Args:
        t: A float, or a tensor without axes.
        x: `(batch, channels, *space)`.

    Returns:
        `(batch, 1 + channels, *space)`.
    """
    return torch.cat([torch.as_tensor(t, dtype=x.dtype, device=x.device).expand_as(x[:, :1]), x], 1)


def torchdiffeq() -> Any:
    """Return the package torchdiffeq; `ValueError` where it is not installed."""
    try:
        return import_module("torchdiffeq")
    except ImportError as error:
        raise ValueError(
            "PDEBlock: adaptive solvers are torchdiffeq's: pip install 'pdoconv[ode]', or use solver='rk4'."
        ) from error
