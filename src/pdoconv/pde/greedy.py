"""First coefficients of a `LearnedPDE` from pairs of images, one step in time after the other."""

import math

import torch
from torch import Tensor

from pdoconv.pde.learned import LearnedPDE

SHORT = 0.99  # of the guard's limit: at the limit itself a coefficient would have no gradient
CHUNK = 16  # images whose invariants are held at a time


@torch.no_grad()
def greedy(
    model: LearnedPDE,
    images: Tensor,
    targets: Tensor,
    *,
    indicator: Tensor | None = None,
    known: Tensor | None = None,
    ridge: float = 1e-6,
    crop: int = 0,
) -> list[float]:
    """Find the coefficients of the images' rates in one step after the other, by linear least squares.

    Step k is asked to cover what is left to the target at constant speed. Whatever else the model has (indicators'
    rates, scales, hidden units) stays as it is. A step that would lead away from the targets is shortened.

    Args:
        model: The PDE; its coefficients are replaced.
        images: `(batch, channels, H, W)`.
        targets: What they are to become, likewise.
        indicator: Indicators at the start; default as in `LearnedPDE.forward`.
        known: Pixels that stay; they do not count.
        ridge: Weight of the squared coefficients beside the mean squared error. At the start an indicator equal to the
            image leaves 6 of 17 invariants independent: without a ridge there is no unique solution.
        crop: Pixels at the border that do not count.

    Returns:
        Mean squared errors: at the start and after every step.

    Raises:
        ValueError: If an argument is out of range, or targets are not like the images.
    """
    require_pairs("greedy", images, targets, crop)
    if not 0 <= ridge < math.inf:
        raise ValueError(f"greedy: ridge must be finite and not negative, received {ridge!r}.")
    u = start = next(model.evolve(images, indicator, known=known))
    first = model.indicators
    free = torch.ones_like(images) if known is None else (known <= 0).to(images.dtype).expand_as(images)

    def error(state: Tensor) -> float:
        found = float(inner(state[:, first:] - targets, crop).square().mean())
        return found if math.isfinite(found) else math.inf

    errors = [error(u)]
    for k in range(model.steps):
        left = model.time * (1 - k / model.steps)
        own = model.coefficients[k, first:]
        own.zero_()
        wanted = (targets - u[:, first:]) / left - model.rate(k, u)[:, first:]
        own.copy_(_least_squares(model, k, u, inner(wanted, crop), inner(free, crop), ridge, crop))
        for _ in range(8):
            after = model.step(k, u, start, known)
            if error(after) <= errors[-1] * (1 + 1e-6) and float(after.abs().amax()) <= model.limit:
                break
            own.div_(2)
        else:
            own.zero_()
            after = model.step(k, u, start, known)
        u = after
        errors.append(error(u))
    return errors


def _least_squares(
    model: LearnedPDE, k: int, u: Tensor, wanted: Tensor, free: Tensor, ridge: float, crop: int
) -> Tensor:
    """Return the coefficients `(channels, count)` whose rates are nearest to those wanted, in float64."""
    channels, count = model.channels, model.count
    normal = torch.zeros(channels, count, count, dtype=torch.float64, device=u.device)
    right = torch.zeros(channels, count, dtype=torch.float64, device=u.device)
    for part, rates, weights in zip(*(torch.split(x, CHUNK) for x in (u, wanted, free)), strict=True):
        rows = inner(model.invariants(k, part), crop).movedim(1, 0).flatten(1).double()
        for i in range(channels):
            weighted = rows * weights[:, i].flatten().double()
            normal[i] += weighted @ rows.T
            right[i] += weighted @ rates[:, i].flatten().double()
    points = free.double().sum((0, 2, 3)).clamp(min=1)
    normal, right = normal / points[:, None, None], right / points[:, None]
    normal = normal + ridge * torch.eye(count, dtype=torch.float64, device=u.device)
    found = _solve(normal, right)
    own = model.coefficients[k, model.indicators :]
    own.copy_(found)
    taken = model.taken(k)[model.indicators :]
    for i, j in (taken < own).nonzero().tolist():  # diffusion beyond the guard: fix it, solve for the others
        fixed = SHORT * float(taken[i, j])
        rest = [c for c in range(count) if c != j]
        found[i, rest] = _solve(normal[i][rest][:, rest], right[i, rest] - fixed * normal[i, rest, j])
        found[i, j] = fixed
    return found


def _solve(normal: Tensor, right: Tensor) -> Tensor:
    """Return the shortest solution of symmetric systems, of columns scaled alike."""
    scale = normal.diagonal(dim1=-2, dim2=-1).sqrt()
    scale = torch.where(scale > 0, 1 / scale, 0)
    inverse = torch.linalg.pinv(scale[..., :, None] * normal * scale[..., None, :], hermitian=True, rtol=1e-14)
    found: Tensor = scale * (inverse @ (scale * right)[..., None])[..., 0]
    return found


def inner(u: Tensor, crop: int) -> Tensor:
    """Leave out the pixels at the border."""
    return u[..., crop : u.shape[-2] - crop, crop : u.shape[-1] - crop]


def require_pairs(name: str, images: Tensor, targets: Tensor, crop: int) -> None:
    """Raise `ValueError` unless targets are like the images and the crop leaves some of them."""
    if targets.shape != images.shape or targets.dtype != images.dtype:
        raise ValueError(
            f"{name}: expected targets like the images, {tuple(images.shape)} of {images.dtype}, received "
            f"{tuple(targets.shape)} of {targets.dtype}."
        )
    if isinstance(crop, bool) or not isinstance(crop, int) or crop < 0 or 2 * crop >= min(images.shape[-2:]):
        raise ValueError(f"{name}: crop must leave some of the images {tuple(images.shape)}, received {crop!r}.")
