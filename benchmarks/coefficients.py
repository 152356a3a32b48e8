"""Write the trained PDEs that the package ships, from the runs of `pdoconv compare TASK`.

`python benchmarks/coefficients.py runs/compare` writes `src/pdoconv/pde/coefficients/TASK.json` for every task that has
a finished run of the system in `SHIPPED`; and two pictures: how a made picture is denoised by what was written, and the
coefficients over time of the system in `DRAWN`.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

from pdoconv.data import as_image, synthetic
from pdoconv.pde import LearnedPDE
from pdoconv.pde.files import FOLDER, save
from pdoconv.pde.restore import start
from pdoconv.pde.tasks import TASKS, task
from pdoconv.plot_pde import coefficient_curves, strip
from pdoconv.recipes.restoration import Restoration

SHIPPED, DRAWN = "lpde-general", "lpde-bounded"
KEPT = ("title", "data", "validation_psnr", "train_seconds", "commit", "versions", "date")


def trained(run: Path) -> tuple[LearnedPDE, dict[str, Any]] | None:
    """Return the PDE of a finished run, and what is known of it."""
    if not (run / "result.json").exists():
        print(f"{run} is missing or unfinished: left out.", file=sys.stderr)
        return None
    result = json.loads((run / "result.json").read_text())
    net = Restoration(**result["settings"]).network()
    assert isinstance(net, LearnedPDE)
    net.load_state_dict(load_file(run / "model.safetensors"))
    return net, result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("runs", type=Path, help="folder of the comparisons' runs")
    parser.add_argument("--pictures", type=Path, default=Path("results"), help="folder of the pictures")
    given = parser.parse_args()
    for name in TASKS:
        if (found := trained(given.runs / name / SHIPPED)) is None:
            continue
        net, result = found
        file = FOLDER / f"{name}.json"
        about = {"recipe": result["settings"], **{key: result[key] for key in KEPT}}
        save(net, file, task=name, sigma=result["settings"]["sigma"] if name == "denoise" else None, about=about)
        print(f"{file.name}: {result['parameters']} numbers, {file.stat().st_size / 1000:.1f} kB")
    observed, _ = task("denoise").observe(as_image(synthetic(1, 160, 7)[0]), torch.Generator().manual_seed(0))
    running = start(observed[0])
    states = [running.fields(state) for state in running.states()]
    strip(
        states,
        given.pictures / "learned-pde-strip.png",
        [k * running.net.time / running.net.steps for k in range(len(states))],
    )
    if (found := trained(given.runs / "denoise" / DRAWN)) is not None:
        coefficient_curves(found[0], given.pictures / "learned-pde-coefficients.png")


if __name__ == "__main__":
    main()
