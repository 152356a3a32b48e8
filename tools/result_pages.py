"""Write the pages of results from the files in `results/`.

    python tools/result_pages.py OUT_FOLDER    # OUT_FOLDER/results/index.md and a page for each subject

`pages()` returns the same without writing. Pictures are linked as `../results-pictures/NAME.png`, design notes as
`../design/NAME.md`.
"""

import sys
from pathlib import Path

from results import classification, conversion, equivariance, fields, playground, restoration, speed, volumes
from results.overview import overview
from results.page import Page, Results, render

RESULTS = Path(__file__).parents[1] / "results"
PAGES: tuple[Page, ...] = tuple(
    module.PAGE
    for module in (classification, equivariance, speed, restoration, fields, volumes, conversion, playground)
)


def pages(folder: Path = RESULTS) -> dict[str, str]:
    """Return all pages as Markdown, by the path where they belong in the documentation.

    Args:
        folder: The result files.

    Raises:
        FileNotFoundError: If the folder or a file that a page needs is missing.
    """
    results = Results(folder)
    written = {f"results/{page.name}.md": render(page, results) for page in PAGES}
    return {"results/index.md": overview(PAGES, results), **written}


def main() -> None:
    """Write the pages into the folder that the command line names."""
    if len(sys.argv) != 2:
        raise SystemExit(f"Expected one argument, the folder to write into, received {len(sys.argv) - 1}.")
    for path, text in pages().items():
        file = Path(sys.argv[1]) / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        print(file)


if __name__ == "__main__":
    main()
