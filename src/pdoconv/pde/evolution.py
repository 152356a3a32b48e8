"""How fields go on in time step by step, and how it is noticed that they do not stay finite."""

from collections.abc import Callable, Iterator

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint as recompute

Advance = Callable[[int, Tensor], Tensor]


class BlowUpError(ValueError):
    """An evolution left all bounds: its result is no image.

    Attributes:
        step: Number of the step in which it happened, from 0.
        coefficient: Name of the coefficient that drove it, if it is known.
    """

    def __init__(self, message: str, step: int, coefficient: str | None = None) -> None:
        """Keep what happened."""
        super().__init__(message)
        self.step, self.coefficient = step, coefficient


def evolution(advance: Advance, u: Tensor, steps: int, *, checkpoint: bool = False) -> Iterator[Tensor]:
    """Yield the fields after each step: `advance(k, u)` for k = 0, ..., steps - 1.

    Args:
        advance: One step.
        u: Fields at the start.
        steps: Number of steps.
        checkpoint: Keep only the fields at every step for the gradient and compute each step again in the backward
            pass: one step's memory instead of all.
    """
    for k in range(steps):
        u = recompute(advance, k, u, use_reentrant=False) if checkpoint else advance(k, u)
        yield u


def peak(u: Tensor) -> Tensor:
    """Return the largest absolute value, infinite if a value is not a number."""
    return u.detach().abs().amax().nan_to_num(nan=float("inf"))


def blown_up(peaks: list[Tensor], limit: float) -> int | None:
    """Return the first step after which a value was larger than `limit`, or none was."""
    over = torch.stack(peaks) > limit if peaks else torch.zeros(0, dtype=torch.bool)
    return int(over.to(torch.uint8).argmax()) if bool(over.any()) else None
