"""How long layers and networks take on a GPU, where that was measured."""

from results.page import PHASES, Results, Section, spread, table

FILE = "gpu-speed"
WAYS = ("dense", "fourier")


def measured(results: Results) -> Section:
    """Return layers and residual networks beside plain ones."""
    result = results(FILE)
    layers = [
        (
            f"{row['group']}, {row['fields']} fields",
            precision,
            *(spread(part[phase][way]) for way in WAYS for phase in PHASES),
        )
        for row in result["layers"]
        for precision, part in row["precisions"].items()
    ]
    networks = [
        (row["network"], precision, *(spread(part[phase][way]) for way in ("ours", "z2") for phase in PHASES))
        for row in result["networks"]
        for precision, part in row["precisions"].items()
    ]
    pairs = [
        (part[phase]["fourier"]["ratio"], part[phase]["dense"]["ratio"])
        for row in result["layers"]
        for part in row["precisions"].values()
        for phase in PHASES
    ]
    slower = sum(fourier > dense for fourier, dense in pairs)
    names = tuple(f"{way}, {name}" for way in WAYS for name in PHASES.values())
    return Section(
        "On a GPU",
        f"Layers of 5x5 on 32 x 32 pixels, batch {result['batch']}, beside `nn.Conv2d` of as many channels: `dense` "
        'is what `method="auto"` takes on GPUs, `fourier` the CUDA kernels, by name. Networks beside plain ones of '
        "as many channels. Times over the peer's in the same run, quartiles in brackets: below 1 is faster.",
        [FILE],
        "`python benchmarks/gpu_speed.py`",
        table(("layer", "precision", *names), layers)
        + "\n\nResidual networks, and Z2 ones of about the same parameters:\n\n"
        + table(
            ("network", "precision", *(f"{way}, {name}" for way in ("this library", "Z2") for name in PHASES.values())),
            networks,
        ),
        caveats=[
            f"`fourier` is slower than `dense` in {slower} of {len(pairs)} comparisons.",
            f"One GPU ({result['hardware']['gpu']}). float32 is computed in tf32, maps are in channels_last; other "
            "shapes were not timed.",
            *([result["caveat"]] if "caveat" in result else []),
        ],
    )
