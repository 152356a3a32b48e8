"""What the documentation is built with: formulas, doctests, the reference, the search for dead links."""

import inspect
import re
import sys
from pathlib import Path

import pytest

import pdoconv as pdo

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tools"))

from reference_pages import reference_pages  # noqa: E402
from site_links import dead  # noqa: E402

griffe_doctests = pytest.importorskip("griffe_doctests", reason="needs the extra docs", exc_type=ImportError)
mkdocs_hooks = pytest.importorskip("mkdocs_hooks", reason="needs the extra docs", exc_type=ImportError)


def test_every_public_name_is_in_the_reference():
    text = "\n".join(reference_pages().values())
    shown = {line.removeprefix("::: ").rsplit(".", 1)[-1] for line in text.splitlines() if line.startswith(":::")}
    names = {name for name, value in vars(pdo).items() if not name.startswith("_") and not inspect.ismodule(value)}
    for module in (pdo.nn, pdo.filters, pdo.operators, pdo.stencils, pdo.measure, pdo.models, pdo.pde, pdo.data):
        for name, value in vars(module).items():
            own = (inspect.isclass(value) or inspect.isfunction(value)) and value.__module__.startswith("pdoconv")
            names |= {name} if own and not name.startswith("_") else set()
    assert len(names) > 200
    assert names - shown == set()


def test_no_name_is_shown_twice():
    text = "\n".join(reference_pages().values())
    shown = re.findall(r"^::: (\S+)$", text, re.MULTILINE)
    assert len(shown) == len(set(shown))


def test_formulas_become_mathml():
    page = mkdocs_hooks.on_page_content(r'<p><span class="arithmatex">\(x^2 &lt; y\)</span></p>')
    assert "<msup>" in page
    assert "&#x0003C;" in page
    assert "arithmatex" not in page
    block = mkdocs_hooks.on_page_content(r'<div class="arithmatex">\[a\]</div>')
    assert 'display="block"' in block
    assert mkdocs_hooks.on_page_content("<p>5 $</p>") == "<p>5 $</p>"


def test_pictures_of_results():
    text = "![a](../../results/a.png) ![b](../results/b-c.png) [c](../../results/c.json)"
    assert mkdocs_hooks.on_page_markdown(text) == (
        "![a](../results-pictures/a.png) ![b](results-pictures/b-c.png) [c](../../results/c.json)"
    )


def test_doctests_are_fenced():
    text = "What it does.\n\n>>> 1 + 1\n2\n\nSo.\n\n>>> x = [\n...     1\n... ]\n>>> x\n[1]"
    assert griffe_doctests.fenced(text) == (
        "What it does.\n\n```pycon\n>>> 1 + 1\n2\n```\n\nSo.\n\n```pycon\n>>> x = [\n...     1\n... ]\n>>> x\n[1]\n```"
    )


def test_dead_links_are_found(tmp_path):
    with pytest.raises(FileNotFoundError, match="make docs"):
        list(dead(tmp_path))
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "index.html").write_text(
        '<h1 id="top">t</h1><a href="../a.html#b">a</a><a href="#top">u</a>'
    )
    page = tmp_path / "a.html"
    page.write_text(
        '<p id="b"><a href="folder/">f</a><a href="folder/index.html#top">g</a><a href="https://x.org">x</a>'
    )
    assert list(dead(tmp_path)) == []
    page.write_text(
        '<a href="b.html">b</a><a href="folder/#none">n</a><img src="i.png"><script src="https://cdn.org/x.js"></script>'
    )
    found = "\n".join(dead(tmp_path))
    for told in ("b.html does not exist", "no such place", "i.png does not exist", "x.js is loaded from elsewhere"):
        assert told in found
    assert "../a.html#b has no such place" in found
