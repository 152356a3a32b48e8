"""Optical flow: predict a vector field from two images, with networks that turn their answer when the images turn.

    python examples/optical_flow.py [--seeds 3] [--epochs 10] [--result results/optical-flow.json]

Clutter of digits moves, mostly to the right; the networks see two frames and say how far every pixel has moved, as a
vector field. Three are trained on upright pairs alone and tested on pairs turned by 0, 15, ..., 345 degrees, a fourth
is trained on pairs in any orientation. With `--rates` they are trained with each of some learning rates and measured
on validation pairs instead; that is how the rates below were chosen.
"""

import argparse
import json
import logging
import statistics
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from lightning.pytorch import LightningModule, Trainer
from matplotlib.figure import Figure
from torch import Tensor, nn
from torch.optim.lr_scheduler import OneCycleLR
from torch.utils.data import DataLoader, TensorDataset

import pdoconv as pdo
from pdoconv.data import FlowPairs, flow_pairs
from pdoconv.plot import vector_field
from pdoconv.progress import progress
from pdoconv.training.folder import write_json
from pdoconv.training.provenance import provenance

TRAIN, VALID, TEST = 3000, 500, 500  # pairs
ANGLES = range(0, 360, 15)  # degrees
LAYERS, BATCH = 5, 32
CROP = 4  # pixels: near the border a frame does not show where things came from
SELECTION = """learning rates by the validation error (results/tuning-optical-flow.json), on other digits in the
orientation trained on; epochs and sizes fixed before; last weights; test pairs, of yet other digits, read once"""
SHOWN = 120  # degrees, of the turned pair in the picture


def plain(width: int = 12) -> nn.Module:
    """Make an ordinary network: two frames in, two channels out."""
    layers: list[nn.Module] = []
    channels = 2
    for _ in range(LAYERS - 1):
        layers += [nn.Conv2d(channels, width, 5, padding=2, bias=False), nn.BatchNorm2d(width), nn.ReLU()]
        channels = width
    return nn.Sequential(*layers, nn.Conv2d(width, 2, 5, padding=2))


def regular(fields: int = 6) -> nn.Module:
    """Make a network of eight rotations: hidden fields are functions on the group, the answer is one vector."""
    group = pdo.cyclic(8)
    layers: list[nn.Module] = []
    x, hidden = group.trivial(2), group.regular(fields)  # a frame is a scalar: turning it moves pixels and no more
    for _ in range(LAYERS - 1):
        layers += [pdo.PDOConv2d(x, hidden, padding=2, bias=False), pdo.BatchNorm2d(hidden), nn.ReLU()]
        x = hidden
    return pdo.Sequential(*layers, pdo.PDOConv2d(x, group.vector(1), padding=2, bias=False))


def irreducible(fields: int = 8) -> nn.Module:
    """Make a network of all rotations: hidden fields are scalars, vectors and fields that turn twice as fast.

    A ReLU of a vector's components would depend on the axes; vectors are multiplied by gates, scalars made with them.
    """
    group = pdo.so2()
    layers: list[nn.Module] = []
    x, hidden = group.trivial(2), group.trivial(fields) + group.irrep(1, fields) + group.irrep(2, fields)
    for _ in range(LAYERS - 1):
        gate = pdo.GatedActivation(hidden)
        layers += [pdo.PDOConv2d(x, gate.in_type, padding=2, bias=False), pdo.BatchNorm2d(gate.in_type), gate]
        x = hidden
    return pdo.Sequential(*layers, pdo.PDOConv2d(x, group.vector(1), padding=2, bias=False))


class Row(NamedTuple):
    """A network and how it is trained: learning rate, and on pairs in any orientation or upright."""

    network: Callable[[], nn.Module]
    rate: float
    turned: bool = False


ROWS = {
    "plain": Row(plain, 3e-2),
    "plain, trained in any orientation": Row(plain, 3e-2, turned=True),
    "8 rotations, regular fields": Row(regular, 1e-1),
    "all rotations, irreducible fields": Row(irreducible, 1e-1),
}


def endpoint_error(predicted: Tensor, true: Tensor) -> Tensor:
    """Return the mean length in pixels of the difference of two flows `(n, 2, size, size)`, away from the border."""
    difference = (predicted - true)[..., CROP:-CROP, CROP:-CROP]
    return (difference.square().sum(1) + 1e-12).sqrt().mean()  # a root has no slope at 0


class FlowModel(LightningModule):
    """Training: the endpoint error, Adam, one cycle of the learning rate."""

    def __init__(self, net: nn.Module, rate: float) -> None:
        """Keep network and highest learning rate."""
        super().__init__()
        self.net, self.rate = net, rate

    def configure_optimizers(self) -> Any:
        """Step the learning rate every batch."""
        optimizer = torch.optim.Adam(self.net.parameters(), lr=self.rate)
        schedule = OneCycleLR(optimizer, self.rate, int(self.trainer.estimated_stepping_batches))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def training_step(self, batch: list[Tensor]) -> Tensor:
        """Return the loss of a batch of frames and flows."""
        loss = endpoint_error(self.net(batch[0]), batch[1])
        self.log("endpoint_error", loss, on_step=False, on_epoch=True)
        return loss

    def on_train_epoch_end(self) -> None:
        """Show a line an epoch."""
        error = float(self.trainer.callback_metrics["endpoint_error"])
        print(f"epoch {self.current_epoch + 1}: training endpoint error {error:.3f} px", file=sys.stderr, flush=True)


def train(row: Row, seed: int, epochs: int) -> tuple[nn.Module, float]:
    """Train a network from a seed of its weights and of the order of the pairs; return it and the seconds it took."""
    angles = np.random.default_rng(0).uniform(0, 360, TRAIN) if row.turned else 0.0
    pairs, order = flow_pairs(TRAIN, angles), torch.Generator().manual_seed(seed)
    loader = DataLoader(TensorDataset(pairs.frames, pairs.flow), BATCH, shuffle=True, drop_last=True, generator=order)
    torch.manual_seed(seed)
    model = FlowModel(row.network(), row.rate)
    off = ("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary")
    trainer, start = Trainer(max_epochs=epochs, accelerator="cpu", **dict.fromkeys(off, False)), time.perf_counter()
    trainer.fit(model, loader)
    return model.net.eval(), time.perf_counter() - start


@torch.no_grad()
def predict(net: nn.Module, pairs: FlowPairs) -> Tensor:
    """Return a network's flow for every pair."""
    return torch.cat([net(frames) for frames in torch.split(pairs.frames, 100)])


def choose(rows: list[str], rates: list[float], epochs: int, path: Path, origin: dict[str, Any]) -> None:
    """Measure networks on validation pairs after training with each rate, one seed; a file there is added to."""
    result = json.loads(path.read_text()) if path.exists() else {"validation_endpoint_error_pixels": {}}
    for name in rows:
        angles = np.random.default_rng(1).uniform(0, 360, VALID) if ROWS[name].turned else 0.0
        pairs = flow_pairs(VALID, angles, seed=1, part="valid")
        for rate in rates:
            net, _ = train(ROWS[name]._replace(rate=rate), 0, epochs)
            error = float(endpoint_error(predict(net, pairs), pairs.flow))
            result["validation_endpoint_error_pixels"].setdefault(name, {})[f"{rate:g}, {epochs} epochs"] = round(
                error, 4
            )
            write_json(path, {**result, **origin})
            print(f"{name}, learning rate {rate}: {error:.3f} px", flush=True)


def summary(values: list[float]) -> dict[str, Any]:
    """Return mean and standard deviation over seeds, and each value."""
    sd = round(statistics.stdev(values), 4) if len(values) > 1 else None
    return {"mean": round(statistics.mean(values), 4), "sd": sd, "each": [round(v, 4) for v in values]}


def picture(result: dict[str, Any], pairs: list[FlowPairs], flows: dict[str, list[Tensor]], path: Path) -> None:
    """Draw the errors over the angle; beside them the first of some pairs, upright and turned, each with its flows."""
    figure = Figure(figsize=(12, 4.6), dpi=150, layout="constrained")
    left, right = figure.subfigures(1, 2, width_ratios=[1, 1.3])
    axes, panels = left.subplots(), right.subplots(2, len(flows))
    angles = (*ANGLES, 360)
    for row in result["rows"]:
        measured = [row["endpoint_error_pixels"][str(a % 360)] for a in angles]
        means, sds = ([m[key] or 0 for m in measured] for key in ("mean", "sd"))
        label = f"{row['net']} ({row['parameters']:,} parameters)"
        axes.errorbar(angles, means, sds, marker="o", markersize=3, linewidth=1.2, capsize=2, label=label)
    for (name, errors), style in zip(result["without_a_network"].items(), ("--", ":"), strict=True):
        axes.plot(angles, [errors[str(a % 360)] for a in angles], color="gray", linestyle=style, label=name)
    axes.set(xlabel="test pairs turned by, degrees", ylabel="endpoint error, pixels", ylim=(0, None))
    axes.set_xticks(range(0, 361, 45))
    axes.grid(True, alpha=0.3)
    left.legend(loc="outside upper center", frameon=False, fontsize=7, ncols=2)
    for column, (name, shown) in zip(panels.T, flows.items(), strict=True):
        column[0].set_title(name, fontsize=8)
        for axes, each, flow in zip(column, pairs, shown, strict=True):
            vector_field(axes, each.frames[0, 1], flow, margin=CROP)
    panels[0, 0].set_ylabel("upright")
    panels[1, 0].set_ylabel(f"turned by {SHOWN}°")
    figure.savefig(path)


def main() -> None:
    """Train and measure all networks, or choose their learning rates."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--rates", type=float, nargs="+", help="learning rates to compare on validation pairs")
    parser.add_argument(
        "--networks", nargs="+", choices=list(ROWS), default=list(ROWS), metavar="NAME", help="some alone"
    )
    parser.add_argument(
        "--result", type=Path, help="default results/optical-flow.json, with --rates results/tuning-..."
    )
    parser.add_argument("--picture", type=Path, default=Path("results/optical-flow.png"))
    options = parser.parse_args()
    if min(options.seeds, options.epochs) < 1:
        parser.error(f"expected --seeds and --epochs of at least 1, received {options.seeds} and {options.epochs}")
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)  # it advertises other products
    warnings.filterwarnings("ignore", module="lightning")  # of processes to load tensors, which are in memory
    origin = provenance()  # before the first result changes the checkout
    options.result = options.result or Path(f"results/{'tuning-' * bool(options.rates)}optical-flow.json")
    if options.rates:
        if options.result.exists() and "validation_endpoint_error_pixels" not in options.result.read_text():
            parser.error(f"{options.result} is there and no file of --rates: name another with --result")
        choose(options.networks, options.rates, options.epochs, options.result, origin)
        return
    angles = progress(ANGLES, total=len(ANGLES), title="test pairs")
    test = {angle: flow_pairs(TEST, angle, seed=2, part="test") for angle in angles}
    constants = {"no motion": torch.zeros(2, 1, 1), "mean training flow": flow_pairs(TRAIN).flow.mean((0, 2, 3), True)}
    result: dict[str, Any] = {
        "rows": [],
        "without_a_network": {
            name: {str(a): round(float(endpoint_error(flow, pairs.flow)), 4) for a, pairs in test.items()}
            for name, flow in constants.items()
        },
        "selection": SELECTION.replace("\n", " "),
        "pairs": {"train": TRAIN, "validation": VALID, "test": TEST},
        "epochs": options.epochs,
        "seeds": options.seeds,
    }
    views = [test[0], test[SHOWN]]
    flows = {"true flow": [pairs.flow[0] for pairs in views]}
    for name in options.networks:
        row, errors, seconds = ROWS[name], [], []
        for seed in range(options.seeds):
            net, took = train(row, seed, options.epochs)
            seconds.append(took)
            errors.append({a: float(endpoint_error(predict(net, pairs), pairs.flow)) for a, pairs in test.items()})
            print(f"{name}, seed {seed}: {errors[-1][0]:.3f} px upright", flush=True)
        entry = {
            "net": name,
            "endpoint_error_pixels": {str(a): summary([e[a] for e in errors]) for a in ANGLES},
            "mean_over_angles_pixels": summary([statistics.mean(e.values()) for e in errors]),
            "parameters": sum(p.numel() for p in net.parameters()),
            "learning_rate": row.rate,
            "train_seconds": round(statistics.mean(seconds), 1),
        }
        result["rows"].append(entry)
        write_json(options.result, {**result, **origin})
        if name in list(ROWS)[::2]:
            flows[name] = [predict(net, pairs)[0] for pairs in views]
    picture(result, views, flows, options.picture)
    print(f"Written: {options.result}, {options.picture}")


if __name__ == "__main__":
    main()
