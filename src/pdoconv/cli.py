"""Command line: `pdoconv train | evaluate | measure | compare | restore | export | table`."""

import json
import sys
from collections.abc import Callable
from dataclasses import asdict
from dataclasses import fields as fields_of
from functools import wraps
from pathlib import Path
from typing import Annotated, Any

import typer

app = typer.Typer(
    help="Rotation- and reflection-equivariant convolutions from partial differential operators.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)

Run = Annotated[Path, typer.Argument(help="Folder of a run.")]


def _plain_errors(command: Callable[..., None]) -> Callable[..., None]:
    """Print the package's own errors as one message and exit with status 1."""

    @wraps(command)
    def wrapped(*args: Any, **kwargs: Any) -> None:
        try:
            command(*args, **kwargs)
        except (ValueError, OSError) as error:
            print(f"pdoconv: {error}", file=sys.stderr)
            raise typer.Exit(1) from error
        except ModuleNotFoundError as error:
            print(f"pdoconv: this needs {error.name}: pip install 'pdoconv[train,export]'.", file=sys.stderr)
            raise typer.Exit(1) from error

    return wrapped


@app.command()
@_plain_errors
def train(
    recipe: Annotated[str, typer.Argument(help="Name of a recipe, such as mnist-rot-small.")],
    run: Annotated[Path | None, typer.Option(help="Folder of the run; default runs/RECIPE-seedSEED.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the newest checkpoint.")] = False,
    epochs: Annotated[int | None, typer.Option(help="Number of epochs.")] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of weights, order and dropout.")] = None,
    batch_size: Annotated[int | None, typer.Option(help="Images a step.")] = None,
    lr: Annotated[float | None, typer.Option(help="Highest learning rate.")] = None,
    weight_decay: Annotated[float | None, typer.Option(help="Decoupled weight decay.")] = None,
    dropout: Annotated[float | None, typer.Option(help="Probability of dropout.")] = None,
    label_smoothing: Annotated[float | None, typer.Option(help="Of the training loss.")] = None,
    filters: Annotated[str | None, typer.Option(help="Filter family, such as paper, band-limited, plain.")] = None,
    fields: Annotated[int | None, typer.Option(help="Regular fields of every layer (channels, if plain).")] = None,
    system: Annotated[str | None, typer.Option(help="A system of the comparison (mnist-rot-compare).")] = None,
    train_on: Annotated[str | None, typer.Option(help="'train' (with validation apart) or 'all' (both).")] = None,
    samples: Annotated[int | None, typer.Option(help="Training volumes (volumes-small).")] = None,
    orientation: Annotated[str | None, typer.Option(help="Of the training volumes: upright, cube, any.")] = None,
    test_orientation: Annotated[str | None, typer.Option(help="Of the test volumes: upright, cube, any.")] = None,
    precision: Annotated[str | None, typer.Option(help="'32-true' or 'bf16-mixed'; default what is fast here.")] = None,
    devices: Annotated[str, typer.Option(help="Number of devices, or 'auto'.")] = "auto",
    accelerator: Annotated[str, typer.Option(help="'auto', 'cpu', 'gpu', ...")] = "auto",
    stop_after: Annotated[int | None, typer.Option(help="Stop after so many epochs in all; resume later.")] = None,
    result: Annotated[Path | None, typer.Option(help="Write the result to this file too.")] = None,
) -> None:
    """Train a recipe, then measure it once on the test set."""
    from pdoconv.recipes import recipe as find
    from pdoconv.training.folder import RunFolder
    from pdoconv.training.provenance import default_precision
    from pdoconv.training.run import train as run_training

    kind = find(recipe)
    options = {
        "epochs": epochs,
        "seed": seed,
        "batch_size": batch_size,
        "lr": lr,
        "weight_decay": weight_decay,
        "dropout": dropout,
        "label_smoothing": label_smoothing,
        "filters": filters,
        "fields": fields,
        "system": system,
        "train_on": train_on,
        "samples": samples,
        "orientation": orientation,
        "test_orientation": test_orientation,
        "precision": precision,
    }
    if precision is None and not resume and kind.precision == "bf16-mixed":  # where the hardware has it
        options["precision"] = default_precision()
    given: dict[str, Any] = {key: value for key, value in options.items() if value is not None}
    unknown = given.keys() - {setting.name for setting in fields_of(kind)}
    if unknown:
        raise ValueError(f"{recipe} has no setting {', '.join(sorted(unknown))}: leave it out.")
    settings = kind(**given)
    folder = run or Path("runs") / f"{recipe}-seed{settings.seed}"
    if resume:  # what was not given is as the run was started
        _, known = RunFolder(folder).read_config()
        settings = kind(**asdict(known) | given)
    count = int(devices) if devices.isdigit() else devices
    done = run_training(
        recipe,
        settings,
        folder,
        resume=resume,
        devices=count,
        accelerator=accelerator,
        stop_after=stop_after,
        result=result,
    )
    if done is not None:
        print(
            f"{done['title']}, {done['data']}: test error {done['test_error_percent']:.2f}% on "
            f"{done['test_images']} images, {done['parameters']} parameters, {settings.epochs} epochs.\n"
            f"Result: {folder / 'result.json'}\nLearning curve: {folder / 'learning_curve.png'}"
        )


@app.command()
@_plain_errors
def evaluate(run: Run, split: Annotated[str, typer.Option(help="'valid' or 'test'.")] = "valid") -> None:
    """Measure a trained run again; the recorded test result in result.json stays as it is."""
    from pdoconv.training.folder import RunFolder
    from pdoconv.training.images import ImageData
    from pdoconv.training.run import evaluate as measure

    if split not in ("valid", "test"):
        raise ValueError(f"--split must be 'valid' or 'test', received {split!r}.")
    folder = RunFolder(run)
    _, settings = folder.read_config()
    folder.load_model()
    data = settings.data()
    training, _ = settings.splits(data)
    if split == "valid" and settings.train_on == "all":
        print("This run was trained on the validation images too: its validation error says little.", file=sys.stderr)
    images = ImageData(training, data.valid, data.test, batch_size=settings.batch_size)
    print(json.dumps({"data": data.title, **measure(folder, images, split)}, indent=2))


@app.command()
@_plain_errors
def measure(
    target: Annotated[str, typer.Argument(help="Folder of a run, a filter family, or package.module:name.")],
    out: Annotated[Path | None, typer.Option(help="Folder for table and picture; default the run's, or here.")] = None,
    size: Annotated[int | None, typer.Option(help="Side of the inputs; default the recipe's, or 33.")] = None,
    rotation: Annotated[float, typer.Option(help="Degrees, for the errors over frequency, size and depth.")] = 45.0,
    step: Annotated[float, typer.Option(help="Degrees between the angles of invariant outputs.")] = 5.0,
    frequency: Annotated[float, typer.Option(help="Highest frequency of the input, radians per pixel.")] = 0.4,
) -> None:
    """Measure the equivariance error over angle, frequency, grid size and depth: table and picture."""
    from pdoconv.plot import error_panels
    from pdoconv.survey import load, survey
    from pdoconv.training.folder import write_json

    if not 0 < step <= 360:
        raise ValueError(f"--step must be in (0, 360], received {step}.")
    module, side = load(target)
    folder = out or (Path(target) if Path(target).is_dir() else Path())
    panels = survey(module, size=size or side, rotation=rotation, frequency=frequency, step=step)
    for panel, curves in panels.items():
        for label, errors in curves.items():
            every = 1 if panel == "depth" else -(-len(errors) // 9)
            shown = [f"{x:.3g}: {e:.1e}" if isinstance(x, float) else f"{x}: {e:.1e}" for x, e in errors.items()]
            print(f"{panel}, {label}: " + ", ".join(shown[::every]))
    name = Path(target).name.replace(":", "-")
    picture, table = folder / f"equivariance-{name}.png", folder / f"equivariance-{name}.json"
    write_json(table, {p: {k: {f"{x}": e for x, e in c.items()} for k, c in v.items()} for p, v in panels.items()})
    error_panels(panels, picture, title=f"{name}: relative equivariance error")
    print(f"Picture: {picture}\nTable: {table}")


@app.command()
@_plain_errors
def compare(
    data: Annotated[str, typer.Argument(help="'mnist-rot', or a task of restoration, such as denoise.")],
    systems: Annotated[str | None, typer.Option(help="Names with commas between; default all.")] = None,
    budget: Annotated[str, typer.Option(help="Epochs, or 'quick' (1), 'standard' (5), 'long' (60).")] = "standard",
    seeds: Annotated[int | None, typer.Option(help="Trainings of each; default 3 of the main ones, else 1.")] = None,
    steps: Annotated[int | None, typer.Option(help="Of training (restoration).")] = None,
    sigma: Annotated[float | None, typer.Option(help="Of the noise, in units of 1/255 (denoise).")] = None,
    sets: Annotated[str | None, typer.Option("--data", help="Test sets: set12,bsd68, or synthetic.")] = None,
    runs: Annotated[Path, typer.Option(help="Folder of the runs; what is there goes on.")] = Path("runs/compare"),
    result: Annotated[Path | None, typer.Option(help="Result file, beside it the pictures; written anew.")] = None,
) -> None:
    """Train every system alike on the same data: one table, two pictures. Goes on where it was stopped."""
    from pdoconv.pde.tasks import TASKS

    names = None if systems is None else [name.strip() for name in systems.split(",")]
    if data in TASKS:
        from pdoconv.restoration import report

        if seeds is not None or budget != "standard":
            raise ValueError("--budget and --seeds are of mnist-rot; here give --steps.")
        chosen_sets = None if sets is None else [name.strip() for name in sets.split(",")]
        print(report(data, names, steps=steps, sigma=sigma, runs=runs, sets=chosen_sets, result=result))
        return
    from pdoconv.compare import compare as run_comparison
    from pdoconv.compare import draw
    from pdoconv.compare import table as comparison_table
    from pdoconv.training.folder import write_json

    if data != "mnist-rot":
        raise ValueError(f"compare: expected 'mnist-rot' or one of {', '.join(TASKS)}, received {data!r}.")
    if (steps, sigma, sets) != (None, None, None):
        raise ValueError("--steps, --sigma and --data are of restoration; here give --budget.")
    done = run_comparison(budget=budget, seeds=seeds, runs=runs, **({} if names is None else {"systems": names}))
    if done is None:
        raise ValueError("The comparison was interrupted: the same command goes on with it.")
    path = result or runs / budget / "comparison.json"
    write_json(path, done)
    print(comparison_table(done))
    print(f"Result: {path}\n" + "\n".join(f"Picture: {file}" for file in draw(done, path)))


@app.command()
@_plain_errors
def restore(
    source: Annotated[Path, typer.Argument(metavar="IN", help="Picture: PNG, JPEG or TIFF.")],
    out: Annotated[Path, typer.Argument(metavar="OUT", help="File of the result; OUT-plate.png is written too.")],
    task: Annotated[str, typer.Option(help="denoise, deblur, inpaint, demosaick, edges or text.")] = "denoise",
    sigma: Annotated[float, typer.Option(help="Noise in units of 1/255 (denoise).")] = 25.0,
    mask: Annotated[Path | None, typer.Option(help="Picture, bright where pixels are known (inpaint).")] = None,
    model: Annotated[Path | None, typer.Option(help="File of a learned PDE; default the package's own.")] = None,
    simulate: Annotated[bool, typer.Option("--simulate", help="IN is clean: degrade it first, and compare.")] = False,
    strip: Annotated[bool, typer.Option("--strip", help="Draw evolution and coefficients too.")] = False,
) -> None:
    """Restore a picture by a learned PDE."""
    from pdoconv.restore_file import restore_file

    lines = restore_file(source, out, task, sigma=sigma, mask=mask, model=model, simulate=simulate, with_strip=strip)
    print("\n".join(lines))


@app.command()
@_plain_errors
def export(run: Run, onnx: Annotated[Path, typer.Option(help="File to write.")] = Path("model.onnx")) -> None:
    """Write a trained run as ONNX: ordinary convolutions, BatchNorm folded, any batch size."""
    from pdoconv.export import to_onnx
    from pdoconv.training.folder import RunFolder

    folder = RunFolder(run)
    _, settings = folder.read_config()
    net, mean, std = folder.load_model()
    to_onnx(net, onnx, (1, 1, *settings.image_shape))
    print(
        f"ONNX model: {onnx}. Inputs: (batch, 1, {', '.join(map(str, settings.image_shape))}), "
        f"(pixel - {mean:.4f}) / {std:.4f}."
    )


@app.command()
@_plain_errors
def table(results: Annotated[list[Path], typer.Argument(help="Result files of runs.")]) -> None:
    """Print one table from result files: mean and standard deviation over seeds."""
    from pdoconv.training.report import table as markdown

    print(markdown(results))


def main() -> None:
    """Entry point."""
    app()
