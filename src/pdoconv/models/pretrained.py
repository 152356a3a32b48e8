"""Trained networks that come with the package, each with a card that says what it is and where its figures are."""

import json
from pathlib import Path

from torch import nn

from pdoconv import files
from pdoconv.pde import files as pdes

WEIGHTS = Path(__file__).parent / "weights"
"""Where weights and cards are."""


def pretrained() -> tuple[str, ...]:
    """Return the names that `load` knows.

    >>> "mnist-rot-small" in pretrained()
    True
    """
    return (*sorted(file.stem for file in WEIGHTS.glob("*.safetensors")), *sorted(_equations()))


def load(name: str) -> nn.Module:
    """Return a trained network, on the CPU and in eval mode.

    Networks take images as floats in [0, 1], `(batch, channels, height, width)`: the first layer of each, a
    `Normalise`, does what else they need. Learned PDEs are those of `pdoconv.pde.restore`.

    Args:
        name: One of `pretrained()`; `card` says what it is.

    Raises:
        ValueError: If there is none of that name.

    >>> import torch
    >>> load("mnist-rot-small")(torch.zeros(1, 1, 28, 28)).shape
    torch.Size([1, 10])
    """
    _require_known(name)
    equation = _equations().get(name)
    return files.load(WEIGHTS / f"{name}.safetensors") if equation is None else pdes.load(equation)


def card(name: str) -> str:
    """Return the model card, Markdown: what it is, data, command, results file, metric, inputs, limits, licence.

    Raises:
        ValueError: If there is no model of that name.

    >>> print(card("mnist-rot-small").splitlines()[0])
    # mnist-rot-small
    """
    _require_known(name)
    return (WEIGHTS / f"{name}.md").read_text(encoding="utf-8")


def _require_known(name: str) -> None:
    if name not in pretrained():
        raise ValueError(f"No trained model {name!r} comes with pdoconv: expected one of {', '.join(pretrained())}.")


def _equations() -> dict[str, Path]:
    """Return the files of learned PDEs by name: the task, and the noise it was trained for if that is part of it."""
    found = {}
    for file in pdes.FOLDER.glob("*.json"):
        sigma = json.loads(file.read_text(encoding="utf-8"))["sigma"]
        found[f"lpde-{file.stem}" + ("" if sigma is None else f"-{sigma:g}")] = file
    return found
