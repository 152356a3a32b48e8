"""What runs in the browser: networks, layers, and how long the page takes to start."""

from results.page import Data, Page, Results, Section, count, sci, table

PATTERN = "playground*"
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
        f"by at most {settings['degrees']} degrees either way. Tested on test digits ({data['test']}). The change of "
        "the logits is relative to those of the upright digit.",
        [name],
        "`python benchmarks/playground.py`",
        table(("network", "parameters", *SHARES.values(), *CHANGES.values(), "minutes"), rows),
        caveats=[
            "One seed each. Equal parameters are not equal time of training.",
            "6 and 9, turned, are one shape: no network can be right at every angle and tell them apart.",
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


MAKERS = {"networks": networks, "layers": layers, "first_answer_ms": loading}


def sections(results: Results) -> list[Section]:
    """Return the sections of the page: none before the playground was measured."""
    return [
        make(name, results(name))
        for name in results.names(PATTERN)
        for key, make in MAKERS.items()
        if key in results(name)
    ]


def finding(results: Results) -> str:
    """Return the main figures."""
    found = []
    for result in map(results, results.names(PATTERN)):
        for name, row in result.get("networks", {}).items():
            upright, turned = (100 * row[key] for key in ("error_upright", "error_any_angle"))
            found.append(
                f"{name}, trained on upright digits: error upright {upright:.1f}%, at any angle {turned:.1f}%."
            )
        if "first_answer_ms_median" in result:
            found.append(f"First answer in the browser after {result['first_answer_ms_median']:,.0f} ms.")
    return " ".join(found)


PAGE = Page(
    "playground", "Playground", "What runs in the browser: classifiers, and a choice of layers.", sections, finding
)
