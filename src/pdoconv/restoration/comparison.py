"""Every system of a restoration task on one footing: the same pictures and steps, the same observations, one table.

Each system has a folder of its own and goes on where it was stopped, so that a comparison can be cut into sittings and
systems can be trained by several processes at once: the table is made of what the folders hold.
"""

import hashlib
import json
import statistics
import sys
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch

from pdoconv.data import picture_hash
from pdoconv.measure import psnr
from pdoconv.pde.tasks import Task, solve
from pdoconv.recipes.restoration import SYSTEMS, Restoration
from pdoconv.restoration.baselines import Baseline, baselines, choose
from pdoconv.restoration.evaluation import evaluate, loss, plate_pictures
from pdoconv.restoration.pictures import STANDARD, Pictures, load, observe
from pdoconv.training.folder import write_json
from pdoconv.training.provenance import provenance
from pdoconv.training.restorer import train_restorer

SIGMA, STEPS = Restoration.sigma, Restoration.steps


def compare(
    task: str = "denoise",
    systems: Sequence[str] | None = None,
    *,
    steps: int = STEPS,
    sigma: float = SIGMA,
    runs: Path,
    sets: Sequence[str] = STANDARD,
    root: str | None = None,
) -> dict[str, Any]:
    """Train what is missing, choose parameters, measure, and return the comparison as far as the folder holds it.

    Args:
        task: Name of a task, see `pdoconv.pde.tasks.task`.
        systems: Names of `pdoconv.recipes.restoration.SYSTEMS` and of the task's baselines; default all that can be
            had: only learned PDEs where the task has made pictures or a map to find, baselines if installed.
        steps: Of training.
        sigma: Of the noise, in units of 1/255, for `"denoise"`.
        runs: Folder of the runs; this one's is `runs / task`.
        sets: Test sets, see `pdoconv.restoration.pictures.load`.
        root: Data folder.

    Returns:
        The content of the result file, see `collect`.

    Raises:
        FileNotFoundError: If pictures are missing.
        ValueError: If a name is unknown, a package is not installed, or a folder holds a run with other settings.
    """
    problem = Restoration(task=task, sigma=sigma, steps=steps).problem()
    methods = baselines(task, sigma)
    names = default_systems(problem, methods) if systems is None else list(systems)
    for name in names:
        if name not in SYSTEMS and name not in methods:
            raise ValueError(f"Unknown system {name!r}: expected one of {', '.join([*SYSTEMS, *methods])}.")
        if name in methods and not methods[name].installed():
            raise ValueError(f"{methods[name].title} needs {methods[name].package}: install it, or leave it out.")
    data = load(problem, sets, root)
    folder = runs / task
    for name in names:
        title = SYSTEMS[name].title if name in SYSTEMS else methods[name].title
        print(f"{problem.title}: {title}", file=sys.stderr, flush=True)
        if name in SYSTEMS:
            settings = Restoration(task=task, system=name, sigma=sigma, steps=steps)
            learned(settings, data, folder / name)
        else:
            classical(methods[name], problem, data, folder / name, sigma)
    return collect(problem, data, folder, sigma)


def default_systems(problem: Task, methods: Mapping[str, Baseline]) -> list[str]:
    """Return the names of all systems that a task is compared with."""
    gray = problem.restores and problem.channels == 1
    trained = [name for name in SYSTEMS if gray or name.startswith("lpde")]
    return [*(name for name, method in methods.items() if method.installed()), *trained]


def learned(settings: Restoration, data: Pictures, run: Path) -> None:
    """Train a system if it is not yet, and measure it if it is not yet."""
    net, found = train_restorer(settings, data.training, data.validation, run, data.title)
    weights = run / "model.safetensors"
    kept = weights.stat().st_size
    of = {**_of(settings.problem(), data, settings.sigma), "weights": hashlib.sha256(weights.read_bytes()).hexdigest()}
    result = {"title": SYSTEMS[settings.system].title, "learned": True, "kilobytes": round(kept / 1000, 1)}
    about = {key: found[key] for key in ("parameters", "train_seconds", "validation_psnr")}
    about |= {"steps": settings.steps, "commit": found["commit"]}
    evaluate(partial(solve, net), settings.problem(), data, run / "evaluation.json", {**of, **result, **about})


def classical(method: Baseline, problem: Task, data: Pictures, run: Path, sigma: float) -> None:
    """Choose a baseline's parameters on training pictures if they are not yet, and measure it if it is not yet."""
    of, file = _of(problem, data, sigma), run / "chosen.json"
    if file.exists():
        known = json.loads(file.read_text())
        if {key: known[key] for key in ("task", "sigma", "training")} != {
            k: of[k] for k in ("task", "sigma", "training")
        }:
            raise ValueError(f"{run} holds a run with other settings or pictures: choose another folder with --runs.")
        chosen = known["chosen"]
    else:
        seen = [observe(problem, picture, f"choice {k}") for k, picture in enumerate(data.choice())]

        def score(parameters: dict[str, float]) -> float:
            found = [method.method(*given, **parameters).clamp(0, 1) for _, given in seen]
            return statistics.mean(
                psnr(x, problem.target(clean)).item() for x, (clean, _) in zip(found, seen, strict=True)
            )

        with torch.no_grad():
            chosen = choose(score, method.start)
        write_json(file, {**of, "chosen": chosen})
    result = {"title": method.title, "learned": False, "kilobytes": None, "parameters": len(chosen), "chosen": chosen}
    evaluate(partial(method.method, **chosen), problem, data, run / "evaluation.json", {**of, **result})


def _of(problem: Task, data: Pictures, sigma: float) -> dict[str, Any]:
    """Return what all numbers of a comparison depend on."""
    tests = {name: picture_hash(pictures) for name, pictures in data.tests.items()}
    return {"task": problem.name, "sigma": sigma, "training": data.title, "tests": tests}


def collect(problem: Task, data: Pictures, folder: Path, sigma: float) -> dict[str, Any]:
    """Return all that the folder of a task holds of systems that were measured on these pictures to the end."""
    of, rows = _of(problem, data, sigma), {}
    for file in sorted(folder.glob("*/evaluation.json")):
        found = json.loads(file.read_text())
        made_by = found["made_by"]
        whole = all(len(found["sets"].get(name, [])) == len(pictures) for name, pictures in data.tests.items())
        if not whole or "seconds" not in found or {key: made_by.get(key) for key in of} != of:
            print(f"{file.parent} is unfinished, or of other pictures: left out.", file=sys.stderr)
            continue
        rows[file.parent.name] = {
            **{key: value for key, value in made_by.items() if key not in of},
            "psnr": {name: statistics.mean(p["psnr"] for p in ps) for name, ps in found["sets"].items()},
            "ssim": {name: statistics.mean(p["ssim"] for p in ps) for name, ps in found["sets"].items()},
            "seconds": found["seconds"],
            "quarter_turn": found["quarter_turn"],
        }
        every = [picture for pictures in found["sets"].values() for picture in pictures]
        if "turned" in every[0]:
            angles = [angle for angle in every[0]["turned"] if angle != "0"]
            rows[file.parent.name]["lost when turned, dB"] = {angle: loss(every, angle) for angle in angles}
    clean, (observed, _) = plate_pictures(problem, data)
    torch.save({"clean": clean[:, : problem.channels], "observed": observed}, folder / "plate.pt")
    return {
        "title": problem.title,
        **of,
        "restores": problem.restores,
        "selection": "last weights; parameters of baselines by PSNR on training pictures; test sets read once a system",
        "systems": rows,
        **provenance(),
    }


def table(result: Mapping[str, Any]) -> str:
    """Return a comparison as a Markdown table, best first."""
    sets, rows = list(result["tests"]), list(result["systems"].values())
    angle = max((a for row in rows for a in row.get("lost when turned, dB", {})), key=float, default=None)
    heads = ["system", *(f"{name}: PSNR, SSIM" for name in sets), "parameters", "kB", "seconds (256 x 256, one core)"]
    heads += [f"PSNR lost at {angle} degrees"] if angle else []
    heads += ["change under a quarter turn"]
    lines = [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
    for row in sorted(rows, key=lambda row: -statistics.mean(row["psnr"].values())):
        cells = [row["title"], *(f"{row['psnr'][name]:.2f}, {row['ssim'][name]:.4f}" for name in sets)]
        cells += [f"{row['parameters']:,}", "" if row["kilobytes"] is None else f"{row['kilobytes']:g}"]
        cells += [f"{row['seconds']:.3g}"]
        if angle:
            mean, error = row["lost when turned, dB"][angle]
            cells.append(f"{mean:.2f} ± {error:.2f}")
        lines.append(f"| {' | '.join([*cells, format(row['quarter_turn'], '.1e')])} |")
    return "\n".join(lines)
