"""The processes of a distributed run, each with its share of a batch, and what they compute together."""

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.autograd import Function
from torch.nn import functional as F


class Ranks:
    """The processes that share the statistics of their batches.

    Args:
        group: Process group, or `None` for the default group at the time of use.
    """

    def __init__(self, group: "dist.ProcessGroup | None" = None) -> None:
        """Keep the group."""
        self.group = group

    def several(self) -> bool:
        """Tell whether there is more than one process."""
        return dist.is_available() and dist.is_initialized() and dist.get_world_size(self.group) > 1

    def sum(self, x: Tensor) -> Tensor:
        """Return the sum over the processes, the same on all; differentiable, for the sum of their losses."""
        return _Sum.apply(x, self.group)  # type: ignore[no-untyped-call, no-any-return]  # torch's gap

    def merged(self, mean: Tensor, var: Tensor, values: int) -> tuple[Tensor, Tensor, Tensor]:
        r"""Return mean, variance and number of values of all processes, in one exchange.

        $m = \sum_r n_r m_r / n$, $v = \sum_r n_r (v_r + (m_r - m)^2) / n$, $n = \sum_r n_r$ (Chan, Golub, LeVeque,
        1979): no difference of large squares.

        Args:
            mean: `(fields,)`, of this process.
            var: Alike.
            values: Number of values of this process; processes without any count for nothing.
        """
        rank, world = dist.get_rank(self.group), dist.get_world_size(self.group)
        own = torch.cat((mean, var, mean.new_full((1,), values)))
        rows = self.sum(F.pad(own[None], (0, 0, rank, world - rank - 1)))  # a row a process
        means, variances, counts = torch.split(rows, [len(mean), len(var), 1], 1)
        total = counts.sum()
        share = counts / total.clamp(min=1)
        mean = (share * means).sum(0)
        return mean, (share * (variances + (means - mean).square())).sum(0), total

    def __deepcopy__(self, memo: dict[int, Any]) -> "Ranks":
        """A copy of a layer works with the same processes."""
        return self

    def __getstate__(self) -> dict[str, Any]:
        """Refuse to store a group, which belongs to this process."""
        if self.group is not None:
            raise ValueError(
                "A process group cannot be stored with a layer: save the state_dict, or call synchronise(module) with "
                "process_group=None first."
            )
        return self.__dict__


class _Sum(Function):
    """The sum over processes; its gradient is the sum of their gradients."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, group: "dist.ProcessGroup | None") -> Tensor:
        """Return the sum."""
        ctx.group = group
        total = x.clone(memory_format=torch.contiguous_format)
        dist.all_reduce(total, group=group)
        return total

    @staticmethod
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor, None]:
        """Return the gradient, differentiable again."""
        return _Sum.apply(dy, ctx.group), None  # type: ignore[no-untyped-call]  # torch's gap
