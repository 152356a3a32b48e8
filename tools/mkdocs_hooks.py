"""What `make docs` adds to the pages under docs/: result pages, the API reference, formulas.

mkdocs calls the functions named `on_...`. Nothing that they make is kept in the repository.
"""

import html
import re
import sys
from pathlib import Path
from typing import Any

from latex2mathml.converter import convert
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tools"))

from reference_pages import reference_pages  # noqa: E402
from result_pages import pages  # noqa: E402

PICTURE = re.compile(r"\]\(((?:\.\./)*)\.\./results/([\w.-]+\.png)\)")
FORMULA = re.compile(r'<(span|div) class="arithmatex">\\[(\[](.*?)\\[)\]]</\1>', re.DOTALL)


def on_files(files: Files, config: Any) -> Files:
    """Add generated pages and the pictures of results."""
    texts = {**pages(), **reference_pages(), "changelog.md": (ROOT / "CHANGELOG.md").read_text()}
    for path, text in texts.items():
        files.append(File.generated(config, path, content=text))
    for picture in sorted((ROOT / "results").glob("*.png")):
        files.append(File.generated(config, f"results-pictures/{picture.name}", abs_src_path=str(picture)))
    return files


def on_config(config: Any) -> Any:
    """Put the generated pages into the navigation, where mkdocs.yml names their sections."""
    for entry in config["nav"]:
        if "Results" in entry:
            entry["Results"] = list(pages())
        if "Reference" in entry:
            entry["Reference"] = list(reference_pages())
    return config


def on_page_markdown(text: str, **_: Any) -> str:
    """Let links to pictures in results/ lead to their copies within the site."""
    return PICTURE.sub(r"](\1results-pictures/\2)", text)


def on_page_content(text: str, **_: Any) -> str:
    """Turn LaTeX into MathML, which browsers draw by themselves."""

    def formula(match: re.Match[str]) -> str:
        return convert(html.unescape(match[2]), display="block" if match[1] == "div" else "inline")

    return FORMULA.sub(formula, text)
