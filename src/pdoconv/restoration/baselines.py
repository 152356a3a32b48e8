r"""Restoration without learning: the methods that learned ones are compared with.

Each has at most two numbers to choose. They are chosen on training pictures by `choose`; the test pictures are not
known here.
"""

import importlib
import importlib.util
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from pdoconv.pde.classical import heat, mean_curvature, perona_malik, tv_flow
from pdoconv.pde.degrade import blur, edges, fill

Method = Callable[..., Tensor]
"""An observed image, its mask of known pixels or `None`, and parameters by name, to an image."""

STEP = 0.1  # pixels squared: of the backward heat equation
HELD = 300  # explicit steps around known pixels
STEADY = 1e-5  # largest change in a step of what is called steady
FISTA = 60  # steps of the deconvolution
TINY = 1e-12
GAIN = 1e-3  # dB: for less no parameter is moved


@dataclass(frozen=True)
class Baseline:
    """A method and where the search for its parameters starts.

    Attributes:
        title: Name in tables.
        method: What it does.
        start: Parameters by name, all positive.
        package: What it needs beyond this package.
    """

    title: str
    method: Method
    start: Mapping[str, float] = field(default_factory=dict)
    package: str | None = None

    def installed(self) -> bool:
        """Return whether the package it needs is there."""
        return self.package is None or importlib.util.find_spec(self.package) is not None


def baselines(task: str, sigma: float = 25) -> dict[str, Baseline]:
    """Return the methods for a task by name; none for `"text"`.

    Args:
        task: Name of a task.
        sigma: Of the noise, in units of 1/255, for `"denoise"`.
    """
    strength = max(sigma, 1) / 25
    return {
        "denoise": {
            "identity": Baseline("Nothing done", _identity),
            "heat": Baseline("Heat equation", _alone(heat), {"time": 0.5 * strength}),
            "perona-malik": Baseline("Perona-Malik", _alone(perona_malik), {"time": 2.0, "kappa": 0.08 * strength}),
            "mean-curvature": Baseline("Mean curvature", _alone(mean_curvature), {"time": strength}),
            "tv-flow": Baseline("Total variation flow", _alone(tv_flow), {"time": 0.08 * strength}),
            "tv": Baseline("Total variation (Chambolle)", _chambolle, {"weight": 0.08 * strength}, "skimage"),
            "bm3d": Baseline("BM3D", partial(_bm3d, sigma=sigma), package="bm3d"),
        },
        "deblur": {
            "identity": Baseline("Nothing done", _identity),
            "backward-heat": Baseline("Backward heat equation, stopped", _alone(backward_heat), {"time": 0.5}),
            "unsharp": Baseline("Unsharp masking", _alone(unsharp), {"amount": 1.0}),
            "shock": Baseline("Shock filter", _alone(shock), {"time": 0.5}),
            "wiener": Baseline("Wiener", _alone(wiener), {"ratio": 1e-3}),
            "tv-deconvolution": Baseline("Total variation deconvolution", _alone(tv_deconvolution), {"weight": 5e-4}),
        },
        "inpaint": {
            "fill": Baseline("Gaussian means", fill),
            "harmonic": Baseline("Heat equation, steady", harmonic),
            "perona-malik": Baseline("Perona-Malik around known pixels", _held_perona_malik, {"kappa": 0.1}),
            "tv-flow": Baseline("Total variation flow around known pixels", _held_tv_flow, {"eps": 0.02}),
            "biharmonic": Baseline("Biharmonic", _biharmonic, package="skimage"),
        },
        "demosaick": {
            "fill": Baseline("Gaussian means", fill),
            "bilinear": Baseline("Bilinear", bilinear),
            "harmonic": Baseline("Heat equation, steady", harmonic),
            "tv-flow": Baseline("Total variation flow around known pixels", _held_tv_flow, {"eps": 0.02}),
        },
        "edges": {
            "filter": Baseline("The edge filter on the noisy picture", _alone(edges)),
            "heat": Baseline("The edge filter after the heat equation", _heat_edges, {"time": 0.3}),
            "tv-flow": Baseline("The edge filter after total variation flow", _tv_edges, {"time": 0.05}),
        },
    }.get(task, {})


def choose(score: Callable[[dict[str, float]], float], start: Mapping[str, float]) -> dict[str, float]:
    """Find parameters of a high score: multiply or divide one at a time by 2, then by its roots down to 1.2.

    Args:
        score: Of parameters.
        start: Positive parameters to start from.

    Returns:
        The best parameters met, which no single move by a factor of 1.2 improves by more than 0.001.

    >>> choose(lambda p: -abs(p["a"] - 3), {"a": 1.0})
    {'a': 2.828}
    """
    known: dict[tuple[float, ...], float] = {}

    def value(parameters: dict[str, float]) -> float:
        place = tuple(parameters.values())
        if place not in known:
            known[place] = score(parameters)
        return known[place]

    best, factor = {name: float(f"{x:.4g}") for name, x in start.items()}, 2.0
    while best and factor > 1.15:
        moves = [best | {name: float(f"{best[name] * f:.4g}")} for name in best for f in (factor, 1 / factor)]
        top = max(moves, key=value)
        if value(top) > value(best) + GAIN:
            best = top
        else:
            factor = math.sqrt(factor)
    return best


def backward_heat(image: Tensor, time: float) -> Tensor:
    """Run the heat equation backwards, in steps of at most 0.1: it sharpens, and what is noise grows fastest."""
    steps = max(1, math.ceil(time / STEP))
    for _ in range(steps):
        image = 2 * image - heat(image, time / steps, steps=1)
    return image


def unsharp(image: Tensor, amount: float) -> Tensor:
    """Add what a Gaussian of 1.5 pixels removes: backward heat with a bound on how much any frequency grows."""
    return image + amount * (image - blur(image, 1.5))


def shock(image: Tensor, time: float) -> Tensor:
    r"""Evolve by $u_t = -\mathrm{sign}(\Delta G * u) |g|$ with upwind differences (Osher, Rudin, 1990).

    The Gaussian of 1.5 pixels before the sign is of Alvarez and Mazorra (1994).
    """
    steps = max(1, math.ceil(time / STEP))
    for _ in range(steps):
        smooth = blur(image, 1.5)
        valley = heat(smooth, STEP, steps=1) > smooth
        around = F.pad(image, [1] * 4, mode="replicate")
        beside = [
            around[..., 1:-1, 2:] - image,
            around[..., 1:-1, :-2] - image,
            around[..., 2:, 1:-1] - image,
            around[..., :-2, 1:-1] - image,
        ]
        # each axis has the larger of its two one-sided slopes towards what is higher, or lower
        rise = torch.hypot(*(torch.maximum(a, b).clamp(min=0) for a, b in (beside[:2], beside[2:])))
        fall = torch.hypot(*(torch.minimum(a, b).clamp(max=0) for a, b in (beside[:2], beside[2:])))
        image = image + time / steps * torch.where(valley, -fall, rise)
    return image


def wiener(image: Tensor, ratio: float, *, sigma: float = 1.5) -> Tensor:
    r"""Invert `pdoconv.pde.degrade.blur` in the Fourier domain: $h / (h^2 + r \lambda)$ (Wiener, 1949).

    $\lambda$ is the symbol of minus the Laplacian: noise to signal where the power of pictures falls with the squared
    frequency. On the image continued evenly about its outermost pixels the blur is a multiplication.

    Args:
        image: `(batch, channels, H, W)`.
        ratio: r, not negative; with 0 it is the inverse.
        sigma: Of the blur, in pixels.
    """
    reach = int(4 * sigma + 0.5)
    spot = torch.zeros(1, 1, *[4 * reach + 1] * 2, dtype=torch.float64)  # no reflection reaches what is read of it
    spot[..., 2 * reach, 2 * reach] = 1
    line = blur(spot, sigma)[0, 0, :, reach : 3 * reach + 1].sum(0)  # the Gaussian is a product of this with itself
    whole, symbols, laplacians = image.double(), [], []
    for axis in (2, 3):
        side = whole.shape[axis]
        whole = torch.cat([whole, whole.flip(axis).narrow(axis, 1, max(side - 2, 0))], axis)
        angle = 2 * math.pi * torch.arange(whole.shape[axis], dtype=torch.float64) / whole.shape[axis]
        away = torch.arange(-reach, reach + 1, dtype=torch.float64)
        symbols.append(torch.cos(angle[:, None] * away) @ line)
        laplacians.append(2 - 2 * torch.cos(angle))
    h = symbols[0][:, None] * symbols[1]
    inverse = h / (h.square() + ratio * (laplacians[0][:, None] + laplacians[1])).clamp(min=TINY)
    found = torch.fft.ifft2(torch.fft.fft2(whole) * inverse).real
    inner: Tensor = found[..., : image.shape[2], : image.shape[3]]
    return inner.to(image.dtype)


def tv_deconvolution(image: Tensor, weight: float) -> Tensor:
    r"""Minimise $|Ku - f|^2 / 2$ + weight * TV(u), K the known blur: FISTA (Beck, Teboulle, 2009), 60 steps.

    The proximal map is that of a short total variation flow.
    """
    u, ahead, t = image, image, 1.0
    for _ in range(FISTA):
        new = tv_flow(ahead + blur(image - blur(ahead)), weight, eps=max(0.002, 2 * weight))
        t, before = (1 + math.sqrt(1 + 4 * t * t)) / 2, t
        u, ahead = new, new + (before - 1) / t * (new - u)
    return u


def harmonic(observed: Tensor, known: Tensor) -> Tensor:
    """Solve the Laplace equation in the unknown pixels, mirrored at the rim: heat, known pixels held, until steady."""
    u = fill(observed, known)
    for _ in range(100 * HELD):
        new = torch.where(known > 0, observed, heat(u, 0.2, steps=1))
        change, u = (new - u).abs().max(), new
        if change < STEADY:
            break
    return u


def bilinear(observed: Tensor, known: Tensor) -> Tensor:
    """Take means of the nearest known pixels, weighted 1, 2, 1 along each axis: bilinear on a Bayer mosaic."""
    line = torch.tensor([1.0, 2.0, 1.0], dtype=observed.dtype, device=observed.device)
    kernel = torch.outer(line, line).expand(observed.shape[1], 1, 3, 3)
    known = known.expand_as(observed)
    weight = F.conv2d(known, kernel, padding=1, groups=len(kernel))
    if not bool((weight > 0).all()):
        raise ValueError("bilinear: expected a known pixel next to every unknown one, as in a mosaic.")
    return torch.where(known > 0, observed, F.conv2d(observed, kernel, padding=1, groups=len(kernel)) / weight)


def _identity(observed: Tensor, known: Tensor | None) -> Tensor:
    return observed


def _alone(method: Method) -> Method:
    """Return a method of images as one of observations."""
    return lambda observed, known, **parameters: method(observed, **parameters)


def _held_perona_malik(observed: Tensor, known: Tensor, kappa: float) -> Tensor:
    return _held(observed, known, lambda u: perona_malik(u, 0.2, kappa, steps=1))


def _held_tv_flow(observed: Tensor, known: Tensor, eps: float) -> Tensor:
    return _held(observed, known, lambda u: tv_flow(u, eps / 5, eps=eps, steps=1))


def _held(observed: Tensor, known: Tensor, step: Callable[[Tensor], Tensor]) -> Tensor:
    u = fill(observed, known)
    for _ in range(HELD):
        u = torch.where(known > 0, observed, step(u))
    return u


def _heat_edges(observed: Tensor, known: Tensor | None, time: float) -> Tensor:
    return edges(heat(observed, time))


def _tv_edges(observed: Tensor, known: Tensor | None, time: float) -> Tensor:
    return edges(tv_flow(observed, time))


def _chambolle(observed: Tensor, known: Tensor | None, weight: float) -> Tensor:
    denoise = importlib.import_module("skimage.restoration").denoise_tv_chambolle
    return _each(observed, lambda image, _: denoise(image, weight=weight))


def _bm3d(observed: Tensor, known: Tensor | None, sigma: float) -> Tensor:
    denoise = importlib.import_module("bm3d").bm3d
    return _each(observed, lambda image, _: denoise(image, sigma / 255))


def _biharmonic(observed: Tensor, known: Tensor) -> Tensor:
    solve = importlib.import_module("skimage.restoration").inpaint_biharmonic
    return _each(observed, lambda image, mask: solve(image, mask == 0), known)


def _each(
    observed: Tensor, method: Callable[[np.ndarray, np.ndarray], np.ndarray], known: Tensor | None = None
) -> Tensor:
    """Apply a method of arrays `(H, W)` of float64 to every image and channel."""
    masks = torch.ones_like(observed) if known is None else known.expand_as(observed)
    pairs = zip(observed.flatten(0, 1).double().numpy(), masks.flatten(0, 1).numpy(), strict=True)
    found = [torch.from_numpy(np.asarray(method(image, mask))) for image, mask in pairs]
    return torch.stack(found).reshape(observed.shape).to(observed.dtype)
