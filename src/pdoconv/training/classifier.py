"""The Lightning module of an image classifier."""

import torch
import torch.nn.functional as F
from lightning.pytorch import LightningModule
from torch import Tensor, nn
from torchmetrics.classification import MulticlassAccuracy

Batch = tuple[Tensor, Tensor]


class Classifier(LightningModule):
    """Cross-entropy, AdamW, a one-cycle schedule over the whole run.

    Args:
        net: Images to logits.
        classes: Number of classes.
        lr: Highest learning rate.
        weight_decay: Decoupled weight decay of convolution and linear weights (not of norms and biases).
        warmup: Share of the steps in which the learning rate rises.
        label_smoothing: Of the training loss.
        seed: Every epoch draws from its own stream, so that a resumed run repeats an undisturbed one.
    """

    def __init__(
        self,
        net: nn.Module,
        *,
        classes: int,
        lr: float,
        weight_decay: float = 0.0,
        warmup: float = 0.3,
        label_smoothing: float = 0.0,
        seed: int = 0,
    ) -> None:
        """Keep net and settings, make the metrics."""
        super().__init__()
        self.net = net
        self.lr, self.weight_decay, self.warmup, self.seed = lr, weight_decay, warmup, seed
        self.label_smoothing = label_smoothing
        self.train_accuracy = MulticlassAccuracy(classes, average="micro")
        self.valid_accuracy = MulticlassAccuracy(classes, average="micro")
        self.test_accuracy = MulticlassAccuracy(classes, average="micro")

    def forward(self, x: Tensor) -> Tensor:
        """Map images to logits."""
        logits: Tensor = self.net(x)
        return logits

    def configure_optimizers(self):  # type: ignore[no-untyped-def]  # Lightning's own type is a large union
        """AdamW with one cycle of the learning rate, stepped every batch."""
        matrices = [p for p in self.net.parameters() if p.dim() > 1]
        vectors = [p for p in self.net.parameters() if p.dim() <= 1]
        optimizer = torch.optim.AdamW(
            [{"params": matrices, "weight_decay": self.weight_decay}, {"params": vectors, "weight_decay": 0.0}],
            lr=self.lr,
        )
        steps = int(self.trainer.estimated_stepping_batches)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, self.lr, steps, pct_start=self.warmup)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def on_train_epoch_start(self) -> None:
        """Seed dropout by run and epoch."""
        torch.manual_seed(self.seed * 100_003 + self.current_epoch)

    def training_step(self, batch: Batch) -> Tensor:
        """Return the loss of a batch; `ValueError` if it is not finite."""
        loss = self._step(batch, "train", self.train_accuracy, self.label_smoothing)
        if not torch.isfinite(loss):
            raise ValueError(
                f"The training loss became {loss.item()} at step {self.global_step}. The last checkpoint is intact: "
                f"lower the learning rate (now at most {self.lr}) or use precision 32-true."
            )
        return loss

    def validation_step(self, batch: Batch) -> None:
        """Measure on the validation split."""
        self._step(batch, "valid", self.valid_accuracy)

    def test_step(self, batch: Batch) -> None:
        """Measure on the test split."""
        self._step(batch, "test", self.test_accuracy)

    def _step(self, batch: Batch, stage: str, metric: MulticlassAccuracy, label_smoothing: float = 0.0) -> Tensor:
        x, y = batch
        logits = self(x).float()
        loss = F.cross_entropy(logits, y, label_smoothing=label_smoothing)
        metric.update(logits, y)
        self.log(f"{stage}_loss", loss, on_step=False, on_epoch=True, batch_size=len(y), sync_dist=True)
        self.log(f"{stage}_accuracy", metric, on_step=False, on_epoch=True, prog_bar=True, batch_size=len(y))
        return loss
