"""How long networks take: training, inference, starts, two processes, augmentation."""

from results.page import PHASES, Data, Results, Section, joined, sci, span, spread, table

NAMES = {"auto": "this library", "dense": 'this library, `method="dense"`', "plain": "same channels, no symmetry"}
NAMES |= {"z2": "Z2 network of about the same parameters", "e2cnn-diffop": "e2cnn, PDOs"}


def named(system: str) -> str:
    """Return a system as tables call it."""
    return NAMES.get(system, system)


def over(part: Data, peer: str) -> str:
    """Return a ratio to a peer if there is one."""
    return spread(part[peer]) if peer in part else "-"


def tutorial(results: Results) -> Section:
    """Return the network of escnn's tutorial."""
    result = results("bench-networks")
    cells = [
        (
            f"{group['group']}: {named(name)}",
            f"{system['parameters']:,}",
            f"{system['construction_seconds']:.1f}",
            f"{system['training_mb']:.0f}",
            *(over(system[phase], "over_plain") for phase in PHASES),
            over(system["forward_backward"], "over_escnn"),
        )
        for group in result["groups"]
        for name, system in group["systems"].items()
    ]
    heads = (
        "system",
        "parameters",
        "construction, s",
        "memory, MB",
        "training / plain",
        "inference / plain",
        "training / escnn",
    )
    return Section(
        "The network of escnn's tutorial",
        f"Six layers, batch {result['batch']}, in this library, escnn and e2cnn, beside a plain CNN of as many "
        "channels. Times over the peer's, quartiles in brackets: below 1 is faster.",
        ["bench-networks"],
        "`make bench-peers`",
        table(heads, cells),
        [("bench-networks", "Training and inference of the tutorial's network")],
        [
            f"{result['rounds']} rounds, beside another process of the lowest priority: quartiles are wide.",
            "The plain CNN of as many channels has many times the parameters; one of as many parameters was "
            "not timed here.",
        ],
    )


def resnets(results: Results) -> Section:
    """Return CIFAR ResNets in images per second."""
    networks = results("bench-resnet")["networks"]
    cells = [
        (
            f"{network['network']}, batch {network['batch']}: {named(name)}",
            f"{system['parameters']:,}",
            *(rate(system[phase]["images_per_second"]) for phase in PHASES),
            over(system["forward_backward"], "over_escnn"),
            f"{system['construction_seconds']:.1f}",
            f"{system['training_mb']:.0f}",
        )
        for network in networks
        for name, system in network["systems"].items()
    ]
    heads = (
        "system",
        "parameters",
        "training, images/s",
        "inference, images/s",
        "speed / escnn",
        "construction, s",
        "memory, MB",
    )
    work = [
        network["systems"]["z2"]["convolution_gflops"] / network["systems"]["dense"]["convolution_gflops"]
        for network in networks
    ]
    return Section(
        "CIFAR ResNets",
        "ResNet-44 and a narrow network with 8 rotations, in images per second; here a ratio above 1 is faster than "
        "escnn.",
        ["bench-resnet"],
        "`python benchmarks/resnet_speed.py --escnn .venv-escnn/bin/python --quick`",
        table(heads, cells),
        [("bench-resnet", "Images per second of CIFAR ResNets")],
        [
            f"**A loss:** a Z2 network of about the same parameters has {joined(work, '.2f')} times the dense work "
            f"and is {span(slower(networks, phase='forward_backward'), '.1f')} times as fast in training.",
            "Small batches and few rounds. escnn's basis of a 5x5 kernel is not that of the PDOs, so parameters "
            "differ; the work of the convolutions was checked to be the same.",
        ],
    )


def slower(networks: list[Data], phase: str) -> list[float]:
    """Return how many times as fast as ours the Z2 networks are."""
    return [1 / network["systems"]["auto"][phase]["over_z2"]["ratio"] for network in networks]


def rate(value: float) -> str:
    """Return images per second with two or more digits."""
    return f"{value:.0f}" if value >= 20 else f"{value:.1f}"


def starts(results: Results) -> Section:
    """Return fresh processes."""
    parts = []
    for file in ("bench-start", "bench-start-peers"):
        result = results(file)
        keys = ("import_package_ms", "construction_ms", "first_step_ms", "whole_process_ms")
        net = [(named(name), *(f"{row[key]:.0f}" for key in keys)) for name, row in result["network"].items()]
        systems = list(result["network"])
        first = [
            (group, *(f"{row[s]['first_layer_ms']:.0f}" if s in row else "-" for s in systems))
            for group, row in result["first_layers"].items()
        ]
        parts += [
            f"`{file}.json`, the tutorial's network:",
            table(("system", "import", "construction", "first step", "whole process"), net),
            f"`{file}.json`, a first layer of 8 fields by group:",
            table(("group", *(named(system) for system in systems)), first),
        ]
    return Section(
        "Starts",
        "A fresh process each: importing the package (torch apart), building the tutorial's network, its first "
        "training step; and a first layer. O is the cube's 24 rotations, I the icosahedron's 60, both in space. "
        "Milliseconds, medians.",
        ["bench-start", "bench-start-peers"],
        "`make bench`, `make bench-peers`",
        "\n\n".join(parts),
        caveats=[
            "escnn's first layer of D8 was read from its disk cache. **A loss:** on the plane the first `nn.Conv2d` "
            "of as many channels is ready sooner.",
            "The very first wide layer on a machine compiles a kernel, for some seconds, once; these starts find it "
            "compiled.",
        ],
    )


def scaling(results: Results) -> Section:
    """Return two processes beside one."""
    ways = ("two", "two, synchronised BatchNorm")
    cells = [
        (
            row["network"],
            row["batch"],
            row["one process"]["images_per_second"],
            *(spread(row[way]["speed-up"]) for way in ways),
        )
        for row in results("bench-scaling")["rows"]
    ]
    return Section(
        "Two processes",
        "A training step of one batch in two processes of one thread each, times as fast as in one process of one "
        "thread; 2 would be perfect.",
        ["bench-scaling"],
        "`make bench`",
        table(("network", "batch", "one process, images/s", "two", "two, synchronised BatchNorm"), cells),
        caveats=[
            "Two cores of one machine, which did other work besides. Nothing was measured on several GPUs.",
            "**A loss:** with synchronised BatchNorm the small Z2 network gains nothing: exchanging the statistics "
            "costs what the second process saves.",
        ],
    )


def augmentation(results: Results) -> Section:
    """Return the augmentation of a batch."""
    result = results("bench-augment")
    cells = [
        (
            case["case"],
            *(spread(case[f"ours / {peer} loop"]) for peer in ("torch", "numpy")),
            *(f"{case[f'percent of a step of {net}']['median']:.2f}" for net in result["parameters"]),
            sci(case["largest_difference"]),
        )
        for case in result["cases"]
    ]
    heads = (
        "augmentation",
        "over a torch loop",
        "over a numpy loop",
        *(f"% of a step of {net}" for net in result["parameters"]),
    )
    return Section(
        "Augmentation",
        f"A batch of {result['batch']} colour images of {result['pixels']} x {result['pixels']} at once, one thread: "
        "times over the time of loops over its images, percent of a training step of plain networks, and the largest "
        "difference from the loops' pixels.",
        ["bench-augment"],
        "`make bench`",
        table((*heads, "largest difference"), cells),
        caveats=[
            f"The goal was {result['goal_percent_of_a_step']:g}% of a step of the smallest network; equivariant "
            "networks take longer a step."
        ],
    )


def sections(results: Results) -> list[Section]:
    """Return the sections."""
    return [part(results) for part in (tutorial, resnets, starts, scaling, augmentation)]
