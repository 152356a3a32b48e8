"""How long until something happens: import, construction, first layer, first training step, in fresh processes.

    python benchmarks/start_speed.py [--escnn PYTHON] [--e2cnn PYTHON] [--rounds 5]

Each round starts a process a system, one after the other, each round beginning with another one:

* the network of `tutorial_network.py`: importing torch, importing the library over it, construction, making the
  optimizer, first step, and the whole process from its start to its end;
* one 5x5 layer between 8 regular fields of each group, 5x5x5 in space: construction and first output together.

Ratios are to torch alone, that is to a network or layer of `nn.Conv2d` or `nn.Conv3d` of as many channels; the imports,
torch and the library together, to torch in the same process.
"""

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from common import ratio
from peer_packages import PACKAGES, origin
from start_worker import SYSTEMS

import pdoconv as pdo
from pdoconv.training.folder import write_json

LAYERS = [("C4", 2), ("C6", 2), ("C8", 2), ("C16", 2), ("D4", 2), ("D8", 2), ("O", 3), ("I", 3)]


def run(python: str, words: list[str], limit: float) -> dict[str, float] | str:
    """Return the milliseconds that a fresh process reports, and its whole time; or why there are none."""
    script = Path(__file__).with_name("start_worker.py")
    start = time.perf_counter()
    try:
        call = subprocess.run([python, str(script), *words], capture_output=True, text=True, timeout=limit)
    except subprocess.TimeoutExpired:
        return f"more than {limit:g} s"
    whole = time.perf_counter() - start
    if call.returncode:
        return (call.stderr.strip().splitlines() or [f"ended with code {call.returncode}"])[-1]
    return {name: 1e3 * s for name, s in {**json.loads(call.stdout), "whole_process": whole}.items()}


def rounds(
    systems: dict[str, str], words: Callable[[str], list[str]], title: str, options: argparse.Namespace
) -> dict[str, Any]:
    """Return medians and ratios to torch alone, by system; a system that fails once is left out afterwards."""
    names = list(systems)
    found: dict[str, list[dict[str, float]]] = {name: [] for name in names}
    failed: dict[str, str] = {}
    for done in range(options.rounds):
        for name in names[done % len(names) :] + names[: done % len(names)]:
            if name in failed:
                continue
            print(f"\r{title}: round {done + 1}/{options.rounds}, {name:8}", end="", file=sys.stderr, flush=True)
            values = run(systems[name], words(name), options.limit)
            if isinstance(values, str):
                failed[name] = values
            else:
                found[name].append(values)
    print(file=sys.stderr)
    result: dict[str, Any] = {}
    for name in names:
        if name in failed:
            result[name] = {"failed": failed[name]}
            continue
        columns = {key: [each[key] for each in found[name]] for key in found[name][0]}
        result[name] = {f"{key}_ms": round(statistics.median(values), 1) for key, values in columns.items()}
        if name != "plain" and "plain" not in failed:
            result[name]["over_plain"] = {
                key: ratio(values, [each[key] for each in found["plain"]])
                for key, values in columns.items()
                if not key.startswith(("import", "optimizer"))  # torch's own, and nothing in torch alone
            }
            imports = [a + b for a, b in zip(columns["import_torch"], columns["import_package"], strict=True)]
            result[name]["over_plain"]["imports"] = ratio(imports, columns["import_torch"])
    return result


def show(title: str, result: dict[str, Any]) -> None:
    """Print a table."""
    print(title)
    for name, values in result.items():
        if "failed" in values:
            print(f"  {name:8}{values['failed']}", flush=True)
            continue
        text = "".join(f"  {key.removesuffix('_ms')} {values[key]:.1f} ms" for key in values if key.endswith("_ms"))
        over = values.get("over_plain", {})
        print(f"  {name:8}{text}" + "".join(f"; {k} x{v['ratio']:.2f}" for k, v in over.items()), flush=True)


def main() -> None:
    """Measure the network, then the layers; write after each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in PACKAGES:
        parser.add_argument(f"--{name}", metavar="PYTHON", help=f"the python of an environment with {name}")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--limit", type=float, default=300.0, help="seconds for one process")
    parser.add_argument("--batch", type=int, default=4, help="of the network's first step")
    parser.add_argument("--fields-scale", type=float, default=1.0, help="times the fields of the network's layers")
    parser.add_argument("--layers", nargs="+", default=[name for name, _ in LAYERS], help="groups of the first layers")
    parser.add_argument("--result", type=Path, default=Path("results/bench-start.json"))
    options = parser.parse_args()
    pythons = {name: getattr(options, name) for name in PACKAGES if getattr(options, name)}
    systems = {name: pythons.get(name, sys.executable) for name in SYSTEMS if name in pythons or name not in PACKAGES}
    known = origin(pythons)  # before the first result changes the checkout
    threads = ["--threads", str(torch.get_num_threads())]
    size = ["--batch", str(options.batch), "--fields-scale", str(options.fields_scale)]
    network = rounds(systems, lambda name: ["network", "--system", name, *size, *threads], "network", options)
    result: dict[str, Any] = {"batch": options.batch, "fields_scale": options.fields_scale, "network": network}
    show("network", network)
    result["first_layers"] = {}
    for name, dim in LAYERS:
        if name not in options.layers:
            continue
        order = pdo.group(name, dim=dim).order
        case = ["--group", name, "--dim", str(dim), "--order", str(order)]
        able = {s: p for s, p in systems.items() if s != "e2cnn" or (dim == 2 and not name.startswith("D"))}
        title = f"first layer, {name}{', in space' if dim == 3 else ''}"
        layer = rounds(able, lambda s, case=case: ["layer", "--system", s, *case, *threads], title, options)
        result["first_layers"][name] = layer
        show(title, layer)
        write_json(options.result, {**result, **known})
    write_json(options.result, {**result, **known})
    print(f"Written: {options.result}")


if __name__ == "__main__":
    main()
