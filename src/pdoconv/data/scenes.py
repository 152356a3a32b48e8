r"""Made pictures for those without data: dead leaves, and dead leaves with words on them.

Leaves of random size, shape and grey value fall on one another (Matheron, 1968). With radii of density $r^{-3}$ the
pictures share what natural ones have at every scale: sharp occlusions and a power spectrum near $1 / f^2$ (Lee,
Mumford, Huang, 2001).
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pdoconv.data.pictures import Picture, as_image
from pdoconv.pde.degrade import blur

Array = NDArray[np.float64]

SMALLEST, UNDER_TEXT = 3.0, 8.0  # pixels: radius of the smallest leaf; the largest has half the picture's side
COVER = 4.0  # mean number of leaves over a pixel, were all of them discs
ROUND, SHADED, TEXTURED = 0.5, 0.5, 0.4  # share of leaves that are discs; of larger leaves, with shading, with a wave
LARGER = 6.0  # pixels: radius from which on leaves have these
RANGE = (0.4, 1.0)  # grey values of a picture are uniform in a part of [0, 1] of such a length
FACES = ("DejaVuSans.ttf", "DejaVuSans-Bold.ttf", "DejaVuSerif.ttf", "DejaVuSansMono.ttf")
LETTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
FINER = 4  # words are drawn this much larger, turned, and averaged down
ATTEMPTS = 40  # to find words that fit
SOFT = 0.7  # pixels: Gaussian that softens the confidence map


@dataclass(frozen=True)
class TextScenes:
    """Pictures with words on them, and where the words are, float32.

    Attributes:
        images: `(n, 1, size, size)` in [0, 1].
        confidence: `(n, 1, size, size)` in [0, 1]: 1 on the strokes of letters, 0 elsewhere.
    """

    images: Tensor
    confidence: Tensor


def synthetic(n: int, size: int = 180, seed: int = 0, *, channels: int = 1) -> list[Picture]:
    """Make pictures of dead leaves: picture k depends on the seed, its number k and its size alone.

    Half the leaves are discs, half convex polygons; some of the larger are shaded or carry a wave. Edges are one pixel
    wide.

    Args:
        n: Number of pictures.
        size: Pixels of a side.
        seed: Of everything random.
        channels: 1 for gray `(size, size)`, 3 for colours `(size, size, 3)` in red, green, blue.

    Raises:
        ValueError: If an argument is out of range.

    >>> [picture.shape for picture in synthetic(2, 32, channels=3)]
    [(32, 32, 3), (32, 32, 3)]
    """
    if n < 1 or size < 16 or seed < 0 or channels not in (1, 3):
        raise ValueError(
            f"synthetic: expected n >= 1, size >= 16, seed >= 0 and channels 1 or 3, received {n}, {size}, {seed}, "
            f"{channels}."
        )
    scenes = (_leaves(np.random.Generator(np.random.PCG64([seed, k])), size, channels) for k in range(n))
    return [to_picture(scene if channels == 3 else scene[..., 0]) for scene in scenes]


def to_picture(values: Array) -> Picture:
    """Turn values in [0, 1] into 0..255."""
    return np.rint(np.clip(values, 0, 1) * 255).astype(np.uint8)


def _leaves(rng: np.random.Generator, size: int, channels: int, smallest: float = SMALLEST) -> Array:
    """Let leaves fall on a square `(size, size, channels)`."""
    largest, length = size / 2, rng.uniform(*RANGE)
    low = rng.uniform(0, 1 - length)
    tones = (low, low + length)
    spread = smallest**-2 - largest**-2
    mean_area = 2 * np.pi * np.log(largest / smallest) / spread
    side = size + 2 * largest  # centres of leaves lie as far outside as a leaf reaches
    count = rng.poisson(COVER * side**2 / mean_area)
    radii = (smallest**-2 - rng.uniform(size=count) * spread) ** -0.5
    centres = rng.uniform(-largest, size + largest, (count, 2))
    meets = ((centres + radii[:, None] > 0) & (centres - radii[:, None] < size - 1)).all(1)
    canvas = np.empty((size, size, channels))
    canvas[:] = _colour(rng, channels, tones)
    for radius, centre in zip(radii[meets], centres[meets], strict=True):
        _drop(rng, canvas, float(radius), centre, tones)
    return canvas


def _colour(rng: np.random.Generator, channels: int, tones: tuple[float, float]) -> Array:
    """Draw a grey value uniformly; of three channels each deviates from it."""
    grey = rng.uniform(*tones)
    return np.clip(grey + 0.15 * rng.standard_normal(3), 0, 1) if channels == 3 else np.array([grey])


def _drop(rng: np.random.Generator, canvas: Array, radius: float, centre: Array, tones: tuple[float, float]) -> None:
    """Lay one leaf on the canvas, in place."""
    size = len(canvas)
    low = np.maximum(np.floor(centre - radius).astype(int), 0)
    high = np.minimum(np.ceil(centre + radius).astype(int) + 1, size)
    y, x = np.arange(low[0], high[0])[:, None] - centre[0], np.arange(low[1], high[1]) - centre[1]
    beyond = np.sqrt(x * x + y * y) - radius  # signed distance from the rim
    if rng.uniform() >= ROUND:
        corners = int(rng.integers(3, 7))
        headings = 2 * np.pi * (rng.uniform() + (np.arange(corners) + rng.uniform(-0.3, 0.3, corners)) / corners)
        for heading, depth in zip(headings, radius * rng.uniform(0.5, 0.9, corners), strict=True):
            np.maximum(beyond, np.cos(heading) * x + np.sin(heading) * y - depth, out=beyond)
    cover = np.clip(0.5 - beyond, 0, 1)[..., None]
    inks = _colour(rng, canvas.shape[2], tones)
    if radius > LARGER:
        if rng.uniform() < SHADED:
            heading, slope = rng.uniform(0, 2 * np.pi), rng.uniform(0, 0.25) / radius
            inks = inks + slope * (np.cos(heading) * x + np.sin(heading) * y)[..., None]
        if rng.uniform() < TEXTURED:
            heading, phase = rng.uniform(0, 2 * np.pi, 2)
            wave, amplitude = 2 * np.pi / rng.uniform(3, 12), rng.uniform(0.02, 0.1)
            inks = inks + amplitude * np.cos(wave * (np.cos(heading) * x + np.sin(heading) * y) + phase)[..., None]
        inks = np.clip(inks, 0, 1)
    part = canvas[low[0] : high[0], low[1] : high[1]]
    part += cover * (inks - part)


def text(n: int, size: int = 128, seed: int = 0, *, tilt: float = 180.0) -> TextScenes:
    """Make pictures of dead leaves with words on them and maps of where their letters are.

    One to five words of random letters, face, size (10 to 32 pixels), place and contrast, dark or bright, that do not
    overlap. Letters come from the fonts of matplotlib, drawn by Pillow (`pdoconv[train]`); the same versions of these
    give the same pictures.

    Args:
        n: Number of pictures.
        size: Pixels of a side.
        seed: Of everything random.
        tilt: Largest angle of a word from the upright, in degrees, either way.

    Raises:
        ValueError: If an argument is out of range.
    """
    if n < 1 or size < 64 or seed < 0 or not 0 <= tilt <= 180:
        raise ValueError(
            f"text: expected n >= 1, size >= 64, seed >= 0 and tilt in 0..180 degrees, received {n}, {size}, {seed}, "
            f"{tilt}."
        )
    images, maps = [], []
    for k in range(n):
        rng = np.random.Generator(np.random.PCG64([seed, k, 1]))
        scene = _leaves(rng, size, 1, UNDER_TEXT)[..., 0]
        strokes = np.zeros((size, size))
        wanted, written = int(rng.integers(1, 6)), 0
        for _ in range(ATTEMPTS):
            written += _write(rng, scene, strokes, tilt)
            if written == wanted:
                break
        images.append(as_image(to_picture(scene)))
        maps.append(torch.from_numpy(strokes)[None, None])
    confidence = blur(torch.cat(maps), SOFT).clamp(0, 1).float()
    return TextScenes(torch.cat(images), confidence)


def _write(rng: np.random.Generator, scene: Array, strokes: Array, tilt: float) -> bool:
    """Write one word on a scene and its strokes on the map, in place; not where it is too large or meets another."""
    word, size = _word(rng, tilt), len(scene)
    height, width = word.shape
    if max(height, width) > size:
        return False
    row, column = rng.integers(size - height + 1), rng.integers(size - width + 1)
    place = np.s_[row : row + height, column : column + width]
    if (strokes[place] > 0).any():
        return False
    below = scene[place][word > 0.5].mean() if (word > 0.5).any() else scene[place].mean()
    contrast = rng.uniform(0.25, 0.6)
    brighter = rng.uniform() < 0.5 if 0.4 < below < 0.6 else below <= 0.5
    ink = np.clip(below + (contrast if brighter else -contrast), 0, 1)
    scene[place] += word * (ink - scene[place])
    strokes[place] = word
    return True


def _word(rng: np.random.Generator, tilt: float) -> Array:
    """Draw a word, turned, as the share of each pixel that its strokes cover."""
    import matplotlib
    from PIL import Image, ImageDraw, ImageFont

    face = Path(matplotlib.get_data_path()) / "fonts" / "ttf" / FACES[int(rng.integers(len(FACES)))]
    font = ImageFont.truetype(str(face), FINER * int(rng.integers(10, 33)))
    word = "".join(LETTERS[int(i)] for i in rng.integers(len(LETTERS), size=int(rng.integers(3, 8))))
    left, top, right, bottom = (int(edge) for edge in font.getbbox(word))
    drawn = Image.new("L", (right - left, bottom - top))
    ImageDraw.Draw(drawn).text((-left, -top), word, fill=255, font=font)
    turned = drawn.rotate(float(rng.uniform(-tilt, tilt)), resample=Image.Resampling.BICUBIC, expand=True)
    fine = np.asarray(turned, dtype=np.float64) / 255
    fine = np.pad(fine, [(0, -side % FINER) for side in fine.shape])
    return np.asarray(fine.reshape(len(fine) // FINER, FINER, -1, FINER).mean((1, 3)))
