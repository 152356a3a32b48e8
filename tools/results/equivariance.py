"""How far layers and networks are from equivariant."""

import statistics

from results.page import Page, Results, Section, sci, span, table

TRAINED = "equivariance-mnist-rot-small-gaussian-seed0"
SIZES = "33, 65, 129"
LAYER, THREE = "regular -> regular", "three layers, ELU"
PEERS = ("escnn", "e2cnn-r2conv", "e2cnn-diffop", "e2cnn-diffop-gauss", "rotated-pixels")


def layers(results: Results) -> Section:
    """Return one and three layers of every family and peer on three grids."""
    systems = results("equivariance-comparison")["systems"]
    rows = []
    for name, system in systems.items():
        errors = system[f"errors at {SIZES}"]
        cells = [sci(error) for kind in (LAYER, THREE) for error in errors[kind]]
        rows.append((f"`{name}`" if name not in PEERS else f"*{name}*", *cells))
    sizes = SIZES.split(", ")
    heads = ("system", *(f"one layer, {n}" for n in sizes), *(f"three layers, {n}" for n in sizes))
    ours, escnn = (systems[name][f"errors at {SIZES}"][THREE][-1] for name in ("gaussian", "escnn"))
    limited = systems["band-limited"][f"errors at {SIZES}"][THREE][-1]
    return Section(
        "One layer and three, beside the peers",
        f"8 rotations, 5x5 kernels, turned by 45 degrees; mean over {systems['gaussian']['seeds']} seeds, each "
        "library's own initialisation. A random smooth picture, of at most 2 waves a unit on [-1, 1]^2, is sampled "
        f"with {SIZES} points a side; nothing is interpolated and no border is seen. The figures are relative errors: "
        "0 is equivariant, 1 is not at all. Peers in italics.",
        ["equivariance-comparison"],
        "`make equivariance`",
        table(heads, rows),
        [("equivariance-comparison", "Equivariance error of families and peers")],
        [
            f"**A loss:** behind three layers with ELU at {sizes[-1]} points escnn ({sci(escnn)}) is ahead of the "
            f"default `gaussian` ({sci(ours)}), not of `band-limited` ({sci(limited)}).",
            "Of the 8 rotations the quarter turns are exact to rounding; only the turns between them are shown here.",
            "An uncorrected Gaussian (`gaussian-raw`) does not become equivariant on finer grids, nor does a filter "
            "turned by interpolation (*rotated-pixels*).",
        ],
    )


def networks(results: Results) -> Section:
    """Return networks of six layers, initial and trained."""
    systems = results("equivariance-comparison")["systems"]
    rows = []
    for name, system in systems.items():
        cells = [
            f"{system[f'six layers, {when}'][where]:.2f}"
            for when in ("initial", "trained")
            for where in ("smooth", "digits")
        ]
        rows.append((name, *cells, f"{system['test error %']:.2f}", f"{system['parameters of the network']:,}"))
    heads = ("system", "initial: smooth", "digits", "trained: smooth", "digits", "test error %", "parameters")
    lost = systems["e2cnn-diffop"]
    ours = [row["six layers, trained"]["smooth"] for name, row in systems.items() if name not in PEERS]
    return Section(
        "Six layers, before and after training",
        "Networks of six layers with ReLU, BatchNorm and pooling, turned by 45 degrees: relative error of the "
        f"features in front of the classifier, on smooth pictures and on digits, before and after {lost['epochs']} "
        "epochs on MNIST-rot.",
        ["equivariance-comparison"],
        "`make equivariance`",
        table(heads, rows),
        caveats=[
            f"Trained, the families of this library differ little on smooth pictures ({span(ours)}): ReLU, pooling and "
            "padding decide, and single trainings differ as much.",
            "Parameters differ with the basis, so test errors are not a ranking.",
            f"e2cnn's finite-difference network did not learn here ({lost['test error %']:.0f}% error) with either of "
            "two learning rates; no search was made for one that suits it.",
        ],
    )


def symbols(results: Results) -> Section:
    """Return one random layer of every family at one frequency."""
    runs = results("families")["runs"]
    key = "one random layer, 0.4 rad per pixel"
    found: dict[str, list[float]] = {}
    for run in runs:
        if key in run and run.get("init", "authors") == "authors":
            found.setdefault(run["family"], []).append(run[key])
    means = {name: statistics.mean(values) for name, values in found.items()}
    rows = [(f"`{name}`", sci(means[name])) for name in sorted(means, key=means.__getitem__)]
    return Section(
        "One layer, from its symbol",
        "The relative error at 45 degrees of one random layer with 8 rotations on a plane wave of 0.4 radians per "
        "pixel (a wave of 16 pixels), computed from the Fourier transform of its kernels.",
        ["families"],
        "`make families`",
        table(("family", "relative error"), rows),
        caveats=[
            f"At this frequency the default is {means['paper'] / means['gaussian']:.0f} times as equivariant as the "
            f"authors' stencils and {means['gaussian'] / means['band-limited']:.0f} times less so than `band-limited`. "
            "On finer texture all are worse, and none is equivariant near the highest frequency of the grid.",
        ],
    )


def trained(results: Results) -> Section:
    """Return the trained network over depth, angle and frequency."""
    result = results(TRAINED)
    depth = result["depth"]["45 degrees"]
    first, last, output = result["angle"].values()
    quarter = max(first[f"{angle}.0"] for angle in (90, 180, 270))
    waves = result["frequency"]["layer 0"]
    shown = [min(waves, key=lambda f: abs(float(f) - wanted)) for wanted in (0.1, 0.2, 0.4, 0.8, 1.6, 3.2)]
    epochs = results("mnist-rot-small-gaussian-seed0")["settings"]["epochs"]
    return Section(
        "A trained network, layer by layer",
        f"The MNIST-rot network with the default filters after {epochs} epochs, on smooth pictures up to 0.4 radians "
        "per pixel, turned by 45 degrees: relative error of the features behind each layer.",
        [TRAINED],
        "`pdoconv measure RUN`",
        table(("behind layer", "relative error"), ((layer, sci(error)) for layer, error in depth.items()))
        + f"\n\nQuarter turns change the features behind the first layer by at most {sci(quarter)}. Over all angles "
        f"the outputs, whose invariance is learned, change by at most {sci(max(output.values()))}. The first layer "
        "over the frequency of the picture:\n\n"
        + table(("radians per pixel", "relative error"), ((f"{float(f):.2f}", sci(waves[f])) for f in shown)),
        [(TRAINED, "Equivariance of the trained network over angle, frequency, grid size and depth")],
        [
            "One linear layer is nearly equivariant on smooth pictures; ReLU, pooling and zero padding dominate "
            f"behind it. More layers do not always mean more error: at most {sci(max(depth.values()))} within the "
            f"network, {sci(list(depth.values())[-1])} behind its last layer.",
            "Behind deep layers pictures are turned about an output pixel beside the centre of the image, so borders "
            f"are seen: there even a quarter turn changes the last features by {sci(last['90.0'])}. About the centre "
            "of 28 pixels it is exact to rounding ([lower precision](conversion.md#lower-precision)).",
            "One network, one seed.",
        ],
    )


def sections(results: Results) -> list[Section]:
    """Return the sections of the page."""
    return [part(results) for part in (layers, symbols, networks, trained)]


def finding(results: Results) -> str:
    """Return the main figures."""
    systems = results("equivariance-comparison")["systems"]
    ours, escnn, e2cnn = (systems[n][f"errors at {SIZES}"][LAYER][0] for n in ("gaussian", "escnn", "e2cnn-diffop"))
    depth = list(results(TRAINED)["depth"]["45 degrees"].values())
    return (
        f"One layer at 45 degrees on a smooth picture of 33 x 33 points: relative error {sci(ours)}; escnn "
        f"{sci(escnn)}, e2cnn's PDOs {sci(e2cnn)}. A trained network: {sci(depth[0])} behind the first layer, "
        f"{sci(depth[-1])} behind the last."
    )


PAGE = Page(
    "equivariance",
    "Equivariance",
    "Quarter turns and flips are exact to rounding where sides obey the grid rule. Here is what happens at 45 "
    "degrees, where nothing is exact. All errors are relative: the norm of the difference over the norm of the "
    "output.",
    sections,
    finding,
)
