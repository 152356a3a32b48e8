"""`pdoconv evaluate | measure | compare | restore | export | save | table`."""

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from pdoconv.cli.errors import plain_errors

Run = Annotated[Path, typer.Argument(help="Folder of a run.")]


@plain_errors
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
    images = ImageData(training, data.valid, data.test, batch_size=settings.batch_size, channels=settings.channels)
    print(json.dumps({"data": data.title, **measure(folder, images, split)}, indent=2))


@plain_errors
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


@plain_errors
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


@plain_errors
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


@plain_errors
def export(
    run: Run,
    onnx: Annotated[Path, typer.Option(help="File to write.")] = Path("model.onnx"),
    precision: Annotated[
        str, typer.Option(help="float32; bfloat16: of the weights; int8: measured on training images.")
    ] = "float32",
) -> None:
    """Write a trained run as ONNX: plain convolutions, BatchNorm folded, any batch size, and image size if possible."""
    from pdoconv.training.folder import RunFolder
    from pdoconv.training.onnx_run import onnx_run

    print("\n".join(onnx_run(RunFolder(run), onnx, precision)))


@plain_errors
def save(
    run: Run,
    file: Annotated[Path, typer.Argument(help="File to write, *.safetensors.")],
    white: Annotated[float, typer.Option(help="Intensity of white in the run's data; 1 for volumes.")] = 255.0,
) -> None:
    """Write a trained run as one file for pdoconv.load: the network, its weights, and what its inputs need."""
    from pdoconv.training.folder import RunFolder

    RunFolder(run).publish(file, white=white)
    print(f"Model: {file}. Load it with pdoconv.load; inputs are floats in [0, 1].")


@plain_errors
def table(results: Annotated[list[Path], typer.Argument(help="Result files of runs.")]) -> None:
    """Print one table from result files: mean and standard deviation over seeds."""
    from pdoconv.training.report import table as markdown

    print(markdown(results))
