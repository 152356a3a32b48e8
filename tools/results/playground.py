"""What runs in the browser: networks, layers, and how long the page takes to start."""

from results.page import Data, Page, Results, Section, count, sci, table

NETWORKS, LOAD = "playground", "playground-load"
CHANGES = {"quarter_turns": "change at quarter turns", "mean": "mean change", "max": "largest change"}
SHARES = {
    "error_upright": "error upright %",
    "error_any_angle": "error at any angle %",
    "constant_class": "same class at all angles %",
}


def networks(name: str, result: Data) -> Section:
    """Return both classifiers."""
    rows = [
        (
            title,
            f"{row['parameters']:,}",
            *(f"{100 * row[key]:.1f}" for key in SHARES),
            *(sci(row[f"logits_change_{key}"]) for key in CHANGES),
            f"{row['train_seconds'] / 60:.0f}",
        )
        for title, row in result["networks"].items()
    ]
    settings, data = result["settings"], result["data"]
    return Section(
        "The two classifiers",
        f"Trained alike on {data['training']}, {settings['epochs']} epochs of {settings['digits']:,} digits, turned "
        f"by at most {settings['degrees']} degrees either way, with {settings['constancy']} times a penalty on the "
        f"difference of the logits of {settings['views']} views of a digit added to the loss. Tested on test digits "
        f"({data['test']}). The change of the logits is relative to those of the upright digit.",
        [name],
        "`python benchmarks/playground.py`",
        table(("network", "parameters", *SHARES.values(), *CHANGES.values(), "minutes"), rows),
        caveats=[
            "One seed each. Equal parameters are not equal time of training.",
            f"Trained on {result['trained_on']['hardware']['gpu'] or 'a CPU'}, measured on a CPU.",
            "6 and 9, turned, are nearly one shape: only the way of writing tells them apart.",
            f"In the file's words: {result['selection']}.",
        ],
    )


def layers(name: str, result: Data) -> Section:
    """Return the error of the layers between which the page switches."""
    families = result["layers"]["families"]
    frequencies = list(next(iter(families.values())))
    rows = ((f"`{family}`", *(sci(errors[f]) for f in frequencies)) for family, errors in families.items())
    return Section(
        "The filters to choose from",
        f"In the file's words: {result['layers']['what']}; {result['layers']['degrees']} degrees.",
        [name],
        "`python benchmarks/playground.py`",
        table(("family", *frequencies), rows),
        caveats=["One layer, without nonlinearity."],
    )


def loading(name: str, result: Data) -> Section:
    """Return how long the page takes to its first answer."""
    times = result["first_answer_ms"]
    return Section(
        "Until the first answer",
        "From opening the page on the same machine to the first answer of the networks, in a browser without a cache.",
        [name],
        "`python tools/screenshots.py`",
        f"Median {result['first_answer_ms_median']:,.0f} ms over {count(len(times), 'load')} ({min(times):,} to "
        f"{max(times):,} ms); {result['browser']}, {result['cores']} cores.",
        caveats=[f"The load average of the machine was {result['load_average']:.1f}: other work ran beside it."],
    )


def sections(results: Results) -> list[Section]:
    """Return the sections of the page."""
    measured = results(NETWORKS)
    return [networks(NETWORKS, measured), layers(NETWORKS, measured), loading(LOAD, results(LOAD))]


def finding(results: Results) -> str:
    """Return the main figures."""
    found = []
    for name, row in results(NETWORKS)["networks"].items():
        same, turned = (100 * row[key] for key in ("constant_class", "error_any_angle"))
        found.append(f"{name}: the same class at all angles for {same:.1f}% of digits, error {turned:.1f}%.")
    return " ".join(found)


PAGE = Page(
    "playground", "Playground", "What runs in the browser: classifiers, and a choice of layers.", sections, finding
)
