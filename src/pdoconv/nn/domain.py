"""Maps that mean something on a part of their array only: the cells of a domain.

A hexagon or an image inscribed in a skewed array leaves cells without data. They are kept zero, as padding is: then a
layer does not see the shape of the array, and symmetries of the domain stay symmetries of the network.
"""

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor, nn

from pdoconv.fields import FieldType
from pdoconv.nn.norm import BatchNorm2d


def as_domain(name: str, cells: ArrayLike) -> NDArray[np.bool_]:
    """Return the cells of a domain as a boolean array; `ValueError` unless there is one, of two axes, not empty."""
    domain = np.asarray(cells)
    if domain.ndim != 2 or domain.dtype != np.bool_ or not domain.any():
        raise ValueError(
            f"{name}: expected a domain of booleans (height, width), with at least one true cell, received shape "
            f"{domain.shape}, {domain.dtype}, {int(np.count_nonzero(domain))} true."
        )
    return domain


class Domain(nn.Module):
    """Set maps to zero outside a domain.

    Args:
        domain: Which cells are in it, booleans `(height, width)`.

    Raises:
        ValueError: If `domain` is not of that shape or empty, or an input has other sides.

    >>> Domain([[False, True], [True, True]])(torch.ones(1, 1, 2, 2))
    tensor([[[[0., 1.],
              [1., 1.]]]])
    """

    mask: Tensor

    def __init__(self, domain: ArrayLike) -> None:
        """Keep the cells."""
        super().__init__()
        self.domain = as_domain("Domain", domain)
        self.register_buffer("mask", torch.tensor(self.domain, device="cpu"), persistent=False)

    def _apply(self, fn, recurse=True):  # type: ignore[no-untyped-def]  # torch's own signature is untyped
        """Fill the mask anew: `to_empty` leaves it without values."""
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        self.mask = torch.tensor(self.domain, device="cpu").to(self.mask.device)
        return self

    def forward(self, x: Tensor) -> Tensor:
        """Map `(batch, channels, height, width)` to the same shape."""
        _require_sides("Domain", x, self.domain)
        return x * self.mask

    def extra_repr(self) -> str:
        """Print the size."""
        return _described(self.domain)


class DomainBatchNorm2d(nn.Module):
    """Batch normalisation of the cells of a domain: others count in no statistics and come out zero.

    Args:
        in_type: Type of input and output, fields of any kind.
        domain: Which cells are in it, booleans `(height, width)`.
        eps: Added to the variance.
        momentum: Weight of the newest batch in the running statistics.

    Attributes:
        norm: The `BatchNorm2d` with the parameters and statistics.

    Raises:
        ValueError: If `domain` is not of that shape or empty, or an input has other sides or is not of that type.
    """

    cells: Tensor

    def __init__(
        self, in_type: FieldType, domain: ArrayLike, *, eps: float = 1e-5, momentum: float | None = 0.1
    ) -> None:
        """Make the layer and list the cells."""
        super().__init__()
        self.in_type = self.out_type = in_type
        self.domain = as_domain("DomainBatchNorm2d", domain)
        self.norm = BatchNorm2d(in_type, eps=eps, momentum=momentum)
        self.register_buffer("cells", self._cells(), persistent=False)

    def _cells(self) -> Tensor:
        return torch.tensor(np.flatnonzero(self.domain), device="cpu")

    def _apply(self, fn, recurse=True):  # type: ignore[no-untyped-def]  # torch's own signature is untyped
        """Fill the list anew: `to_empty` leaves it without values."""
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        self.cells = self._cells().to(self.cells.device)
        return self

    def forward(self, x: Tensor) -> Tensor:
        """Map `(batch, channels, height, width)` to the same shape."""
        self.in_type.check(x, "DomainBatchNorm2d")
        _require_sides("DomainBatchNorm2d", x, self.domain)
        inside: Tensor = self.norm(x.flatten(2).index_select(2, self.cells)[..., None])[..., 0]
        outside = inside.new_zeros(x.shape[0], x.shape[1], self.domain.size)
        return outside.index_copy(2, self.cells, inside).view(x.shape)

    def extra_repr(self) -> str:
        """Print the size."""
        return _described(self.domain)


def _described(domain: NDArray[np.bool_]) -> str:
    return f"{int(domain.sum())} cells of {domain.shape}"


def _require_sides(name: str, x: Tensor, domain: NDArray[np.bool_]) -> None:
    if x.dim() != 4 or tuple(x.shape[2:]) != domain.shape:
        raise ValueError(
            f"{name}: expected (batch, channels, {domain.shape[0]}, {domain.shape[1]}) for a domain of that size, "
            f"received {tuple(x.shape)}."
        )
