"""Train a U-Net on scenes with labelled pixels, in a folder that can be resumed."""

import json
import logging
import sys
import warnings
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint, Timer
from lightning.pytorch.loggers import CSVLogger
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.utils.data import DataLoader, IterableDataset
from torchmetrics import MeanMetric, MetricCollection
from torchmetrics.classification import MulticlassF1Score, MulticlassJaccardIndex

from pdoconv.data import DigitScenes, Scenes
from pdoconv.recipes.segmentation import SYSTEMS, Segmentation
from pdoconv.training.folder import RunFolder, write_json
from pdoconv.training.provenance import provenance

Batch = tuple[Tensor, Tensor]


def as_input(scenes: Scenes) -> Batch:
    """Return images `(n, 1, height, width)`, about 0 and of deviation about 1, and labels `(n, height, width)`."""
    images = torch.from_numpy(scenes.images).float()[:, None]
    return (images / 255 - 0.4) / 0.25, torch.from_numpy(scenes.labels).long()


def in_parts(scenes: Scenes, batch: int = 32) -> list[Batch]:
    """Return what `as_input` does, in batches."""
    images, labels = as_input(scenes)
    return list(zip(torch.split(images, batch), torch.split(labels, batch), strict=True))


class Batches(IterableDataset[Batch]):
    """Batches of the steps from `start` on, which depend on seed and step alone."""

    def __init__(self, scenes: DigitScenes, settings: Segmentation, start: int = 0) -> None:
        """Keep what to draw from."""
        self.scenes, self.settings, self.start = scenes, settings, start

    def __iter__(self) -> Iterator[Batch]:
        """Yield images and labels."""
        s, known = self.settings, -1
        turned = SYSTEMS[s.system].turned
        for step in range(self.start, s.steps):
            epoch, place = divmod(step, s.scenes // s.batch)
            if epoch != known:
                seed = s.seed * 1_000_003 + epoch
                if turned or known < 0:
                    images, labels = as_input(self.scenes.turned(seed) if turned else self.scenes.upright())
                order = np.random.Generator(np.random.PCG64([seed, 4])).permutation(s.scenes)
                known = epoch
            part = order[place * s.batch :][: s.batch]
            yield images[part], labels[part]


class SegmenterModule(LightningModule):
    """Weighted cross-entropy of every pixel, AdamW, a one-cycle schedule."""

    weights: Tensor

    def __init__(self, net: nn.Module, settings: Segmentation) -> None:
        """Keep the network, make the metrics."""
        super().__init__()
        self.net, self.settings = net, settings
        self.register_buffer("weights", settings.weights(), persistent=False)
        self.train_loss, self.valid_loss, self.valid = MeanMetric(), MeanMetric(), overlaps(settings.classes)

    def configure_optimizers(self):  # type: ignore[no-untyped-def]  # Lightning's own type is a large union
        """Return AdamW and its schedule, stepped every batch."""
        s = self.settings
        optimizer = torch.optim.AdamW(self.net.parameters(), lr=s.lr, weight_decay=s.weight_decay)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, s.lr, max(s.steps, 2))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def training_step(self, batch: Batch) -> Tensor:
        """Return the loss of a batch; `ValueError` if it is not finite."""
        loss = F.cross_entropy(self.net(batch[0]), batch[1], weight=self.weights)
        if not torch.isfinite(loss):
            raise ValueError(f"The training loss became {loss.item()}: lower the learning rate.")
        self.train_loss.update(loss.detach())
        self.log("loss", loss, prog_bar=True)
        return loss

    def validation_step(self, batch: Batch) -> None:
        """Measure on validation scenes."""
        logits = self.net(batch[0])
        self.valid_loss.update(F.cross_entropy(logits, batch[1], weight=self.weights), len(logits))
        self.valid.update(logits, batch[1])

    def on_validation_epoch_end(self) -> None:
        """Log losses and overlaps since the last time."""
        found = {"valid_loss": self.valid_loss.compute(), **self.valid.compute()}
        if self.train_loss.update_called:
            found["train_loss"] = self.train_loss.compute()
        self.log_dict(found, prog_bar=True)
        for metric in (self.train_loss, self.valid_loss, self.valid):
            metric.reset()


def overlaps(classes: int) -> MetricCollection:
    """Return the two measures of overlap, each a mean over the classes: intersection over union, and Dice."""
    return MetricCollection(
        {
            "mean_iou": MulticlassJaccardIndex(classes, average="macro"),
            "dice": MulticlassF1Score(classes, average="macro"),
        }
    )


def measure(net: nn.Module, scenes: Scenes, settings: Segmentation, batch: int = 32) -> dict[str, float]:
    """Return mean IoU and Dice over the classes, of all pixels together, and the mean of the loss."""
    metrics, loss, weights = overlaps(settings.classes), MeanMetric(), settings.weights()
    device = next(net.parameters()).device
    with torch.no_grad():
        for x, y in in_parts(scenes, batch):
            logits = net(x.to(device)).cpu()
            metrics.update(logits, y)
            loss.update(F.cross_entropy(logits, y, weight=weights), len(x))
    return {key: round(float(value), 4) for key, value in {**metrics.compute(), "loss": loss.compute()}.items()}


def train_segmenter(
    settings: Segmentation, scenes: DigitScenes, validation: DigitScenes, run: Path
) -> tuple[nn.Module, dict[str, Any]]:
    """Train in a folder, or go on where a run stopped, or read what a finished run left.

    Args:
        settings: The recipe.
        scenes: Training scenes, as many as the recipe says.
        validation: Scenes that are measured after every epoch, upright; nothing is chosen by them.
        run: Folder of the run.

    Returns:
        The trained network in eval mode, and what is known of the run.

    Raises:
        ValueError: If the folder holds a run with other settings or scenes, or the loss is not finite.
    """
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)  # it advertises other products
    warnings.filterwarnings("ignore", ".*LeafSpec.*is deprecated")  # of torch, in Lightning
    warnings.filterwarnings("ignore", "Checkpoint directory .* exists and is not empty")  # it is to go on there
    warnings.filterwarnings("ignore", "The '.*_dataloader' does not have many workers")  # the scenes are in memory
    upright, net, folder = validation.upright(), settings.network(), RunFolder(run)
    if len(scenes.backgrounds) != settings.scenes:
        raise ValueError(f"Expected {settings.scenes} training scenes, received {len(scenes.backgrounds)}.")
    data = {"train": scenes.upright().fingerprint, "valid": upright.fingerprint}
    wanted = {"settings": asdict(settings), "data": data}
    config, model, result = folder.config, folder.model, folder.result
    if config.exists() and {k: v for k, v in json.loads(config.read_text()).items() if k in wanted} != wanted:
        raise ValueError(f"{run} holds a run with other settings or scenes: choose another folder with --runs.")
    if result.exists():
        net.load_state_dict(load_file(model))
        return net.eval(), json.loads(result.read_text())
    if not config.exists():
        write_json(config, {**wanted, "started": provenance()})
    found, timer, epoch = folder.newest_checkpoint(), Timer(), settings.scenes // settings.batch
    start = int(torch.load(found, map_location="cpu", weights_only=True)["global_step"]) if found else 0
    trainer = Trainer(
        accelerator="cpu" if not torch.cuda.is_available() else "auto",
        devices=1,
        max_steps=settings.steps,
        val_check_interval=epoch,
        check_val_every_n_epoch=None,
        callbacks=[timer, ModelCheckpoint(folder.checkpoints, "{step:06d}", every_n_train_steps=epoch), _Lines()],
        logger=CSVLogger(run, "logs"),
        log_every_n_steps=max(1, epoch // 4),
        num_sanity_val_steps=0,
        enable_model_summary=False,
    )
    module = SegmenterModule(net, settings)
    trainer.fit(
        module,
        DataLoader(Batches(scenes, settings, start), batch_size=None),
        DataLoader(in_parts(upright), batch_size=None),  # type: ignore[arg-type]  # a list will do
        ckpt_path=found,
    )
    if trainer.global_step < settings.steps:
        raise ValueError(f"Stopped after {trainer.global_step} of {settings.steps} steps: the same command goes on.")
    net = net.cpu().eval()
    save_file({key: value.contiguous() for key, value in net.state_dict().items()}, model)
    content = {
        "title": SYSTEMS[settings.system].title,
        **wanted,
        "parameters": sum(p.numel() for p in net.parameters()),
        "train_loss": round(float(trainer.callback_metrics["train_loss"]), 4),
        "valid": measure(net, upright, settings),
        "train_seconds": round(timer.time_elapsed("train"), 1),
        **json.loads(config.read_text())["started"],
    }
    write_json(result, content)
    return net, content


class _Lines(Callback):
    """A line of progress an epoch where there is no terminal."""

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if not sys.stderr.isatty() and isinstance(pl_module, SegmenterModule):
            s, found = pl_module.settings, trainer.callback_metrics
            shown = ", ".join(f"{k} {float(v):.3f}" for k, v in sorted(found.items()) if k != "loss")
            print(f"{s.system}: step {trainer.global_step}/{s.steps}, {shown}", file=sys.stderr, flush=True)
