"""Write the trained PDEs that the package ships, from the runs of `pdoconv compare TASK`.

`python benchmarks/coefficients.py runs/compare` writes `src/pdoconv/pde/coefficients/TASK.json` for every task that has
a finished run of the system in `SHIPPED`.
"""

import argparse
import json
import sys
from pathlib import Path

from safetensors.torch import load_file

from pdoconv.pde import LearnedPDE
from pdoconv.pde.files import FOLDER, save
from pdoconv.pde.tasks import TASKS
from pdoconv.recipes.restoration import Restoration

SHIPPED = "lpde-general"
KEPT = ("title", "data", "validation_psnr", "train_seconds", "commit", "versions", "date")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("runs", type=Path, help="folder of the comparisons' runs")
    found = [folder for task in TASKS if (folder := parser.parse_args().runs / task / SHIPPED).is_dir()]
    for run in found:
        if not (run / "result.json").exists():
            print(f"{run} is unfinished: left out.", file=sys.stderr)
            continue
        result = json.loads((run / "result.json").read_text())
        settings = Restoration(**result["settings"])
        net = settings.network()
        assert isinstance(net, LearnedPDE)
        net.load_state_dict(load_file(run / "model.safetensors"))
        file = FOLDER / f"{settings.task}.json"
        sigma = settings.sigma if settings.task == "denoise" else None
        about = {"recipe": result["settings"], **{key: result[key] for key in KEPT}}
        save(net, file, task=settings.task, sigma=sigma, about=about)
        print(f"{file.name}: {result['parameters']} numbers, {file.stat().st_size / 1000:.1f} kB")


if __name__ == "__main__":
    main()
