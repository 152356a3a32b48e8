"""What is known of a new layer before it is made."""

from collections.abc import Callable
from dataclasses import dataclass

from torch import nn

from pdoconv.convert.axes import Widths
from pdoconv.convert.trace import Seen
from pdoconv.filters import Filters

FamilyOf = Callable[[int, int], Filters]
"""Gives the filters of a kernel by dimension and side."""


@dataclass
class Step:
    """What becomes of a layer.

    Attributes:
        path: Its name in the network.
        seen: The layer as it was met.
        becomes: In words.
        make: Makes the new layer for given widths; `None` where it stays.
        weights: Parameters of the new layer, for given widths.
        products: Multiply-adds for one image, for given widths; 0 for layers without products.
        before: Multiply-adds of the original layer.
    """

    path: str
    seen: Seen
    becomes: str
    make: Callable[[Widths], nn.Module] | None = None
    weights: Callable[[Widths], int] = lambda _: 0
    products: Callable[[Widths], int] = lambda _: 0
    before: int = 0
