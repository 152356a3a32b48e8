"""What `pdoconv.pde` promises, in figures: orders in space and time, batch-mates, adjoint gradients, memory.

`python benchmarks/pde_laws.py` writes `results/pde-laws.json` and a picture beside it; half a minute.
"""

import argparse
import math
from pathlib import Path

import numpy as np
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from torch import Tensor, nn

import pdoconv as pdo
from pdoconv.pde import LearnedPDE, PDEBlock, integrate, invariants
from pdoconv.pde.invariants import names, orders
from pdoconv.stencils import Stencils, finite_difference, isotropic
from pdoconv.training.folder import write_json
from pdoconv.training.provenance import provenance

SPACINGS = (0.4, 0.2, 0.1, 0.05)
STEPS = (4, 8, 16, 32, 64)
TOLERANCES = (1e-2, 1e-3, 1e-5, 1e-7)
SCHEMES: dict[str, tuple[Stencils, int]] = {
    "finite differences, 3x3": (finite_difference(), 3),
    "isotropic, 5x5": (isotropic(), 5),
}


def fields(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Two smooth fields on the plane."""
    rho = torch.sin(1.3 * x + 0.4) * torch.cos(0.7 * y - 0.2) + 0.3 * torch.sin(x * y / 2)
    return rho, torch.cos(0.9 * x - 1.1 * y) + 0.2 * x**2 - 0.1 * y**3


def mismatch(h: float, stencils: Stencils, kernel_size: int, degrees: float = 30) -> list[float]:
    """Change of each invariant at one point when both fields turn, relative to the largest invariant of its kind."""
    reach = kernel_size // 2 + 1
    line = h * torch.arange(-reach, reach + 1, dtype=torch.float64)
    right, up = line.expand(len(line), -1), line.flip(0)[:, None].expand(-1, len(line))

    def at(angle: float, centre: tuple[float, float]) -> Tensor:
        c, s = math.cos(angle), math.sin(angle)
        x, y = c * right + s * up + centre[0], -s * right + c * up + centre[1]
        rho, o = fields(x, y)
        found = invariants(rho[None, None], o[None, None], stencils=stencils, kernel_size=kernel_size)
        scale = torch.tensor([h ** -float(k) for k in orders()], dtype=torch.float64)
        return found[0, :, reach, reach] * scale

    centres = [(0.3, 0.2), (-0.7, 0.5), (0.9, -0.4)]
    pairs = [(at(0, centre), at(math.radians(degrees), centre)) for centre in centres]
    size = torch.stack([here.abs() for here, _ in pairs]).amax(0)
    return (torch.stack([(there - here).abs() for here, there in pairs]).amax(0) / size).tolist()


def space() -> dict[str, dict[str, list[float]]]:
    """Return the mismatch of each invariant over the spacings, by scheme."""
    found: dict[str, dict[str, list[float]]] = {}
    for name, (stencils, size) in SCHEMES.items():
        rows = np.array([mismatch(h, stencils, size) for h in SPACINGS]).T
        found[name] = {label: row.tolist() for label, row in zip(names()[3:], rows[3:], strict=True)}
    return found


def time() -> dict[str, list[float]]:
    """Return the error of each solver for the logistic equation, which has a closed form, over the steps."""
    start = torch.tensor([0.2, 0.5, 0.9], dtype=torch.float64)
    exact = 1 / (1 + (1 / start - 1) * math.exp(-3.0))
    found = {}
    for solver in ("euler", "midpoint", "rk4"):
        ends = [integrate(lambda t, x: x * (1 - x), start, steps=n, solver=solver, time=3.0) for n in STEPS]
        found[solver] = [float((end - exact).abs().max()) for end in ends]
    return found


def equivariant_rate() -> nn.Module:
    """Return a small field of PDO-eConv layers, in float64."""
    torch.manual_seed(0)
    u = pdo.cyclic(4).regular(2)
    return pdo.Sequential(pdo.PDOConv2d(u, u, padding=2), nn.Tanh(), pdo.PDOConv2d(u, u, padding=2)).double()


def batch_mates() -> dict[str, float]:
    """Return how far a sample's output moves when 7 others of ten times its size join it, relative to the output."""
    rate = equivariant_rate()
    alone = torch.randn(1, 8, 13, 13, dtype=torch.float64)
    together = torch.cat([alone, 10 * torch.randn(7, 8, 13, 13, dtype=torch.float64)])
    blocks = {name: PDEBlock(rate, solver=name) for name in ("euler", "midpoint", "rk4")}
    blocks |= {f"dopri5, {t:g}": PDEBlock(rate, solver="dopri5", rtol=t, atol=t) for t in TOLERANCES}
    with torch.no_grad():
        return {name: float((b(together)[:1] - b(alone)).norm() / b(alone).norm()) for name, b in blocks.items()}


def adjoint_gradients() -> dict[str, float]:
    """Return the relative error of the continuous adjoint's gradient beside that of the steps taken, by tolerance."""
    rate, x, found = equivariant_rate(), torch.randn(2, 8, 13, 13, dtype=torch.float64), {}
    for t in TOLERANCES:
        grads = []
        for adjoint in (True, False):
            rate.zero_grad()
            PDEBlock(rate, solver="dopri5", rtol=t, atol=t, adjoint=adjoint)(x).square().sum().backward()
            grads.append(torch.cat([p.grad.flatten() for p in rate.parameters() if p.grad is not None]))
        found[f"{t:g}"] = float((grads[0] - grads[1]).norm() / grads[1].norm())
    return found


def saved_numbers() -> dict[str, int]:
    """Return how many numbers autograd keeps for a gradient, for an evolution of 20 steps on 64 x 64 pixels."""
    found = {}
    for checkpoint in (False, True):
        model, kept = LearnedPDE(steps=20, checkpoint=checkpoint), 0

        def pack(x: Tensor) -> Tensor:
            nonlocal kept
            kept += x.numel()
            return x

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda x: x):
            model(torch.rand(1, 1, 64, 64))
        found["checkpoints" if checkpoint else "everything"] = kept
    return found


def draw(result: dict[str, dict[str, list[float]]], solvers: dict[str, list[float]], picture: Path) -> None:
    """Draw both kinds of convergence."""
    figure = Figure(figsize=(9, 3.6), dpi=150, layout="constrained")
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2)
    for place, (scheme, rows) in enumerate(result.items()):
        for k, errors in enumerate(rows.values()):
            left.loglog(SPACINGS, errors, color=f"C{place}", linewidth=0.8, label=None if k else scheme)
    left.set(xlabel="grid spacing", ylabel="relative change", title="14 invariants, fields turned by 30 degrees")
    for solver, errors in solvers.items():
        right.loglog(STEPS, errors, marker="o", markersize=3, label=solver)
    right.set(xlabel="steps", ylabel="error", title="logistic equation, time 3")
    for axes, places in ((left, SPACINGS), (right, STEPS)):
        axes.set_xticks(places, [f"{x:g}" for x in places])
        axes.minorticks_off()
        axes.grid(True, alpha=0.3)
        axes.legend(frameon=False)
    figure.savefig(picture)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--result", type=Path, default=Path("results/pde-laws.json"))
    file = parser.parse_args().result
    turned, solvers = space(), time()
    content = {
        "spacings": SPACINGS,
        "change when turned by 30 degrees": turned,
        "steps": STEPS,
        "error of solvers": solvers,
        "change by batch-mates": batch_mates(),
        "error of adjoint gradients": adjoint_gradients(),
        "numbers kept for a gradient": saved_numbers(),
        **provenance(),
    }
    write_json(file, content)
    draw(turned, solvers, file.with_suffix(".png"))
    print(f"Result: {file}\nPicture: {file.with_suffix('.png')}")


if __name__ == "__main__":
    main()
