"""Restoration tasks: what is observed of a clean picture, what an evolution starts from, what it should end at."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn

from pdoconv.pde.degrade import bayer, blur, edges, fill, mask, noise
from pdoconv.pde.learned import LearnedPDE

Observation = tuple[Tensor, Tensor | None]
"""An observed image `(batch, channels, H, W)`, and the mask of known pixels, `(batch, 1 or channels, H, W)`, if any."""


@dataclass(frozen=True)
class Task:
    """What is asked of an evolution.

    Attributes:
        name: Of the command line.
        title: For people.
        observe: Clean images and a generator to an observation, for training and tests.
        target: Clean images to what should come out.
        channels: Of the image: 1, or 3 for colours.
        needs_known: Whether a mask of known pixels belongs to an observation.
        restores: Whether the target is the picture itself; otherwise it is a map of something in it.
    """

    name: str
    title: str
    observe: Callable[[Tensor, torch.Generator | None], Observation]
    target: Callable[[Tensor], Tensor] = lambda clean: clean
    channels: int = 1
    needs_known: bool = False
    restores: bool = True


def _noisy(clean: Tensor, generator: torch.Generator | None, sigma: float) -> Observation:
    return noise(clean, sigma, generator), None


def _blurred(clean: Tensor, generator: torch.Generator | None) -> Observation:
    return noise(blur(clean, 1.5), 2, generator), None


def _masked(clean: Tensor, generator: torch.Generator | None) -> Observation:
    known = mask(clean.shape, 0.2, generator).to(clean)
    return clean * known, known


def _mosaic(clean: Tensor, generator: torch.Generator | None) -> Observation:
    return bayer(clean)


def _scene(clean: Tensor, generator: torch.Generator | None) -> Observation:
    """Of a scene and its map, which stand in the first two channels, the scene is seen."""
    return clean[:, :1], None


def task(name: str, sigma: float = 25) -> Task:
    """Return a task by name.

    Args:
        name: `"denoise"`: white Gaussian noise; `"deblur"`: a Gaussian blur of 1.5 pixels and noise of 2/255;
            `"inpaint"`: 20% of the pixels are known, drawn at random; `"demosaick"`: one colour a pixel, RGGB;
            `"edges"`: noise of 15/255, to a map of edges; `"text"`: a scene to a map of where text is.
        sigma: Of the noise, in units of 1/255; for `"denoise"` alone.

    Raises:
        ValueError: If there is no such task.
    """
    found = {
        "denoise": Task("denoise", f"Denoising, sigma {sigma:g}", partial(_noisy, sigma=sigma)),
        "deblur": Task("deblur", "Deblurring, Gaussian of 1.5 pixels and noise 2", _blurred),
        "inpaint": Task("inpaint", "Inpainting, 20% of the pixels known", _masked, needs_known=True),
        "demosaick": Task("demosaick", "Demosaicking, RGGB", _mosaic, channels=3, needs_known=True),
        "edges": Task("edges", "Edge map from noise 15", partial(_noisy, sigma=15.0), edges, restores=False),
        "text": Task("text", "Text confidence map", _scene, lambda clean: clean[:, 1:2], restores=False),
    }
    if name not in found:
        raise ValueError(f"Unknown task {name!r}: expected one of {', '.join(found)}.")
    return found[name]


TASKS = ("denoise", "deblur", "inpaint", "demosaick", "edges", "text")
"""Names that `task` knows."""


def solve(net: nn.Module, observed: Tensor, known: Tensor | None = None) -> Tensor:
    """Return what a model makes of an observation, `(batch, channels, H, W)`, not clipped.

    Unknown pixels are first filled by Gaussian means of known ones; known ones keep their values. A learned PDE has the
    mask, where one is given for all channels, as its first indicator; other networks as their last input channel.

    Args:
        net: A `LearnedPDE`, or a network from images (and mask) to images.
        observed: Image.
        known: 1 at known pixels, 0 elsewhere; `None` if all are known.
    """
    if isinstance(net, LearnedPDE):
        found: Tensor = net(*begin(net, observed, known), known=known)
        return found
    start = observed if known is None else fill(observed, known)
    found = net(start if known is None else torch.cat([start, known], dim=1))
    return found if known is None else torch.where(known > 0, observed, found)


def begin(net: LearnedPDE, observed: Tensor, known: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
    """Return the image and the indicators that an evolution starts from; `None` if they are the image's mean."""
    if known is None:
        return observed, None
    start = fill(observed, known)
    if known.shape[1] != 1 or not net.indicators:
        return start, None
    mean = start.mean(1, keepdim=True)
    return start, torch.cat([known, *[mean] * (net.indicators - 1)], dim=1)
