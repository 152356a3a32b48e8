"""A run's folder: what is in it, and how it is written so that nothing is lost or half-written.

`config.json` the recipe; `logs/` metrics as CSV; `checkpoints/` to resume from; `model.safetensors` the final weights;
`result.json` the measured result; pictures.
"""

import json
import warnings
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from pdoconv.files import read as read_file
from pdoconv.files import save as save_file
from pdoconv.files.sizes import require_sizes
from pdoconv.files.values import require_group_name
from pdoconv.models import Normalise
from pdoconv.recipes import Recipe, recipe
from pdoconv.training.files import alone, whole_file
from pdoconv.training.provenance import provenance

SIZES = ("fields", "widths", "units", "kernel_size", "head")
"""Settings that make a network large."""


@dataclass(frozen=True)
class RunFolder:
    """Paths and files of one run."""

    path: Path

    @property
    def config(self) -> Path:
        """The recipe and its settings."""
        return self.path / "config.json"

    @property
    def result(self) -> Path:
        """The measured result; there once the run has finished."""
        return self.path / "result.json"

    @property
    def model(self) -> Path:
        """The final weights; there once the training has finished."""
        return self.path / "model.safetensors"

    @property
    def checkpoints(self) -> Path:
        """Folder of the checkpoints."""
        return self.path / "checkpoints"

    @contextmanager
    def started(
        self,
        name: str,
        settings: Recipe,
        resume: bool,
        depends: Mapping[str, Any] | None = None,
        changed: bool = False,
    ) -> Iterator[None]:
        """Make the folder, or check that it holds the same unfinished run, and have it to oneself.

        Args:
            name: Name of the recipe.
            settings: The recipe.
            resume: Go on with the run.
            depends: What else decides its weights: code, versions, data.
            changed: Go on even if these are not as they were.

        Raises:
            FileExistsError: If the folder holds a finished run, an unfinished one and `resume` is not asked for, or
                another run is at work in it.
            FileNotFoundError: If there is nothing to resume.
            ValueError: If the settings differ from those the run was started with, or what it depends on does.
        """
        if resume:
            self.read_config()
        with alone(self.path):
            if self.result.exists():
                raise FileExistsError(f"{self.path} holds a finished run: choose another folder with --run.")
            if resume:
                self._require_same(name, settings, depends or {}, changed)
            elif self.config.exists():
                raise FileExistsError(
                    f"{self.path} holds an unfinished run: add --resume, or choose another with --run."
                )
            else:
                content = {"recipe": name, "settings": asdict(settings), "depends": depends, "started": provenance()}
                write_json(self.config, content)
            for left in [*self.path.glob("*.part"), *self.checkpoints.glob("*.part")]:
                left.unlink()  # of a process that was killed while it wrote
            yield

    def _require_same(self, name: str, settings: Recipe, depends: Mapping[str, Any], changed: bool) -> None:
        known_name, known = self.read_config()
        if known_name != name:
            raise ValueError(f"{self.path} was started as {known_name}, not as {name}: choose another with --run.")
        before, now = asdict(known), asdict(settings)
        other = [f"{key} {before[key]!r}, not {now[key]!r}" for key in now if before[key] != now[key]]
        if other:
            raise ValueError(
                f"{self.path} was started with {'; '.join(other)}. Leave these settings out to go on with it, or start "
                f"a new run with --run."
            )
        content = json.loads(self.config.read_text())
        then = content.get("depends") or {}
        other = [key for key, value in depends.items() if key in then and then[key] != value]
        if other and not changed:
            raise ValueError(
                f"{self.path} was started with another {' and '.join(other)}, so it cannot end with the weights of an "
                f"undisturbed run: go back to what it was started with, start a new run with --run, or add --changed "
                f"to go on all the same."
            )
        if other:
            write_json(self.config, {**content, "depends": depends, "changed": [*content.get("changed", []), *other]})

    def read_config(self) -> tuple[str, Recipe]:
        """Return the recipe's name and settings.

        Raises:
            FileNotFoundError: If this is not a run's folder.
            ValueError: If the file cannot be understood.
        """
        if not self.config.exists():
            raise FileNotFoundError(f"{self.path} is not a run's folder: it has no config.json.")
        try:
            content = json.loads(self.config.read_text())
            return content["recipe"], recipe(content["recipe"])(**content["settings"])
        except (OSError, KeyError, TypeError, ValueError, AttributeError, RecursionError, OverflowError) as error:
            raise ValueError(f"{self.config} cannot be understood: {error}") from error

    def newest_checkpoint(self) -> Path | None:
        """Return the newest checkpoint that is whole; `None` if the run had none yet.

        Raises:
            ValueError: If there are checkpoints but none is whole.
        """
        found = sorted(self.checkpoints.glob("*.ckpt"), key=lambda p: p.stat().st_mtime_ns, reverse=True)
        for path in found:
            try:
                _require_whole(path)
            except Exception as error:  # torch raises many kinds for a damaged file
                reason = (str(error).splitlines() or [""])[0][:120]
                warnings.warn(f"Checkpoint {path} is damaged and was skipped: {reason}", stacklevel=2)
                continue
            return path
        if found:
            raise ValueError(f"No checkpoint in {self.checkpoints} can be read: start again in another folder.")
        return None

    def save_model(self, net: nn.Module, name: str, settings: Recipe, mean: list[float], std: list[float]) -> None:
        """Write the weights with what is needed to read them safely."""
        save_file(net, self.model, about={"recipe": name, "settings": asdict(settings), "mean": mean, "std": std})

    def load_model(self) -> tuple[nn.Module, Tensor, Tensor]:
        """Return the trained net in eval mode, and mean and standard deviation of its inputs, `(channels, 1, 1)` each.

        Raises:
            FileNotFoundError: If the training has not finished.
            ValueError: If the file is damaged or was made with other filters.
        """
        _, settings = self.read_config()
        if not self.model.exists():
            raise FileNotFoundError(f"{self.path} has no trained model yet: finish it with 'train ... --resume'.")
        try:
            require_sizes("network", {key: value for key, value in asdict(settings).items() if key in SIZES})
            require_group_name(getattr(settings, "group", ""))
            saved = read_file(self.model, settings.network)
        except ValueError as error:
            raise ValueError(f"{self.model} is damaged or of another network, and was not used: {error}") from error
        about = saved.about
        mean, std = (_numbers(self.model, key, about.get(key), settings.channels) for key in ("mean", "std"))
        return saved.model, mean, std

    def publish(self, path: Path, *, white: float = 255.0) -> None:
        """Write the trained net as one file for `pdoconv.load`, which takes images with intensities in [0, 1].

        Its first layer standardises them; `about` holds recipe, settings and the measured result.

        Args:
            path: File to write.
            white: What intensity 1 was in the data of the run: 255 for images of 8 bits, 1 for volumes.

        Raises:
            FileExistsError: If the file exists.
            FileNotFoundError: If the run has not finished.
            ValueError: If `white` is not above 0, or as `load_model` does.
        """
        if path.exists():
            raise FileExistsError(f"{path} exists and is not overwritten: remove it, or choose another name.")
        if not 0 < white < float("inf"):
            raise ValueError(f"white must be above 0, the intensity of white in the data, received {white}.")
        name, settings = self.read_config()
        net, mean, std = self.load_model()
        if not self.result.exists():
            raise FileNotFoundError(f"{self.path} has no result yet: finish it with 'train ... --resume'.")
        inputs = Normalise(*((numbers / white).flatten().tolist() for numbers in (mean, std)))
        about = {"recipe": name, "settings": asdict(settings), "result": json.loads(self.result.read_text())}
        save_file(nn.Sequential(inputs, net), path, about=about)


def _numbers(file: Path, key: str, found: object, channels: int) -> Tensor:
    """Return mean or standard deviation of the inputs; `ValueError` if the file has none that can be."""
    if not isinstance(found, list) or len(found) != channels or not all(isinstance(x, int | float) for x in found):
        raise ValueError(f"{file} was not used: expected {key} of {channels} channels, received {found!a:.80}.")
    return torch.tensor(found, dtype=torch.float64).view(-1, 1, 1)


def _require_whole(checkpoint: Path) -> None:
    """Raise an error of some kind unless a file is a checkpoint, every byte as it was written."""
    with zipfile.ZipFile(checkpoint) as file:  # torch does not look at the checksums in its files
        damaged = file.testzip()
    if damaged is not None:
        raise ValueError(f"its part {damaged} has another checksum")
    if "loops" not in torch.load(checkpoint, map_location="cpu", weights_only=True):
        raise ValueError("it is not of a run")


def write_json(path: Path, content: object) -> None:
    """Write a JSON file, whole or not at all; `OSError` if it cannot be written."""
    with whole_file(path) as file:
        file.write_text(json.dumps(content, indent=2) + "\n")
