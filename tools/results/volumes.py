"""Shapes in space, in orientations that were not trained on."""

from results.page import Data, Page, Results, Section, table

ORIENTATIONS = {
    "upright": "within 45 degrees of upright",
    "cube": "any rotation of the cube before",
    "any": "any rotation",
}


def error(row: Data, orientation: str) -> str:
    """Return the mean error and its standard deviation."""
    found = row["error_percent"][orientation]
    return f"{found['mean']:.1f} ± {found['sd']:.1f}"


def shapes(results: Results) -> Section:
    """Return the errors on tetracubes."""
    rows = results("volumes")["rows"]
    cells = [
        (
            row["net"],
            f"{row['parameters']:,}",
            f"{row['train_volumes']:,} x {row['epochs']}",
            *(error(row, orientation) for orientation in ORIENTATIONS),
            f"{row['train_seconds']:.0f}",
        )
        for row in rows
    ]
    more = next(row for row in rows if row["train_volumes"] != rows[0]["train_volumes"])
    ours = rows[-1]
    return Section(
        "Tetracubes",
        "Which of the eight tetracubes is it? Test error in percent, mean and standard deviation over "
        f"{rows[0]['seeds']} seeds, on the same shapes in three sets of orientations: "
        f"{'; '.join(f'*{key}*: {what}' for key, what in ORIENTATIONS.items())}.",
        ["volumes"],
        "`python benchmarks/volumes.py --seeds 3`",
        table(("network", "parameters", "volumes x epochs", *ORIENTATIONS, "training, s"), cells),
        [("volumes", "Tetracubes in orientations not trained on")],
        [
            f"The plain network with {more['train_volumes']:,} volumes in any orientation saw each one "
            f"{more['epochs']} times and may be undertrained.",
            f"**A loss:** upright the network with 24 rotations errs by {error(ours, 'upright')}%, the plain one "
            f"by {error(rows[0], 'upright')}%, and it takes "
            f"{ours['train_seconds'] / rows[0]['train_seconds']:.0f} times as long to train. Between the 24 rotations "
            f"its error grows to {error(ours, 'any')}%.",
            "Made shapes, easy and few.",
        ],
    )


def sections(results: Results) -> list[Section]:
    """Return the sections of the page."""
    return [shapes(results)]


def finding(results: Results) -> str:
    """Return the main figures."""
    rows = results("volumes")["rows"]
    plain, ours = rows[0]["error_percent"], rows[-1]["error_percent"]
    return (
        "Tetracubes, trained upright, test error with 24 rotations of the cube built in and without: upright "
        f"{ours['upright']['mean']:.1f}% and {plain['upright']['mean']:.1f}%, in any orientation "
        f"{ours['any']['mean']:.1f}% and {plain['any']['mean']:.1f}%."
    )


PAGE = Page(
    "volumes",
    "Volumes",
    "Networks in space. How long their layers take is on [the page on speed](speed.md).",
    sections,
    finding,
)
