"""Restoration of pictures: learned systems beside classical ones, on the same pictures and observations."""

from collections.abc import Sequence
from pathlib import Path

from pdoconv.restoration.comparison import SIGMA as SIGMA
from pdoconv.restoration.comparison import STEPS as STEPS
from pdoconv.restoration.comparison import compare as compare
from pdoconv.restoration.comparison import table as table
from pdoconv.restoration.drawing import draw as draw
from pdoconv.restoration.pictures import STANDARD as STANDARD
from pdoconv.training.folder import write_json


def report(
    task: str,
    systems: Sequence[str] | None,
    *,
    steps: int | None,
    sigma: float | None,
    runs: Path,
    sets: Sequence[str] | None,
    result: Path | None,
) -> str:
    """Compare, write the result file with the pictures beside it, and return the text of the command."""
    if sigma is not None and task != "denoise":
        raise ValueError(f"--sigma is of the task denoise alone, received {sigma:g} for {task}: leave it out.")
    given = {"steps": steps, "sigma": sigma, "sets": sets}
    done = compare(task, systems, runs=runs, **{k: v for k, v in given.items() if v is not None})  # type: ignore[arg-type]
    path = result or runs / task / "comparison.json"
    write_json(path, done)
    files = draw(done, path, runs / task)
    return "\n".join([table(done), f"Result: {path}", *(f"Picture: {file}" for file in files)])
