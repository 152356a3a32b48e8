"""CIFAR ResNets in images per second: this library, escnn, an ordinary network of as many channels, and a Z2 one.

    python benchmarks/resnet_speed.py [--escnn PYTHON] [--networks resnet44 narrow] [--quick]

The networks are those of `resnets.py`, in float32 on random images. Every system has a process of its own that waits
while another one works. In each round every system makes one training step (forward, backward, gradient descent), each
round beginning with another one; inference likewise afterwards. Ratios are of images per second in the same round:
above 1 is faster than the peer. Memory is the most that a process needed above what it had before it built the network.
Stops if networks that should have the same convolutions do not.
"""

import argparse
import os
import statistics
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from common import alternate, ratio
from networks import PHASES, Worker
from peer_packages import origin
from resnets import NETWORKS, SYSTEMS

from pdoconv.training.folder import write_json

PEERS = ("escnn", "plain", "z2")
EQUAL = ("dense", "escnn", "plain")  # these have the same convolutions
QUICK = {"resnet44": 4, "narrow": 32}  # images of a step


def measure(name: str, batch: int, escnn: str | None, *, seconds: float, least: int) -> dict[str, Any]:
    """Return everything about one network."""
    network = NETWORKS[name]
    systems: dict[str, dict[str, Any]] = {}
    workers: dict[str, Worker] = {}
    with ExitStack() as stack:
        for system in SYSTEMS:
            if system == "escnn" and escnn is None:
                continue
            print(f"{name}: building {system}", file=sys.stderr, flush=True)
            python = escnn if system == "escnn" and escnn else sys.executable
            worker = Worker(system, python, "resnet_worker.py", network=name, batch=batch)
            workers[system] = stack.enter_context(worker)
            systems[system] = {k: round(v, 3) for k, v in worker.built.items()}
        check_equal(systems)
        for phase, command in PHASES.items():
            times = alternate(
                {
                    system: lambda worker=worker, command=command: timed(worker, command)
                    for system, worker in workers.items()
                },
                title=f"{name}, batch {batch}, {phase}",
                seconds=seconds,
                least=least,
                warm_up=1,
            )
            for system, row in speeds(times, batch).items():
                systems[system][phase] = row
            if phase == "forward_backward":
                for system, worker in workers.items():
                    systems[system] |= {k: round(v, 1) for k, v in worker.ask("memory").items()}
    shape = {"group": "C8", "widths": network.widths, "z2_widths": network.z2_widths, "units": network.units}
    return {"network": name, **shape, "filters": network.filters, "batch": batch, "systems": systems}


def timed(worker: Worker, command: str) -> float:
    """Return the seconds of a command, and show a sign of life."""
    print(".", end="", file=sys.stderr, flush=True)
    return worker.ask(command)["seconds"]


def check_equal(systems: dict[str, dict[str, Any]]) -> None:
    """Compare the work of the convolutions of `EQUAL`.

    Raises:
        RuntimeError: If it differs.
    """
    work = {name: systems[name]["convolution_gflops"] for name in EQUAL if name in systems}
    if len(set(work.values())) > 1:
        raise RuntimeError(f"Expected networks with equal convolutions, received GFLOP per image {work}.")


def speeds(times: dict[str, list[float]], batch: int) -> dict[str, dict[str, Any]]:
    """Return images per second by system, and their ratios to the peers in the same rounds, given milliseconds."""
    rows: dict[str, dict[str, Any]] = {}
    for system, own in times.items():
        middle = statistics.median(own)
        rows[system] = {"images_per_second": round(1e3 * batch / middle, 2), "ms": round(middle, 2), "rounds": len(own)}
        for peer in PEERS:
            if peer in times and peer != system:
                found = ratio(times[peer], own)  # a time is the inverse of a speed
                rows[system][f"over_{peer}"] = {k: found[k] for k in ("ratio", "quartile_low", "quartile_high")}
    return rows


def table(result: dict[str, Any]) -> str:
    """Return one network's results as text."""
    lines = [
        f"{result['network'] + ', batch ' + str(result['batch']):22}{'parameters':>11}{'build s':>9}{'peak MB':>9}"
        + "".join(
            f"{phase:>12}{'/ escnn':>9}{'quartiles':>14}{'/ plain':>9}{'/ Z2':>7}"
            for phase in ("train img/s", "infer img/s")
        )
    ]
    for system, values in result["systems"].items():
        text = f"{system:22}{values['parameters']:>11,}{values['construction_seconds']:>9.2f}{values['peak_mb']:>9.0f}"
        for phase in PHASES:
            row = values[phase]
            text += f"{row['images_per_second']:>12.2f}"
            for peer, width in zip(PEERS, (9, 9, 7), strict=True):
                found = row.get(f"over_{peer}")
                text += f"{found['ratio']:>{width}.2f}" if found else f"{'-':>{width}}"
                if peer == "escnn":
                    spread = f"{found['quartile_low']:.2f}-{found['quartile_high']:.2f}" if found else "-"
                    text += f"{spread:>14}"
        lines.append(text)
    return "\n".join(lines)


def draw(results: list[dict[str, Any]], path: Path) -> None:
    """Draw images per second as bars, a panel for each network and phase."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    names = {"auto": "ours, auto", "dense": "ours, dense", "plain": "same channels, no symmetry", "z2": "Z2"}
    figure = Figure(figsize=(11, 2.6 * len(results)), dpi=150, layout="constrained")
    FigureCanvasAgg(figure)
    for row, result in zip(figure.subplots(len(results), 2, squeeze=False), results, strict=True):
        for panel, phase, title in zip(row, PHASES, ("training step", "inference"), strict=True):
            shown = {names.get(k, k): v[phase]["images_per_second"] for k, v in result["systems"].items()}
            colours = ["tab:blue" if "ours" in name else "tab:gray" for name in shown]
            bars = panel.barh(list(shown), list(shown.values()), color=colours)
            panel.bar_label(
                bars, [f"{v:.0f}" if v >= 100 else f"{v:.3g}" for v in shown.values()], fontsize=8, padding=2
            )
            panel.invert_yaxis()
            panel.margins(x=0.15)
            panel.set_title(f"{result['network']}, {title}, batch {result['batch']}", fontsize=10)
            panel.set_xlabel("images per second")
    figure.savefig(path)


def main() -> None:
    """Measure the networks asked for; write after each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--escnn", metavar="PYTHON", help="the python of an environment with escnn")
    parser.add_argument("--networks", nargs="+", choices=NETWORKS, default=list(NETWORKS))
    parser.add_argument("--seconds", type=float, default=60.0, help="for the rounds of a network and phase")
    parser.add_argument("--least", type=int, default=7, help="rounds, even if they take longer")
    parser.add_argument("--batch", type=int, help="images of a step, default 16 and 32")
    parser.add_argument(
        "--quick", action="store_true", help="small batches of the large network, 3 rounds or 8 seconds"
    )
    parser.add_argument("--result", type=Path, default=Path("results/bench-resnet.json"))
    options = parser.parse_args()
    pythons = {"escnn": options.escnn} if options.escnn else {}
    if options.quick:
        options.seconds, options.least = 8.0, 3
    known = origin(pythons) | {"load_before": round(os.getloadavg()[0], 2)}  # before it changes the checkout, and works
    results: list[dict[str, Any]] = []
    for name in options.networks:
        batch = options.batch or (QUICK[name] if options.quick else NETWORKS[name].batch)
        results.append(measure(name, batch, options.escnn, seconds=options.seconds, least=options.least))
        print(table(results[-1]), flush=True)
        write_json(options.result, {"networks": results, **known})
    draw(results, options.result.with_suffix(".png"))
    print(f"Written: {options.result}, {options.result.with_suffix('.png')}")


if __name__ == "__main__":
    main()
