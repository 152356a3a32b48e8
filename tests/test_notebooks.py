"""The notebooks run, and what is stored of them is whole: as written, executed in order, with outputs and pictures."""

import base64
import io
import re
import sys
from pathlib import Path

import nbformat
import pytest
import torch
from PIL import Image

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tools"))

import notebooks  # noqa: E402

PICTURES = {"rotated-digits": 6, "learned-pde": 8, "convert": 2}
LARGEST = 700_000  # bytes
FOREIGN = re.compile(
    r"(?<![\w.])/(?:work|home|root|tmp|usr|opt|mnt|Users)\b|https?://|site-packages|pypi|Traceback|Warning"
)
FOREIGN_METADATA = re.compile(r"/|conda|venv")


def code(book):
    return [cell for cell in book.cells if cell.cell_type == "code"]


def stored(name):
    return nbformat.read(notebooks.FOLDER / f"{name}.ipynb", as_version=4)


def shown(book):
    """What the outputs of a notebook say."""
    outputs = [output for cell in code(book) for output in cell.outputs]
    return "\n".join(output.get("text", "") + output.get("data", {}).get("text/plain", "") for output in outputs)


def faults(name, book):
    """What is wrong with a stored notebook, in words."""
    cells, written = code(book), notebooks.source(name)
    found = []
    if [(c.cell_type, c.source) for c in book.cells] != [(c.cell_type, c.source) for c in written.cells]:
        found.append("not as written")
    if [cell.execution_count for cell in cells] != list(range(1, len(cells) + 1)):
        found.append("not executed in order")
    if any(o.output_type == "error" or o.get("name") == "stderr" for cell in cells for o in cell.outputs):
        found.append("an error")
    pictures = [o.data["image/png"] for cell in cells for o in cell.outputs if "image/png" in o.get("data", {})]
    if len(pictures) != PICTURES[name] or any(len(set(pixels(p))) < 2 for p in pictures):
        found.append("pictures")
    if FOREIGN.search(shown(book)) or FOREIGN_METADATA.search(str(dict(book.metadata))):
        found.append("paths")
    return found


def pixels(png):
    return Image.open(io.BytesIO(base64.b64decode(png))).convert("L").tobytes()


@pytest.fixture
def quick(tmp_path, monkeypatch):
    """An empty folder, one thread, few images, no windows."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PDOCONV_NOTEBOOK", "quick")
    monkeypatch.setattr("pdoconv.progress.sys.stderr", io.StringIO())
    import matplotlib.pyplot as plt

    threads = torch.get_num_threads()
    with plt.rc_context():
        plt.switch_backend("agg")
        yield plt
        plt.close("all")
    torch.set_num_threads(threads)


@pytest.mark.filterwarnings("ignore:FigureCanvasAgg is non-interactive")  # plt.show()
@pytest.mark.filterwarnings("ignore:__array__ implementation")  # torch tensors, given to matplotlib
@pytest.mark.parametrize("name", notebooks.NAMES)
def test_cells_run(name, quick, capsys):
    names = {"__name__": "notebook"}
    for number, cell in enumerate(code(notebooks.source(name))):
        exec(compile(cell.source, f"{name}, cell {number}", "exec"), names)
        quick.close("all")
    assert names["QUICK"]
    assert capsys.readouterr().out


@pytest.mark.parametrize("name", notebooks.NAMES)
def test_stored_notebooks_are_whole(name):
    nbformat.validate(stored(name))
    assert faults(name, stored(name)) == []
    assert (notebooks.FOLDER / f"{name}.ipynb").stat().st_size < LARGEST


def test_faults_are_noticed():
    name = "rotated-digits"
    assert faults(name, stored(name)) == []
    book = stored(name)
    code(book)[2].source += "\nprint(1)"
    assert faults(name, book) == ["not as written"]
    book = stored(name)
    code(book)[0].execution_count = 5
    assert faults(name, book) == ["not executed in order"]
    book = stored(name)
    code(book)[-1].outputs = [nbformat.v4.new_output("error", ename="E", evalue="e", traceback=[])]
    assert "an error" in faults(name, book)
    assert "pictures" in faults(name, book)
    book = stored(name)
    code(book)[1].outputs.append(nbformat.v4.new_output("stream", text=f"in {ROOT}/data"))
    assert faults(name, book) == (["paths"] if FOREIGN.search(f"{ROOT}/") else [])
    book = stored(name)
    code(book)[1].outputs.append(nbformat.v4.new_output("stream", text="see https://somewhere.example"))
    assert faults(name, book) == ["paths"]


def test_what_changes_from_run_to_run_is_not_stored():
    picture = io.BytesIO()
    Image.new("RGB", (8, 8), "red").save(picture, "png")
    png = base64.b64encode(picture.getvalue()).decode()
    cell = nbformat.v4.new_code_cell("x", metadata={"execution": {"iopub.status.busy": "now"}})
    cell.outputs = [
        nbformat.v4.new_output("stream", name="stderr", text="fit: 1/2"),
        nbformat.v4.new_output("stream", name="stdout", text="1"),
        nbformat.v4.new_output("display_data", data={"image/png": png, "text/plain": "<Figure at 0x7f>"}),
    ]
    book = nbformat.v4.new_notebook(cells=[cell], metadata={"language_info": {"name": "python", "version": "3"}})
    clean = notebooks.cleaned(book)
    assert clean.cells[0].metadata == {}
    assert [output.get("name") for output in clean.cells[0].outputs] == ["stdout", None]
    assert clean.cells[0].outputs[1].data["text/plain"] == "picture"
    assert pixels(clean.cells[0].outputs[1].data["image/png"]) == pixels(png)
    assert "version" not in clean.metadata.language_info


def test_a_notebook_that_fails_is_not_written(tmp_path, monkeypatch):
    (tmp_path / "broken.py").write_text("# %%\nprint(1)\n\n# %%\nassert 1 == 2\n")
    (tmp_path / "works.py").write_text("# %% [markdown]\n# Sum\n\n# %%\nprint(1 + 1)\n")
    monkeypatch.setattr(notebooks, "SOURCES", tmp_path)
    monkeypatch.setattr(notebooks, "NAMES", ("works", "broken"))
    monkeypatch.setattr(sys, "argv", ["notebooks.py", "--folder", str(tmp_path)])
    with pytest.raises(notebooks.CellExecutionError, match="assert 1 == 2"):
        notebooks.main()
    assert not (tmp_path / "broken.ipynb").exists()
    book = nbformat.read(tmp_path / "works.ipynb", as_version=4)
    assert shown(book).strip() == "2"
    assert [cell.source for cell in book.cells] == ["Sum", "print(1 + 1)"]
    assert [cell.execution_count for cell in code(book)] == [1]


def test_changed_text_keeps_outputs(tmp_path, monkeypatch):
    monkeypatch.setattr(notebooks, "SOURCES", tmp_path)
    monkeypatch.setattr(notebooks, "NAMES", ("sum",))
    written = "# %% [markdown]\n# Sum\n\n# %%\nprint(1 + 1)\n"
    (tmp_path / "sum.py").write_text(written)
    book = notebooks.source("sum")
    code(book)[0].execution_count, code(book)[0].outputs = 1, [nbformat.v4.new_output("stream", text="2")]
    nbformat.write(book, tmp_path / "sum.ipynb")
    (tmp_path / "sum.py").write_text(written.replace("Sum", "A sum"))
    monkeypatch.setattr(sys, "argv", ["notebooks.py", "--text", "--folder", str(tmp_path)])
    notebooks.main()
    book = nbformat.read(tmp_path / "sum.ipynb", as_version=4)
    assert [cell.source for cell in book.cells] == ["A sum", "print(1 + 1)"]
    assert shown(book) == "2"
    (tmp_path / "sum.py").write_text(written.replace("1 + 1", "1 + 2"))
    with pytest.raises(ValueError, match="sum: the code has changed since it was run"):
        notebooks.main()


def test_unknown_names_are_refused(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["notebooks.py", "rotated"])
    with pytest.raises(SystemExit):
        notebooks.main()
    assert (
        "unknown notebook 'rotated': expected some of rotated-digits, learned-pde, convert" in capsys.readouterr().err
    )


@pytest.mark.parametrize("name", notebooks.NAMES)
def test_links_lead_to_pages(name):
    text = "\n".join(cell.source for cell in notebooks.source(name).cells if cell.cell_type == "markdown")
    links = re.findall(r"\]\(([^)#]+)", text)
    assert links
    for link in links:  # links in notebooks are taken as they are: to the built pages
        page = (notebooks.FOLDER / link).resolve()
        assert page.suffix == ".html"
        assert page.with_suffix(".md").exists() or page.with_suffix(".ipynb").exists(), link
