"""`pdoconv` on a handful of images, as a program that tests start, stop and kill; `$HARM` names what goes wrong in it.

`python tests/tiny_run.py train mnist-rot-small --epochs 3`
"""

import os
import resource
import signal
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import torch
from torch.nn import functional

from pdoconv.cli import main
from pdoconv.data import MnistRot, Split
from pdoconv.recipes import mnist_rot_small
from pdoconv.training import classifier, images, slots

NAME = "mnist-rot-small"


def few_images(train=48, valid=20, test=30):
    rng = np.random.default_rng(0)

    def split(n):
        labels = np.arange(n, dtype=np.uint8) % 10
        pictures = rng.integers(0, 60, (n, 28, 28), dtype=np.uint8)
        pictures[np.arange(n), 4 + 2 * labels, 10] = 255
        return Split(pictures, labels)

    return MnistRot(split(train), split(valid), split(test))


def counts(train, valid, test):
    """Other numbers of images."""
    mnist_rot_small.mnist_rot = lambda: few_images(int(train), int(valid), int(test))


def evaluation_batch(size):
    images.EVALUATION_BATCH = int(size)


def save_every_step():
    slots.EVERY = 0.0


def slow_steps(seconds):
    def start(self, batch, batch_idx, before=classifier.Classifier.on_train_batch_start):
        time.sleep(float(seconds))
        before(self, batch, batch_idx)

    classifier.Classifier.on_train_batch_start = start


def slow_writing(seconds):
    """Checkpoints are written in pieces, with pauses between."""

    class Slow:
        def __init__(self, file):
            self.file = file

        def write(self, data):
            time.sleep(float(seconds))
            return self.file.write(data)

        def flush(self):
            self.file.flush()

    save = torch.save
    torch.save = lambda content, file: save(content, Slow(file))


def full_disk(size):
    """No file can grow above a size: a write that would make it so fails, as on a full disk."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(size), int(size)))


def full_disk_for(name, size):
    """The same, once the file of that name is to be written."""

    def open_limited(self, *args, before=Path.open, **kwargs):
        if self.name.startswith(name):
            full_disk(size)
        return before(self, *args, **kwargs)

    Path.open = open_limited


def not_a_number(what, step, rank):
    """The loss, or its gradient alone, becomes NaN in one step on one device."""

    def loss_of(*args, before=functional.cross_entropy, **kwargs):
        loss = before(*args, **kwargs)
        loss_of.step += loss.requires_grad
        if loss_of.step == int(step) + 1 and loss.requires_grad and int(os.environ.get("LOCAL_RANK", 0)) == int(rank):
            if what == "loss":
                return loss * float("nan")
            loss.register_hook(lambda gradient: gradient * float("nan"))
        return loss

    loss_of.step = 0
    classifier.F = SimpleNamespace(cross_entropy=loss_of)


def fails(step, rank):
    """One device meets an error of its own, or is killed."""

    def start(self, batch, batch_idx, before=classifier.Classifier.on_train_batch_start):
        if self.global_step == int(step) and self.global_rank == abs(int(rank)):
            raise RuntimeError("Something else went wrong.")
        before(self, batch, batch_idx)

    classifier.Classifier.on_train_batch_start = start


HARMS = {
    harm.__name__: harm
    for harm in (
        counts,
        evaluation_batch,
        save_every_step,
        slow_steps,
        slow_writing,
        full_disk,
        full_disk_for,
        not_a_number,
        fails,
    )
}

if __name__ == "__main__":
    mnist_rot_small.mnist_rot = few_images
    for call in os.environ.get("HARM", "").split():
        name, *words = call.split(":")
        HARMS[name](*words)
    sys.exit(main())
