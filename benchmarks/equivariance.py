"""Equivariance error at 45 degrees of every filter family and of the peers, side by side: one table, one picture.

    python benchmarks/equivariance.py                           families of this library; what is known of peers is kept
    python benchmarks/equivariance.py --systems escnn           one peer, in an environment of its own (see peers.py)

Group C8, 5x5 kernels, mean over seeds:

* one layer, and three with ELU between them, each library's own initialisation: a random smooth picture on [-1, 1]^2 of
  at most 2 waves a unit of length under a Gaussian window of width 0.22, sampled on grids of 33, 65 and 129. The output
  is known at any point, by sampling the picture around it, so that nothing is interpolated and there is no border;
* six layers (the layout of `pdoconv.models.mnist_small`), initial and trained for some epochs on MNIST-rot: the
  features before the classifier, on smooth pictures up to 0.4 rad per pixel and on digits (blurred by a pixel so that
  they are known everywhere), and the test error of the trained network.
"""

import argparse
import json
import sys
from pathlib import Path

import numpy as np
import peers
import torch
from torch import Tensor, nn

import pdoconv as pdo
from pdoconv.data import mnist_rot
from pdoconv.measure.functions import random_waves
from pdoconv.nn import init
from pdoconv.stencils.base import offsets
from pdoconv.training.provenance import provenance

C8 = pdo.cyclic(8)
SIZES = (33, 65, 129)
RESULT = Path("results/equivariance-comparison.json")


def patch_error(module: nn.Module, reach: int, size: int, seed: int) -> float:
    """Return ||M(Ax)(p) - A M(x)(A^-1 p)|| / ||M(x)|| over grid points p with |p| < 0.9 (at most 1,500 of them)."""
    turn, step = C8.matrices[1], 2 / (size - 1)
    line = np.linspace(-1, 1, size)
    points = np.stack(np.meshgrid(line, line), -1).reshape(-1, 2)
    points = points[np.linalg.norm(points, axis=1) < 0.9]
    points = np.random.default_rng(seed).permutation(points)[:1500]
    fan = step * offsets(2, 2 * reach + 1)
    picture = random_waves(1, module.in_type.channels, 2, frequency=4 * np.pi, width=0.22, seed=seed)

    def output(centres: np.ndarray, matrix: np.ndarray, channels: Tensor) -> Tensor:
        places = (centres[:, None] + fan).reshape(-1, 2) @ matrix  # row vectors: A^-1 times each place
        values = picture(places)[0, channels].reshape(len(channels), len(centres), 2 * reach + 1, 2 * reach + 1)
        with torch.no_grad():
            pieces = torch.split(values.transpose(0, 1), 256)
            return torch.cat([module(piece.to(next(module.parameters()))) for piece in pieces]).double()

    first, last = module.in_type, module.out_type
    plain = output(points @ turn, np.eye(2), torch.arange(first.channels))[:, last.permutation(1)]
    turned = output(points, turn, torch.from_numpy(first.permutation(1)))
    return float((plain - turned).norm() / plain.norm())


def train(net: nn.Module, epochs: int, lr: float, title: str) -> float:
    """Train on the 10,000 training images of MNIST-rot (one cycle of AdamW); return the test error in percent."""
    data = mnist_rot()
    mean, std = float(data.train.images.mean()), float(data.train.images.std())
    x = (torch.from_numpy(data.train.images).float()[:, None] - mean) / std
    y = torch.from_numpy(data.train.labels.astype(np.int64))
    optimizer = torch.optim.AdamW(net.parameters(), weight_decay=0.01)
    steps = epochs * (len(x) // 64)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, lr, steps)
    for step in range(steps):
        if step % (len(x) // 64) == 0:
            order = torch.randperm(len(x))
        pick = order[torch.arange(64) + 64 * (step % (len(x) // 64))]
        net.train()
        loss = nn.functional.cross_entropy(net(x[pick]), y[pick])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        print(f"\r{title}: step {step + 1}/{steps}, loss {loss.item():.3f}", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)
    net.eval()
    wrong = 0
    with torch.no_grad():
        for images, labels in zip(*(torch.split(torch.from_numpy(a), 500) for a in data.test), strict=True):
            wrong += int((net((images.float()[:, None] - mean) / std).argmax(1) != labels).sum())
    return 100 * wrong / len(data.test.labels)


def six_layers(net: nn.Module, seed: int) -> dict[str, float]:
    """Return the error of the features before the classifier, on smooth pictures and on digits."""
    features, digits = net[:-2], mnist_rot().test.images[:64].astype(np.float64) / 255
    return {
        "smooth": pdo.equivariance_error(features, 45, size=29, samples=64, seed=seed),
        "digits": pdo.equivariance_error(features, 45, images=torch.from_numpy(digits)[:, None]),
    }


def measure(system: str, seeds: int, epochs: int, lr: float) -> dict[str, object]:
    """Return everything about one system."""
    layers: dict[str, list[list[float]]] = {"trivial -> regular": [], "regular -> regular": [], "three layers, ELU": []}
    for seed in range(seeds):
        torch.manual_seed(seed)
        modules = {
            "trivial -> regular": (peers.conv(system, C8.trivial(4), C8.regular(4)), 2),
            "regular -> regular": (peers.conv(system, C8.regular(4), C8.regular(4)), 2),
            "three layers, ELU": (peers.stack(system, C8), 6),
        }
        for name, (module, reach) in modules.items():
            module.double().eval()
            layers[name].append([patch_error(module, reach, size, seed) for size in SIZES])
        print(f"{system}: seed {seed + 1}/{seeds}", file=sys.stderr)
    torch.manual_seed(0)
    net = peers.classifier(system, C8, 4)
    result: dict[str, object] = {
        "errors at 33, 65, 129": {k: [float(f"{e:.2e}") for e in np.mean(v, axis=0)] for k, v in layers.items()},
        "standard deviation over seeds": {k: [float(f"{e:.1e}") for e in np.std(v, axis=0)] for k, v in layers.items()},
        "six layers, initial": {k: float(f"{e:.2e}") for k, e in six_layers(net.eval(), 0).items()},
    }
    if epochs:
        result["test error %"] = round(train(net, epochs, lr, system), 2)
        result["six layers, trained"] = {k: float(f"{e:.2e}") for k, e in six_layers(net, 0).items()}
    result["parameters of the network"] = sum(p.numel() for p in net.parameters())
    return result | {"seeds": seeds, "epochs": epochs, "lr": lr}


def table(systems: dict[str, dict[str, dict[str, object]]]) -> str:
    """Return the results as a Markdown table."""
    lines = [
        "| system | one layer, 33 / 65 / 129 | three layers and ELU, 33 / 65 / 129 | six layers, initial: smooth, "
        "digits | trained: smooth, digits | test error % | parameters |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, result in systems.items():
        errors = result["errors at 33, 65, 129"]
        cells = [" ".join(f"{e:.1e}" for e in errors[k]) for k in ("regular -> regular", "three layers, ELU")]
        for when in ("initial", "trained"):
            six = result.get(f"six layers, {when}")
            cells.append(f"{six['smooth']:.2f}, {six['digits']:.2f}" if six else "-")
        cells += [str(result.get("test error %", "-")), f"{result['parameters of the network']:,}"]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def draw(systems: dict[str, dict[str, dict[str, object]]], picture: Path) -> None:
    """Draw error against grid size for one and three layers, and the bars of the six-layer network."""
    from matplotlib import colormaps
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(13, 5), dpi=150, layout="constrained")
    FigureCanvasAgg(figure)
    left, middle, right = figure.subplots(1, 3)
    colours = colormaps["tab20"].colors
    for axes, key in ((left, "regular -> regular"), (middle, "three layers, ELU")):
        for i, (name, result) in enumerate(systems.items()):
            style = "--" if name in peers.PEERS else "-"
            axes.plot(
                SIZES,
                result["errors at 33, 65, 129"][key],
                style,
                marker="o",
                markersize=4,
                color=colours[i],
                label=name,
            )
        axes.set(xscale="log", yscale="log", xlabel="grid points a side", title=f"C8, 45 degrees: {key}")
        axes.set_xticks(SIZES, [str(n) for n in SIZES])
        axes.minorticks_off()
        axes.grid(True, alpha=0.3)
    left.set_ylabel("relative equivariance error")
    figure.legend(*left.get_legend_handles_labels(), loc="outside lower center", ncols=7, frameon=False, fontsize=8)
    bars = [("initial", "smooth"), ("initial", "digits"), ("trained", "smooth"), ("trained", "digits")]
    for i, (_, result) in enumerate(systems.items()):
        heights = [result.get(f"six layers, {when}", {}).get(what, 0) for when, what in bars]
        right.bar(
            np.arange(4) + (i - len(systems) / 2) * 0.8 / len(systems), heights, 0.8 / len(systems), color=colours[i]
        )
    right.set_xticks(range(4), [f"{when},\n{what}" for when, what in bars])
    right.set(title="six layers and ReLU: features", yscale="log")
    right.grid(True, axis="y", alpha=0.3)
    figure.savefig(picture)


def main() -> None:
    """Measure the systems asked for, join them with those known, write table and picture."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--systems", nargs="+", default=[*peers.OURS])
    parser.add_argument("--seeds", type=int, default=4)
    parser.add_argument("--epochs", type=int, default=2, help="of the six-layer network; 0 leaves it untrained")
    parser.add_argument("--undamped", action="store_true", help="initialise all orders of derivatives alike")
    parser.add_argument("--lr", type=float, default=1e-2, help="highest learning rate of that training")
    options = parser.parse_args()
    known = json.loads(RESULT.read_text()) if RESULT.exists() else {"systems": {}}
    if options.undamped:
        init.DAMPING = 1.0
    for system in options.systems:
        name = f"{system}, undamped" if options.undamped else system
        known["systems"][name] = measure(system, options.seeds, options.epochs, options.lr)
        known |= {**provenance(), "command": "make equivariance"}
        RESULT.write_text(json.dumps(known, indent=1) + "\n")
    order = [name for name in (*peers.OURS, *peers.PEERS) if name in known["systems"]]
    print(table({name: known["systems"][name] for name in order}))
    try:
        draw({name: known["systems"][name] for name in order}, RESULT.with_suffix(".png"))
    except ModuleNotFoundError:  # the environment of a peer may lack matplotlib
        print("No matplotlib here: run once more in this library's environment for the picture.", file=sys.stderr)


if __name__ == "__main__":
    main()
