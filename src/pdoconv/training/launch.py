"""Processes that torchrun or SLURM started, one a device."""

import os

from lightning.fabric.plugins.environments.slurm import SLURMEnvironment


def launched(devices: int | str) -> tuple[int | str, int]:
    """Return the number of devices on each machine, as torchrun or SLURM started processes, and of machines.

    Args:
        devices: What was asked for, kept where neither started this process.

    Raises:
        ValueError: If a number was asked for and it is another.
    """
    env = os.environ
    if "TORCHELASTIC_RUN_ID" in env:
        here, machines = int(env["LOCAL_WORLD_SIZE"]), int(env["GROUP_WORLD_SIZE"])
    elif SLURMEnvironment.detect():
        machines = int(env.get("SLURM_NNODES", 1))
        here = int(env.get("SLURM_NTASKS_PER_NODE", int(env["SLURM_NTASKS"]) // machines))
    else:
        return devices, 1
    if devices not in ("auto", here):
        raise ValueError(f"devices: {here} processes were started on this machine, received {devices}: leave it out.")
    return here, machines
