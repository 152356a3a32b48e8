"""Batches of a set of images in memory, drawn so that a run is the same in one piece or in several, on any devices."""

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pdoconv.data import Augment, Split

Batch = tuple[Tensor, ...]


class TrainingBatches:
    """Shuffled batches without a last smaller one: `(images, labels)`, or with `augment` its draws too.

    Order and draws of batch k of an epoch depend on seed, epoch and k alone. Of each batch every device takes its
    share, so the batch of all devices together is that of one. Lightning calls `set_epoch`, and saves and loads the
    state, the number of batches taken from the epoch.

    Args:
        split: The images.
        batch_size: Images of a batch over all devices.
        seed: Of order and draws.
        augment: Draws for every image; with none on, batches have none.
        replicas: Number of devices.
        rank: Number of this one.
    """

    def __init__(
        self,
        split: Split,
        batch_size: int,
        *,
        seed: int = 0,
        augment: Augment | None = None,
        replicas: int = 1,
        rank: int = 0,
    ) -> None:
        """Keep the arguments."""
        self.split, self.batch_size, self.seed = split, batch_size, seed
        self.augment, self.own = augment or Augment(), share(batch_size, replicas, rank)
        self.epoch = self.taken = 0

    @property
    def sampler(self) -> "TrainingBatches":
        """What Lightning tells the epoch to."""
        return self

    def set_epoch(self, epoch: int) -> None:
        """Say which epoch comes next."""
        self.epoch = epoch

    def state_dict(self) -> dict[str, int]:
        """Return how many batches of the epoch were taken; 0 behind the last one."""
        return {"taken": self.taken % len(self)}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Go on behind these batches."""
        self.taken = state["taken"]

    def __len__(self) -> int:
        """Return the number of batches of an epoch."""
        return len(self.split.images) // self.batch_size

    def __iter__(self) -> Iterator[Batch]:
        """Yield the rest of the epoch."""
        self.taken %= len(self)
        order = np.random.default_rng([self.seed, self.epoch]).permutation(len(self.split.images))
        while self.taken < len(self):
            start = self.taken * self.batch_size
            batch = gather(self.split, order[start : start + self.batch_size][self.own])
            if self.augment:
                draws = self.augment.draw(np.random.default_rng([self.seed, self.epoch, self.taken]), self.batch_size)
                batch = (*batch, draws[self.own])
            self.taken += 1
            yield batch


class OrderedBatches:
    """All images in order, `(images, labels)`, a share of every device; all of them where there is not one for each.

    Args:
        split: The images.
        batch_size: Images of a batch.
        replicas: Number of devices.
        rank: Number of this one.
    """

    def __init__(self, split: Split, batch_size: int, *, replicas: int = 1, rank: int = 0) -> None:
        """Keep the arguments."""
        self.split, self.batch_size = split, batch_size
        count = len(split.images)
        self.own = np.arange(rank, count, replicas) if count >= replicas else np.arange(count)  # means stay the same

    def __len__(self) -> int:
        """Return the number of batches."""
        return -(-len(self.own) // self.batch_size)

    def __iter__(self) -> Iterator[Batch]:
        """Yield the batches."""
        for start in range(0, len(self.own), self.batch_size):
            yield gather(self.split, self.own[start : start + self.batch_size])


def share(batch_size: int, replicas: int, rank: int) -> NDArray[np.intp]:
    """Return the places of a batch that a device takes, with each place the same one from the end: mixup mixes these.

    >>> share(8, 2, 0), share(8, 2, 1), share(6, 2, 0)
    (array([0, 1, 6, 7]), array([2, 3, 4, 5]), array([0, 2, 5]))
    """
    half, odd = divmod(batch_size // replicas, 2)
    front = np.arange(rank * half, (rank + 1) * half)
    middle = np.arange(odd) + replicas * half + rank
    return np.concatenate([front, middle, batch_size - 1 - front[::-1]])


def gather(split: Split, which: NDArray[np.integer]) -> Batch:
    """Return some images, as they are in memory, and their labels as int64."""
    images = split.images[which]
    wide = images.astype(np.int32) if images.dtype == np.uint16 else images  # torch computes little in uint16
    return torch.from_numpy(wide), torch.from_numpy(split.labels[which].astype(np.int64))
