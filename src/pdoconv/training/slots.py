"""Runs that are cut into slots: checkpoints while an epoch lasts, a stop in time, whole files only."""

import os
import sys
import time
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.plugins import TorchCheckpointIO
from lightning.pytorch import Callback, LightningModule, Trainer

EVERY = 600.0
"""Seconds between checkpoints while an epoch lasts; there is one at the end of every epoch too."""


class SlotOver(Exception):
    """The run was stopped in time, and its state is kept."""


class Slot(Callback):
    """Save while an epoch lasts, and stop after some epochs or minutes, or when the system asks the run to end.

    Args:
        checkpoints: Folder of the checkpoints.
        epochs: Stop after so many epochs in all.
        minutes: Stop after so many minutes from now.

    Attributes:
        over: Whether the run was stopped before its end.
    """

    def __init__(self, checkpoints: Path, *, epochs: int | None = None, minutes: float | None = None) -> None:
        """Start the clock."""
        self.checkpoints, self.epochs = checkpoints, epochs
        self.saved, self.over = time.monotonic(), False
        self.end = float("inf") if minutes is None else self.saved + 60 * minutes

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: object, batch: object, batch_idx: int
    ) -> None:
        """Save if it is time; `SlotOver` if the slot is over. All devices decide alike."""
        if batch_idx + 1 == trainer.num_training_batches:
            return  # the checkpoint of the epoch comes
        now = time.monotonic()
        stop = trainer.strategy.reduce_boolean_decision(now > self.end or trainer.received_sigterm, all=False)
        if not trainer.strategy.reduce_boolean_decision(stop or now > self.saved + EVERY, all=False):
            return
        path = self.checkpoints / f"step={trainer.global_step}.ckpt"
        trainer.save_checkpoint(path)
        if trainer.is_global_zero:
            for old in self.checkpoints.glob("step=*.ckpt"):
                if old != path:
                    old.unlink()
        self.saved = now
        if stop:
            raise SlotOver

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Let the trainer stop at the end of an epoch."""
        done = trainer.current_epoch + 1
        if done == trainer.max_epochs:
            return
        over = self.epochs is not None and done >= self.epochs
        if trainer.strategy.reduce_boolean_decision(over or time.monotonic() > self.end, all=False):
            trainer.should_stop = self.over = True

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Say how to go on after Ctrl-C, where the trainer itself ends the process."""
        if isinstance(exception, KeyboardInterrupt) and trainer.is_global_zero:
            print("Interrupted. The last checkpoint is kept: go on with --resume.", file=sys.stderr)


class WholeFiles(TorchCheckpointIO):
    """Write a checkpoint beside its place, to the disk itself, then rename it: there is the old file or the new one."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any | None = None) -> None:
        """Write a checkpoint; `OSError` with the reason if it cannot be written, and no part of it stays."""
        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(f"{path.name}.{os.getpid()}.part")
        try:
            with partial.open("wb") as file:
                torch.save(checkpoint, file)
                file.flush()
                os.fsync(file.fileno())
            partial.replace(path)
        except (OSError, RuntimeError) as error:  # torch raises RuntimeError where its zip writer meets a full disk
            partial.unlink(missing_ok=True)
            raise OSError(
                f"The checkpoint {path} could not be written ({error}): free space on that disk, then go on with "
                f"--resume; the last checkpoint is intact."
            ) from error
