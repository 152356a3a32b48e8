"""Batch normalisation over all processes of a distributed run, as one process with the whole batch computes it."""

import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from pdoconv.nn.norm import BatchNorm, by_batch
from pdoconv.nn.ranks import Ranks
from pdoconv.pointgroups import cyclic


class _Plain(_BatchNorm):
    """Torch's layer, of which every channel is a field of its own; torch's `SyncBatchNorm` refuses CPUs."""

    ranks: Ranks | None = None

    def forward(self, input: Tensor) -> Tensor:
        """Map `(batch, channels, *space)` to the same shape."""
        if not (self.training and self.ranks is not None and self.ranks.several()):
            return super().forward(input)
        self._check_input_dim(input)  # type: ignore[no-untyped-call]  # torch's gap
        return by_batch(self, input, cyclic(1).trivial(self.num_features), self.ranks)


class SynchronisedBatchNorm1d(_Plain, nn.BatchNorm1d):
    """What `synchronise` makes of `torch.nn.BatchNorm1d`."""


class SynchronisedBatchNorm2d(_Plain, nn.BatchNorm2d):
    """What `synchronise` makes of `torch.nn.BatchNorm2d`."""


class SynchronisedBatchNorm3d(_Plain, nn.BatchNorm3d):
    """What `synchronise` makes of `torch.nn.BatchNorm3d`."""


SYNCHRONISED: dict[type[nn.Module], type[_Plain]] = {
    nn.BatchNorm1d: SynchronisedBatchNorm1d,
    nn.BatchNorm2d: SynchronisedBatchNorm2d,
    nn.BatchNorm3d: SynchronisedBatchNorm3d,
}
ALONE: dict[type[nn.Module], type[nn.Module]] = {ours: torchs for torchs, ours in SYNCHRONISED.items()}


def synchronise(module: nn.Module, process_group: "dist.ProcessGroup | None" = None) -> nn.Module:
    """Let every BatchNorm of a module take its statistics, in training mode, over all processes of a distributed run.

    Outputs, gradients and running statistics are then those of one process with the batches of all, whose sizes may
    differ and be 0. Each layer exchanges a few numbers a field once forward and once backward, so all processes must
    call it alike, backward too. In eval mode, without `torch.distributed`, or in a run of one process every layer
    computes what it did before, bit for bit. Parameters, their names and the state_dict stay as they are. Torch's own
    BatchNorm layers change their class in place, to subclasses of themselves; a `torch.nn.SyncBatchNorm` is left alone.

    Weights get the gradients of each process's own loss; `DistributedDataParallel` and `fully_shard` average them.

    Args:
        module: The network, changed in place. Synchronise before it is wrapped or sharded.
        process_group: The processes, or `None` for the default group at the time of the forward pass. Layers with a
            group of their own can be copied but not pickled.

    Returns:
        The module.

    Raises:
        ValueError: If this process is not in the group, or a layer is a BatchNorm of another class, whose forward pass
            is unknown.

    >>> from pdoconv import BatchNorm2d
    >>> net = synchronise(nn.Sequential(BatchNorm2d(cyclic(4).regular(2)), nn.BatchNorm2d(8)))
    >>> [type(layer).__name__ for layer in net]
    ['BatchNorm2d', 'SynchronisedBatchNorm2d']
    """
    if process_group is not None and not isinstance(process_group, dist.ProcessGroup):
        raise ValueError(
            f"synchronise: expected a process group that this process is in, or None, received {process_group!r}."
        )
    known = (BatchNorm, _Plain, nn.SyncBatchNorm)
    for layer in module.modules():
        if isinstance(layer, _BatchNorm) and not isinstance(layer, known) and type(layer) not in SYNCHRONISED:
            raise ValueError(
                f"synchronise: expected layers of pdoconv.nn or torch.nn.BatchNorm1d, 2d, 3d, received a "
                f"{type(layer).__name__}: replace it, and synchronise before the network is sharded."
            )
    ranks = Ranks(process_group)
    for layer in module.modules():
        if type(layer) in SYNCHRONISED:
            layer.__class__ = SYNCHRONISED[type(layer)]
        if isinstance(layer, BatchNorm | _Plain):
            layer.ranks = ranks
    return module


def unsynchronise(module: nn.Module) -> nn.Module:
    """Undo `synchronise`, in place: each process takes its own statistics, torch's layers have torch's class again."""
    for layer in module.modules():
        if isinstance(layer, BatchNorm | _Plain):
            layer.ranks = None
        if type(layer) in ALONE:
            layer.__class__ = ALONE[type(layer)]
    return module
