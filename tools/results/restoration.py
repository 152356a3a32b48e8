"""Restoration of pictures by learned PDEs, networks and classical methods; the laws that PDEs obey."""

import math

from pdoconv.compare import table as systems_table
from pdoconv.restoration import table as restoration_table
from results.page import Data, Page, Results, Section, bullets, count, sci, span, table

TASKS = {
    "denoise": "Denoising, sigma 25",
    "deblur": "Deblurring",
    "inpaint": "Inpainting",
    "demosaick": "Demosaicking",
    "edges": "Edge maps",
    "text": "Text confidence maps",
}
QUESTIONS = {
    "denoise": "Gaussian noise with a standard deviation of 25/255 is taken away.",
    "deblur": "A Gaussian blur of 1.5 pixels and noise of 2/255 are taken away.",
    "inpaint": "20% of the pixels are known, drawn at random.",
    "demosaick": "Colours are made of an RGGB mosaic of made pictures (dead leaves).",
    "edges": "The edge map of the clean picture is predicted from one with noise of 15/255; PSNR is of the map.",
    "text": "Where is text in a made scene? PSNR is of the map.",
}
CAVEATS = {
    "deblur": ["Total variation deconvolution and the Wiener filter know the blur."],
    "inpaint": ["Perona-Malik and total variation flow, given the choice, come down to the heat equation."],
    "demosaick": [
        "Made pictures: this shows that the same equation learns the task, not how good it is on photographs."
    ],
    "edges": [
        "The target is itself made by a filter: this shows that the equation learns it, not that it finds edges best."
    ],
    "text": ["Made scenes, and nothing to compare with: no claim beyond that the equation learns the task."],
}
SHOWN = {"-plate": "pictures as observed and restored", "-parameters": "PSNR against parameters"}
SHORT = (
    "All trainings are short: large networks gain most from longer ones. This is no ranking of the published methods."
)


def task(results: Results, name: str) -> Section:
    """Return the table of a task."""
    file = f"restoration-{name}"
    result = results(file)
    steps = sorted({row["steps"] for row in result["systems"].values() if "steps" in row})
    trained = (
        f" Learned systems had {' or '.join(f'{s:,}' for s in steps)} steps each on {result['training'].split(',')[0]}."
    )
    plates = [
        (picture, f"{TASKS[name]}: {SHOWN[picture.removeprefix(file)]}") for picture in results.pictures(f"{file}-*")
    ]
    return Section(
        TASKS[name],
        QUESTIONS[name] + trained + " PSNR is in dB, higher is better; the best mean comes first.",
        [file],
        "`make restoration`",
        restoration_table(result),
        plates,
        [
            *(denoise_caveats(result) if name == "denoise" else CAVEATS[name]),
            f"In the file's words: {result['selection']}.",
        ],
    )


def denoise_caveats(result: Data) -> list[str]:
    """Return what the table of denoising does not say."""
    rows = result["systems"]
    bm3d, tnrd, pde = rows["bm3d"], rows["tnrd"], rows["neural-pde"]
    sets = list(result["tests"])
    return [
        f"**Losses:** BM3D is ahead of every learned PDE on {sets[0]} ({bm3d['psnr'][sets[0]]:.2f} dB against "
        f"{pde['psnr'][sets[0]]:.2f}), and the TNRD type on both sets, in {tnrd['seconds']:.1f} s a picture where the "
        f"neural PDE takes {pde['seconds']:.1f}. The published L-PDE, linear in polynomial invariants, loses to total "
        "variation flow.",
        "The function of the invariants and the bounded invariants are extensions of this library, not the papers'. "
        "Of the general L-PDE two sizes were trained to the end, and the better one is reported.",
        "BM3D stands at its package's setting and knows sigma.",
        SHORT,
        '"PSNR lost at 45 degrees" compares a picture with the same content sampled along turned axes. Nobody saw '
        "turned copies in training.",
    ]


def laws(results: Results) -> Section:
    """Return orders of convergence, what batch-mates change, what adjoints cost."""
    r = results("pde-laws")
    lines = []
    for scheme, errors in r["change when turned by 30 degrees"].items():
        orders = [math.log2(e[-2] / e[-1]) for e in errors.values()]
        lines.append(
            f"Invariants of fields turned by 30 degrees, {scheme}: observed orders {span(orders)}, change at most "
            f"{sci(max(e[-1] for e in errors.values()))} at a spacing of {r['spacings'][-1]}."
        )
    for solver, errors in r["error of solvers"].items():
        lines.append(f"Solver {solver}: observed order {math.log2(errors[-2] / errors[-1]):.2f}.")
    mates = [(solver, sci(change)) for solver, change in r["change by batch-mates"].items()]
    adjoint = [(tolerance, sci(error)) for tolerance, error in r["error of adjoint gradients"].items()]
    kept = r["numbers kept for a gradient"]
    return Section(
        "Laws of the PDEs",
        "Do invariants stay when the picture turns, do solvers converge as they should, and does a picture's result "
        "depend on its neighbours in the batch?",
        ["pde-laws"],
        "`make bench`",
        bullets(lines)
        + "\n\nRelative change of an output by seven batch-mates of ten times its size (dopri5 is torchdiffeq's, with "
        "its tolerance):\n\n"
        + table(("solver", "change"), mates)
        + "\n\nRelative difference of torchdiffeq's adjoint gradients from those of the steps taken:\n\n"
        + table(("tolerance", "difference"), adjoint)
        + f"\n\nA gradient through 20 steps keeps {kept['everything']:,} numbers, with `checkpoint=True` "
        f"{kept['checkpoints']:,}.",
        [("pde-laws", "Orders of convergence")],
        ["Smooth made fields in float64. On pictures fine texture costs more."],
    )


def evolution(results: Results) -> Section:
    """Return pictures of the trained PDEs."""
    rows = results("restoration-denoise")["systems"]
    general, linear = rows["lpde-general"], rows["lpde-bounded"]
    return Section(
        "What the trained PDEs do",
        "A picture restored step by step, and the coefficients of the linear PDE with bounded invariants over time.",
        ["restoration-denoise"],
        "`make restoration`",
        f"The PDE for denoising that comes with the package has {general['parameters']:,} numbers, the linear one "
        f"{linear['parameters']:,}.",
        [
            ("learned-pde-strip", "Evolution of a made picture"),
            ("learned-pde-coefficients", "Coefficients over time"),
        ],
        [
            "Coefficients that are free in each step cannot be told from final images alone: these are one solution "
            "of many."
        ],
    )


def digits(results: Results) -> Section:
    """Return neural PDEs on MNIST-rot."""
    result = results("compare-mnist-rot")
    chosen = {name: row for name, row in result["systems"].items() if name.startswith("neural-")}
    return Section(
        "Neural PDEs on MNIST-rot",
        "An equivariant neural PDE beside the Neural ODE of Chen et al. and its residual twin, trained like all "
        "systems of [the comparison](classification.md).",
        ["compare-mnist-rot"],
        "`make compare`",
        systems_table({**result, "systems": chosen}),
        caveats=[
            f"{count(max(len(r['errors %']) for r in chosen.values()), 'run')} each. The Neural ODE and its twin have "
            f"their published sizes and no symmetry; {result['budget']['epochs']} epochs are few for them.",
        ],
    )


def sections(results: Results) -> list[Section]:
    """Return the sections of the page."""
    tasks = [task(results, name) for name in TASKS]
    return [tasks[0], evolution(results), *tasks[1:], laws(results), digits(results)]


def finding(results: Results) -> str:
    """Return the main figures."""
    result = results("restoration-denoise")
    place = next(iter(result["tests"]))
    names = ("bm3d", "tnrd", "neural-pde", "lpde-general", "dncnn", "tv-flow")
    shown = "; ".join(
        f"{result['systems'][name]['title']} {result['systems'][name]['psnr'][place]:.2f}" for name in names
    )
    return f"Denoising at sigma 25, mean PSNR in dB on {place.capitalize()}: {shown}."


PAGE = Page(
    "restoration",
    "Restoration and PDEs",
    "Learned PDEs and neural PDEs beside networks and classical methods, those of a table trained on the same "
    "patches. Models and invariants: [the design note](../design/007-pdes.md).",
    sections,
    finding,
)
