"""How long layers take: one layer, a grid of layers, the order of the group, volumes, other fields."""

from results import speed_of_networks, speed_on_gpus
from results.page import PHASES, Data, Page, Results, Section, count, joined, ratios, span, spread, table

RATIO = "Figures are times over the peer's time in the same run, medians of rounds (below 1: this library is faster)"


def goals(results: Results) -> Section:
    """Return three wide layers beside plain ones of as many channels, and of as many parameters."""
    rows = results("bench-layer-goals")["rows"]
    cells = []
    for row in rows:
        for phase, name in PHASES.items():
            dense = row["methods"]["dense"][phase]["ratio"]
            cells.append((title(row), name, spread(row[phase]), f"{dense:.2f}", f"{row['narrow'][phase]['ratio']:.1f}"))
    heads = (
        "layer",
        "phase",
        "over `nn.Conv2d` of as many channels",
        '`method="dense"`',
        "over `nn.Conv2d` of as many parameters",
    )
    return Section(
        "One wide layer",
        f"What does an equivariant layer cost beside `nn.Conv2d`? Layers of 5x5, float32, {count(2, 'core')}. "
        f"{RATIO}; quartiles in brackets.",
        ["bench-layer-goals"],
        "`python benchmarks/layer_speed.py --methods auto dense --quick --rounds 15 --result "
        "results/bench-layer-goals.json`",
        table(heads, cells),
        [("bench-layer-goals", "Three wide layers beside nn.Conv2d")],
        [
            "**A loss:** an ordinary layer of as many *parameters* has far fewer channels and is "
            f"{span(narrow(rows), '.1f')} times as fast. What is saved is work at equal channels.",
            "Strides above 1, half precision, exported networks and GPUs take the dense kernel, at the speed of "
            "`nn.Conv2d`.",
            "Without a C++ compiler everything does.",
        ],
    )


def narrow(rows: list[Data]) -> list[float]:
    """Return all ratios to plain layers of as many parameters."""
    return [row["narrow"][phase]["ratio"] for row in rows for phase in PHASES]


def title(row: Data) -> str:
    """Return what a layer is."""
    return f"{row['group']}, {row['fields']} fields, {row['pixels']} x {row['pixels']}, batch {row['batch']}"


def grid(results: Results) -> Section:
    """Return the grid of layers."""
    rows = results("bench-layer")["rows"]
    slower = {name: sum(ratio > 1 for ratio in ratios(rows, phase)) for phase, name in PHASES.items()}
    cells = [
        (
            row["group"],
            row["fields"],
            row["pixels"],
            row["kernel"],
            "channels last" if row["layout"] == "channels_last" else "contiguous",
            row["batch"],
            *(f"{row[phase]['ratio']:.2f}" for phase in PHASES),
        )
        for row in rows
    ]
    return Section(
        "A grid of layers",
        f"{count(len(rows), 'layer')}: lines over fields, pixels, kernel and memory format through a centre for each "
        f"of five groups, beside `nn.Conv2d` of as many channels. {RATIO}.",
        ["bench-layer"],
        "`make bench`",
        "; ".join(f"{name} {span(ratios(rows, phase))} times" for phase, name in PHASES.items())
        + ".\n\n"
        + table(("group", "fields", "pixels", "kernel", "format", "batch", *PHASES.values()), cells),
        [("bench-layer", "Layers beside nn.Conv2d of the same channels")],
        [
            f"Losses: {' and '.join(f'{many} of {len(rows)} in {name}' for name, many in slower.items())} are slower "
            "than `nn.Conv2d`. Groups of 4 with few fields and 1x1 layers gain nothing or little: the steps cost "
            "more than the products save.",
            "Another process ran at the lowest priority beside this grid; absolute times are longer and spreads "
            "wider for it.",
            '`method="auto"` was fitted on one processor; elsewhere it may choose wrongly near the margin.',
        ],
    )


def order(results: Results) -> Section:
    """Return time over the order of the group and over fields."""
    result = results("bench-group-order")
    lines = result["lines"]
    cells = [
        (
            f"{row['group']}, {row['fields']} fields",
            row["batch"],
            f"{row['forward_backward']['ms']['conv']:.1f}",
            f"{row['forward_backward']['ms']['auto']:.1f}",
            *(f"{row[phase]['auto']['ratio']:.2f}" for phase in PHASES),
        )
        for line in lines.values()
        for row in line
    ]
    exponents = [
        (line, name, *(f"{result['exponents'][line][phase][way]:.2f}" for way in ("auto", "dense", "conv")))
        for line in lines
        for phase, name in PHASES.items()
    ]
    return Section(
        "Time over the order of the group",
        "The work of a dense group convolution grows with the square of the group's order. The method here is linear "
        "in it for cyclic and dihedral groups. Exponent of the time over the four largest of each line (1 is linear, 2 "
        "quadratic):",
        ["bench-group-order"],
        "`make bench`",
        table(("over", "phase", "this library", '`method="dense"`', "`nn.Conv2d`"), exponents)
        + "\n\nMilliseconds of a training step, and times over `nn.Conv2d` of as many channels:\n\n"
        + table(("layer", "batch", "`nn.Conv2d`, ms", "this library, ms", *PHASES.values()), cells),
        [("bench-group-order", "Time over the order of the group")],
        [
            "Small groups and few fields gain least. Over fields both are quadratic in theory; the fast path's steps "
            "are linear."
        ],
    )


def roofline(results: Results) -> Section:
    """Return where the time goes."""
    cells = [
        (
            f"{row['group']}, {row['fields']} fields",
            *(f"{row['billions'][key]:.2f}" for key in ("dense", "products", "terms")),
            *(f"{row['rates'][key]:.0f}" for key in ("dense", "products", "terms")),
            f"{row['ms']['whole']:.0f} / {row['ms']['steps']:.0f} / {row['ms']['conv']:.0f}",
        )
        for row in results("bench-roofline")["rows"]
    ]
    heads = (
        "layer",
        "dense, billions",
        "products, billions",
        "terms, billions",
        "rate of `nn.Conv2d`",
        "rate of products",
        "rate of steps",
        "ms: all / steps / `nn.Conv2d`",
    )
    return Section(
        "Where the time goes",
        "Counts of multiply-adds (of a dense convolution, of the fast path's products) and of the terms of its "
        "sparse steps, in billions, and billions a second. `nn.Conv2d` runs at the peak of the cores: its rate is "
        "the ceiling.",
        ["bench-roofline"],
        "`make bench`",
        table(heads, cells),
        caveats=["Inference on one machine. Where the rest is lost: [the design note](../design/004-speed.md)."],
    )


def volumes(results: Results) -> Section:
    """Return layers in space."""
    result = results("bench-volume")
    cells = [
        (
            f"{row['group']}, {row['fields']} {'field' if row['fields'] == 1 else 'fields'}, {row['side']}^3",
            *(spread(row[phase]) for phase in PHASES),
            f"{row['peak_memory']['ratio']:.2f}",
            f"{row['first_construction_ms']:.0f}",
        )
        for row in result["rows"]
    ]
    return Section(
        "Layers in space",
        f"5x5x5 kernels, batch {result['batch']}, beside `nn.Conv3d` of as many channels; O is the group of the "
        f"cube's 24 rotations. {RATIO}; peak memory likewise.",
        ["bench-volume"],
        "`make bench`",
        table(("layer", *PHASES.values(), "memory", "construction, ms"), cells),
        caveats=[
            "Sides whose rows are neither short nor whole cache lines (17^3) gain less.",
            "Narrow layers gain less, and may need more memory than `nn.Conv3d`.",
        ],
    )


def fields(results: Results) -> Section:
    """Return layers between other fields."""
    result = results("bench-representations")
    cells = [(row["case"], *(spread(row[phase]) for phase in PHASES)) for row in result["layers"] + result["between"]]
    cold = [(row["case"], f"{row['median_ms']:.0f}", f"{row['most_ms']:.0f}") for row in result["construction"]]
    return Section(
        "Layers between other fields",
        f"Irreducible, quotient and mixed fields have no fast path. {len(result['layers'])} layers beside `nn.Conv2d` "
        f"of as many channels, and the layers between them beside `nn.BatchNorm2d` and `nn.ReLU`. {RATIO}.",
        ["bench-representations"],
        "`make bench`",
        table(("layer", *PHASES.values()), cells)
        + "\n\nThe first layer of a fresh process, which has to solve for its operators, in milliseconds:\n\n"
        + table(("types", "median", "most"), cold),
        caveats=[
            f"**A loss:** a `GatedActivation` takes {joined(gates(result), '.1f')} times a ReLU in training: it is "
            "several tensor operations."
        ],
    )


def gates(result: Data) -> list[float]:
    """Return the ratios of gates to ReLUs in training."""
    return ratios((row for row in result["between"] if row["case"].endswith("GatedActivation")), "forward_backward")


def sections(results: Results) -> list[Section]:
    """Return the sections of the page."""
    layers = [part(results) for part in (goals, order, grid, roofline, volumes, fields)]
    return [
        *layers,
        *speed_of_networks.sections(results),
        speed_on_gpus.measured(results),
    ]


def finding(results: Results) -> str:
    """Return the main figures."""
    rows = results("bench-layer-goals")["rows"]
    names = ", ".join(f"{row['group']} with {row['fields']} fields" for row in rows)
    exponents = results("bench-group-order")["exponents"]["group order"]["forward_backward"]
    return (
        f"A training step of one layer takes {joined(ratios(rows, 'forward_backward'))} times that of `nn.Conv2d` of "
        f"as many channels ({names}; CPU). Over the order of the group its exponent is {exponents['auto']:.1f}, that "
        f"of `nn.Conv2d` {exponents['conv']:.1f}."
    )


PAGE = Page(
    "speed",
    "Speed",
    "Every figure is a ratio to a peer that was timed in the same run, in turns, on the same machine; medians over "
    "rounds. Absolute times are in the files. Where nothing else is said, a CPU.",
    sections,
    finding,
)
