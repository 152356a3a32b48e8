"""The Lightning data module of arrays of images or volumes in memory."""

from collections.abc import Sequence

import numpy as np
import torch
from lightning.pytorch import LightningDataModule
from torch import Tensor

from pdoconv.data import Augment, Split
from pdoconv.training.batches import Batch, OrderedBatches, TrainingBatches

EVALUATION_BATCH = 500


class ImageData(LightningDataModule):
    """Images from arrays, standardised and augmented on the device: training set shuffled anew each epoch.

    Args:
        train: Training split; mean and standard deviation of its channels standardise every split.
        valid: Validation split, or `None` where none is kept apart.
        test: Test split, or `None`.
        batch_size: Images a training step, over all devices; a last smaller batch is dropped.
        channels: Of the images. Arrays of one channel are `(n, *space)`, others `(n, channels, height, width)`.
        classes: Number of classes; needed by mixup.
        seed: Of order and augmentation; both depend on it, the epoch and the batch alone, so a resumed run repeats.
        augment: Of training images.

    Attributes:
        mean, std: One for each channel.

    Raises:
        ValueError: If images or labels are not finite, of another shape, not of matching length, or fewer than a batch;
            or if the devices cannot share a batch evenly.
    """

    def __init__(
        self,
        train: Split,
        valid: Split | None,
        test: Split | None,
        *,
        batch_size: int,
        channels: int = 1,
        classes: int = 0,
        seed: int = 0,
        augment: Augment | None = None,
    ) -> None:
        """Check, and measure mean and standard deviation."""
        super().__init__()
        if batch_size < 1 or len(train.images) < batch_size:
            raise ValueError(
                f"Expected at least one batch of {batch_size} images, received {len(train.images)}: give a smaller "
                f"batch_size."
            )
        self.batch_size, self.channels, self.classes, self.seed = batch_size, channels, classes, seed
        self.augment = augment or Augment()
        self._splits = {"train": train, "valid": valid, "test": test}
        for name, split in self._splits.items():
            if split is not None:
                _check(name, split, channels)
        self.mean, self.std = _statistics(train, channels)
        self.tested = "test"

    def use_for_test(self, split: str) -> int:
        """Measure on `"valid"` or `"test"` from now on; return its number of images, 0 if it is not kept apart."""
        self.tested = split
        chosen = self._splits[split]
        return 0 if chosen is None else len(chosen.images)

    def require_shares(self, replicas: int) -> None:
        """Raise `ValueError` unless so many devices can share a batch evenly, and in pairs if these are mixed."""
        parts = 2 * replicas if self.augment.mixup and replicas > 1 else replicas
        if self.batch_size % parts:
            raise ValueError(
                f"batch_size is over all devices: expected a multiple of {parts}{' with mixup' * (parts > replicas)}, "
                f"received {self.batch_size}."
            )

    def standardise(self, images: Tensor) -> Tensor:
        """Turn images or volumes `(n, *space)`, or `(n, channels, height, width)`, into floats with a channel axis."""
        x = images.float() if self.channels > 1 else images.float()[:, None]
        shape = (1, -1, *[1] * (x.dim() - 2))
        mean, std = (torch.tensor(t, device=x.device).view(shape) for t in (self.mean, self.std))
        return (x - mean).div_(std)

    def on_after_batch_transfer(self, batch: Batch, dataloader_idx: int) -> tuple[Tensor, Tensor]:
        """Standardise a batch where it will be used; augment it if it came with draws."""
        x, y = self.standardise(batch[0]), batch[1]
        if len(batch) == 2:
            return x, y
        return self.augment.mix(self.augment(x, batch[2]), y, batch[2], self.classes)

    def train_dataloader(self) -> TrainingBatches:
        """Return the training batches, this device's share of them."""
        split, (replicas, rank) = self._splits["train"], self._place()
        self.require_shares(replicas)
        assert split is not None
        own = {"replicas": replicas, "rank": rank}
        return TrainingBatches(split, self.batch_size, seed=self.seed, augment=self.augment, **own)

    def val_dataloader(self) -> Sequence[OrderedBatches]:
        """Return the validation batches, in order."""
        return self._in_order("valid")

    def test_dataloader(self) -> Sequence[OrderedBatches]:
        """Return the batches to be measured on, in order."""
        return self._in_order(self.tested)

    def _in_order(self, name: str) -> list[OrderedBatches]:
        split, (replicas, rank) = self._splits[name], self._place()
        return [] if split is None else [OrderedBatches(split, EVALUATION_BATCH, replicas=replicas, rank=rank)]

    def _place(self) -> tuple[int, int]:
        """Return the number of devices and the number of this one."""
        return (self.trainer.world_size, self.trainer.global_rank) if self.trainer else (1, 0)


def _check(name: str, split: Split, channels: int) -> None:
    images, labels = split
    fits = images.ndim in (3, 4) if channels == 1 else images.ndim == 4 and images.shape[1] == channels
    if not fits or len(images) != len(labels):
        expected = (
            "images (n, height, width) or volumes (n, depth, height, width)"
            if channels == 1
            else f"images (n, {channels}, height, width)"
        )
        raise ValueError(f"{name}: expected {expected} and n labels, received {images.shape} and {labels.shape}.")
    if not np.isfinite(images).all() or not np.isfinite(labels).all():
        raise ValueError(f"{name}: images or labels hold values that are not finite: clean the data first.")


def _statistics(split: Split, channels: int) -> tuple[list[float], list[float]]:
    """Return mean and standard deviation of each channel; 1 instead of a deviation of 0."""
    images = split.images[:, None] if channels == 1 else split.images
    others = tuple(axis for axis in range(images.ndim) if axis != 1)
    count, shape = images.size // channels, (1, -1, *[1] * (images.ndim - 2))
    parts = [images[start : start + 1000] for start in range(0, len(images), 1000)]  # few in float64 at a time
    mean = np.sum([part.sum(others, dtype=np.float64) for part in parts], 0) / count
    var = np.sum([np.square(part - mean.reshape(shape)).sum(others) for part in parts], 0) / count
    return mean.tolist(), [float(deviation) or 1.0 for deviation in np.sqrt(var)]
