"""Parameters in shards over the devices: fully sharded data parallel (FSDP2, `torch.distributed.fsdp.fully_shard`)."""

from typing import Any, cast

from lightning.pytorch.strategies import ModelParallelStrategy, Strategy
from torch import Tensor, nn
from torch.distributed.checkpoint.state_dict import StateDictOptions, get_model_state_dict
from torch.distributed.fsdp import fully_shard


def find_strategy(name: str, processes: int) -> Strategy | str:
    """Return Lightning's strategy; for `"fsdp"` that of FSDP2, which is for CPUs too, with whole checkpoints.

    Args:
        name: Of the strategy.
        processes: On all machines, 0 if that is not known.

    Raises:
        ValueError: If it is not known and has to be.
    """
    if name != "fsdp":
        return name
    if not processes:
        raise ValueError("strategy 'fsdp': expected a number of devices, received 'auto': give --devices N.")
    return ModelParallelStrategy(
        data_parallel_size=processes, tensor_parallel_size=1, save_distributed_checkpoint=False
    )


def shard(net: nn.Module, mesh: Any) -> None:
    """Keep a share of every parameter on each device; a layer's are gathered while it computes.

    Args:
        net: The network, changed in place.
        mesh: Lightning's mesh of devices.
    """
    along = mesh["data_parallel"]
    for layer in net.modules():
        if layer is not net and any(True for _ in layer.parameters(recurse=False)):
            fully_shard(layer, mesh=along)
    fully_shard(net, mesh=along)


def whole_state(net: nn.Module) -> dict[str, Tensor]:
    """Return the state_dict with whole parameters, on the CPU; every process calls it, the first one has the result."""
    state = get_model_state_dict(net, options=StateDictOptions(full_state_dict=True, cpu_offload=True))
    return cast(dict[str, Tensor], state)
