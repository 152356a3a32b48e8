"""How it is said that an evolution did not stay finite."""

import torch
from torch import Tensor


class BlowUpError(ValueError):
    """An evolution left all bounds: its result is no image.

    Attributes:
        step: Number of the step in which it happened, from 0.
        coefficient: Name of the coefficient that drove it.
    """

    def __init__(self, message: str, step: int, coefficient: str) -> None:
        """Keep what happened."""
        super().__init__(message)
        self.step, self.coefficient = step, coefficient


def largest(u: Tensor) -> float:
    """Return the largest absolute value; not a number if there is one that is none; 0 when traced for export."""
    if torch.compiler.is_exporting():
        return 0.0
    return float(u.detach().abs().amax())
