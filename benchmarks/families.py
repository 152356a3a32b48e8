"""Which filter family should be the default? Train the small network with each, at equal parameters and equal budget.

    python benchmarks/families.py --seeds 1                                   every family
    python benchmarks/families.py --seeds 3 --families band-limited paper     more seeds of some

MNIST-rot, the layout of the authors' small network, 8 epochs on the 10,000 training images with the settings below. The
error is measured on 10,000 images that are neither training nor test images: the 2,000 validation images and the 8,000
digits that MNIST-rot leaves unused, turned likewise. So the choice is not made on the test set. Runs that the result
file already holds are not repeated.
"""

import argparse
import json
import logging
import sys
import time
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from lightning.pytorch import Trainer
from torch import Tensor, nn

import pdoconv as pdo
from pdoconv.data import Split, mnist_rot
from pdoconv.data.mnist_rot import rotate
from pdoconv.filters import FAMILIES, family
from pdoconv.nn import init
from pdoconv.recipes import MnistRotSmall
from pdoconv.training.classifier import Classifier
from pdoconv.training.images import ImageData
from pdoconv.training.provenance import default_precision, provenance

RESULT = Path("results/families.json")
FIELDS = {"paper": 7, "plain": 14}  # equal parameters; the others have six fields
BUDGET = {"epochs": 8, "weight_decay": 0.05, "dropout": 0.1, "label_smoothing": 0.0}


def selection_set() -> tuple[np.ndarray, np.ndarray]:
    """Return the validation images and the digits that MNIST-rot leaves unused, turned by angles of their own."""
    with np.load("data/mnist.npz") as arrays:
        digits = np.concatenate([arrays["x_train"], arrays["x_test"]])
        labels = np.concatenate([arrays["y_train"], arrays["y_test"]])
    unused = np.random.Generator(np.random.PCG64(0)).permutation(len(digits))[62000:]
    turned = rotate(digits[unused], np.random.default_rng(1).uniform(0, 2 * np.pi, len(unused)))
    valid = mnist_rot().valid
    return np.concatenate([valid.images, turned]), np.concatenate([valid.labels, labels[unused]])


def train(name: str, seed: int, scheme: str, images: np.ndarray, labels: np.ndarray) -> dict[str, object]:
    """Train one network and measure it."""
    settings = MnistRotSmall(
        filters=name, fields=FIELDS.get(name, 6), seed=seed, precision=default_precision(), **BUDGET
    )
    torch.manual_seed(seed)
    net, training = settings.network(), settings.data().train
    size = settings.batch_size
    data = ImageData(training, None, Split(images, labels), batch_size=size, seed=seed)
    if scheme != "authors":
        init.DAMPING = 1.0 if scheme == "unit, undamped" else init.DAMPING
        for layer in (m for m in net.modules() if isinstance(m, pdo.nn.GroupConv)):
            layer.init = "unit"
            layer.reset_parameters()
    model = Classifier(net, settings, settings.epochs * (len(training.images) // size))
    start = time.perf_counter()
    quiet = {"logger": False, "enable_checkpointing": False, "enable_model_summary": False}
    trainer = Trainer(accelerator="cpu", precision=settings.precision, max_epochs=settings.epochs, **quiet)
    trainer.fit(model, data)
    seconds = time.perf_counter() - start
    measured = Trainer(accelerator="cpu", **quiet).test(model, datamodule=data, verbose=False)[0]
    return {
        "family": name,
        "seed": seed,
        "init": scheme,
        "parameters": sum(p.numel() for p in net.parameters()),
        "error %": round(100 * (1 - measured["test_accuracy"]), 2),
        "seconds an epoch": round(seconds / settings.epochs, 1),
        **equivariance(net, name),
    }


def equivariance(net: nn.Module, name: str) -> dict[str, float]:
    """Return errors at 45 degrees: a random layer at 0.4 rad per pixel, the trained network's features and logits."""
    C8 = pdo.cyclic(8)
    digits: Tensor = torch.from_numpy(mnist_rot().valid.images[:64].astype(np.float64) / 255)[:, None]
    types = {"in_type": C8.trivial(1), "out_type": C8.trivial(10)}
    found = {"logits, digits": pdo.equivariance_error(net, 45, images=digits, **types)}
    if name != "plain":
        torch.manual_seed(0)
        layer = pdo.PDOConv2d(C8.regular(8), C8.regular(8), filters=family(name), dtype=torch.float64)
        found["one random layer, 0.4 rad per pixel"] = pdo.measure.layer_error(layer, [0.4])[0.4]
        found["first layer, digits"] = pdo.equivariance_error(net, 45, images=digits, at="0")
        found["features, digits"] = pdo.equivariance_error(net[:-2], 45, images=digits)  # type: ignore[index]
    return {key: float(f"{value:.2e}") for key, value in found.items()}


def energy_passed(images: np.ndarray) -> dict[str, float]:
    """Return the share of the energy of 5x5 patches (global mean removed) that each orthonormal basis passes."""
    x = torch.from_numpy(images[:2000]).double()[:, None]
    patches = nn.functional.unfold(x - x.mean(), 5, padding=2).transpose(1, 2).reshape(-1, 25)
    covariance = (patches.T @ patches / len(patches)).numpy()
    shares = {}
    for name in FAMILIES:
        basis = replace(family(name), weights="orthonormal").basis(pdo.cyclic(8), 5).reshape(8, -1, 25)
        shares[name] = round(float(np.einsum("gbx,xy,gby->", basis, covariance, basis)) / 8 / covariance.trace(), 3)
    return shares


def table(known: dict) -> str:
    """Return the result as a Markdown table, best family first."""
    names = sorted({run["family"] for run in known["runs"]}, key=lambda n: np.mean(column(known, n, "error %")))
    lines = [
        "| family | parameters | error % (mean ± sd, runs) | patch energy passed | one layer at 0.4 rad per pixel | "
        "trained: first layer | features | logits | seconds an epoch |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for name in names:
        errors = column(known, name, "error %")
        spread = f" ± {np.std(errors, ddof=1):.2f}" if len(errors) > 1 else ""
        keys = ("one random layer, 0.4 rad per pixel", "first layer, digits", "features, digits", "logits, digits")
        cells = [f"{np.mean(found):.1e}" if (found := column(known, name, key)) else "-" for key in keys]
        share = known["patch energy passed"].get(name, "-")
        seconds = np.mean(column(known, name, "seconds an epoch"))
        parameters = column(known, name, "parameters")[0]
        lines.append(
            f"| `{name}` | {parameters:,} | {np.mean(errors):.2f}{spread} ({len(errors)}) | {share} | "
            + " | ".join(cells)
            + f" | {seconds:.0f} |"
        )
    return "\n".join(lines)


def column(known: dict, name: str, key: str) -> list[float]:
    """Return one entry of all runs of a family."""
    runs = [run for run in known["runs"] if run["family"] == name and run.get("init", "authors") == "authors"]
    return [run[key] for run in runs if key in run]


def main() -> None:
    """Run what is missing and write the result after every network."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--families", nargs="+", default=[*FAMILIES, "plain"])
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--init", choices=("authors", "unit", "unit, undamped"), default="authors")
    options = parser.parse_args()
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", message=".*num_workers.*")
    images, labels = selection_set()
    started = {"command": "python benchmarks/families.py", "budget": BUDGET, **provenance()}
    known = json.loads(RESULT.read_text()) if RESULT.exists() else {**started, "runs": []}
    for seed in range(options.seeds):
        for name in options.families:
            wanted = (name, seed, options.init)
            if any((run["family"], run["seed"], run.get("init", "authors")) == wanted for run in known["runs"]):
                continue
            known["runs"].append(train(*wanted, images, labels))
            RESULT.write_text(json.dumps(known, indent=1) + "\n")
            print(known["runs"][-1], file=sys.stderr, flush=True)
    known["patch energy passed"] = energy_passed(mnist_rot().train.images)
    RESULT.write_text(json.dumps(known, indent=1) + "\n")
    print(table(known))


if __name__ == "__main__":
    main()
