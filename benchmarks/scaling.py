"""One process beside two on the same machine: images per second of a training step, one thread each.

    python benchmarks/scaling.py [--seconds 30]

The same global batch of CIFAR-sized images, in one process or in halves over two (gloo, DistributedDataParallel, with
and without BatchNorm synchronised). All wait at the start of every step, the variants take turns, and while the first
process works alone the other one sleeps. Perfect scaling is 2.
"""

import argparse
import os
import statistics
import tempfile
import time
from pathlib import Path

import torch
import torch.distributed as dist
import torch.multiprocessing as processes
from common import ratio
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from pdoconv.nn import synchronise
from pdoconv.recipes import Cifar10
from pdoconv.training.folder import write_json
from pdoconv.training.provenance import provenance

BATCH = 64
NETS = {
    "PDO-eConv, p8, narrow": {"group": "p8", "filters": "gaussian", "widths": (5, 9, 19)},
    "Z2, narrow": {"network_name": "z2-resnet26", "widths": (16, 32, 64)},
}
VARIANTS = ("one process", "two", "two, synchronised BatchNorm")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=30, help="for each network")
    parser.add_argument("--result", type=Path, default=Path("results/bench-scaling.json"))
    asked = parser.parse_args()
    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as folder:
        os.environ.setdefault("OMP_NUM_THREADS", "1")
        processes.start_processes(work, (folder, asked.seconds), nprocs=2, start_method="spawn")
        times = torch.load(Path(folder) / "times.pt")
    rows = []
    for name, milliseconds in times.items():
        row = {"network": name, "batch": BATCH}
        for variant in VARIANTS:
            row[variant] = {"images_per_second": round(1e3 * BATCH / statistics.median(milliseconds[variant]), 1)}
            if variant != VARIANTS[0]:
                row[variant]["speed-up"] = ratio(milliseconds[VARIANTS[0]], milliseconds[variant])
        rows.append(row)
        print(name, {v: row[v]["images_per_second"] for v in VARIANTS})
    write_json(asked.result, {"rows": rows, "load_before": load, **provenance()})


def work(rank: int, folder: str, seconds: float) -> None:
    """Time the variants on one of the two processes; the first one writes."""
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=2)
    times = {name: turns(config, rank, seconds, name) for name, config in NETS.items()}
    if rank == 0:
        torch.save(times, Path(folder) / "times.pt")
    dist.destroy_process_group()


def turns(config: dict[str, object], rank: int, seconds: float, title: str) -> dict[str, list[float]]:
    """Return milliseconds of a step by variant, one a round."""
    x, y = torch.randn(BATCH, 3, 32, 32), torch.randint(10, (BATCH,))
    nets: dict[str, nn.Module] = {VARIANTS[0]: network(config)}
    nets[VARIANTS[1]] = DistributedDataParallel(network(config))
    nets[VARIANTS[2]] = DistributedDataParallel(synchronise(network(config)))
    steps = {name: Step(net) for name, net in nets.items()}
    times: dict[str, list[float]] = {name: [] for name in VARIANTS}
    rounds, start = 0, time.monotonic()
    while go_on(rounds < 5 or time.monotonic() < start + seconds):
        for name in VARIANTS:
            alone = name == VARIANTS[0]
            dist.barrier()
            before = time.perf_counter()
            if not alone or rank == 0:
                steps[name](*((x, y) if alone else (x[rank::2], y[rank::2])))
            dist.barrier()
            if rounds:  # the first one warms up
                times[name].append(1e3 * (time.perf_counter() - before))
        rounds += 1
        if rank == 0:
            print(f"{title}: round {rounds}", flush=True)
    return times


def network(config: dict[str, object]) -> nn.Module:
    torch.manual_seed(0)
    return Cifar10(units=1, layout="symmetric", **config).network()


def go_on(wish: bool) -> bool:
    """Do as the first process wishes."""
    flag = torch.tensor(int(wish))
    dist.broadcast(flag, 0)
    return bool(flag)


class Step:
    """A training step."""

    def __init__(self, net: nn.Module) -> None:
        """Make the optimiser."""
        self.net, self.optimiser = net, torch.optim.SGD(net.parameters(), 0.01, momentum=0.9)

    def __call__(self, x: Tensor, y: Tensor) -> None:
        """Take it."""
        self.optimiser.zero_grad()
        nn.functional.cross_entropy(self.net(x), y).backward()
        self.optimiser.step()


if __name__ == "__main__":
    main()
