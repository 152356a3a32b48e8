"""What `pdoconv restore` does: a picture's file goes in, the restored picture and plates to look at come out."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pdoconv.measure import psnr, ssim
from pdoconv.pde.restore import LUMA, Running, start
from pdoconv.pde.tasks import Task, task
from pdoconv.progress import progress
from pdoconv.writing import whole_file

FORMATS = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG", ".tif": "TIFF", ".tiff": "TIFF"}
DEEP = ("PNG", "TIFF")  # formats that hold gray pictures of 16 bits
SSIM_SIDE = 11
SEED = 0


@dataclass(frozen=True)
class Picture:
    """A picture that was read.

    Attributes:
        values: `(H, W)` if gray, `(H, W, 3)` in red, green, blue; float32 in [0, 1].
        bits: 8 or 16 a channel.
        notes: What was left out, for people.
    """

    values: NDArray[Any]
    bits: int = 8
    notes: tuple[str, ...] = ()


def restore_file(
    source: Path,
    out: Path,
    task_name: str = "denoise",
    *,
    sigma: float = 25.0,
    mask: Path | None = None,
    model: Path | None = None,
    simulate: bool = False,
    with_strip: bool = False,
) -> list[str]:
    """Restore a picture; write the result and `OUT-plate.png`, with it the evolution if that is asked for.

    Args:
        source: PNG, JPEG or TIFF of 8 or 16 bits, gray or coloured.
        out: File of the result; its ending says the format. Gray pictures of 16 bits stay so in PNG and TIFF.
        task_name: One of `pdoconv.pde.TASKS`.
        sigma: Noise in units of 1/255, for `"denoise"`.
        mask: A picture of the same size, bright where pixels are known, for `"inpaint"`.
        model: File of a learned PDE; default the one that comes with the package.
        simulate: Take the picture as clean, degrade it at first (always alike) and say how well it is restored.
        with_strip: Write `OUT-strip.png`, the evolution, and `OUT-coefficients.png` too.

    Returns:
        Lines that tell what was done.

    Raises:
        FileNotFoundError: If a file is missing, or the folder of `out`.
        FileExistsError: If a file that is to be written exists already.
        ValueError: If a file is no picture, or something does not fit; nothing is written then.
        BlowUpError: If the evolution blows up.
    """
    from pdoconv.plot_pde import coefficient_curves, plate, strip

    problem = task(task_name, sigma)
    beside = {name: out.with_name(f"{out.stem}-{name}.png") for name in ("plate", "strip", "coefficients")}
    _require_free(source, out, [out, *(list(beside.values()) if with_strip else [beside["plate"]])])
    if mask is not None and task_name != "inpaint":
        raise ValueError(f"--mask: the task {task_name!r} takes none, only 'inpaint' does: leave it out.")
    if mask is None and task_name == "inpaint" and not simulate:
        raise ValueError("The task 'inpaint' needs --mask FILE, a picture that is bright where pixels are known.")
    picture = read_picture(source)
    if task_name == "demosaick" and picture.values.ndim == 3 and not simulate:
        raise ValueError(f"{source} is coloured: the task 'demosaick' takes a gray mosaic, RGGB, or --simulate.")
    known = None if mask is None else _read_mask(mask, picture)
    clean = _tensor(picture.values)
    observed, truth = clean, None
    if simulate:
        observed, known, truth = _simulated(problem, clean, known)
    given = None if known is None else known.to(observed)
    running = start(observed, task_name, sigma=sigma, known=given, model=model)
    kept = []
    title = problem.title if mask is None else "Inpainting"
    for state in progress(running.states(), total=running.net.steps + 1, title=title):
        last = state
        if with_strip:
            kept.append({name: field[0] for name, field in running.fields(state).items()})
    result = running.result(last)
    shown = _captions(problem, clean, observed, result, truth, known)
    found = _array(result)
    form = FORMATS[out.suffix.lower()]
    _write(out, lambda part: _save(found, part, form, picture.bits if found.ndim == 2 and problem.restores else 8))
    _write(beside["plate"], lambda part: plate({k: v[0] for k, v in shown.items()}, part))
    lines = [*(f"{source}: {note}." for note in picture.notes), *_about(running, title)]
    lines += [caption.replace("\n", ": ") for caption in shown if truth is not None and "dB" in caption]
    lines += [f"Result: {out}", f"Plate: {beside['plate']}"]
    if with_strip:
        times = [k * running.net.time / running.net.steps for k in range(len(kept))]
        _write(beside["strip"], lambda part: strip(kept, part, times))
        _write(beside["coefficients"], lambda part: coefficient_curves(running.net, part))
        lines += [f"Evolution: {beside['strip']}", f"Coefficients: {beside['coefficients']}"]
    return lines


def read_picture(file: Path) -> Picture:
    """Read a picture as it is seen: upright, without transparency.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is no whole PNG, JPEG or TIFF of 8 or 16 bits.
    """
    from PIL import Image, ImageOps

    if not file.is_file():
        raise FileNotFoundError(f"There is no picture {file}.")
    try:
        with Image.open(file, formats=("PNG", "JPEG", "TIFF")) as opened:
            notes = ["the first of its pictures was taken"] if getattr(opened, "n_frames", 1) > 1 else []
            if any("16B" in str(part) or "16L" in str(part) for tile in opened.tile for part in tile):
                notes += [] if opened.mode.startswith("I") else ["of 16 bits a colour 8 were kept"]
            deep = opened.mode.startswith("I;16") or (opened.mode == "I" and opened.format == "PNG")
            opened.load()
            image = ImageOps.exif_transpose(opened)
    except Exception as error:  # a damaged file raises many kinds; whatever it is, the picture is not used
        reason = str(error) or type(error).__name__
        raise ValueError(f"{file} is not a whole PNG, JPEG or TIFF picture and was not used ({reason}).") from error
    if deep:
        return Picture(np.asarray(image).astype(np.float32) / 65535, 16, tuple(notes))
    if image.mode in ("I", "F"):
        raise ValueError(f"{file} has 32 bits a pixel: expected 8 or 16. Convert it.")
    if image.has_transparency_data:
        notes.append("transparency was dropped")
    gray = image.mode in ("1", "L", "LA", "La")
    return Picture(np.asarray(image.convert("L" if gray else "RGB"), dtype=np.float32) / 255, 8, tuple(notes))


def _read_mask(file: Path, picture: Picture) -> Tensor:
    values = read_picture(file).values
    if values.shape[:2] != picture.values.shape[:2]:
        (height, width), (h, w) = picture.values.shape[:2], values.shape[:2]
        raise ValueError(f"The mask {file} has {w} x {h} pixels: expected {width} x {height}, as the picture.")
    bright = (values if values.ndim == 2 else values.mean(-1)) > 0.5
    if not bright.any():
        raise ValueError(f"The mask {file} knows no pixel: paint what is known bright, the holes dark.")
    return torch.from_numpy(bright)[None, None]


def _require_free(source: Path, out: Path, files: list[Path]) -> None:
    """Raise an error if something could not be written, before anything is computed."""
    if out.suffix.lower() not in FORMATS:
        raise ValueError(f"{out}: expected an ending of {', '.join(FORMATS)}, received {out.suffix!r}.")
    if not out.parent.is_dir():
        raise FileNotFoundError(f"Folder {out.parent} does not exist: make it first.")
    if source.exists() and out.exists() and source.samefile(out):
        raise ValueError(f"{out} is the picture itself: give the result another name.")
    for file in files:
        if file.exists():
            raise FileExistsError(f"{file} exists and is not overwritten: remove it, or give the result another name.")


def _simulated(problem: Task, clean: Tensor, known: Tensor | None) -> tuple[Tensor, Tensor | None, Tensor]:
    """Return what is observed of a clean picture, with which mask, and what should be found."""
    if problem.name == "text":
        raise ValueError("--simulate: where text is in a picture is not known: leave it out for the task 'text'.")
    if problem.channels == 3 and clean.shape[1] == 1:
        raise ValueError(f"--simulate: the task {problem.name!r} needs a coloured picture, received a gray one.")
    if not problem.restores and clean.shape[1] == 3:
        clean = (clean * torch.tensor(LUMA)[:, None, None]).sum(1, keepdim=True)
    observed, drawn = problem.observe(clean, torch.Generator().manual_seed(SEED))
    if known is not None:
        observed, drawn = clean * known, known
    return observed, drawn, problem.target(clean)


def _captions(
    problem: Task, clean: Tensor, observed: Tensor, result: Tensor, truth: Tensor | None, known: Tensor | None
) -> dict[str, Tensor]:
    """Return images by caption, `(1, channels, H, W)`; with figures if the truth is known."""
    before = observed.clamp(0, 1)
    if known is not None and truth is None:
        before = before * known
    done = "restored" if problem.restores else "found"
    if truth is None:
        return {"before": before, done: result}

    def judged(image: Tensor) -> str:
        text = f"{psnr(image, truth).item():.2f} dB"
        return text + (f", SSIM {ssim(image, truth).item():.3f}" if min(truth.shape[2:]) >= SSIM_SIDE else "")

    if not problem.restores:
        return {"clean": clean, "observed": before, "expected": truth, f"{done}\n{judged(result)}": result}
    return {"clean": clean, f"observed\n{judged(before)}": before, f"{done}\n{judged(result)}": result}


def _about(running: Running, title: str) -> list[str]:
    """Return a line on the model, and one if its noise is another."""
    net, trained = running.net, running.about.sigma
    numbers = sum(p.numel() for p in net.parameters())
    lines = [f"{title}: a learned PDE of {numbers} numbers, {net.steps} steps."]
    if running.scale != 1:
        lines.append(f"It was trained for sigma {trained:g}: intensities were scaled by {running.scale:.3g}.")
    return lines


def _tensor(values: NDArray[Any]) -> Tensor:
    whole = values if values.ndim == 3 else values[..., None]
    return torch.from_numpy(np.ascontiguousarray(whole.transpose(2, 0, 1)))[None]


def _array(image: Tensor) -> NDArray[Any]:
    """Return `(H, W)` or `(H, W, 3)`."""
    array = image[0].movedim(0, -1).numpy()
    return array[..., 0] if array.shape[-1] == 1 else array


def _save(values: NDArray[Any], file: Path, form: str, bits: int) -> None:
    from PIL import Image

    deep = bits == 16 and form in DEEP
    top, kind = (65535, np.uint16) if deep else (255, np.uint8)
    options = {"quality": 95, "subsampling": 0} if form == "JPEG" else {}
    Image.fromarray(np.rint(values.astype(np.float64) * top).astype(kind)).save(file, format=form, **options)


def _write(file: Path, write: Callable[[Path], None]) -> None:
    """Write beside and rename: no reader meets half a picture."""
    with whole_file(file, ending=file.suffix) as partial:
        write(partial)
