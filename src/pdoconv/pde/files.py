"""Learned PDEs as small files of plain numbers, which the package ships and a person can read.

One JSON object: `pdoconv_pde` the version of the format, `arguments` those of `LearnedPDE`, `invariants` and `fields`
what columns and rows of the coefficients stand for, `numbers` the parameters with five significant digits, `task` and
`sigma` what it was trained for, `about` how. Nothing in such a file is executed.
"""

import json
import math
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pdoconv.pde.invariants import names
from pdoconv.pde.learned import LearnedPDE
from pdoconv.pde.tasks import TASKS
from pdoconv.stencils import FiniteDifference, Isotropic
from pdoconv.writing import whole_file

VERSION = 1
DIGITS = 5
FOLDER = Path(__file__).parent / "coefficients"
"""Where the files are that the package ships."""

PLAIN = ("steps", "channels", "indicators", "time", "solver", "bounded", "hidden", "limit")
"""Arguments of `LearnedPDE` that are its attributes; `padding`, `stencils`, `kernel_size` are the derivatives'."""
MOST = {"steps": 1000, "channels": 16, "indicators": 16, "hidden": 1024, "kernel_size": 15, "accuracy": 12}
MOST_FIELDS = 16  # 2,481 invariants
MOST_SMOOTHING = 100.0
MOST_NUMBERS = 2_000_000
MOST_BYTES = 32_000_000
KEYS = ("pdoconv_pde", "task", "sigma", "about", "arguments", "fields", "invariants", "numbers")


@dataclass(frozen=True)
class Trained:
    """A learned PDE and what it was trained for.

    Attributes:
        model: The PDE, in eval mode.
        task: Name of the task, a key of `pdoconv.pde.task`, if it is known.
        sigma: Noise in units of 1/255 that it was trained for, if it is known.
        about: How it was trained, for people.
    """

    model: LearnedPDE
    task: str | None = None
    sigma: float | None = None
    about: dict[str, Any] = field(default_factory=dict)


def save(
    model: LearnedPDE,
    path: str | os.PathLike[str],
    *,
    task: str | None = None,
    sigma: float | None = None,
    about: dict[str, Any] | None = None,
) -> None:
    """Write a learned PDE to a JSON file; an older file is replaced, a reader never meets half a file.

    Args:
        model: The PDE. Its numbers are rounded to five significant digits; `checkpoint` is not kept.
        path: File to write; its folder is made.
        task: Name of the task that it was trained for.
        sigma: Noise in units of 1/255 that it was trained for.
        about: How it was trained (recipe, data, commit, PSNR): anything that JSON can hold.

    Raises:
        OSError: If the file cannot be written.
        ValueError: If a number is not finite, an argument is out of range, or derivatives are from other stencils than
            `finite_difference` and `isotropic`.
    """
    _require_purpose("save", task, sigma)
    scheme = model.derivatives.stencils
    if type(scheme) is FiniteDifference:
        stencils: dict[str, Any] = {"name": "finite_difference", "accuracy": scheme.accuracy}
    elif type(scheme) is Isotropic:
        stencils = {"name": "isotropic", "smoothing": scheme.smoothing}
    else:
        raise ValueError(
            f"save: derivatives from {scheme!r} cannot be written: expected finite_difference() or isotropic(). Keep "
            f"other models with torch.save(model.state_dict(), ...)."
        )
    arguments = {
        **{name: getattr(model, name) for name in PLAIN},
        "padding": model.derivatives.padding,
        "kernel_size": model.derivatives.kernel_size,
        "stencils": stencils,
    }
    _require_sizes("save", arguments)
    numbers = {}
    for name, value in model.state_dict().items():
        if not torch.isfinite(value).all():
            raise ValueError(f"save: {name} has numbers that are not finite: nothing was written.")
        numbers[name] = _rounded(value.double().tolist())
    content = {
        "pdoconv_pde": VERSION,
        "task": task,
        "sigma": sigma,
        "about": about or {},
        "arguments": arguments,
        "fields": list(model.labels),
        "invariants": list(names(model.fields, labels=model.labels)),
        "numbers": numbers,
    }
    try:
        text = _written(content) + "\n"
    except (TypeError, ValueError) as error:
        raise ValueError(f"save: about holds what JSON cannot: {error}.") from error
    with whole_file(Path(path)) as file:
        file.write_text(text, encoding="utf-8")


def load(path: str | os.PathLike[str]) -> LearnedPDE:
    """Return the learned PDE of a file, float32, in eval mode; see `read`."""
    return read(path).model


def read(path: str | os.PathLike[str]) -> Trained:
    """Return the learned PDE of a file and what it was trained for.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is not JSON, truncated, of another version, has unknown keys or lacks some, or its shapes,
            sizes or numbers cannot be: says what is wrong. Then it was not used.
    """
    file = Path(path)
    if not file.is_file():
        raise FileNotFoundError(f"There is no file {file}: give a file that pdoconv.pde.save wrote.")
    if file.stat().st_size > MOST_BYTES:
        raise ValueError(f"{file} was not used: {file.stat().st_size} bytes, expected at most {MOST_BYTES}.")
    try:
        content = json.loads(file.read_bytes().decode("utf-8"), object_pairs_hook=_once)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{file} was not used: it is not JSON, or truncated ({error}).") from error
    try:
        return _understood(content)
    except (ValueError, OverflowError) as error:
        raise ValueError(f"{file} was not used: {error}") from error


def shipped(task: str = "denoise") -> Path:
    """Return the file of a task that comes with the package.

    Raises:
        ValueError: If there is no such task.
        FileNotFoundError: If the package has no trained PDE for it.
    """
    if task not in TASKS:
        raise ValueError(f"Unknown task {task!r}: expected one of {', '.join(TASKS)}.")
    file = FOLDER / f"{task}.json"
    if not file.is_file():
        raise FileNotFoundError(
            f"This version of pdoconv comes without a trained PDE for {task!r}: train one, write it with "
            f"pdoconv.pde.save, and give it as model=... (--model FILE on the command line)."
        )
    return file


def _understood(content: Any) -> Trained:
    """Check what a file holds, then make the model."""
    if not isinstance(content, dict) or "pdoconv_pde" not in content:
        raise ValueError('no learned PDE: expected a JSON object with "pdoconv_pde", as pdoconv.pde.save writes it.')
    version = content["pdoconv_pde"]
    if isinstance(version, bool) or version != VERSION:
        raise ValueError(f"format version {version!r}, expected {VERSION}: use the version of pdoconv that wrote it.")
    _require_keys("keys", content, KEYS)
    task, sigma, about, arguments = (content[key] for key in ("task", "sigma", "about", "arguments"))
    _require_purpose("the file", task, sigma)
    if not isinstance(about, dict):
        raise ValueError(f"about must be an object, received {type(about).__name__}.")
    _require_keys("arguments", arguments, (*PLAIN, "padding", "kernel_size", "stencils"))
    _require_sizes("arguments", arguments)
    given = {**arguments, "stencils": _stencils(arguments["stencils"])}
    with torch.random.fork_rng(devices=[]):  # hidden units are drawn at first: not from the user's generator
        model = LearnedPDE(**given)
    for key, expected in (("fields", model.labels), ("invariants", names(model.fields, labels=model.labels))):
        if content[key] != list(expected):
            raise ValueError(f"{key} differ from this version's {list(expected)}: its numbers mean something else.")
    state = model.state_dict()
    _require_keys("numbers", content["numbers"], tuple(state))
    model.load_state_dict({name: _tensor(name, content["numbers"][name], like) for name, like in state.items()})
    return Trained(model.eval().requires_grad_(False), task, sigma, about)


def _require_keys(what: str, found: Any, expected: tuple[str, ...]) -> None:
    if not isinstance(found, dict):
        raise ValueError(f"{what}: expected an object, received {type(found).__name__}.")
    unknown, missing = sorted(found.keys() - set(expected)), [key for key in expected if key not in found]
    if unknown or missing:
        raise ValueError(f"{what}: unknown {unknown}, missing {missing}: it was written by another version or by hand.")


def _require_purpose(who: str, task: Any, sigma: Any) -> None:
    if task is not None and task not in TASKS:
        raise ValueError(f"{who}: unknown task {task!r}: expected one of {', '.join(TASKS)}.")
    if sigma is not None and not (_is_number(sigma) and 0 < sigma <= 255):
        raise ValueError(f"{who}: expected sigma in (0, 255] in units of 1/255, received {sigma!r}.")


def _require_sizes(who: str, arguments: dict[str, Any]) -> None:
    """Raise `ValueError` for sizes that no model has, before anything is made of them, and for other types."""
    for name, most in MOST.items():
        value = arguments.get(name, 1)
        if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= most:
            raise ValueError(f"{who}: expected {name} of at most {most}, a whole number, received {value!r}.")
    for name in ("time", "limit"):
        if not _is_number(arguments[name]):
            raise ValueError(f"{who}: expected {name} as a finite number, received {arguments[name]!r}.")
    for name, kind in (("bounded", bool), ("padding", str), ("solver", str)):
        if not isinstance(arguments[name], kind):
            raise ValueError(f"{who}: expected {name} as {kind.__name__}, received {arguments[name]!r}.")
    n = arguments["channels"] + arguments["indicators"]
    count = 1 + 2 * n + (2 + n) * n * (n + 1) // 2
    hidden, steps = arguments["hidden"], arguments["steps"]
    numbers = hidden * count + steps * (n * count + hidden * (n + 1) + 2 * n)
    if n > MOST_FIELDS or numbers > MOST_NUMBERS:
        raise ValueError(
            f"{who}: {n} fields and {numbers} numbers, expected at most {MOST_FIELDS} and {MOST_NUMBERS}: such a file "
            f"is not a small one."
        )


def _stencils(found: Any) -> FiniteDifference | Isotropic:
    name = found.get("name") if isinstance(found, dict) else found
    if name == "finite_difference":
        _require_keys("stencils", found, ("name", "accuracy"))
        if type(found["accuracy"]) is int and found["accuracy"] <= MOST["accuracy"]:
            return FiniteDifference(found["accuracy"])
    elif name == "isotropic":
        _require_keys("stencils", found, ("name", "smoothing"))
        if _is_number(found["smoothing"]) and found["smoothing"] <= MOST_SMOOTHING:
            return Isotropic(float(found["smoothing"]))
    raise ValueError(f"stencils: expected finite_difference with an accuracy or isotropic, received {found!r}.")


def _tensor(name: str, rows: Any, like: Tensor) -> Tensor:
    """Return nested lists of numbers as a tensor like another one."""
    flat: list[float] = []

    def walk(part: Any, shape: tuple[int, ...]) -> None:
        if not shape:
            if not _is_number(part):
                raise ValueError(f"{name}: expected finite numbers, received {part!r}.")
            flat.append(float(part))
            return
        if not isinstance(part, list) or len(part) != shape[0]:
            found = len(part) if isinstance(part, list) else type(part).__name__
            raise ValueError(f"{name}: expected the shape {tuple(like.shape)}, received {found} where {shape[0]} are.")
        for inner in part:
            walk(inner, shape[1:])

    walk(rows, tuple(like.shape))
    found = torch.tensor(flat, dtype=torch.float64).to(like.dtype).reshape(like.shape)
    if not torch.isfinite(found).all():
        raise ValueError(f"{name}: expected finite numbers, received some that are too large for {like.dtype}.")
    return found


def _is_number(value: Any) -> bool:
    """Say whether it is a finite number; `True` is none."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError(f"a key stands twice among {[key for key, _ in pairs]}")
    return found


def _rounded(value: Any) -> Any:
    if isinstance(value, list):
        return [_rounded(part) for part in value]
    return float(f"{value:.{DIGITS}g}") or 0.0  # without -0.0


def _written(value: Any, indent: str = "") -> str:
    """Return JSON with a line for each innermost list, which is what a person can read."""
    inner = indent + " "
    if isinstance(value, dict) and value:
        parts = [f"{inner}{json.dumps(str(key))}: {_written(part, inner)}" for key, part in value.items()]
        return "{\n" + ",\n".join(parts) + f"\n{indent}}}"
    if isinstance(value, list) and any(isinstance(part, list) for part in value):
        return "[\n" + ",\n".join(inner + _written(part, inner) for part in value) + f"\n{indent}]"
    return json.dumps(value, allow_nan=False, separators=(",", ":"))
