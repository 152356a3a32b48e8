"""Train a recipe in a run's folder, then measure it once on the test set."""

import json
import logging
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import LearningRateMonitor, ModelCheckpoint, Timer
from lightning.pytorch.loggers import CSVLogger
from lightning.pytorch.utilities import rank_zero_only

from pdoconv.plot import learning_curve
from pdoconv.recipes import Recipe
from pdoconv.training.classifier import Classifier
from pdoconv.training.folder import RunFolder, write_json
from pdoconv.training.images import ImageData


def train(
    name: str,
    settings: Recipe,
    run: Path,
    *,
    resume: bool = False,
    devices: int | str = "auto",
    accelerator: str = "auto",
    result: Path | None = None,
    stop_after: int | None = None,
    test: bool = True,
) -> dict[str, Any] | None:
    """Train, save the last weights, measure them once on the test set and write the result.

    Args:
        name: Name of the recipe.
        settings: The recipe.
        run: Folder of the run.
        resume: Go on from the newest whole checkpoint in `run`.
        devices: Lightning's `devices`.
        accelerator: Lightning's `accelerator`.
        result: Where to write a second copy of `result.json`.
        stop_after: Stop after this many epochs in all, unfinished; go on later with `resume`.
        test: Measure on the test set; not for a run that only serves to choose a setting.

    Returns:
        The content of `result.json`, or `None` if the run was stopped before its end.

    Raises:
        FileExistsError: If `run` or `result` would be overwritten.
        ValueError: If the settings do not fit those of the run to resume, or the loss is not finite.
    """
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)  # it advertises other products
    if stop_after is not None and stop_after < 1:
        raise ValueError(f"stop_after must be at least 1 epoch, received {stop_after}.")
    if not (isinstance(devices, int) and devices > 0) and devices != "auto":
        raise ValueError(f"devices must be a number of at least 1 or 'auto', received {devices!r}.")
    if result is not None and result.exists():
        raise FileExistsError(f"{result} exists already: results are not overwritten, choose another name.")
    folder = RunFolder(run)
    data = settings.data()
    torch.manual_seed(settings.seed)
    net = settings.network()
    training, validation = settings.splits(data)
    images = ImageData(
        training, validation, data.test if test else None, batch_size=settings.batch_size, seed=settings.seed
    )
    if getattr(rank_zero_only, "rank", 0) == 0:  # Lightning starts one process a device, each comes through here
        folder.start(name, settings, resume)
    checkpoint = folder.newest_checkpoint() if resume else None
    model = Classifier(
        net,
        classes=settings.classes,
        lr=settings.lr,
        weight_decay=settings.weight_decay,
        warmup=settings.warmup,
        label_smoothing=settings.label_smoothing,
        seed=settings.seed,
    )
    timer = Timer()
    keep = ModelCheckpoint(
        folder.checkpoints, "{epoch:03d}", monitor="epoch", mode="max", save_top_k=2, save_on_train_epoch_end=True
    )
    trainer = Trainer(
        accelerator=accelerator,
        devices=devices,
        precision=settings.precision,
        max_epochs=settings.epochs,
        callbacks=[timer, keep, LearningRateMonitor("epoch"), _StopAfter(stop_after), _EpochLines()],
        logger=CSVLogger(run, "logs"),
        log_every_n_steps=max(1, min(50, len(training.images) // settings.batch_size)),
        num_sanity_val_steps=0,
        limit_val_batches=0 if validation is None else None,
        enable_model_summary=False,
    )
    trainer.fit(model, images, ckpt_path=checkpoint)
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()  # the rest is the first process's own
    if not trainer.is_global_zero:
        return None
    learning_curve(sorted(run.glob("logs/*/metrics.csv")), run / "learning_curve.png")
    if trainer.interrupted or trainer.current_epoch < settings.epochs:
        print(
            f"Stopped after {trainer.current_epoch} of {settings.epochs} epochs. Go on: add --resume.", file=sys.stderr
        )
        return None
    folder.save_model(net, name, settings, images.mean, images.std)
    content = {
        "recipe": name,
        "title": settings.title,
        "data": data.title,
        "data_sha256_16": data.fingerprint,
        "settings": asdict(settings),
        "selection": f"last weights; settings fixed before the run; test set {'read once' if test else 'not read'}",
        "parameters": sum(p.numel() for p in net.parameters()),
        "train_images": len(training.images),
        "devices": trainer.world_size,
        **evaluate(folder, images, "valid", accelerator),
        **evaluate(folder, images, "test", accelerator),
        "train_seconds": round(timer.time_elapsed("train"), 1),
        **json.loads(folder.config.read_text())["started"],
    }
    write_json(folder.result, content)
    if result is not None:
        write_json(result, content)
    return content


def evaluate(folder: RunFolder, images: ImageData, split: str, accelerator: str = "auto") -> dict[str, Any]:
    """Measure the saved model of a run on `"valid"` or `"test"`, in float32; empty if the split is not kept apart."""
    loader = images.val_dataloader() if split == "valid" else images.test_dataloader()
    if not loader:
        return {}
    net, _, _ = folder.load_model()
    _, settings = folder.read_config()
    model = Classifier(net, classes=settings.classes, lr=settings.lr)
    trainer = Trainer(
        accelerator=accelerator, devices=1, logger=False, enable_checkpointing=False, enable_model_summary=False
    )
    measured = trainer.test(model, loader, verbose=False)[0]
    count = sum(len(batch[1]) for batch in loader[0])
    error = 100 * (1 - measured["test_accuracy"])
    return {f"{split}_images": count, f"{split}_error_percent": round(error, 3)}


class _StopAfter(Callback):
    """Stop cleanly after a number of epochs, for a run that must fit a slot."""

    def __init__(self, epochs: int | None) -> None:
        self.epochs = epochs

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self.epochs is not None and trainer.current_epoch + 1 >= self.epochs:
            trainer.should_stop = True


class _EpochLines(Callback):
    """A line an epoch where there is no terminal to draw a progress bar on."""

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.is_global_zero and not sys.stderr.isatty():
            numbers = [f"{name} {float(value):.4f}" for name, value in sorted(trainer.callback_metrics.items())]
            line = f"epoch {trainer.current_epoch + 1}/{trainer.max_epochs}: {', '.join(numbers)}"
            print(line, file=sys.stderr, flush=True)
