"""Train a recipe in a run's folder, then measure it once on the test set."""

import json
import logging
import sys
import time
import warnings
from contextlib import nullcontext
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import LearningRateMonitor, ModelCheckpoint, Timer
from lightning.pytorch.loggers import CSVLogger

from pdoconv.nn import synchronise
from pdoconv.plot import learning_curve
from pdoconv.recipes import Recipe
from pdoconv.training.classifier import Classifier, NotFiniteError
from pdoconv.training.files import whole_file
from pdoconv.training.folder import RunFolder, write_json
from pdoconv.training.images import ImageData
from pdoconv.training.launch import launched
from pdoconv.training.provenance import code_fingerprint
from pdoconv.training.shards import find_strategy, whole_state
from pdoconv.training.slots import Slot, SlotOver, WholeFiles


def train(
    name: str,
    settings: Recipe,
    run: Path,
    *,
    resume: bool = False,
    devices: int | str = "auto",
    accelerator: str = "auto",
    strategy: str = "auto",
    result: Path | None = None,
    stop_after: int | None = None,
    max_minutes: float | None = None,
    changed: bool = False,
    test: bool = True,
) -> dict[str, Any] | None:
    """Train, save the last weights, measure them once on the test set and write the result.

    Args:
        name: Name of the recipe.
        settings: The recipe.
        run: Folder of the run.
        resume: Go on from the newest whole checkpoint in `run`.
        devices: Lightning's `devices`, on each machine; `"auto"` is what torchrun or SLURM started. Each takes its
            share of a batch, and BatchNorm's statistics are of all.
        accelerator: Lightning's `accelerator`.
        strategy: Lightning's `strategy`, such as `"ddp"`; `"fsdp"` keeps parameters in shards and needs a number of
            devices.
        result: Where to write a second copy of `result.json`.
        stop_after: Stop after this many epochs in all, unfinished; go on later with `resume`.
        max_minutes: Stop after this time, in the middle of an epoch if need be; go on later with `resume`.
        changed: Go on although code, torch or data are not those that the run was started with.
        test: Measure on the test set; not for a run that only serves to choose a setting.

    Returns:
        The content of `result.json`, or `None` if the run was stopped before its end.

    Raises:
        FileExistsError: If `run` or `result` would be overwritten.
        OSError: If a file cannot be written, such as a checkpoint to a full disk; the last one stays.
        SystemExit: If a signal asked the run to end, once its state is kept: 128 and the signal's number.
        ValueError: If settings, code or data are not those of the run to resume, the loss is not finite, or there are
            no such devices.
    """
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)  # it advertises other products
    warnings.filterwarnings("ignore", ".*LeafSpec.*is deprecated")  # of torch, in Lightning
    warnings.filterwarnings("ignore", "Checkpoint directory .* exists and is not empty")  # it is to go on there
    if stop_after is not None and stop_after < 1:
        raise ValueError(f"stop_after must be at least 1 epoch, received {stop_after}.")
    if max_minutes is not None and not 0 < max_minutes < float("inf"):
        raise ValueError(f"max_minutes must be a positive number, received {max_minutes}.")
    if not (isinstance(devices, int) and devices > 0) and devices != "auto":
        raise ValueError(f"devices must be a number of at least 1 or 'auto', received {devices!r}.")
    if result is not None and result.exists():
        raise FileExistsError(f"{result} exists already: results are not overwritten, choose another name.")
    devices, machines = launched(devices)
    processes = machines * devices if isinstance(devices, int) else 0
    folder = RunFolder(run)
    data = settings.data()
    torch.manual_seed(settings.seed)
    net = settings.network()
    training, validation = settings.splits(data)
    images = ImageData(
        training,
        validation,
        data.test if test else None,
        batch_size=settings.batch_size,
        channels=settings.channels,
        classes=settings.classes,
        seed=settings.seed,
        augment=settings.augment(),
    )
    steps = len(training.images) // settings.batch_size
    model = Classifier(synchronise(net), settings, settings.epochs * steps)
    slot, timer = Slot(folder.checkpoints, epochs=stop_after, minutes=max_minutes), Timer()
    keep = ModelCheckpoint(
        folder.checkpoints, "{epoch:03d}", monitor="epoch", mode="max", save_top_k=2, save_on_train_epoch_end=True
    )
    try:
        trainer = Trainer(
            accelerator=accelerator,
            devices=devices,
            num_nodes=machines,
            strategy=find_strategy(strategy, processes),
            precision=settings.precision,
            max_epochs=settings.epochs,
            callbacks=[timer, keep, LearningRateMonitor("epoch"), slot, _Lines()],
            plugins=[WholeFiles()],
            logger=CSVLogger(run, "logs"),
            log_every_n_steps=max(1, min(50, steps)),
            num_sanity_val_steps=0,
            limit_val_batches=0 if validation is None else None,
            enable_model_summary=False,
            use_distributed_sampler=False,
        )
    except MisconfigurationException as error:
        raise ValueError(f"devices {devices}, accelerator {accelerator!r}, strategy {strategy!r}: {error}") from error
    images.require_shares(trainer.world_size)
    first = trainer.is_global_zero  # Lightning starts one process a device, each comes through here
    depends = {"code": code_fingerprint(), "version of torch": torch.__version__, "data": data.fingerprint}
    with folder.started(name, settings, resume, depends, changed) if first else nullcontext():
        checkpoint = folder.newest_checkpoint() if resume else None
        try:
            trainer.fit(model, images, ckpt_path=checkpoint)
        except SlotOver:
            slot.over = True
        except NotFiniteError:
            if first:
                raise
            raise SystemExit(1) from None  # the first process says it
        except RuntimeError as error:
            if isinstance(error, torch.distributed.DistError) or "Connection closed by peer" in str(error):
                raise ConnectionError(
                    "Another process of this run ended: it says above why. The last checkpoint is intact: --resume "
                    "goes on from it."
                ) from error
            raise
        state = whole_state(model.best)
        if torch.distributed.is_initialized():
            torch.distributed.destroy_process_group()  # the rest is the first process's own
        if not first:
            return None
        logs = sorted(run.glob("logs/*/metrics.csv"), key=lambda log: (len(log.parent.name), log))  # version_9, _10
        with whole_file(run / "learning_curve.png") as picture:
            learning_curve(logs, picture)
        if slot.over:
            print(
                f"Stopped after {trainer.current_epoch} of {settings.epochs} epochs, step {trainer.global_step}. Go "
                f"on: pdoconv train --resume {run}",
                file=sys.stderr,
            )
            if slot.signal:
                raise SystemExit(128 + slot.signal)
            return None
        kept = settings.network()
        kept.load_state_dict(state)
        folder.save_model(kept, name, settings, images.mean, images.std)
        origin = json.loads(folder.config.read_text())
        content = {
            "recipe": name,
            "title": settings.title,
            "data": data.title,
            "data_sha256_16": data.fingerprint,
            "settings": asdict(settings),
            "selection": f"last weights; settings fixed before the run; test set {'read once' if test else 'not read'}",
            "parameters": sum(p.numel() for p in kept.parameters()),
            "train_images": len(training.images),
            "devices": trainer.world_size,
            **evaluate(folder, images, "valid", accelerator),
            **evaluate(folder, images, "test", accelerator),
            "train_seconds": round(timer.time_elapsed("train"), 1),
            **({"changed_on_resume": origin["changed"]} if "changed" in origin else {}),
            **origin["started"],
        }
        write_json(folder.result, content)
    if result is not None:
        write_json(result, content)
    return content


def evaluate(folder: RunFolder, images: ImageData, split: str, accelerator: str = "auto") -> dict[str, Any]:
    """Measure the saved model of a run on `"valid"` or `"test"`, in float32; empty if the split is not kept apart."""
    count = images.use_for_test(split)
    if not count:
        return {}
    net, _, _ = folder.load_model()
    _, settings = folder.read_config()
    trainer = Trainer(
        accelerator=accelerator, devices=1, logger=False, enable_checkpointing=False, enable_model_summary=False
    )
    measured = trainer.test(Classifier(net, replace(settings, ema=0.0)), datamodule=images, verbose=False)[0]
    error = 100 * (1 - measured["test_accuracy"])
    return {f"{split}_images": count, f"{split}_error_percent": round(error, 3)}


class _Lines(Callback):
    """A line an epoch, and one a minute, where there is no terminal to draw a progress bar on."""

    def __init__(self) -> None:
        self.shown = time.monotonic()

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: object, batch: object, batch_idx: int
    ) -> None:
        if time.monotonic() > self.shown + 60:
            self._show(trainer, f"step {batch_idx + 1}/{trainer.num_training_batches}")

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        shown = {key: value for key, value in sorted(trainer.callback_metrics.items()) if not key.startswith("lr-")}
        self._show(trainer, ", ".join(f"{key} {float(value):.4f}" for key, value in shown.items()))

    def _show(self, trainer: Trainer, text: str) -> None:
        self.shown = time.monotonic()
        if trainer.is_global_zero and not sys.stderr.isatty():
            print(f"epoch {trainer.current_epoch + 1}/{trainer.max_epochs}: {text}", file=sys.stderr, flush=True)
