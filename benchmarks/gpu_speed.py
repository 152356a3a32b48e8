"""On a GPU: PDO layers beside `nn.Conv2d`, and residual networks beside plain ones.

    python benchmarks/gpu_speed.py [--result results/gpu-speed.json]

Layers are regular -> regular, 5x5, 32x32 pixels, beside `nn.Conv2d` of the same channels: `dense` (what `method="auto"`
takes on GPUs) and `fourier` (the CUDA kernels, by name). float32 is computed in tf32, bfloat16 under autocast, maps in
channels_last. Networks are those of `resnets.py`: equivariant, plain of the same channels, and Z2 of about the same
parameters. Each call repeats until it is long enough to be timed, then waits for the GPU; ratios as everywhere here.
"""

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from common import alternate, infer, ratio, step
from resnets import NETWORKS, build
from torch import Tensor, nn

import pdoconv as pdo
from pdoconv.training.folder import write_json
from pdoconv.training.provenance import provenance

LAYERS = {"C4": 16, "C8": 32, "C16": 16, "D4": 16, "D8": 16}
METHODS = ("dense", "fourier")
PHASES = {"forward_backward": step, "inference": infer}
PRECISIONS = {"float32 (tf32)": torch.float32, "bfloat16": torch.bfloat16}
LONG = 0.02  # seconds of a timed call


def repeated(call: Callable[[], object], least: float = LONG) -> Callable[[], float]:
    """Return a call that repeats the given one for about `least` seconds, and returns the seconds of one."""

    def run(times: int) -> float:
        torch.cuda.synchronize()
        start = time.perf_counter()
        for _ in range(times):
            call()
        torch.cuda.synchronize()
        return (time.perf_counter() - start) / times

    run(3)
    times = max(1, round(least / run(3)))
    return lambda: run(times)


def work(net: nn.Module, x: Tensor, phase: str, dtype: torch.dtype) -> Callable[[], object]:
    """Return one call of a phase."""
    x = x.clone().requires_grad_(phase == "forward_backward")

    def call() -> None:
        with torch.autocast("cuda", dtype, enabled=dtype != torch.float32):
            PHASES[phase](net.train(phase == "forward_backward"), x)

    return call


def measure(nets: dict[str, nn.Module], x: Tensor, title: str, seconds: float) -> dict[str, Any]:
    """Return times of all networks by precision and phase, ratios to the one named `plain`."""
    rows: dict[str, Any] = {}
    nets = {name: net.cuda().to(memory_format=torch.channels_last) for name, net in nets.items()}
    x = x.cuda().contiguous(memory_format=torch.channels_last)
    for precision, dtype in PRECISIONS.items():
        for phase in PHASES:
            calls = {name: repeated(work(net, x, phase, dtype)) for name, net in nets.items()}
            times = alternate(calls, title=f"{title}, {precision}, {phase}", seconds=seconds)
            found = {name: ratio(times[name], times["plain"]) for name in nets if name != "plain"}
            rows.setdefault(precision, {})[phase] = found
            print(
                f"{title:28}{precision:16}{phase:18}",
                {k: (v["ratio"], v["ours_ms"]) for k, v in found.items()},
                flush=True,
            )
    return rows


def main() -> None:
    """Measure layers, then networks; write after each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--seconds", type=float, default=1.0, help="for each comparison, at least 5 rounds")
    parser.add_argument("--result", type=Path, default=Path("results/gpu-speed.json"))
    options = parser.parse_args()
    if not torch.cuda.is_available():
        parser.error("needs a CUDA device; on CPUs use layer_speed.py and resnet_speed.py")
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True
    torch.backends.cudnn.benchmark = True
    content: dict[str, Any] = {"batch": options.batch, "layers": [], "networks": [], **provenance()}
    for group, fields in LAYERS.items():
        field = pdo.group(group).regular(fields)
        nets: dict[str, nn.Module] = {m: pdo.PDOConv2d(field, field, padding=2, method=m) for m in METHODS}
        nets["plain"] = nn.Conv2d(field.channels, field.channels, 5, padding=2)
        x = torch.randn(options.batch, field.channels, 32, 32)
        row = {"group": group, "fields": fields, "channels": field.channels}
        content["layers"].append({**row, "precisions": measure(nets, x, f"{group}, {fields} fields", options.seconds)})
        write_json(options.result, content)
    for name, network in NETWORKS.items():
        nets = {"ours": build("dense", network), "z2": build("z2", network), "plain": build("plain", network)}
        row = {"network": name, "parameters": {k: sum(p.numel() for p in net.parameters()) for k, net in nets.items()}}
        x = torch.randn(options.batch, 3, 32, 32)
        content["networks"].append({**row, "precisions": measure(nets, x, name, options.seconds)})
        write_json(options.result, content)
    print(f"Written: {options.result}")


if __name__ == "__main__":
    main()
