"""Every system on one footing: the same data, number of epochs and rule of selection, one table, two pictures.

For each system short pilots on the training split choose the highest learning rate by the validation error. Networks
are then trained on both splits for a fixed number of epochs, the last weights are taken, and the test set is read once
a run. Each run has a folder of its own and goes on from its checkpoints, so a comparison can be cut into sittings, and
systems can be trained by several processes at once: the table is made of what the folders hold.
"""

import json
import statistics
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from pdoconv.data import mnist_rot
from pdoconv.measure import equivariance_curve, multiply_adds
from pdoconv.plot import comparison_curves, comparison_scatter
from pdoconv.pointgroups import cyclic
from pdoconv.recipes import MnistRotCompare
from pdoconv.recipes.systems import SYSTEMS, system
from pdoconv.training.folder import RunFolder, write_json
from pdoconv.training.provenance import provenance
from pdoconv.training.run import train

RECIPE = "mnist-rot-compare"
ANGLES = tuple(7.5 * k for k in range(13))
"""Degrees at which the logits of trained networks are compared with those of the upright image."""
IMAGES = 32  # of the validation split, for the equivariance error
STEPS = 5  # timed, in turn
RUN = ("epochs", "lr", "seed", "system", "train_on")  # settings in which runs differ


@dataclass(frozen=True)
class Budget:
    """How long every system is trained.

    Attributes:
        epochs: Of a run that is reported.
        pilot_epochs: Of a run that chooses the rate.
        rates: Highest learning rates to choose from; with one there are no pilots.
    """

    epochs: int
    pilot_epochs: int = 1
    rates: tuple[float, ...] = (3e-3, 1e-2)


BUDGETS: dict[str, Budget] = {
    "quick": Budget(1, rates=(1e-2,)),
    "standard": Budget(5),
    "long": Budget(60, 6, (1e-3, 3e-3, 1e-2)),
}


def compare(
    systems: Sequence[str] = tuple(SYSTEMS), *, budget: str = "standard", seeds: int | None = None, runs: Path
) -> dict[str, Any] | None:
    """Train what is missing, measure it, and return the whole comparison as far as it has come.

    Args:
        systems: Names of `pdoconv.recipes.systems.SYSTEMS`.
        budget: Name of `BUDGETS`, or a number of epochs.
        seeds: Trainings of each system; default as the table of systems says.
        runs: Folder for the runs.

    Returns:
        The content of the result file, see `collect`; `None` if the training was interrupted.

    Raises:
        ValueError: If a system or the budget is unknown, or `seeds` is not at least 1.
    """
    length = find_budget(budget)
    if seeds is not None and seeds < 1:
        raise ValueError(f"Expected seeds >= 1, received {seeds}.")
    rows = {name: system(name) for name in systems}
    for name, row in rows.items():
        folder = runs / budget / name
        rate = choose_rate(name, length, folder)
        if rate is None:
            return None
        for seed in range(seeds or row.seeds):
            print(f"{row.title}: seed {seed}, highest rate {rate:g}", file=sys.stderr, flush=True)
            settings = MnistRotCompare(system=name, epochs=length.epochs, lr=rate, seed=seed, train_on="all")
            if _finished(settings, folder / f"seed{seed}") is None:
                return None
        if not (folder / "equivariance.json").exists():
            write_json(folder / "equivariance.json", equivariance(folder / "seed0"))
    return collect(runs / budget, budget)


def find_budget(name: str) -> Budget:
    """Return a budget by name or number of epochs; `ValueError` for anything else."""
    if name.isdecimal() and int(name) > 0:
        return Budget(int(name))
    if name not in BUDGETS:
        raise ValueError(f"Unknown budget {name!r}: expected a number of epochs or one of {', '.join(BUDGETS)}.")
    return BUDGETS[name]


def choose_rate(name: str, budget: Budget, folder: Path) -> float | None:
    """Return the rate with the least validation error after a pilot; `None` if one was interrupted."""
    if len(budget.rates) == 1:
        return budget.rates[0]
    errors: dict[float, float] = {}
    for rate in budget.rates:
        print(f"{system(name).title}: pilot with highest rate {rate:g}", file=sys.stderr, flush=True)
        settings = MnistRotCompare(system=name, epochs=budget.pilot_epochs, lr=rate)
        result = _finished(settings, folder / f"pilot-{rate:g}", test=False)
        if result is None:
            return None
        errors[rate] = result["valid_error_percent"]
    return min(errors, key=lambda rate: errors[rate])


def _finished(settings: MnistRotCompare, run: Path, *, test: bool = True) -> dict[str, Any] | None:
    """Return the result of a run, trained to its end if it is not there yet; `None` if it was interrupted."""
    folder = RunFolder(run)
    if folder.result.exists():
        known: dict[str, Any] = json.loads(folder.result.read_text())
        wanted = (asdict(settings), sum(p.numel() for p in settings.network().parameters()))
        then = asdict(MnistRotCompare(**known["settings"]))  # settings that came later have their defaults
        if (then, known["parameters"]) != wanted:
            raise ValueError(
                f"{run} was run with {known['settings']}, {known['parameters']} parameters; asked for {wanted[0]}, "
                f"{wanted[1]} parameters: use other --runs."
            )
        return known
    return train(RECIPE, settings, run, resume=folder.config.exists(), test=test)


def equivariance(run: Path) -> dict[str, float]:
    """Return the relative change of a trained network's logits when digits are turned, by degrees, in float64."""
    net, mean, std = RunFolder(run).load_model()
    digits = (torch.from_numpy(mnist_rot().valid.images[:IMAGES]).double()[:, None] - mean) / std
    types = {"in_type": cyclic(1).trivial(1), "out_type": cyclic(1).trivial(MnistRotCompare.classes)}
    curve = equivariance_curve(net.double(), ANGLES[1:], images=digits, **types)
    return {"0.0": 0.0, **{f"{angle}": error for angle, error in curve.items()}}


def collect(folder: Path, budget: str) -> dict[str, Any]:
    """Return all that the folder of a budget holds, with what the networks cost.

    Times are of training steps in this process, system by system in turn, so that their ratios mean something.
    """
    found = {name: sorted((folder / name).glob("seed*/result.json")) for name in SYSTEMS}
    done = {name: files for name, files in found.items() if files and (folder / name / "equivariance.json").exists()}
    nets = {name: MnistRotCompare(system=name).network() for name in done}
    seconds = epoch_seconds(nets)
    rows: dict[str, dict[str, Any]] = {}
    for name, files in done.items():
        results = [json.loads(file.read_text()) for file in files]
        pilots = [json.loads(f.read_text()) for f in sorted((folder / name).glob("pilot-*/result.json"))]
        curve = json.loads((folder / name / "equivariance.json").read_text())
        between = [error for angle, error in curve.items() if float(angle) % 90]
        rows[name] = {
            "title": system(name).title,
            "errors %": [r["test_error_percent"] for r in results],
            "error %": round(statistics.mean(r["test_error_percent"] for r in results), 3),
            "sd": round(statistics.stdev(r["test_error_percent"] for r in results), 3) if len(results) > 1 else None,
            "parameters": results[0]["parameters"],
            "multiply-adds": multiply_adds(nets[name], (1, *MnistRotCompare.image_shape)),
            "seconds an epoch": round(seconds[name], 1),
            "equivariance error at 90": curve["90.0"],
            "equivariance error between": statistics.mean(between),
            "published": system(name).published,
            "rate": results[0]["settings"]["lr"],
            "pilots: validation error % by rate": {
                f"{p['settings']['lr']:g}": p["valid_error_percent"] for p in pilots
            },
            "equivariance": curve,
            "train seconds": [r["train_seconds"] for r in results],
            "commits": sorted({str(r["commit"]) for r in results}),
        }
    data = mnist_rot()
    return {
        "data": data.title,
        "data_sha256_16": data.fingerprint,
        "budget": {"name": budget, **asdict(find_budget(budget))},
        "settings": {k: v for k, v in asdict(MnistRotCompare()).items() if k not in RUN},
        "selection": "rate by validation error of pilots; trained on both splits; last weights; test set read once",
        "systems": rows,
        **provenance(),
    }


def epoch_seconds(nets: Mapping[str, nn.Module]) -> dict[str, float]:
    """Return seconds for 12,000 training images on this machine, the median over steps timed in turn."""
    x = torch.randn(MnistRotCompare.batch_size, 1, *MnistRotCompare.image_shape)
    y = torch.arange(MnistRotCompare.batch_size) % 10
    times: dict[str, list[float]] = {name: [] for name in nets}
    for _ in range(STEPS + 1):
        for name, net in nets.items():
            start = time.perf_counter()
            torch.autograd.backward(F.cross_entropy(net(x), y))
            times[name].append(time.perf_counter() - start)
    return {name: statistics.median(steps[1:]) * 12_000 / len(x) for name, steps in times.items()}


def table(result: Mapping[str, Any]) -> str:
    """Return a comparison as a Markdown table, best first."""
    lines = [
        "| system | test error % (sd, runs) | parameters | multiply-adds | seconds an epoch "
        "| logits change at 90 degrees | between | published % (original files) |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in sorted(result["systems"].values(), key=lambda row: row["error %"]):
        spread = f"{row['sd']:.2f}, {len(row['errors %'])}" if row["sd"] is not None else "1 run"
        lines.append(
            f"| {row['title']} | {row['error %']:.2f} ({spread}) | {row['parameters']:,} "
            f"| {row['multiply-adds'] / 1e6:.1f}M | {row['seconds an epoch']:.0f} "
            f"| {row['equivariance error at 90']:.1e} | {row['equivariance error between']:.1e} | {row['published']} |"
        )
    return "\n".join(lines)


def draw(result: Mapping[str, Any], picture: Path) -> list[Path]:
    """Draw error against parameters, and the change of the logits against the angle; return the files."""
    rows = result["systems"].values()
    files = [picture.with_name(f"{picture.stem}-{what}.png") for what in ("parameters", "angle")]
    comparison_scatter({r["title"]: (r["parameters"], r["errors %"]) for r in rows}, files[0], title=result["data"])
    curves = {r["title"]: {float(a): e for a, e in r["equivariance"].items()} for r in rows}
    comparison_curves(curves, files[1], title=f"{result['data']}: change of the logits of trained networks")
    return files
