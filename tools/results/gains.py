"""What converted networks gain on orientations that they were not trained on."""

from results.page import Data, Results, Section, table


def section(name: str, results: Results) -> Section:
    """Return the networks of one file, at all angles."""
    result = results(name)
    rows = [
        (
            row["title"],
            f"{row['parameters']:,}",
            f"{row['multiply_adds'] / 1e6:,.0f}",
            *(f"{row[key]:.1f}" for key in ("upright", "quarter_turns", "any_angle")),
            f"{row['train_seconds'] / 60:.0f}",
        )
        for row in result["rows"]
    ]
    heads = ("network", "parameters", "multiply-adds, millions", "upright", "quarter turns", "any angle", "minutes")
    settings = result["settings"]
    many = len(result["rows"][0]["error_percent"])
    return Section(
        "Converted networks on orientations not seen in training",
        f"ResNet-18 of MONAI, trained on {result['train_images']:,} images ({result['data']}) as they are and on "
        f"turned ones, beside its twins by `pdo.convert`, which have as many parameters; {settings['epochs']} epochs "
        f"each. Test error in percent on {result['test_images']:,} images: upright, mean of the other quarter turns, "
        f"mean over {many} angles.",
        [name],
        "`python benchmarks/orientations.py`",
        table(heads, rows),
        [(picture, "Test error over the angle of the test images") for picture in results.pictures(name)],
        [
            *losses(result["rows"]),
            "One seed. Equal parameters and epochs are not equal time (the last column).",
            "Turned images are interpolated at other angles than quarter turns, which blurs them: a loss there is "
            "not of equivariance alone. All images are cut to the inscribed disc, so errors cannot be set beside "
            "others of this data set.",
            f"In the file's words: {result['selection']}.",
        ],
    )


def losses(rows: list[Data]) -> list[str]:
    """Return where a network without symmetry is better or cheaper than every twin."""
    plain, twins = ([row for row in rows if bool(row["group"]) is twin] for twin in (False, True))
    if not plain or not twins:
        return []
    found = []
    for key, words in (
        ("upright", "upright"),
        ("any_angle", "over all angles"),
        ("train_seconds", "in time of training"),
    ):
        first, best = min(plain, key=lambda row: row[key]), min(twins, key=lambda row: row[key])
        if first[key] < best[key]:
            found.append(f"**A loss:** {words} {first['title']} is ahead of all twins.")
    return found


def sections(results: Results) -> list[Section]:
    """Return a section for each file; none before anything was measured."""
    return [section(name, results) for name in results.names("orientations*")]
