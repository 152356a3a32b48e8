"""One step of the learned PDEs that the package ships, as an ONNX file: the playground runs them step by step.

The PDEs for gray pictures all have the same form: three indicators and the image evolve by 69 differential invariants
of bounded jets; a rate is linear in the invariants plus a small general function of them. Their numbers are inputs of
the file, so one file serves all tasks and all steps.
"""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pdoconv.pde.files import read, shipped
from pdoconv.pde.invariants import names, orders, polynomials
from pdoconv.pde.jets import bounded
from pdoconv.pde.learned import LearnedPDE
from pdoconv.playground.networks import write_onnx

TASKS = ("denoise", "deblur", "edges", "text")
"""Tasks of gray pictures that need no mask."""
INPUTS = ("o", "rho", "dt", "coefficients", "scale", "inward", "shift", "outward", "on")
OUTPUTS = ("next_o", "next_rho", "terms")


class Step(nn.Module):
    """One explicit Euler step of a learned PDE, with all its numbers as arguments.

    Args:
        model: A PDE of the form wanted: bounded, with hidden units, explicit; its derivatives and border are taken.

    Raises:
        ValueError: If the PDE has another form.
    """

    def __init__(self, model: LearnedPDE) -> None:
        """Check the form, keep the derivatives."""
        super().__init__()
        if not (model.bounded and model.hidden and model.solver == "euler" and model.channels == 1):
            raise ValueError(
                f"Step: expected a PDE of one channel with bounded=True, hidden units and solver='euler', received "
                f"{model.extra_repr()}."
            )
        self.derivatives, self.indicators = model.derivatives, model.indicators

    def forward(
        self,
        o: Tensor,
        rho: Tensor,
        dt: Tensor,
        coefficients: Tensor,
        scale: Tensor,
        inward: Tensor,
        shift: Tensor,
        outward: Tensor,
        on: Tensor,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return image and indicators after the step, and how much each invariant moved the image.

        Args:
            o: Image `(1, 1, H, W)`.
            rho: Indicators `(1, 3, H, W)`.
            dt: Length of the step, `(1,)`.
            coefficients: Of the linear part, `(4, 69)`: rates of the indicators, then of the image.
            scale: Where gradients and Hessians of the fields saturate, `(2, 4)`.
            inward: From the invariants to the hidden units, `(32, 69)`.
            shift: Offsets of the hidden units, `(32,)`.
            outward: From the hidden units to the rates, `(4, 32)`.
            on: 1 for invariants that count, 0 for those that are switched off, `(69,)`.

        Returns:
            Image, indicators, and `(70,)`: root mean squares over the pixels of `dt` times coefficient times invariant
            in the image's rate, then that of the general function's part.
        """
        u = torch.cat([rho, o], dim=1)
        found = polynomials(bounded(self.derivatives(u), scale))[:, 0].flatten(1) * on[:, None]
        general = outward @ F.relu(inward @ found + shift[:, None])
        rate = coefficients @ found + general
        u = u + dt * rate.reshape(u.shape)
        linear = coefficients[-1].abs() * found.square().mean(1).sqrt()
        terms = dt * torch.cat([linear, general[-1:].square().mean(1).sqrt()])
        return u[:, self.indicators :], u[:, : self.indicators], terms


def numbers(model: LearnedPDE) -> dict[str, Tensor]:
    """Return the arguments of `Step` by name, those that change with the step with a first axis of steps."""
    with torch.no_grad():
        return {
            "dt": torch.tensor([model.time / model.steps]),
            "coefficients": torch.stack([model.taken(k) for k in range(model.steps)]),
            "scale": model.log_scale.exp(),
            "inward": model.inward.detach(),
            "shift": model.shift.detach(),
            "outward": model.outward.detach(),
        }


STEPWISE = ("coefficients", "scale", "shift", "outward")
"""Numbers with a first axis of steps."""


def write_step(path: Path) -> float:
    """Write the step as ONNX file for pictures of any size; return the largest relative difference to torch."""
    model = read(shipped("denoise")).model
    known = {name: value[3] if name in STEPWISE else value for name, value in numbers(model).items()}
    o = torch.rand(1, 1, 40, 56, generator=torch.Generator().manual_seed(0))
    inputs = {"o": o, "rho": o.expand(1, model.indicators, -1, -1).contiguous(), **known, "on": torch.ones(model.count)}
    free = {2: "height", 3: "width"}
    step = Step(model).eval()
    return write_onnx(step, path, {name: inputs[name] for name in INPUTS}, OUTPUTS, {"o": free, "rho": free})


def described(task: str) -> dict[str, Any]:
    """Return what the page needs of a task's PDE: its numbers, the names of its fields and invariants, its training.

    Raises:
        ValueError: If its numbers do not fit the step that is written.
    """
    known, first = read(shipped(task)), read(shipped("denoise")).model
    model = known.model
    Step(model)
    forms = [(net.fields, net.hidden, net.derivatives.padding) for net in (model, first)]
    if forms[0] != forms[1]:
        raise ValueError(f"described: the PDE for {task} has another form than the one for denoising.")
    return {
        "task": task,
        "steps": model.steps,
        "fields": list(model.labels),
        "invariants": list(names(model.fields, labels=model.labels)),
        "orders": list(orders(model.fields)),
        "sigma": known.sigma,
        "about": known.about,
        "numbers": {name: _rounded(value.double().tolist()) for name, value in numbers(model).items()},
    }


def _rounded(value: Any) -> Any:
    return [_rounded(part) for part in value] if isinstance(value, list) else float(f"{value:.7g}")
