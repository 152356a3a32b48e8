"""A stranger's path, timed: from nothing to an equivariant classifier of a folder of pictures, in five commands.

The pictures are handwritten digits, saved as PNG files in class folders as a user's own would be. The commands are
those of docs/how-to/own-folder.md. They run one by one in a temporary folder that holds nothing but the pictures and a
link to this checkout, with a new virtual environment. Installing asks the package index, so its time depends on the
network.

    python benchmarks/stranger.py    # results/stranger.json
"""

import argparse
import json
import os
import shlex
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from pdoconv.training.folder import write_json
from pdoconv.training.provenance import provenance

ROOT = Path(__file__).parents[1]
COMMANDS = (
    "python3 -m venv env",
    "env/bin/pip install torch==2.13.0 './pdoconv[train,export]'",
    "env/bin/pdoconv train --data my_images --group p8 --epochs 8 --run my_run",
    "env/bin/pdoconv measure my_run --step 15",
    "env/bin/pdoconv export my_run --onnx my_model.onnx",
)
"""As in docs/how-to/own-folder.md, to be run in the folder that holds `pdoconv/` and `my_images/`."""
CLASSES = {"two": 2, "three": 3, "four": 4}
PICTURES = 200  # of each class
ASK = """
import json
from importlib.metadata import version
print(json.dumps({name: version(name) for name in ("lightning", "onnx", "pillow")}))
"""
CHOSEN = {"PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV"}  # variables that would show this environment to the new one


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--result", type=Path, default=ROOT / "results" / "stranger.json")
    result: Path = parser.parse_args().result
    with tempfile.TemporaryDirectory() as temporary:
        place = Path(temporary)
        make_pictures(place / "my_images")
        (place / "pdoconv").symlink_to(ROOT)
        steps = [run(command, place) for command in COMMANDS]
        content = {"commands": steps, "seconds": round(sum(step["seconds"] for step in steps), 1), **found(place)}
        write_json(result, content)
    print(f"Result: {result}")


def make_pictures(folder: Path, each: int = PICTURES) -> None:
    """Save upright handwritten digits, the first of each class, as gray PNG files in class folders."""
    with np.load(ROOT / "data" / "mnist.npz") as data:
        images, labels = data["x_train"], data["y_train"]
    for name, digit in CLASSES.items():
        (folder / name).mkdir(parents=True)
        for number, index in enumerate(np.flatnonzero(labels == digit)[:each]):
            Image.fromarray(images[index]).save(folder / name / f"{number:03}.png")


def run(command: str, place: Path) -> dict[str, Any]:
    """Run a command in a folder, its output shown; `SystemExit` if it fails."""
    print(f"$ {command}", flush=True)
    outside = {key: value for key, value in os.environ.items() if key not in CHOSEN}
    start = time.perf_counter()
    done = subprocess.run(shlex.split(command), cwd=place, env=outside)
    seconds = time.perf_counter() - start
    if done.returncode:
        raise SystemExit(f"{command} ended with status {done.returncode} after {seconds:.0f} s: nothing is written.")
    print(f"{seconds:.1f} s\n", flush=True)
    return {"command": command, "seconds": round(seconds, 1)}


def found(place: Path) -> dict[str, Any]:
    """Return what the commands left behind: errors, sizes, and the versions that were installed."""
    trained = json.loads((place / "my_run" / "result.json").read_text())
    curves = json.loads((place / "my_run" / "equivariance-my_run.json").read_text())["angle"]
    others = subprocess.run([place / "env/bin/python", "-c", ASK], capture_output=True, text=True, check=True)
    here = provenance()
    keys = ("train_images", "valid_images", "test_images", "valid_error_percent", "test_error_percent")
    return {
        "pictures": {name: PICTURES for name in CLASSES},
        "parameters": trained["parameters"],
        **{key: trained[key] for key in keys},
        "train_seconds": trained["train_seconds"],
        "settings": trained["settings"],
        "selection": f"{trained['selection'].split(';')[0]}; the test pictures had been read once before, by 30 epochs",
        "equivariance_error": {turn: curves["output (invariance)"][f"{turn}.0"] for turn in ("45", "90")},
        "onnx_bytes": (place / "my_model.onnx").stat().st_size,
        "network": "The time of the second command depends on the network and on what pip has kept before.",
        "load": [round(value, 1) for value in os.getloadavg()],
        **here,
        "versions": trained["versions"] | json.loads(others.stdout),
        "hardware": trained["hardware"],
    }


if __name__ == "__main__":
    main()
