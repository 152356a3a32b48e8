"""Vector fields predicted from images: optical flow."""

from results.page import Page, Results, Section, listed, table

ANGLES = ("0", "45", "90", "180")


def flow(results: Results) -> Section:
    """Return endpoint errors of all networks."""
    result = results("optical-flow")
    cells = [
        (
            row["net"],
            f"{row['parameters']:,}",
            *(f"{row['endpoint_error_pixels'][a]['mean']:.2f}" for a in ANGLES),
            f"{row['mean_over_angles_pixels']['mean']:.2f} ± {row['mean_over_angles_pixels']['sd']:.2f}",
            f"{row['train_seconds']:.0f}",
        )
        for row in result["rows"]
    ]
    heads = ("network", "parameters", *(f"{a} degrees" for a in ANGLES), "all angles", "training, s")
    without = [
        (name, *(f"{errors[a]:.2f}" for a in ANGLES), f"{sum(errors.values()) / len(errors):.2f}")
        for name, errors in result["without_a_network"].items()
    ]
    pairs = result["pairs"]
    return Section(
        "Optical flow",
        f"How far has every pixel moved between two frames? Networks are trained on {pairs['train']:,} pairs of "
        f"clutter that drifts to the right, and tested on {pairs['test']:,} pairs turned by steps of 15 degrees. "
        f"Endpoint error in pixels, mean of {result['seeds']} seeds.",
        ["optical-flow"],
        "`make flow`",
        table(heads, cells)
        + "\n\nWithout any network:\n\n"
        + table(("answer", *(f"{a} degrees" for a in ANGLES), "all angles"), without),
        [("optical-flow", "Optical flow on pairs turned away from the training orientation")],
        [
            "Made scenes. Parameters are about equal, work is not: the networks of rotations have four times the "
            "channels of the plain one and take longer to train (the last column).",
            "The plain network that was trained in any orientation saw as many pairs as the others, not more.",
            f"In the file's words: {result['selection']}.",
        ],
    )


def rates(results: Results) -> Section:
    """Return how the learning rates were chosen."""
    found = results("tuning-optical-flow")["validation_endpoint_error_pixels"]
    cells = [(net, setting, f"{error:.3f}") for net, errors in found.items() for setting, error in errors.items()]
    return Section(
        "How its learning rates were chosen",
        "Endpoint error on validation pairs, of other digits in the orientation trained on, by highest learning rate "
        "and epochs.",
        ["tuning-optical-flow"],
        "`python examples/optical_flow.py --rates 0.01 --result results/tuning-optical-flow.json`, in parts",
        table(("network", "rate, epochs", "validation error, pixels"), cells),
        caveats=[
            "Made in several parts. For the networks of rotations the highest rate that was tried was the best, so a "
            "higher one might be better still."
        ],
    )


def sections(results: Results) -> list[Section]:
    """Return the sections of the page."""
    return [flow(results), rates(results)]


def finding(results: Results) -> str:
    """Return the main figures."""
    rows = results("optical-flow")["rows"]
    names = "; ".join(row["net"] for row in rows)
    return (
        "Optical flow, endpoint error in pixels upright "
        f"{listed(row['endpoint_error_pixels']['0']['mean'] for row in rows)}, over all angles "
        f"{listed(row['mean_over_angles_pixels']['mean'] for row in rows)} ({names})."
    )


PAGE = Page(
    "fields",
    "Vector fields",
    "Networks whose answer is a field of vectors, which turns when the images turn. What such layers cost is on "
    "[the page on speed](speed.md); how they are made is in [the design note](../design/005-representations.md).",
    sections,
    finding,
)
