"""Make the notebooks of the documentation: `python tools/notebooks.py [NAME...]`, all if none is named.

The text and code of a notebook are in `tools/notebooks/NAME.py`, cells between `# %%` lines. Its cells run in a new
kernel in an empty folder; `docs/notebooks/NAME.ipynb` is written when all have run, with their outputs. With `--text`
nothing runs.
"""

import argparse
import base64
import io
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

import jupytext
import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError as CellExecutionError
from nbformat import NotebookNode
from PIL import Image

SOURCES = Path(__file__).parent / "notebooks"
FOLDER = Path(__file__).parents[1] / "docs" / "notebooks"
NAMES = ("rotated-digits", "learned-pde", "convert")
LARGE = 60_000  # bytes of a picture
ENVIRONMENT = {"OMP_NUM_THREADS": "1", "MALLOC_MMAP_THRESHOLD_": "4000000000", "MALLOC_TRIM_THRESHOLD_": "8000000000"}


class Client(NotebookClient):
    """Runs cells and tells on stderr which one, and what it prints."""

    def process_message(self, msg: dict[str, Any], cell: NotebookNode, cell_index: int) -> Any:
        """Show what is printed at once."""
        if msg["msg_type"] == "stream":
            print(msg["content"]["text"], end="", file=sys.stderr, flush=True)
        return super().process_message(msg, cell, cell_index)


def source(name: str) -> NotebookNode:
    """Return the cells of a notebook as they are written, without outputs."""
    cells = jupytext.read(SOURCES / f"{name}.py", fmt="py:percent").cells
    for number, cell in enumerate(cells):
        cell.id, cell.metadata = f"cell-{number}", {}
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    about = {"kernelspec": kernel, "language_info": {"name": "python"}}
    return nbformat.v4.new_notebook(cells=cells, metadata=about)


def executed(name: str, environment: dict[str, str] | None = None) -> NotebookNode:
    """Run a notebook and return it with its outputs; raises `CellExecutionError` if a cell fails."""
    book = source(name)
    total = sum(cell.cell_type == "code" for cell in book.cells)

    def begun(cell: NotebookNode, cell_index: int) -> None:
        if cell.cell_type == "code":
            number = sum(c.cell_type == "code" for c in book.cells[: cell_index + 1])
            print(f"{name}: cell {number} of {total}", file=sys.stderr, flush=True)

    with tempfile.TemporaryDirectory() as folder:
        client = Client(book, timeout=None, resources={"metadata": {"path": folder}}, on_cell_start=begun)
        client.execute(env={**os.environ, **ENVIRONMENT, **(environment or {})})
    return cleaned(book)


def cleaned(book: NotebookNode) -> NotebookNode:
    """Return a notebook without what changes from run to run: times, progress on stderr; pictures with a palette.

    What a cell prints is one output, however often it was sent.
    """
    for cell in book.cells:
        cell.metadata = {}
        if cell.cell_type == "code":
            cell.outputs = joined([output for output in cell.outputs if output.get("name") != "stderr"])
            for output in cell.outputs:
                output.pop("metadata", None)
                if "data" in output:
                    output.metadata = {}
                    if "image/png" in output.data:
                        output.data = {"image/png": smaller(output.data["image/png"]), "text/plain": "picture"}
    book.metadata.language_info = {"name": "python"}
    return book


def with_new_text(name: str, book: NotebookNode) -> NotebookNode:
    """Return a stored notebook with its text as it is written now and the outputs it has; its code must be the same."""
    fresh = source(name)
    old, new = ([cell for cell in b.cells if cell.cell_type == "code"] for b in (book, fresh))
    if [cell.source for cell in old] != [cell.source for cell in new]:
        raise ValueError(f"{name}: the code has changed since it was run: run it again, without --text.")
    for before, after in zip(old, new, strict=True):
        after.outputs, after.execution_count = before.outputs, before.execution_count
    return fresh


def joined(outputs: list[NotebookNode]) -> list[NotebookNode]:
    """Return outputs with printed lines that follow each other in one."""
    found: list[NotebookNode] = []
    for output in outputs:
        if found and output.output_type == found[-1].output_type == "stream":
            found[-1].text += output.text
        else:
            found.append(output)
    return found


def smaller(png: str) -> str:
    """Return a picture, in base64, with 128 colours, or with 40 if it is a large one."""
    image = Image.open(io.BytesIO(base64.b64decode(png))).convert("RGB")
    for colours in (128, 40):
        raw = io.BytesIO()
        image.quantize(colours, dither=Image.Dither.NONE).save(raw, "png", optimize=True)
        if raw.tell() < LARGE:
            break
    return base64.b64encode(raw.getvalue()).decode()


def main() -> None:
    """Run the notebooks that are named, or all."""
    parser = argparse.ArgumentParser(description="Make the notebooks of the documentation.")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"some of {', '.join(NAMES)}; all if none is named")
    parser.add_argument("--folder", type=Path, default=FOLDER)
    parser.add_argument("--text", action="store_true", help="run nothing: take over changed text, keep the outputs")
    chosen = parser.parse_args()
    for name in chosen.names:
        if name not in NAMES:
            parser.error(f"unknown notebook {name!r}: expected some of {', '.join(NAMES)}")
    chosen.folder.mkdir(parents=True, exist_ok=True)
    for name in chosen.names or NAMES:
        file = chosen.folder / f"{name}.ipynb"
        book = with_new_text(name, nbformat.read(file, as_version=4)) if chosen.text else executed(name)
        nbformat.write(book, file)


if __name__ == "__main__":
    main()
