"""`pdoconv train`."""

from dataclasses import asdict
from dataclasses import fields as fields_of
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperCommand

from pdoconv.cli.errors import plain_errors

RUN_OPTIONS = {
    "recipe",
    "run",
    "resume",
    "devices",
    "accelerator",
    "strategy",
    "stop_after",
    "max_time",
    "changed",
    "result",
}
"""What is not a setting of the recipe."""
FIELDS = {"network": "network_name", "data": "folder", "channels": "colours"}
"""Settings whose option has another name."""


class BareResume(TyperCommand):
    """`--resume` without a folder means that of `--run`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Give a bare `--resume` an empty value."""
        for place, word in enumerate(args):
            if word == "--resume" and (place + 1 == len(args) or args[place + 1].startswith("-")):
                args[place] = "--resume="
        return super().parse_args(ctx, args)


@plain_errors
def train(
    ctx: typer.Context,
    recipe: Annotated[
        str | None, typer.Argument(help="A recipe, such as mnist-rot-small, or a network; with --data: pictures.")
    ] = None,
    run: Annotated[Path | None, typer.Option(help="Folder of the run; default runs/NAME-seedSEED.")] = None,
    resume: Annotated[
        str | None, typer.Option(help="Go on with the run in this folder; alone: in that of --run.")
    ] = None,
    data: Annotated[str | None, typer.Option(help="Your pictures: a folder of class folders, or a CSV file.")] = None,
    group: Annotated[str | None, typer.Option(help="Such as p8, p4m; p1 for an ordinary network.")] = None,
    network: Annotated[str | None, typer.Option(help="A network for colour images (cifar10, ...).")] = None,
    layout: Annotated[str | None, typer.Option(help="Of residual networks: authors or symmetric.")] = None,
    widths: Annotated[str | None, typer.Option(help="Fields of each stage, such as 4,8,16.")] = None,
    units: Annotated[int | None, typer.Option(help="Residual units of each stage.")] = None,
    head: Annotated[
        int | None, typer.Option(help="Fields of a 1x1 convolution before the mean (residual networks).")
    ] = None,
    filters: Annotated[str | None, typer.Option(help="Filter family, such as paper, band-limited, plain.")] = None,
    fields: Annotated[int | None, typer.Option(help="Regular fields of every layer (channels, if plain).")] = None,
    system: Annotated[str | None, typer.Option(help="A system of the comparison (mnist-rot-compare).")] = None,
    mirror: Annotated[bool | None, typer.Option("--mirror", help="With reflections (mnist-rot-large).")] = None,
    size: Annotated[int | None, typer.Option(help="Side of the pictures in pixels (--data).")] = None,
    channels: Annotated[int | None, typer.Option(help="1 for gray, 3 for colour (--data).")] = None,
    epochs: Annotated[int | None, typer.Option(help="Number of epochs.")] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of weights, order, augmentation and dropout.")] = None,
    batch_size: Annotated[int | None, typer.Option(help="Images a step, over all devices.")] = None,
    optimizer: Annotated[str | None, typer.Option(help="adamw or sgd.")] = None,
    lr: Annotated[float | None, typer.Option(help="Highest learning rate.")] = None,
    schedule: Annotated[str | None, typer.Option(help="one-cycle, cosine or steps.")] = None,
    warmup: Annotated[float | None, typer.Option(help="Share of the run in which the rate rises.")] = None,
    weight_decay: Annotated[float | None, typer.Option(help="Of convolutions and linear layers.")] = None,
    dropout: Annotated[float | None, typer.Option(help="Probability of dropout.")] = None,
    label_smoothing: Annotated[float | None, typer.Option(help="Of the training loss.")] = None,
    ema: Annotated[float | None, typer.Option(help="Decay of the average of weights; 0 for none.")] = None,
    crop: Annotated[
        int | None, typer.Option(help="Augmentation: random crops of images padded by so many pixels.")
    ] = None,
    flip: Annotated[bool | None, typer.Option("--flip/--no-flip", help="Augmentation: left-right flips.")] = None,
    rotate: Annotated[float | None, typer.Option(help="Augmentation: turns up to so many degrees either way.")] = None,
    cutout: Annotated[int | None, typer.Option(help="Augmentation: an empty square of so many pixels.")] = None,
    mixup: Annotated[float | None, typer.Option(help="Augmentation: alpha of mixup.")] = None,
    train_on: Annotated[str | None, typer.Option(help="'train' (with validation apart) or 'all' (both).")] = None,
    samples: Annotated[int | None, typer.Option(help="Training volumes (volumes-small).")] = None,
    orientation: Annotated[str | None, typer.Option(help="Of the training volumes: upright, cube, any.")] = None,
    test_orientation: Annotated[str | None, typer.Option(help="Of the test volumes: upright, cube, any.")] = None,
    precision: Annotated[str | None, typer.Option(help="'32-true' or 'bf16-mixed'; default what is fast here.")] = None,
    devices: Annotated[str, typer.Option(help="Number of devices, or 'auto'.")] = "auto",
    accelerator: Annotated[str, typer.Option(help="'auto', 'cpu', 'gpu', ...")] = "auto",
    strategy: Annotated[str, typer.Option(help="'auto', 'ddp', 'fsdp' (GPUs), ...")] = "auto",
    stop_after: Annotated[int | None, typer.Option(help="Stop after so many epochs in all; resume later.")] = None,
    max_time: Annotated[float | None, typer.Option(help="Stop after so many minutes from now; resume later.")] = None,
    changed: Annotated[bool, typer.Option("--changed", help="Resume although code, torch or data changed.")] = False,
    result: Annotated[Path | None, typer.Option(help="Write the result to this file too.")] = None,
) -> None:
    """Train a recipe, or a network on your own pictures, then measure it once on the test set."""
    from pdoconv.recipes import recipe as find
    from pdoconv.recipes import recipe_of
    from pdoconv.training.folder import RunFolder
    from pdoconv.training.provenance import default_precision
    from pdoconv.training.run import train as run_training

    chosen = {key: value for key, value in ctx.params.items() if value is not None and key not in RUN_OPTIONS}
    given: dict[str, Any] = {FIELDS.get(key, key): value for key, value in chosen.items()}
    folder = Path(resume) if resume else run
    if widths is not None:
        given["widths"] = _numbers(widths)
    if recipe is None and resume is not None and folder is not None:
        recipe, _ = RunFolder(folder).read_config()
    elif recipe is None and data is None:
        raise ValueError(
            "Expected the name of a recipe, or --data with a folder of your own pictures, received neither."
        )
    name, settled = recipe_of(recipe or "pictures")
    try:
        kind = find(name)
    except ValueError as error:
        if data is None and Path(name).exists():
            raise ValueError(f"{name} is no recipe; pictures are given with --data {name}.") from error
        raise
    unknown = [key for key in chosen if FIELDS.get(key, key) not in {setting.name for setting in fields_of(kind)}]
    if unknown:
        options = ", ".join("--" + key.replace("_", "-") for key in unknown)
        raise ValueError(f"{name} has no setting {options}: leave it out.")
    if name == "pictures" and data is None and resume is None:
        raise ValueError("pictures: give the folder of your pictures with --data.")
    if precision is None and resume is None and kind.precision == "bf16-mixed":  # where the hardware has it
        given["precision"] = default_precision()
    settings = kind(**settled | given)
    folder = folder or Path("runs") / f"{recipe or name}-seed{settings.seed}"
    if resume is not None:  # what was not given is as the run was started
        begun, known = RunFolder(folder).read_config()
        if begun != name:
            raise ValueError(f"{folder} was started as {begun}, not as {name}: choose another with --run.")
        settings = kind(**asdict(known) | settled | given)
    else:
        settings = settings.prepared()
    done = run_training(
        name,
        settings,
        folder,
        resume=resume is not None,
        devices=int(devices) if devices.isdigit() else devices,
        accelerator=accelerator,
        strategy=strategy,
        stop_after=stop_after,
        max_minutes=max_time,
        changed=changed,
        result=result,
    )
    if done is not None:
        print(
            f"{done['title']}, {done['data']}: test error {done['test_error_percent']:.2f}% on "
            f"{done['test_images']} images, {done['parameters']} parameters, {settings.epochs} epochs.\n"
            f"Result: {folder / 'result.json'}\nLearning curve: {folder / 'learning_curve.png'}"
        )


def _numbers(text: str) -> tuple[int, ...]:
    """Return numbers with commas between."""
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError as error:
        raise ValueError(f"--widths: expected whole numbers with commas between, received {text!r}.") from error
