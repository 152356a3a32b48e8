"""Runs that are cut into slots: checkpoints while an epoch lasts, a stop in time, whole files only."""

import os
import signal
import sys
import threading
import time
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.plugins import TorchCheckpointIO
from lightning.pytorch import Callback, LightningModule, Trainer

from pdoconv.training.files import whole_file

EVERY = 600.0
"""Seconds between checkpoints while an epoch lasts; there is one at the end of every epoch too."""
SIGNALS = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGUSR1") if hasattr(signal, name)]
"""Ctrl-C, and how systems and their queues say that a process will be ended."""


class SlotOver(Exception):
    """The run was stopped in time, and its state is kept."""


class Slot(Callback):
    """Save while an epoch lasts, and stop after some epochs or minutes, or when a signal asks the run to end.

    Args:
        checkpoints: Folder of the checkpoints.
        epochs: Stop after so many epochs in all.
        minutes: Stop after so many minutes from now.

    Attributes:
        over: Whether the run was stopped before its end.
        signal: The number of the signal that asked for it, or 0.
    """

    def __init__(self, checkpoints: Path, *, epochs: int | None = None, minutes: float | None = None) -> None:
        """Start the clock."""
        self.checkpoints, self.epochs = checkpoints, epochs
        self.saved, self.over, self.signal = time.monotonic(), False, 0
        self.end = float("inf") if minutes is None else self.saved + 60 * minutes

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Take signals: Lightning's own handlers call all devices from within; at its end it puts the old ones back."""
        if threading.current_thread() is threading.main_thread():
            for number in SIGNALS:
                signal.signal(number, self._asked)

    def _asked(self, number: int, frame: object) -> None:
        self.signal = number
        signal.signal(signal.SIGINT, signal.default_int_handler)
        os.write(2, b"\nStopping after this step; Ctrl-C to stop at once.\n")  # print may be at work in this moment

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: object, batch: object, batch_idx: int
    ) -> None:
        """Save if it is time; `SlotOver` if the slot is over. All devices decide alike."""
        if batch_idx + 1 == trainer.num_training_batches:
            return  # the checkpoint of the epoch comes
        now = time.monotonic()
        stop = now > self.end or self.signal > 0
        if not trainer.strategy.reduce_boolean_decision(stop or now > self.saved + EVERY, all=False):
            return
        path = self.checkpoints / f"step={trainer.global_step}.ckpt"
        trainer.save_checkpoint(path)
        if trainer.is_global_zero:
            for old in self.checkpoints.glob("step=*.ckpt"):
                if old != path:
                    old.unlink()
        self.saved = now
        if trainer.strategy.reduce_boolean_decision(stop, all=False):
            raise SlotOver

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Let the trainer stop at the end of an epoch."""
        done = trainer.current_epoch + 1
        if done == trainer.max_epochs:
            return
        over = (self.epochs is not None and done >= self.epochs) or time.monotonic() > self.end or self.signal > 0
        if trainer.strategy.reduce_boolean_decision(over, all=False):
            trainer.should_stop = self.over = True

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """End the processes that this one started: they would wait for it, or fail because it ended."""
        if isinstance(exception, SlotOver):
            return
        if isinstance(exception, KeyboardInterrupt) and trainer.is_global_zero:
            print("Interrupted. The last checkpoint is kept: go on with --resume.", file=sys.stderr)
        launcher = trainer.strategy.launcher
        if launcher is not None:
            launcher.kill(signal.SIGTERM if sys.platform == "win32" else signal.SIGKILL)


class WholeFiles(TorchCheckpointIO):
    """Write checkpoints so that there is the old file or the new one, never a part."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any | None = None) -> None:
        """Write a checkpoint; `OSError` if it cannot be written."""
        with whole_file(Path(path)) as partial, partial.open("wb") as file:
            torch.save(checkpoint, file)
