"""The Lightning module of an image classifier."""

import math
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from lightning.pytorch import LightningModule
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR, LRScheduler, OneCycleLR
from torch.optim.swa_utils import AveragedModel
from torchmetrics import MeanMetric, Metric
from torchmetrics.classification import MulticlassAccuracy

from pdoconv.recipes import Recipe
from pdoconv.training.shards import shard

Batch = tuple[Tensor, Tensor]
Tensors = tuple[Tensor, ...] | list[Tensor]


class NotFiniteError(ValueError):
    """Loss or weights became infinite or not a number; all devices raise it alike."""


class Classifier(LightningModule):
    """Cross-entropy, with the optimiser, the schedule and the average of weights that a recipe names.

    Weight decay acts on convolution and linear weights, not on norms and biases: decoupled with AdamW, coupled (L2)
    with SGD. Every step draws from its own stream, so that a resumed run repeats an undisturbed one.

    Args:
        net: Images to logits.
        settings: The recipe.
        steps: Of the whole training, for the schedule.
    """

    def __init__(self, net: nn.Module, settings: Recipe, steps: int = 0) -> None:
        """Keep net and settings, make the metrics."""
        super().__init__()
        # not trainer.estimated_stepping_batches: it starts the loader before the trainer restores its state
        self.net, self.settings, self.steps = net, settings, steps
        decay = settings.ema
        self.average = AveragedModel(net, multi_avg_fn=moving_average(decay), use_buffers=True) if decay else None
        if self.average is not None:
            self.average.requires_grad_(False)
        self.measures = nn.ModuleDict()
        for stage in ("train", "valid", "test"):
            self.measures[f"{stage}_loss"] = MeanMetric(nan_strategy="disable")  # over images, however they are shared
            self.measures[f"{stage}_accuracy"] = MulticlassAccuracy(settings.classes, average="micro")

    @property
    def best(self) -> nn.Module:
        """The net to keep: the average of weights if there is one."""
        return self.net if self.average is None else self.average.module

    def forward(self, x: Tensor) -> Tensor:
        """Map images to logits."""
        logits: Tensor = self.net(x)
        return logits

    def configure_model(self) -> None:
        """Share the parameters among the devices, if the strategy has a mesh of them."""
        if self.device_mesh is not None:
            for net in (self.net, self.average):
                if net is not None:
                    shard(net, self.device_mesh)

    def configure_optimizers(self):  # type: ignore[no-untyped-def]  # Lightning's own type is a large union
        """Return the optimiser, and the schedule of its rate, stepped every batch."""
        optimizer = _optimizer(self.net, self.settings)
        schedule = _schedule(optimizer, self.settings, self.steps)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def on_train_batch_start(self, batch: Batch, batch_idx: int) -> None:
        """Seed dropout by run, step and device."""
        torch.manual_seed((self.settings.seed * 1_000_003 + self.global_step) * 1_009 + self.global_rank)

    def optimizer_step(self, *args: Any, **kwargs: Any) -> None:
        """Step, then move the average of weights."""
        super().optimizer_step(*args, **kwargs)
        if self.average is not None:
            self.average.update_parameters(self.net)

    def training_step(self, batch: Batch) -> Tensor:
        """Return the loss of a batch; `NotFiniteError` if it is not finite."""
        loss = self._step(batch, self.net, "train", self.settings.label_smoothing)
        self._require(bool(torch.isfinite(loss)), "training loss became infinite or not a number")
        return loss

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Raise `NotFiniteError` rather than keep weights from which nothing could go on."""
        state = [value for value in checkpoint["state_dict"].values() if isinstance(value, Tensor)]
        self._require(all(bool(value.isfinite().all()) for value in state), "weights became infinite or not a number")

    def _require(self, finite: bool, otherwise: str) -> None:
        if self.trainer.strategy.reduce_boolean_decision(not finite, all=False):
            raise NotFiniteError(
                f"The {otherwise} at step {self.global_step}. The last checkpoint is intact, but resumed it would come "
                f"to the same: start a new run in another folder (--run) with a lower learning rate (--lr, now "
                f"{self.settings.lr}) or with --precision 32-true."
            )

    def validation_step(self, batch: Batch) -> None:
        """Measure on the validation split."""
        self._step(batch, self.best, "valid")

    def test_step(self, batch: Batch) -> None:
        """Measure on the test split."""
        self._step(batch, self.best, "test")

    def _step(self, batch: Batch, net: nn.Module, stage: str, label_smoothing: float = 0.0) -> Tensor:
        x, y = batch
        logits = net(x).float()
        losses = F.cross_entropy(logits, y, reduction="none", label_smoothing=label_smoothing)
        classes = y if y.dim() == 1 else y.argmax(1)  # mixed images have two
        self._log(f"{stage}_loss", losses.detach())
        self._log(f"{stage}_accuracy", logits, classes)
        return losses.mean()

    def _log(self, name: str, *values: Tensor) -> None:
        measure = self.measures[name]
        assert isinstance(measure, Metric)
        measure.update(*values)
        shown = name.endswith("accuracy")
        self.log(name, measure, on_step=False, on_epoch=True, prog_bar=shown, batch_size=len(values[0]))


def moving_average(decay: float) -> Callable[[Tensors, Tensors, Tensor | int], None]:
    """Return a step of an exponential moving average, faster at the start: decay min(decay, (1 + n) / (10 + n))."""

    @torch.no_grad()
    def step(averages: Tensors, now: Tensors, count: Tensor | int) -> None:
        share = 1 - min(decay, (1 + int(count)) / (10 + int(count)))
        for average, value in zip(averages, now, strict=True):
            if average.is_floating_point():
                average.lerp_(value.to(average.dtype), share)
            else:
                average.copy_(value)

    return step


def _optimizer(net: nn.Module, settings: Recipe) -> torch.optim.Optimizer:
    matrices = [p for p in net.parameters() if p.dim() > 1]
    vectors = [p for p in net.parameters() if p.dim() <= 1]
    groups = [{"params": matrices, "weight_decay": settings.weight_decay}, {"params": vectors, "weight_decay": 0.0}]
    if settings.optimizer == "sgd":
        return torch.optim.SGD(groups, lr=settings.lr, momentum=0.9, nesterov=True)
    return torch.optim.AdamW(groups, lr=settings.lr)


def _schedule(optimizer: torch.optim.Optimizer, settings: Recipe, steps: int) -> LRScheduler:
    if settings.schedule == "one-cycle":
        adam = settings.optimizer == "adamw"  # its first beta moves between 0.95 and 0.85, SGD's momentum stays
        return OneCycleLR(optimizer, settings.lr, steps, pct_start=settings.warmup, cycle_momentum=adam)
    rate = tenths if settings.schedule == "steps" else warm_cosine
    return LambdaLR(optimizer, lambda step: rate(step / steps, settings.warmup))


def tenths(done: float, warmup: float) -> float:
    """Return the factor of the rate after a share of the run: a tenth from half of it on, a hundredth from 3/4 on.

    >>> [tenths(done, 0.3) for done in (0.0, 0.49, 0.5, 0.75)]
    [1.0, 1.0, 0.1, 0.01]
    """
    return 1.0 if done < 0.5 else 0.1 if done < 0.75 else 0.01


def warm_cosine(done: float, warmup: float) -> float:
    """Return the factor of the rate after a share of the run: linear up to the share `warmup`, then a half cosine to 0.

    >>> [round(warm_cosine(done, 0.2), 3) for done in (0.0, 0.1, 0.2, 0.6, 1.0)]
    [0.0, 0.5, 1.0, 0.5, 0.0]
    """
    if done < warmup:
        return done / warmup
    return 0.5 * (1 + math.cos(math.pi * (done - warmup) / (1 - warmup)))
