"""The first page of results: main findings, losses, and how the figures came about."""

from collections.abc import Sequence

from results.page import Page, Results, bullets, count, joined, ratios, sci, span, table
from results.speed import gates, narrow
from results.speed_of_networks import slower


def overview(pages: Sequence[Page], results: Results) -> str:
    """Return the page as Markdown, with a line for each of `pages`."""
    rows = [(f"[{page.title}]({page.name}.md)", page.finding(results)) for page in pages]
    default = results("mnist-rot-small-gaussian-seed0")
    parts = [
        "# Results",
        "What was measured, and how. Each figure on these pages is computed from "
        f"{count(len(results.names('*')), 'file')} in `results/` when the pages are built; below each section stand "
        "the file, the command that writes it, and the machine.",
        table(("page", "main figures"), rows),
        "## Where it loses",
        bullets(losses(results)),
        "## How the figures came about",
        bullets(
            [
                "**Test sets are read once.** Settings are fixed before, on images kept apart; the last weights are "
                f'tested, not the best epoch. The files say so themselves ("{default["selection"]}"), and where one '
                "says otherwise its section repeats it.",
                "**Defaults were not chosen on test sets.** Filters were compared on images that are neither "
                "training nor test images.",
                "**Systems that are compared were trained alike,** on the same data with the same rule of selection; "
                "where epochs differ, the table shows them. Where parameters are equal, time is not, and the "
                "sections say by how much.",
                "**One run is one run.** Where several seeds were trained, their number and spread stand beside the "
                "mean.",
                "**MNIST-rot is regenerated** from MNIST by the published recipe; its figures cannot be set beside "
                "those on the original files to the last digit.",
                "**Speeds are ratios** to a peer in the same run, in turns, with quartiles in the file. Minutes of "
                "training are what they were, on two cores, sometimes beside other work; where it was so, it is said.",
                "**Measured figures are not typed.** `python tools/result_pages.py FOLDER` writes these pages; other "
                "numbers in a file make other pages.",
            ]
        ),
    ]
    return "\n\n".join(parts) + "\n"


def losses(results: Results) -> list[str]:
    """Return where something else is better, one line each."""
    systems = results("compare-mnist-rot")["systems"]
    ours, p4 = systems["pdo-gaussian"], systems["p4cnn"]
    three = {
        name: row["errors at 33, 65, 129"]["three layers, ELU"][-1]
        for name, row in results("equivariance-comparison")["systems"].items()
    }
    denoise = results("restoration-denoise")
    psnr = {name: list(row["psnr"].values()) for name, row in denoise["systems"].items()}
    sets = " and ".join(denoise["tests"])
    flow = results("optical-flow")["rows"]
    converted = results("convert")["rows"]
    scaled = results("bench-scaling")["rows"][-1]
    grid = results("bench-layer")["rows"]
    return [
        f"An ordinary layer of as many *parameters* is {span(narrow(results('bench-layer-goals')['rows']), '.1f')} "
        "times as fast as an equivariant one, a Z2 ResNet "
        f"{span(slower(results('bench-resnet')['networks'], 'forward_backward'), '.1f')} times ([speed](speed.md)).",
        f"Of {len(grid)} layers {sum(r > 1 for r in ratios(grid, 'forward_backward'))} train slower than `nn.Conv2d` "
        f"of as many channels, the worst {max(ratios(grid, 'forward_backward')):.2f} times ([speed](speed.md)).",
        f"A `GatedActivation` takes {joined(gates(results('bench-representations')), '.1f')} times a ReLU "
        "([speed](speed.md)).",
        f"{scaled['network']}: two processes with synchronised BatchNorm are "
        f"{scaled['two, synchronised BatchNorm']['speed-up']['ratio']:.2f} times as fast as one ([speed](speed.md)).",
        f"In the layout of its authors' small network PDO-eConv errs by {ours['error %']:.2f}% after "
        f"{results('compare-mnist-rot')['budget']['epochs']} epochs, G-CNN's p4 by {p4['error %']:.2f}%, in "
        f"{p4['seconds an epoch'] / ours['seconds an epoch']:.2f} times the time "
        "([classification](classification.md)).",
        f"Behind three layers at 129 points a side escnn errs by {sci(three['escnn'])}, the default filters by "
        f"{sci(three['gaussian'])} ([equivariance](equivariance.md)).",
        f"Denoising ({sets}): BM3D {joined(psnr['bm3d'])} dB, TNRD type {joined(psnr['tnrd'])}, the best PDE here "
        f"{joined(psnr['neural-pde'])} ([restoration](restoration.md)).",
        "Training for optical flow takes the networks of rotations "
        f"{joined((r['train_seconds'] / flow[0]['train_seconds'] for r in flow[2:]), '.1f')} times as long as the "
        "plain one ([vector fields](fields.md)).",
        f"A converted network needs {span((row['slower'] for row in converted), '.1f')} times as long for an image "
        "([conversion](conversion.md)).",
    ]
