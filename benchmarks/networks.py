"""Whole networks: this library, a plain CNN of as many channels, escnn and e2cnn, a training step and inference.

    python benchmarks/networks.py [--escnn PYTHON] [--e2cnn PYTHON] [--groups 8 16] [--batch 64] [--rounds 11]

Every system has a process of its own, in its own environment, that waits while another one works. In each round every
system makes one step, each round beginning with another one; inference likewise afterwards. The network is that of
`tutorial_network.py`. Memory is the most that a process needed above what it had before it built the network, in all
and since it was built.
"""

import argparse
import json
import statistics
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Self

import torch
from common import alternate, ratio
from peer_packages import PACKAGES, origin
from tutorial_network import OURS, PEERS, SYSTEMS, fields, package

from pdoconv.training.folder import write_json

PHASES = {"forward_backward": "step", "inference": "eval"}


class Worker:
    """A system's process."""

    def __init__(self, system: str, python: str, script: str, **options: object) -> None:
        """Start a script of this folder with options, and wait until the network is built."""
        self.system = system
        words = [python, str(Path(__file__).with_name(script)), "--system", system]
        for name, value in {**options, "threads": torch.get_num_threads()}.items():
            words += [f"--{name.replace('_', '-')}", str(value)]
        self.process = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        try:
            self.built = self._answer()
        except RuntimeError:
            self.__exit__()
            raise

    def ask(self, command: str) -> dict[str, float]:
        """Send a command and return the answer.

        Raises:
            RuntimeError: If the process has ended.
        """
        assert self.process.stdin
        self.process.stdin.write(f"{command}\n")
        self.process.stdin.flush()
        return self._answer()

    def _answer(self) -> dict[str, float]:
        assert self.process.stdout
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(f"{self.system}: its process ended with code {self.process.wait()}, see above.")
        result: dict[str, float] = json.loads(line)
        return result

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """End the process."""
        if self.process.poll() is None:
            self.process.communicate("quit\n")
        else:
            self.process.communicate()


def measure(order: int, pythons: dict[str, str], options: argparse.Namespace) -> dict[str, Any]:
    """Return everything about the networks of one group."""
    result: dict[str, Any] = {"group": f"C{order}", "fields": fields(order, options.fields_scale), "systems": {}}
    workers: dict[str, Worker] = {}
    systems = result["systems"]
    given = {"order": order, "batch": options.batch, "fields_scale": options.fields_scale}
    with ExitStack() as stack:
        for system in options.systems:
            if package(system) in PACKAGES and package(system) not in pythons:
                continue
            print(f"C{order}: building {system}", file=sys.stderr, flush=True)
            python = pythons.get(package(system), sys.executable)
            try:
                worker = stack.enter_context(Worker(system, python, "network_worker.py", **given))
            except RuntimeError as error:
                systems[system] = {"error": str(error)}
                continue
            workers[system] = worker
            systems[system] = {k: round(v, 2) for k, v in worker.built.items()}
        for phase, command in PHASES.items():
            times = alternate(
                {
                    name: lambda worker=worker, command=command: worker.ask(command)["seconds"]
                    for name, worker in workers.items()
                },
                title=f"C{order}, batch {options.batch}, {phase}",
                rounds=options.rounds,
                warm_up=1,
            )
            for name, own in times.items():
                row = systems[name][phase] = {"ms": round(statistics.median(own), 2)}
                for peer in ("plain", "escnn"):
                    if peer in times and name != peer:
                        row[f"over_{peer}"] = ratio(own, times[peer])
            if phase == "forward_backward":
                for name, worker in workers.items():
                    systems[name] |= {k: round(v, 1) for k, v in worker.ask("memory").items()}
    return result


def table(result: dict[str, Any]) -> str:
    """Return one group's results as text."""
    lines = [
        f"{result['group']:14}{'build s':>9}{'peak MB':>9}{'training':>9}"
        + "".join(f"{ms:>10}{'/ plain':>9}{'quartiles':>13}{'/ escnn':>9}" for ms in ("step ms", "eval ms"))
    ]
    for name, values in result["systems"].items():
        if "error" in values:
            lines.append(f"{name:14}{values['error']}")
            continue
        text = f"{name:14}{values['construction_seconds']:>9.2f}{values['peak_mb']:>9.0f}"
        text += f"{values['training_mb']:>9.0f}" if "training_mb" in values else f"{'-':>9}"
        for phase in PHASES:
            part = values[phase]
            plain, escnn = part.get("over_plain"), part.get("over_escnn")
            spread = f"{plain['quartile_low']:.3f}-{plain['quartile_high']:.3f}" if plain else "-"
            text += f"{part['ms']:>10.1f}{plain['ratio'] if plain else 1:>9.3f}{spread:>13}"
            text += f"{escnn['ratio']:>9.3f}" if escnn else f"{'-':>9}"
        lines.append(text)
    return "\n".join(lines)


def draw(groups: list[dict[str, Any]], path: Path) -> None:
    """Draw the ratios to the plain network as bars, with quartiles."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5.5 * len(groups), 4.6), dpi=150, layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(1, len(groups), sharey=True, squeeze=False)[0]
    for panel, group in zip(panels, groups, strict=True):
        shown = {k: v for k, v in group["systems"].items() if "error" not in v and k != "plain"}
        for shift, (phase, label) in zip((-0.2, 0.2), PHASES.items(), strict=True):
            parts = [v[phase]["over_plain"] for v in shown.values()]
            heights = [p["ratio"] for p in parts]
            spread = [[abs(p[k] - p["ratio"]) for p in parts] for k in ("quartile_low", "quartile_high")]
            at = [i + shift for i in range(len(shown))]
            title = {"step": "training step", "eval": "inference"}[label]
            bars = panel.bar(at, heights, 0.38, yerr=spread, capsize=2, label=title)
            panel.bar_label(bars, [f"{h:.2f}" for h in heights], fontsize=7, padding=2)
        panel.axhline(1, color="gray", linewidth=0.8, linestyle=":")
        panel.set_xticks(range(len(shown)), [f"ours,\n{n}" if n in OURS else n for n in shown], fontsize=8)
        panel.set_title(f"{group['group']}, fields {', '.join(map(str, group['fields']))}", fontsize=10)
    panels[0].set_ylabel("time / time of the plain network")
    panels[0].legend(frameon=False)
    figure.savefig(path)


def main() -> None:
    """Measure the groups asked for; write after each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in PACKAGES:
        parser.add_argument(f"--{name}", metavar="PYTHON", help=f"the python of an environment with {name}")
    parser.add_argument("--systems", nargs="+", choices=SYSTEMS, default=["auto", "dense", "plain", *PEERS])
    parser.add_argument("--groups", type=int, nargs="+", default=[8, 16], help="orders of cyclic groups")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--fields-scale", type=float, default=1.0, help="times the fields of every layer")
    parser.add_argument("--rounds", type=int, default=11)
    parser.add_argument("--result", type=Path, default=Path("results/bench-networks.json"))
    options = parser.parse_args()
    if "plain" not in options.systems:
        options.systems.append("plain")
    pythons = {name: getattr(options, name) for name in PACKAGES if getattr(options, name)}
    settings = {"batch": options.batch, "fields_scale": options.fields_scale, "rounds": options.rounds}
    known = origin(pythons)  # before the first result changes the checkout
    groups: list[dict[str, Any]] = []
    for order in options.groups:
        groups.append(measure(order, pythons, options))
        print(table(groups[-1]), flush=True)
        write_json(options.result, {**settings, "groups": groups, **known})
    draw(groups, options.result.with_suffix(".png"))
    print(f"Written: {options.result}, {options.result.with_suffix('.png')}")


if __name__ == "__main__":
    main()
