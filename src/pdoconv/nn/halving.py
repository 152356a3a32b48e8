"""Fewer pixels in converted networks: about the centre, or as it was, with a warning where that breaks the symmetry."""

import torch.nn.functional as F
from torch import Tensor, nn

from pdoconv.groups import Group
from pdoconv.nn.gridcheck import warn_off_grid
from pdoconv.nn.upsample import LINEAR


class Crop(nn.Module):
    """Take padding away again, given as to `F.pad`."""

    def __init__(self, pads: list[int]) -> None:
        """Keep the argument."""
        super().__init__()
        self.pads = pads

    def forward(self, x: Tensor) -> Tensor:
        """Map `(batch, channels, *space)` to smaller maps."""
        return F.pad(x, [-n for n in self.pads])


class GridPool(nn.Module):
    """A pooling of torch's, as it was; says once when a side breaks the exact symmetry."""

    def __init__(self, pool: nn.Module, group: Group, size: int, stride: int, padding: int) -> None:
        """Keep the arguments."""
        super().__init__()
        self.pool, self.group, self.grid = pool, group, (size, stride, padding)
        self._off_grid_warned = False

    def forward(self, x: Tensor) -> Tensor:
        """Map `(batch, channels, *space)` to smaller maps."""
        warn_off_grid(self, x, self.group, *self.grid)
        return self.pool(x)  # type: ignore[no-any-return]


class Halve(nn.Module):
    """Side L becomes the integer part of (L + 1) / 2, as often as said, by linear interpolation about the centre.

    What a stride of 2 does, but symmetric on any side: quarter turns and flips stay exact. Along even sides a value is
    the mean of two pixels.

    >>> import torch
    >>> Halve()(torch.arange(4.0).view(1, 1, 1, 4))
    tensor([[[[0.5000, 2.5000]]]])
    """

    def __init__(self, times: int = 1) -> None:
        """Keep the argument."""
        super().__init__()
        self.times = times

    def forward(self, x: Tensor) -> Tensor:
        """Map `(batch, channels, *space)` to a smaller one."""
        for _ in range(self.times):
            sides = [(side + 1) // 2 for side in x.shape[2:]]
            x = F.interpolate(x, size=sides, mode=LINEAR[len(sides)], align_corners=False)
        return x

    def extra_repr(self) -> str:
        """Print the argument."""
        return f"times={self.times}"
