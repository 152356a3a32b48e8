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
from pathlib import Path

import numpy as np
import torch
from lightning.pytorch import Trainer
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

import pdoconv as pdo
from pdoconv.data import mnist_rot
from pdoconv.data.mnist_rot import rotate
from pdoconv.filters import FAMILIES, family
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


def train(name: str, seed: int, images: np.ndarray, labels: np.ndarray) -> dict[str, object]:
    """Train one network and measure it."""
    settings = MnistRotSmall(
        filters=name, fields=FIELDS.get(name, 6), seed=seed, precision=default_precision(), **BUDGET
    )
    torch.manual_seed(seed)
    net, data = settings.network(), ImageData(settings.data().train, None, None, batch_size=64, seed=seed)
    keep = ("lr", "weight_decay", "warmup", "label_smoothing", "seed")
    model = Classifier(net, classes=10, **{key: getattr(settings, key) for key in keep})
    start = time.perf_counter()
    quiet = {"logger": False, "enable_checkpointing": False, "enable_model_summary": False}
    trainer = Trainer(accelerator="cpu", precision=settings.precision, max_epochs=settings.epochs, **quiet)
    trainer.fit(model, data)
    seconds = time.perf_counter() - start
    loader = DataLoader(TensorDataset(data.standardise(images), torch.from_numpy(labels.astype(np.int64))), 500)
    measured = Trainer(accelerator="cpu", **quiet).test(model, loader, verbose=False)[0]
    return {
        "family": name,
        "seed": seed,
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


def main() -> None:
    """Run what is missing and write the result after every network."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--families", nargs="+", default=[*FAMILIES, "plain"])
    parser.add_argument("--seeds", type=int, default=1)
    options = parser.parse_args()
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", message=".*num_workers.*")
    images, labels = selection_set()
    started = {"command": "python benchmarks/families.py", "budget": BUDGET, **provenance()}
    known = json.loads(RESULT.read_text()) if RESULT.exists() else {**started, "runs": []}
    for seed in range(options.seeds):
        for name in options.families:
            if any((run["family"], run["seed"]) == (name, seed) for run in known["runs"]):
                continue
            known["runs"].append(train(name, seed, images, labels))
            RESULT.write_text(json.dumps(known, indent=1) + "\n")
            print(known["runs"][-1], file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
