"""Augmentation of whole batches of images on their device: crop, flip, rotation, cutout, mixup."""

import math
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from pdoconv.grid import axis_of

DRAWS = 7  # an image: offsets of row and column, mirrored or not, degrees, centre's row and column, share


@dataclass(frozen=True)
class Augment:
    """Random changes of training images, as one function of the images and of numbers drawn before.

    An image lies on a plane of zeros. Its result shows a window of its own size, moved by the crop, mirrored by the
    flip, turned about its centre by the rotation; then cutout sets a square of it to zero. Rotation interpolates
    bilinearly and sees what lies beyond the crop; by multiples of 90 degrees it is exact to rounding where height and
    width are both even or both odd.

    Image i depends on row i of the draws alone, so a batch split over devices gives the same images. Mixup is the
    exception: the partner is of the same call, so of the same device.

    Args:
        crop: Pixels of zeros on every side, of which a window of the old size is cut: offsets 0..2 `crop`, each axis on
            its own (He et al., 2016).
        flip: Mirror left and right with probability 1/2.
        rotate: Largest angle in degrees; uniform in [-`rotate`, `rotate`], counter-clockwise.
        cutout: Side of a square of zeros in pixels; its centre is uniform over the image, at the border it is cut
            (DeVries & Taylor, 2017).
        mixup: alpha of the distribution Beta(alpha, alpha) of the shares (Zhang et al., 2018); each pair has its own.

    Raises:
        ValueError: If a value is out of range.

    >>> augment = Augment(crop=4, flip=True)
    >>> x = torch.randn(128, 3, 32, 32)
    >>> augment(x, augment.draw(np.random.default_rng(0), 128)).shape
    torch.Size([128, 3, 32, 32])
    """

    crop: int = 0
    flip: bool = False
    rotate: float = 0.0
    cutout: int = 0
    mixup: float = 0.0

    def __post_init__(self) -> None:
        """Check the values."""
        for name, value in (("crop", self.crop), ("cutout", self.cutout)):
            if isinstance(value, bool) or not isinstance(value, int) or value < 0:
                raise ValueError(f"Augment: {name} must be a whole number of pixels >= 0, received {value!r}.")
        if not isinstance(self.flip, bool):
            raise ValueError(f"Augment: flip must be True or False, received {self.flip!r}.")
        if not 0 <= self.rotate <= 180:
            raise ValueError(f"Augment: rotate must be the largest angle, 0 to 180 degrees, received {self.rotate}.")
        if not 0 <= self.mixup < math.inf:
            raise ValueError(f"Augment: mixup must be a finite alpha >= 0, received {self.mixup}: 0 is without mixup.")

    def __bool__(self) -> bool:
        """Tell whether anything is on."""
        return bool(self.crop or self.flip or self.rotate or self.cutout or self.mixup)

    def draw(self, rng: np.random.Generator, n: int) -> Tensor:
        """Draw everything random about n images.

        Args:
            rng: What is off is drawn too and left unused, so switching it on changes nothing else in this draw.
            n: Number of images.

        Returns:
            `(n, 7)`, float32 on the CPU: offsets of row and column in 0..2 `crop`, 1 for mirrored, degrees, row and
            column of the cutout's centre as fractions of height and width in [0, 1), the image's own share in mixup.
        """
        u = rng.random((n, DRAWS), dtype=np.float32)
        u[:, :2] = np.floor(u[:, :2] * (2 * self.crop + 1))
        u[:, 2] = (u[:, 2] < 0.5) & self.flip
        u[:, 3] = self.rotate * (2 * u[:, 3] - 1)
        u[:, 6] = rng.beta(self.mixup, self.mixup, n) if self.mixup else 1
        return torch.from_numpy(u)

    def __call__(self, x: Tensor, draws: Tensor) -> Tensor:
        """Change images as the draws say; all but mixup.

        Args:
            x: Standardised images `(n, channels, height, width)`, floating point; 0 is the mean grey or colour.
            draws: `(n, 7)`, as `draw` returns them.

        Returns:
            Images of the same shape, dtype, device and memory format; `x` itself if nothing is on.

        Raises:
            ValueError: If `x` or `draws` has another shape or dtype, or crop or cutout could leave nothing of an image.
        """
        _check(x, draws)
        height, width = x.shape[2:]
        if self.crop >= min(height, width) or self.cutout >= max(height, width):
            raise ValueError(
                f"Augment: crop={self.crop} or cutout={self.cutout} can leave nothing of images of {height} x {width} "
                f"pixels: expected crop < {min(height, width)} and cutout < {max(height, width)}."
            )
        draws = draws.to(x.device)
        y = self._turned(x, draws) if self.rotate else self._moved(x, draws)
        if self.cutout:
            rows, columns = _band(draws[:, 4], self.cutout, height), _band(draws[:, 5], self.cutout, width)
            y = y * (1 - rows.to(y)[:, None, :, None] * columns.to(y)[:, None, None, :])
        if x.is_contiguous(memory_format=torch.channels_last) and not x.is_contiguous():
            y = y.contiguous(memory_format=torch.channels_last)
        return y

    def mix(self, x: Tensor, y: Tensor, draws: Tensor, classes: int) -> tuple[Tensor, Tensor]:
        """Mix each image, and its label, with that at the same place of the batch reversed.

        Args:
            x: Images `(n, channels, height, width)`, floating point.
            y: Labels `(n,)`, whole numbers in 0..`classes` - 1.
            draws: `(n, 7)`, as `draw` returns them; of these the share of the image itself.
            classes: Number of classes.

        Returns:
            Images and probabilities of the classes `(n, classes)`, float32 or better; `x` and `y` themselves without
            mixup.

        Raises:
            ValueError: If an argument has another shape or dtype.
            RuntimeError: If a label is none of the classes.
        """
        _check(x, draws)
        if y.shape != x.shape[:1] or y.is_floating_point():
            raise ValueError(
                f"Augment: expected {len(x)} labels, whole numbers, received {tuple(y.shape)} of {y.dtype}: mix once."
            )
        if not self.mixup:
            return x, y
        share = draws[:, 6].to(x.device, torch.promote_types(x.dtype, torch.float32))
        targets = F.one_hot(y.long(), classes).to(share)
        image, label = share[:, None, None, None], share[:, None]
        mixed = (image * x + (1 - image) * x.flip(0)).to(x.dtype)
        return mixed, label * targets + (1 - label) * targets.flip(0)

    def _moved(self, x: Tensor, draws: Tensor) -> Tensor:
        """Crop by one gather of rows, each from where its window begins; then flip."""
        if self.crop:
            images, channels, height, width = x.shape
            row, column = draws[:, :2].long()[:, :, None, None].unbind(1)
            planes = torch.arange(images * channels, device=x.device).view(images, channels, 1)
            rows = planes * (height + 2 * self.crop) + row + torch.arange(height, device=x.device)
            starts = rows * (width + 2 * self.crop) + column
            pixels = F.pad(x, (self.crop,) * 4).flatten()
            x = pixels.unfold(0, width, 1).index_select(0, starts.flatten()).view(x.shape)
        if self.flip:
            kept = 1 - draws[:, 2, None, None, None]
            x = x.flip(3).lerp_(x, kept.to(x.dtype))  # 0 or 1: exact, and faster than where
        return x

    def _turned(self, x: Tensor, draws: Tensor) -> Tensor:
        """Crop, flip and rotate by one `grid_sample`."""
        exact = torch.promote_types(x.dtype, torch.float32)  # positions need more than 8 bits
        row, column, flip, angle = draws[:, :4, None, None].to(exact).unbind(1)
        (height, width), (_, up) = x.shape[2:], axis_of(1)
        i, j = (torch.arange(side, dtype=exact, device=x.device) - (side - 1) / 2 for side in (height, width))
        right, high = j, up * i[:, None]  # coordinates of a pixel from the centre, y up
        mirror, radians = 1 - 2 * flip, torch.deg2rad(angle)
        cos, sin = radians.cos(), radians.sin()
        # Where it comes from: turned back, then mirrored, then moved; grid_sample speaks of half sides, y down.
        from_left = (2 / width) * mirror * cos * right + (2 / width) * (mirror * sin * high + column - self.crop)
        from_top = (-2 / height) * up * sin * right + (2 / height) * (up * cos * high + row - self.crop)
        grid = torch.stack([from_left, from_top], -1)
        return F.grid_sample(x.to(exact), grid, align_corners=False).to(x.dtype)


def _check(x: Tensor, draws: Tensor) -> None:
    """Raise `ValueError` unless `x` are images and `draws` their draws."""
    if x.dim() != 4:
        raise ValueError(
            f"Augment: expected images (n, channels, height, width), received {tuple(x.shape)}: volumes are not "
            f"augmented, leave it away."
        )
    if not x.is_floating_point():
        raise ValueError(f"Augment: expected standardised floating-point images, received {x.dtype}: standardise them.")
    if draws.shape != (x.shape[0], DRAWS):
        raise ValueError(
            f"Augment: expected draws ({x.shape[0]}, {DRAWS}), received {tuple(draws.shape)}: take draw(rng, "
            f"{x.shape[0]})."
        )


def _band(centre: Tensor, length: int, side: int) -> Tensor:
    """Return which of `side` pixels lie in a band about each centre, a fraction of the side: `(n, side)`."""
    first = (centre * side).floor() - length // 2
    place = torch.arange(side, device=centre.device) - first[:, None]
    return (place >= 0) & (place < length)
