"""Restore a picture by a learned PDE: arrays or tensors in [0, 1] go in, the same kind comes out."""

import copy
import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pdoconv.pde.degrade import bayer
from pdoconv.pde.files import Trained, read, shipped
from pdoconv.pde.learned import LearnedPDE
from pdoconv.pde.tasks import Task, begin, task

Image = TypeVar("Image", bound=NDArray[Any] | Tensor)

SLACK = 0.5  # how far an image may leave [0, 1]; noise adds NOISE standard deviations
NOISE = 8
PART = 2**20  # pixels that are treated at a time, if there are several planes
LUMA = (0.299, 0.587, 0.114)  # ITU-R 601


def restore(
    image: Image,
    task: str = "denoise",
    *,
    sigma: float = 25,
    known: NDArray[Any] | Tensor | None = None,
    model: LearnedPDE | str | os.PathLike[str] | None = None,
) -> Image:
    r"""Restore an image in [0, 1] by a learned PDE; no gradients are kept.

    Quarter turns and flips of the image turn and flip the result, to rounding (a mosaic on odd sides alone). The
    package ships models for gray images: `"denoise"`, `"deblur"` and `"inpaint"` treat each channel of a colour image
    by itself, `"edges"` and `"text"` look at its luma.

    Memory in float32: about 400 bytes a pixel for gray models (large channels are treated one after the other), a
    kilobyte for demosaicking.

    Args:
        image: Floating-point array `(H, W)` or `(H, W, 3)`, or tensor `(H, W)`, `(C, H, W)` or `(batch, C, H, W)` with
            C = 1 or 3. Noise may take values out of [0, 1].
        task: `"denoise"`: white Gaussian noise; `"deblur"`: a Gaussian blur of 1.5 pixels and a little noise;
            `"inpaint"`: pixels that are not known; `"demosaick"`: a mosaic with one colour a pixel, RGGB, as `(H, W)`
            (or one channel), or with three channels and `known`; `"edges"`, `"text"`: a map of edges, of text.
        sigma: Standard deviation of the noise in units of 1/255, for `"denoise"` alone. If the model was trained for
            another, intensities are scaled about their mean by model's sigma / sigma and back at the end: then the
            noise has the strength that the model knows, while the picture's contrast has not. It is an approximation.
        known: 1 (true) where a pixel is known, 0 elsewhere: as the image, or without its channels. For `"inpaint"`, and
            for `"demosaick"` with three channels.
        model: A `LearnedPDE`, trained for this task (and sigma), or a file that `pdoconv.pde.save` wrote; default what
            the package ships.

    Returns:
        The restored image, or the map with one channel (none, if arrays), clipped to [0, 1]; of the kind, dtype and
        device of `image`.

    Raises:
        ValueError: If an argument is out of range; says what was expected.
        BlowUpError: If the evolution blows up: it is never returned as an image.
        FileNotFoundError: If there is no such file, or the package has no model for this task.
    """
    running = start(image, task, sigma=sigma, known=known, model=model)
    for state in running.states():
        last = state
    return running.result(last)  # type: ignore[no-any-return]  # of the image's kind


@dataclass(frozen=True)
class Running:
    """A restoration that can be watched: `states` yields the fields step by step, `result` and `fields` show them.

    Attributes:
        net: The model, in the dtype it runs with.
        problem: The task.
        about: What is known of the model.
        observed: What the evolution starts from: planes `(batch, channels, H, W)`, each channel of a colour image for
            itself if the model is for gray images.
        indicator: Indicators at the start, if they are not the image.
        known: Mask, as `observed` or with one channel.
        planes: Channels of the picture that are planes of the batch.
        centre: Means of the planes, about which intensities were scaled.
        scale: Factor of the intensities.
        like: The image as it was given.
    """

    net: LearnedPDE
    problem: Task
    about: Trained
    observed: Tensor
    indicator: Tensor | None
    known: Tensor | None
    planes: int
    centre: Tensor
    scale: float
    like: NDArray[Any] | Tensor

    def states(self) -> Iterator[Tensor]:
        """Yield the fields at the start and after every step, `net.steps + 1` in all; the last is checked."""
        parts = [
            self.net.evolve(image, indicator, known=known)
            for image, indicator, known in zip(
                *map(self._parts, (self.observed, self.indicator, self.known)), strict=True
            )
        ]
        for _ in range(self.net.steps + 1):
            with torch.no_grad():  # not around a yield: the caller has a mode of its own
                state = torch.cat([next(part) for part in parts])
            yield state

    def _parts(self, planes: Tensor | None) -> list[Tensor] | list[None]:
        """Return planes in parts of about a megapixel, to save memory: they do not depend on each other."""
        batch, _, height, width = self.observed.shape
        many = max(1, PART // (height * width))
        return [None] * -(-batch // many) if planes is None else list(torch.split(planes, many))

    def result(self, state: Tensor) -> Any:
        """Return the image of a state, clipped to [0, 1]."""
        return self._shown(state[:, self.net.indicators :], clip=True)

    def fields(self, state: Tensor) -> dict[str, Any]:
        """Return indicators and image of a state by name, not clipped."""
        rho = {name: self._shown(state[:, i : i + 1]) for i, name in enumerate(self.net.labels[: self.net.indicators])}
        return {**rho, "O": self._shown(state[:, self.net.indicators :])}

    def _shown(self, planes: Tensor, clip: bool = False) -> Any:
        """Return planes in the layout, dtype and device of the given image."""
        planes = (planes - self.centre) / self.scale + self.centre if self.scale != 1 else planes
        planes = planes.clamp(0, 1) if clip else planes
        whole = planes.reshape(-1, self.planes * planes.shape[1], *planes.shape[2:])
        if isinstance(self.like, Tensor):
            if self.like.dim() < 4:
                whole = whole[0]
            if self.like.dim() == 2 and len(whole) == 1:
                whole = whole[0]
            return whole.to(self.like.dtype)
        array = whole[0].movedim(0, -1).numpy().astype(self.like.dtype)
        flat = array.shape[-1] == 1 and not (self.like.ndim == 3 and self.like.shape[-1] == 1)
        return array[..., 0] if flat else array


def start(
    image: NDArray[Any] | Tensor,
    task_name: str = "denoise",
    *,
    sigma: float = 25,
    known: NDArray[Any] | Tensor | None = None,
    model: LearnedPDE | str | os.PathLike[str] | None = None,
) -> Running:
    """Check all that `restore` takes, and return the restoration before its first step."""
    if not 0 < sigma <= 255:
        raise ValueError(f"restore: expected sigma in (0, 255] in units of 1/255, received {sigma!r}.")
    problem = task(task_name, sigma)
    _require_layout(image)
    batch = _batch(image)
    mask = None if known is None else _mask(known, image, batch)
    batch, mask = _observation(problem, batch, mask)
    _require_values(batch, SLACK + (NOISE * sigma / 255 if task_name == "denoise" else 0))
    about = _model(model, problem)
    net = copy.deepcopy(about.model).to(batch.device, batch.dtype).eval().requires_grad_(False)
    planes = 1
    if net.channels == 1 and batch.shape[1] > 1:
        planes = batch.shape[1]
        mask = None if mask is None else mask.expand_as(batch).reshape(-1, 1, *batch.shape[2:])
        batch = batch.reshape(-1, 1, *batch.shape[2:])
    centre, scale = batch.mean((1, 2, 3), keepdim=True), 1.0
    if task_name == "denoise" and about.sigma is not None and about.sigma != sigma:
        scale = about.sigma / sigma
        batch = (batch - centre) * scale + centre
    first, indicator = begin(net, batch, mask)
    return Running(net, problem, about, first, indicator, mask, planes, centre, scale, image)


def _require_layout(image: NDArray[Any] | Tensor) -> None:
    """Raise `ValueError` unless the image is of floating-point numbers, in a layout that is known."""
    if not isinstance(image, np.ndarray | Tensor):
        raise ValueError(f"restore: expected a numpy array or a torch tensor, received {type(image).__name__}.")
    floats = image.is_floating_point() if isinstance(image, Tensor) else np.issubdtype(image.dtype, np.floating)
    if not floats:
        raise ValueError(
            f"restore: expected floating-point values in [0, 1], received {image.dtype}: divide by 255 (8 bits) or "
            f"65535 (16 bits)."
        )
    array, shape = isinstance(image, np.ndarray), tuple(image.shape)
    channels = shape[-1 if array else -3] if len(shape) > 2 else 1
    if not 2 <= len(shape) <= (3 if array else 4) or channels not in (1, 3) or 0 in shape:
        layouts = "(H, W) or (H, W, 3)" if array else "(H, W), (C, H, W) or (batch, C, H, W) with C = 1 or 3"
        raise ValueError(f"restore: expected the shape {layouts}, received {shape}.")


def _require_values(batch: Tensor, slack: float) -> None:
    low, high = float(batch.min()), float(batch.max())
    if not np.isfinite([low, high]).all():
        raise ValueError("restore: the image has values that are not finite: repair them, or inpaint with known=...")
    if low < -slack or high > 1 + slack:
        raise ValueError(
            f"restore: expected values in [0, 1], more only by noise, received {low:.4g} to {high:.4g}: divide by 255 "
            f"(8 bits) or 65535 (16 bits)."
        )


def _batch(values: NDArray[Any] | Tensor) -> Tensor:
    """Return `(batch, channels, H, W)` in the dtype that the evolution runs with: float64, or else float32."""
    if isinstance(values, Tensor):
        whole = values.detach().reshape((1,) * (4 - values.dim()) + tuple(values.shape))
        return whole.to(torch.float64 if values.dtype == torch.float64 else torch.float32)
    wide = np.float64 if values.dtype.itemsize >= 8 else np.float32
    array = np.array(values, dtype=wide, order="C")
    whole = torch.from_numpy(array if array.ndim == 3 else array[..., None])
    return whole.movedim(-1, 0)[None].contiguous()


def _mask(known: NDArray[Any] | Tensor, image: NDArray[Any] | Tensor, batch: Tensor) -> Tensor:
    """Return the mask `(batch, 1 or channels, H, W)`, checked."""
    if not isinstance(known, Tensor if isinstance(image, Tensor) else np.ndarray):
        raise ValueError(
            f"restore: expected known as a {type(image).__name__}, as the image, received {type(known).__name__}."
        )
    layouts = {tuple(image.shape)}
    if isinstance(image, Tensor):
        layouts |= {tuple(batch.shape[2:]), (*image.shape[:-3], 1, *image.shape[-2:])}
    else:
        layouts |= {tuple(image.shape[:2]), (*image.shape[:2], 1)}
    if tuple(known.shape) not in layouts:
        raise ValueError(
            f"restore: expected known of a shape in {sorted(layouts)} for an image {tuple(image.shape)}, received "
            f"{tuple(known.shape)}."
        )
    mask = _batch(known).to(batch.device, batch.dtype)
    if not ((mask == 0) | (mask == 1)).all():
        raise ValueError("restore: expected known to be 1 (known) or 0 everywhere: compare with a threshold first.")
    mask = mask.expand(len(batch), -1, -1, -1)
    if not (mask > 0).flatten(2).any(2).all():
        raise ValueError("restore: no pixel is known in some image or channel: from nothing nothing is restored.")
    return mask


def _observation(problem: Task, batch: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor | None]:
    """Return image and mask as the task has them."""
    if problem.name == "demosaick" and batch.shape[1] == 1:
        if mask is not None:
            raise ValueError(
                "restore: a mosaic with one channel is RGGB and takes no known: for other patterns give three channels."
            )
        return bayer(batch.expand(-1, 3, -1, -1))
    if problem.needs_known and mask is None:
        raise ValueError(
            f"restore: the task {problem.name!r} needs known=..., 1 at pixels that are known and 0 elsewhere"
            f"{', or a mosaic (H, W)' if problem.channels > 1 else ''}."
        )
    if mask is not None and not problem.needs_known:
        raise ValueError(f"restore: the task {problem.name!r} takes no known: leave it out, or use 'inpaint'.")
    if mask is not None:
        if problem.channels > 1 and mask.shape[1] == 1:
            raise ValueError("restore: demosaicking needs a known for each channel: (H, W, 3), as the image.")
        return torch.where(mask > 0, batch, 0), mask
    if not problem.restores and batch.shape[1] == 3:
        luma = torch.tensor(LUMA, dtype=torch.float64, device=batch.device).to(batch.dtype)
        return (batch * luma[:, None, None]).sum(1, keepdim=True), None
    return batch, None


def _model(model: LearnedPDE | str | os.PathLike[str] | None, problem: Task) -> Trained:
    """Return the model and what is known of it, fit for the task."""
    if isinstance(model, LearnedPDE):
        about = Trained(model)
    elif model is None or isinstance(model, str | os.PathLike):
        about = read(shipped(problem.name) if model is None else model)
    else:
        raise ValueError(f"restore: expected a LearnedPDE or its file as model, received {type(model).__name__}.")
    if about.task not in (None, problem.name):
        raise ValueError(f"restore: the model {model} was trained for {about.task!r}, not for {problem.name!r}.")
    if about.model.channels != problem.channels:
        raise ValueError(
            f"restore: the task {problem.name!r} needs a model for {problem.channels} channel(s), this one is for "
            f"{about.model.channels}."
        )
    return about
