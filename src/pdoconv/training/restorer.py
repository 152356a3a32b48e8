"""Train a restoration network or a learned PDE on patches of pictures, in a folder that can be resumed."""

import json
import logging
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint, Timer
from lightning.pytorch.loggers import CSVLogger
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.utils.data import DataLoader, IterableDataset

from pdoconv.data import as_image, patches
from pdoconv.data.pictures import Picture
from pdoconv.measure import psnr
from pdoconv.pde import LearnedPDE, greedy
from pdoconv.pde.tasks import Task, begin, solve
from pdoconv.recipes.restoration import GREEDY, SYSTEMS, Restoration
from pdoconv.training.folder import RunFolder, write_json
from pdoconv.training.provenance import provenance

Pictures = Sequence[Picture]
EVERY = 100  # steps between lines, checkpoints and looks at the validation pictures


class Patches(IterableDataset[tuple[int, Tensor]]):
    """Numbered batches of clean patches, from step `start` on."""

    def __init__(self, pictures: Pictures, settings: Restoration, start: int = 0) -> None:
        """Keep what to draw from."""
        self.pictures, self.settings, self.start = pictures, settings, start

    def __iter__(self) -> Iterator[tuple[int, Tensor]]:
        """Yield the number of a step and its patches `(batch, channels, patch, patch)`."""
        s = self.settings
        drawn = patches(self.pictures, batch=s.batch, size=s.patch, seed=s.seed, start=self.start)
        return enumerate(drawn, self.start)


class RestorerModule(LightningModule):
    """Mean squared error, Adam, a one-cycle schedule; what is observed in a step depends on seed and step alone."""

    def __init__(self, net: nn.Module, settings: Restoration, validation: Pictures) -> None:
        """Keep the network."""
        super().__init__()
        self.net, self.settings, self.problem, self.validation = net, settings, settings.problem(), validation

    def configure_optimizers(self):  # type: ignore[no-untyped-def]  # Lightning's own type is a large union
        """Adam; coefficients and scales of learned PDEs have a rate of their own."""
        system = SYSTEMS[self.settings.system]
        slow = ("coefficients", "log_scale") if isinstance(self.net, LearnedPDE) else ()
        named = list(self.net.named_parameters())
        groups = [
            ([p for name, p in named if name in slow], system.coefficient_lr),
            ([p for name, p in named if name not in slow], system.lr),
        ]
        used = [(parameters, lr) for parameters, lr in groups if parameters]
        optimizer = torch.optim.Adam([{"params": parameters, "lr": lr} for parameters, lr in used])
        schedule = torch.optim.lr_scheduler.OneCycleLR(
            optimizer, [lr for _, lr in used], self.settings.steps, pct_start=0.15
        )
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def training_step(self, batch: tuple[int, Tensor]) -> Tensor:
        """Return the loss of a batch; `ValueError` if it is not finite."""
        step, clean = batch
        generator = torch.Generator().manual_seed(self.settings.seed * 1_000_003 + step)
        observed, known = self.problem.observe(clean, generator)
        loss = F.mse_loss(solve(self.net, observed, known), self.problem.target(clean))
        if not torch.isfinite(loss):
            raise ValueError(f"The training loss became {loss.item()} at step {step}: lower the learning rate.")
        self.log("train_loss", loss, batch_size=len(clean))
        return loss


def evaluate(net: nn.Module, problem: Task, pictures: Pictures, seed: int = 0) -> float:
    """Return the mean PSNR in dB over pictures, each observed with noise that depends on the seed and its place."""
    values, device = [], next(net.parameters()).device
    with torch.no_grad():
        for place, picture in enumerate(pictures):
            clean = as_image(picture).to(device)
            observed, known = problem.observe(clean, torch.Generator().manual_seed(seed * 1_000_003 + place))
            values.append(psnr(solve(net, observed, known).clamp(0, 1), problem.target(clean)).item())
    return sum(values) / len(values)


def train_restorer(
    settings: Restoration, pictures: Pictures, validation: Pictures, run: Path, data: str
) -> tuple[nn.Module, dict[str, Any]]:
    """Train in a folder, or go on where a run stopped, or read what a finished run left.

    Args:
        settings: The recipe.
        pictures: Clean pictures to draw patches from.
        validation: Pictures whose PSNR is logged on the way; nothing is chosen by it.
        run: Folder of the run.
        data: What the pictures are, for the record.

    Returns:
        The trained network in eval mode, and what is known of the run.

    Raises:
        ValueError: If the folder holds a run with other settings, or the loss is not finite.
    """
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)  # it advertises other products
    net = settings.network()
    folder = RunFolder(run)
    config, model, result = folder.config, folder.model, folder.result
    wanted = {"settings": asdict(settings), "data": data}
    if config.exists() and {k: v for k, v in json.loads(config.read_text()).items() if k in wanted} != wanted:
        raise ValueError(f"{run} holds a run with other settings or pictures: choose another folder with --runs.")
    if result.exists():
        net.load_state_dict(load_file(model))
        return net.eval(), json.loads(result.read_text())
    if not config.exists():
        write_json(config, {**wanted, "started": provenance()})
    found = folder.newest_checkpoint()
    if found is None and isinstance(net, LearnedPDE) and SYSTEMS[settings.system].greedy:
        _estimate(net, pictures, settings)
    start = int(torch.load(found, map_location="cpu", weights_only=True)["global_step"]) if found else 0
    timer = Timer()
    keep = ModelCheckpoint(folder.checkpoints, "{step:06d}", every_n_train_steps=EVERY)
    trainer = Trainer(
        accelerator="cpu" if not torch.cuda.is_available() else "auto",
        devices=1,
        max_steps=settings.steps,
        callbacks=[timer, keep, _Lines()],
        logger=CSVLogger(run, "logs"),
        log_every_n_steps=EVERY // 4,
        gradient_clip_val=0.05,
        enable_model_summary=False,
    )
    loader = DataLoader(Patches(pictures, settings, start), batch_size=None)
    trainer.fit(RestorerModule(net, settings, validation), loader, ckpt_path=found)
    if trainer.global_step < settings.steps:
        raise ValueError(f"Stopped after {trainer.global_step} of {settings.steps} steps: the same command goes on.")
    net = net.cpu().eval()
    save_file({key: value.contiguous() for key, value in net.state_dict().items()}, model)
    content = {
        "settings": asdict(settings),
        "title": SYSTEMS[settings.system].title,
        "data": data,
        "parameters": sum(p.numel() for p in net.parameters()),
        "validation_psnr": round(evaluate(net, settings.problem(), validation), 3),
        "train_seconds": round(timer.time_elapsed("train"), 1),
        **json.loads(config.read_text())["started"],
    }
    write_json(result, content)
    return net, content


def _estimate(net: LearnedPDE, pictures: Pictures, settings: Restoration) -> None:
    """Begin with coefficients that are best one step after the other."""
    drawn = patches(pictures, batch=settings.batch * GREEDY, size=settings.patch, seed=settings.seed)
    clean = next(drawn).double()
    problem = settings.problem()
    observed, known = problem.observe(clean, torch.Generator().manual_seed(settings.seed))
    image, indicator = begin(net.double(), observed, known)
    greedy(net, image, problem.target(clean), indicator=indicator, known=known)
    net.float()


class _Lines(Callback):
    """Lines of progress where there is no terminal, with the PSNR on validation pictures now and then."""

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        done = trainer.global_step
        if done % EVERY or not isinstance(pl_module, RestorerModule):
            return
        pl_module.eval()
        found = evaluate(pl_module.net, pl_module.problem, pl_module.validation[:4])
        pl_module.train()
        pl_module.log("valid_psnr", found)
        if not sys.stderr.isatty():
            loss = float(trainer.callback_metrics.get("train_loss", torch.nan))
            total = pl_module.settings.steps
            print(
                f"{pl_module.settings.system}: step {done}/{total}, loss {loss:.5f}, validation {found:.2f} dB",
                file=sys.stderr,
                flush=True,
            )
