r"""The PDEs of image processing that were written down by hand, as evolutions by differential invariants.

With the gradient g and the Hessian H of a picture:

* heat: $u_t = \mathrm{tr} H$;
* mean curvature motion: $u_t = \mathrm{tr} H - g^T H g / |g|^2$ (Alvarez, Lions, Morel, 1992);
* Perona-Malik: $u_t = \mathrm{div}(c\, g) = c\, \mathrm{tr} H + 2 c'\, g^T H g$, where c falls with $|g|^2$ (Perona,
  Malik, 1990); total variation flow: the same with $c = 1 / |g|$ (Rudin, Osher, Fatemi, 1992).

The last two are computed as the balance of what flows through the four sides of a pixel: what leaves it enters its
neighbour, so that the mean stays, and every value becomes a weighted mean of its neighbours, so that none leaves the
range of the picture. Differences of the expanded form keep neither. Every channel evolves by itself.

Steps are explicit ones of Euler. The longest that are stable leave a chequerboard as it is, with its sign changed: by
default steps are half as long, which no wave survives so.
"""

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from pdoconv.pde.implicit import implicit_diffusion
from pdoconv.pde.invariants import polynomials
from pdoconv.pde.jets import Derivatives, require_padding
from pdoconv.pde.solvers import integrate

STABLE = 0.25
"""Longest stable explicit step with diffusivity 1, in pixels squared."""


def heat(
    image: Tensor, time: float, *, steps: int | None = None, padding: str = "replicate", implicit: bool = False
) -> Tensor:
    r"""Evolve by $u_t = \Delta u$: a Gaussian blur of variance `2 * time` along each axis.

    Args:
        image: `(batch, channels, H, W)`.
        time: End of the evolution, in pixels squared.
        steps: Number of steps; default twice as many as are stable, if implicit one for each unit of time.
        padding: Boundary condition: `"zeros"`, `"reflect"`, `"replicate"` or `"circular"`.
        implicit: Take implicit Euler steps, which are stable at any length.

    Raises:
        ValueError: If an argument is out of range, or explicit steps are too few to be stable.
    """
    steps = _steps("heat", image, time, steps, padding, math.inf if implicit else STABLE)
    if not implicit:
        return _evolve(image, time, steps, padding, lambda gg, laplacian, ghg: laplacian)
    for _ in range(steps):
        image = implicit_diffusion(image, time / steps, padding=padding)
    return image


def mean_curvature(
    image: Tensor, time: float, *, steps: int | None = None, padding: str = "replicate", eps: float = 1e-3
) -> Tensor:
    r"""Evolve by $u_t = \mathrm{tr} H - g^T H g / (\epsilon^2 + |g|^2)$: every level line moves with its curvature.

    A circle of radius r becomes one of radius $\sqrt{r^2 - 2t}$. Central differences keep the range of the picture only
    nearly.

    Args:
        image: `(batch, channels, H, W)`.
        time: End of the evolution, in pixels squared.
        steps: Number of steps; default twice as many as are stable.
        padding: Boundary condition: `"zeros"`, `"reflect"`, `"replicate"` or `"circular"`.
        eps: Gradients well below it, per pixel, count as flat: there it is the heat equation.

    Raises:
        ValueError: If an argument is out of range, or the steps are too few to be stable.
    """
    _positive("mean_curvature", "eps", eps)
    steps = _steps("mean_curvature", image, time, steps, padding, STABLE)
    return _evolve(image, time, steps, padding, lambda gg, laplacian, ghg: laplacian - ghg / (eps**2 + gg))


def perona_malik(
    image: Tensor,
    time: float,
    kappa: float,
    *,
    steps: int | None = None,
    padding: str = "replicate",
    exponential: bool = False,
) -> Tensor:
    r"""Evolve by $u_t = \mathrm{div}(c\, g)$ with $c = 1 / (1 + |g|^2 / \kappa^2)$ or $e^{-|g|^2 / \kappa^2}$.

    Args:
        image: `(batch, channels, H, W)`.
        time: End of the evolution, in pixels squared.
        kappa: Gradients above it, per pixel, are edges that stay.
        steps: Number of steps; default twice as many as are stable.
        padding: Boundary condition: `"zeros"`, `"reflect"`, `"replicate"` or `"circular"`.
        exponential: Take the second c, which favours edges of high contrast.

    Raises:
        ValueError: If an argument is out of range, or the steps are too few to be stable.
    """
    _positive("perona_malik", "kappa", kappa)
    steps = _steps("perona_malik", image, time, steps, padding, STABLE)

    def conductivity(gg: Tensor) -> Tensor:
        return torch.exp(-gg / kappa**2) if exponential else 1 / (1 + gg / kappa**2)

    return integrate(lambda t, u: _balance(u, padding, conductivity), image, steps=steps, solver="euler", time=time)


def tv_flow(
    image: Tensor, time: float, *, steps: int | None = None, padding: str = "replicate", eps: float = 0.01
) -> Tensor:
    r"""Evolve by $u_t = \mathrm{div}(g / \sqrt{\epsilon^2 + |g|^2})$, the steepest descent of the total variation.

    Flat parts move by their perimeter over their area: a disc of radius R falls by `2 / R` a unit of time.

    Args:
        image: `(batch, channels, H, W)`.
        time: End of the evolution, in pixels times units of the image.
        steps: Number of steps; default twice as many as are stable, `8 * time / eps`.
        padding: Boundary condition: `"zeros"`, `"reflect"`, `"replicate"` or `"circular"`.
        eps: Gradient, per pixel, below which it is diffusion.

    Raises:
        ValueError: If an argument is out of range, or the steps are too few to be stable.
    """
    _positive("tv_flow", "eps", eps)
    steps = _steps("tv_flow", image, time, steps, padding, STABLE * eps)

    def conductivity(gg: Tensor) -> Tensor:
        return torch.rsqrt(eps**2 + gg)

    return integrate(lambda t, u: _balance(u, padding, conductivity), image, steps=steps, solver="euler", time=time)


def _evolve(
    image: Tensor, time: float, steps: int, padding: str, rate: Callable[[Tensor, Tensor, Tensor], Tensor]
) -> Tensor:
    """Take Euler steps with a rate made of $|g|^2$, tr H and $g^T H g$ of every channel."""
    derive = Derivatives(padding=padding).to(image.device)

    def field(t: float, u: Tensor) -> Tensor:
        _, _, gg, laplacian, ghg, _ = polynomials(derive(u))
        return rate(gg, laplacian, ghg)[:, None]

    alone = image.flatten(0, 1)[:, None]  # a field for each channel
    return integrate(field, alone, steps=steps, solver="euler", time=time).reshape(image.shape)


def _balance(u: Tensor, padding: str, conductivity: Callable[[Tensor], Tensor]) -> Tensor:
    """Return the divergence of `conductivity(|g|^2) * g`, from the flows through the sides of the pixels."""
    around = F.pad(u, [1] * 4, mode="constant" if padding == "zeros" else padding)

    def flow(x: Tensor) -> Tensor:
        """Return what flows through the sides between columns, `(..., H, W + 1)`."""
        across = x[..., 1:-1, 1:] - x[..., 1:-1, :-1]
        along = (x[..., 2:, :] - x[..., :-2, :]) / 2
        along = (along[..., 1:] + along[..., :-1]) / 2
        return conductivity(across**2 + along**2) * across

    between_columns, between_rows = flow(around), flow(around.mT).mT
    return between_columns.diff(dim=-1) + between_rows.diff(dim=-2)


def _steps(name: str, image: Tensor, time: float, steps: int | None, padding: str, longest: float) -> int:
    """Check the arguments; return the number of steps, none longer than `longest`."""
    if image.dim() != 4 or not image.is_floating_point():
        raise ValueError(
            f"{name}: expected floating-point images (batch, channels, H, W), received {image.dtype}, "
            f"{tuple(image.shape)}."
        )
    require_padding(name, padding)
    _positive(name, "time", time)
    least = max(1, math.ceil(time / longest * (1 - 1e-9)))  # 0.3 / 0.1 must not be 4
    if steps is None:
        return max(1, math.ceil((2 * time / longest if longest < math.inf else time) * (1 - 1e-9)))
    if isinstance(steps, bool) or not isinstance(steps, int) or steps < least:
        raise ValueError(
            f"{name}: expected at least {least} steps for a time of {time:g}, stable up to {longest:g} each, received "
            f"{steps!r}."
        )
    return steps


def _positive(name: str, what: str, value: float) -> None:
    if not 0 < value < math.inf:
        raise ValueError(f"{name}: {what} must be positive and finite, received {value!r}.")
