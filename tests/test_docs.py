"""Every block of code in the documentation runs; its commands exist; what it says is printed, is."""

import contextlib
import io
import re
import shlex
from fnmatch import fnmatchcase
from pathlib import Path

import pytest
import torch
from typer.main import get_command

from pdoconv.cli import app

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = sorted(path for path in DOCS.rglob("*.md") if "design" not in path.parts)
FENCE = re.compile(r"^```(\w*)[^\n]*\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks(text):
    """Return the kinds and contents of a page's blocks, in order, with the line where each begins."""
    return [(m[1], m[2], text.count("\n", 0, m.start()) + 1) for m in FENCE.finditer(text)]


def agree(shown, printed):
    """Tell whether what a page shows is what was printed; `...` in a line stands for anything."""
    shown, printed = shown.rstrip().splitlines(), printed.rstrip().splitlines()
    pairs = zip(shown, printed, strict=False)
    return len(shown) == len(printed) and all(
        fnmatchcase(b.rstrip(), re.sub(r"[\[\]?*]", lambda m: f"[{m[0]}]", a.rstrip()).replace("...", "*"))
        for a, b in pairs
    )


def run(path):
    """Run the Python blocks of a page in one namespace; compare what they print with the text block behind."""
    names, printed = {"__name__": "page"}, None
    for kind, content, line in blocks(path.read_text()):
        if kind == "python":
            code = compile("\n" * line + content, str(path), "exec")
            with contextlib.redirect_stdout(io.StringIO()) as out:
                exec(code, names)
            printed = out.getvalue()
        elif kind == "text" and printed is not None:
            assert agree(content, printed), f"{path.name}, line {line}: printed\n{printed}"
            printed = None


@pytest.fixture
def alone(tmp_path, monkeypatch):
    """An empty folder, one thread, fixed seeds."""
    monkeypatch.chdir(tmp_path)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    yield tmp_path
    torch.set_num_threads(threads)
    torch.set_default_dtype(torch.float32)


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(DOCS)))
def test_blocks_run(path, alone):
    run(path)


def test_wrong_blocks_are_noticed(alone):
    page = alone / "page.md"
    page.write_text("```python\nprint(1 + 1)\n```\n\n```text\n2\n```\n")
    run(page)
    page.write_text("```python\nprint(1 + 1)\n```\n\n```text\n3\n```\n")
    with pytest.raises(AssertionError, match="printed"):
        run(page)
    page.write_text("```python\nx = 1\n```\ntext\n```python\nassert x == 2\n```\n")
    with pytest.raises(AssertionError):
        run(page)
    assert agree("a [1.2e-...]\n", "a [1.2e-07]\n")
    assert not agree("a [1.2e-...]\n", "a [1.3e-07]\n")


def commands(path):
    """Return the shell commands of a page: lines of blocks marked console, sh or nothing, continued lines joined."""
    lines = []
    for kind, content, _ in blocks(path.read_text()):
        if kind in ("console", "sh", "bash", ""):
            lines += content.replace("\\\n", " ").splitlines()
    return [words for line in lines if (words := shlex.split(line, comments=True))]


def check(words):
    """Raise unless a command of ours parses; others pass."""
    words = [word for word in words if not re.fullmatch(r"\w+=\S*", word)]
    if words and Path(words[0]).name == "make":
        targets = re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
        assert all(word in targets for word in words[1:] if "=" not in word), words
    for place, word in enumerate(words):
        if Path(word).name == "pdoconv" and words[place + 1 :] and not word.startswith("./"):
            command = get_command(app)
            name, *rest = words[place + 1 :]
            if name == "--help":
                return
            assert name in command.commands, words
            if "--help" not in rest:
                try:
                    command.commands[name].make_context(name, rest)
                except Exception as error:  # usage errors are classes of click, or of a copy of it within typer
                    raise AssertionError(f"{words}: {error}") from error
            return


@pytest.mark.parametrize("path", [ROOT / "README.md", *PAGES], ids=lambda path: path.stem)
def test_commands_parse(path):
    for words in commands(path):
        check(words)


@pytest.mark.parametrize(
    "words", ["pdoconv trian x", "pdoconv train x --gruop p8", "make dmeo", "env/bin/pdoconv none"]
)
def test_wrong_commands_are_noticed(words):
    with pytest.raises(AssertionError):
        check(words.split())


def test_every_script_that_is_named_exists():
    for path in (ROOT / "README.md", *DOCS.rglob("*.md")):
        for script in re.findall(r"\b((?:benchmarks|examples|tools)/\w+\.py)\b", path.read_text()):
            assert (ROOT / script).exists(), f"{path.name} names {script}"
