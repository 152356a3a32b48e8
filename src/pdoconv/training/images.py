"""The Lightning data module of arrays of images or volumes in memory."""

import numpy as np
import torch
from lightning.pytorch import LightningDataModule
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, DistributedSampler, TensorDataset

from pdoconv.data import Split

EVALUATION_BATCH = 500


class ImageData(LightningDataModule):
    """Standardised images from arrays: training set shuffled anew each epoch, the rest in order.

    Args:
        train: Training split; its mean and standard deviation standardise every split.
        valid: Validation split, or `None` where none is kept apart.
        test: Test split, or `None`.
        batch_size: Images a training step; a last smaller batch is dropped.
        seed: Of the shuffling; the order depends on seed and epoch alone, so that a resumed run repeats.

    Raises:
        ValueError: If images or labels are not finite, not of matching length, or fewer than a batch.
    """

    def __init__(
        self, train: Split, valid: Split | None, test: Split | None, *, batch_size: int, seed: int = 0
    ) -> None:
        """Check and standardise."""
        super().__init__()
        if batch_size < 1 or len(train.images) < batch_size:
            raise ValueError(f"Expected at least one batch of {batch_size} images, received {len(train.images)}.")
        self.batch_size, self.seed = batch_size, seed
        self.mean, self.std = float(train.images.mean()), float(train.images.std())
        self._sets = {
            name: TensorDataset(*self._tensors(name, split))
            for name, split in (("train", train), ("valid", valid), ("test", test))
            if split is not None
        }

    def _tensors(self, name: str, split: Split) -> tuple[Tensor, Tensor]:
        images, labels = split
        if images.ndim not in (3, 4) or len(images) != len(labels):
            raise ValueError(
                f"{name}: expected images (n, height, width) or volumes (n, depth, height, width) and n labels, "
                f"received {images.shape} and {labels.shape}."
            )
        if not np.isfinite(images).all() or not np.isfinite(labels).all():
            raise ValueError(f"{name}: images or labels hold values that are not finite: clean the data first.")
        return self.standardise(images), torch.from_numpy(labels.astype(np.int64))

    def standardise(self, images: NDArray[np.generic]) -> Tensor:
        """Turn images or volumes `(n, *space)` into standardised floats `(n, 1, *space)`."""
        x = torch.from_numpy(images.astype(np.float32)) - self.mean
        return x.div_(self.std or 1.0)[:, None]

    def train_dataloader(self) -> DataLoader[tuple[Tensor, ...]]:
        """Return the training batches, this device's share of them; the trainer tells the sampler the epoch."""
        replicas, rank = (self.trainer.world_size, self.trainer.global_rank) if self.trainer else (1, 0)
        images = self._sets["train"]
        order: DistributedSampler[tuple[Tensor, ...]] = DistributedSampler(
            images, replicas, rank, shuffle=True, seed=self.seed, drop_last=True
        )
        own = torch.Generator()  # so that loading draws nothing from the stream that dropout uses
        return DataLoader(images, self.batch_size, sampler=order, drop_last=True, generator=own)

    def val_dataloader(self) -> list[DataLoader[tuple[Tensor, ...]]]:
        """Return the validation batches, in order."""
        return self._in_order("valid")

    def test_dataloader(self) -> list[DataLoader[tuple[Tensor, ...]]]:
        """Return the test batches, in order."""
        return self._in_order("test")

    def _in_order(self, name: str) -> list[DataLoader[tuple[Tensor, ...]]]:
        return [DataLoader(self._sets[name], EVALUATION_BATCH)] if name in self._sets else []
