"""All files of the playground's networks, and the manifest that says what they are."""

import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pdoconv.data import text as text_scenes
from pdoconv.export.helpers import write
from pdoconv.playground import families, networks, pde_step
from pdoconv.playground.networks import Classifier

EXAMPLES = 2  # digits of each class
PHOTO = 128  # pixels of a picture's side
SCENE = {"seed": 2026, "place": 2}  # of the made picture with words
STARTS = {
    "denoise": {"blur": 0.0, "noise": 25.0, "text": "White noise of 25/255 is added to the picture."},
    "deblur": {
        "blur": 1.5,
        "noise": 2.0,
        "text": "A Gaussian of 1.5 pixels blurs the picture, noise of 2/255 is added.",
    },
    "edges": {"blur": 0.0, "noise": 15.0, "text": "White noise of 15/255 is added; the result is a map of edges."},
    "text": {"blur": 0.0, "noise": 0.0, "text": "The result is a map of where text is."},
}
"""What is done to a picture before the evolution: a blur (pixels), then noise (units of 1/255)."""
TITLES = {"denoise": "Denoise", "deblur": "Deblur", "edges": "Find edges", "text": "Find text"}
NETWORK_TITLES = {"equivariant": "Equivariant network (C8)", "plain": "Ordinary CNN"}


def write_models(
    folder: Path,
    nets: Mapping[str, Classifier],
    result: Mapping[str, Any],
    test: tuple[NDArray[np.uint8], NDArray[np.uint8]],
) -> None:
    """Write networks, layers, the step of the learned PDEs, examples and the manifest.

    Args:
        folder: Where to; it is made.
        nets: The classifiers, trained.
        result: What `results/playground.json` holds; test figures are taken from it.
        test: Test digits and labels of MNIST.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for name, net in nets.items():
        networks.write_classifier(net, folder / f"{name}.onnx")
    for name in families.FAMILIES:
        families.write_layer(name, folder / f"layer-{name}.onnx")
    pde_step.write_step(folder / "step.onnx")
    for task in pde_step.TASKS:
        _write_json(folder / f"pde-{task}.json", pde_step.described(task), compact=True)
    _write_json(folder / "digits.json", examples(*test), compact=True)
    write(folder / "photo.png", photo())
    write(folder / "scene.png", scene())
    _write_json(folder / "manifest.json", manifest(nets, result))


def manifest(nets: Mapping[str, Classifier], result: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the page needs to know of the files."""
    first = pde_step.described("denoise")
    return {
        "version": 1,
        "picture": {
            "side": networks.SIDE,
            "digit": networks.DIGIT,
            "fine": networks.FINE,
            "step_degrees": networks.ANGLES[1],
        },
        "group": {"name": "C8", "order": networks.GROUP.order},
        "networks": {name: _network(name, net, result["networks"][name]) for name, net in nets.items()},
        "layers": {
            "input": "x",
            "output": "y",
            "size": families.SIDE,
            "fields": families.FIELDS,
            "group_order": families.GROUP.order,
            "degrees": 45,
            "directions": families.DIRECTIONS,
            "frequencies": list(families.FREQUENCIES),
            "families": [
                {
                    "name": name,
                    "file": f"layer-{name}.onnx",
                    "title": family.title,
                    "text": family.text,
                    "call": family.call,
                    "errors": result["layers"]["families"][name],
                }
                for name, family in families.FAMILIES.items()
            ],
        },
        "pde": {
            "file": "step.onnx",
            "inputs": list(pde_step.INPUTS),
            "outputs": list(pde_step.OUTPUTS),
            "stepwise": list(pde_step.STEPWISE),
            "border": "replicate",
            "fields": first["fields"],
            "invariants": [
                {"name": name, "formula": formula(name), "order": order}
                for name, order in zip(first["invariants"], first["orders"], strict=True)
            ],
            "tasks": [
                {
                    "name": task,
                    "title": TITLES[task],
                    "file": f"pde-{task}.json",
                    "picture": "scene.png" if task == "text" else "photo.png",
                    "steps": first["steps"],
                    **STARTS[task],
                }
                for task in pde_step.TASKS
            ],
        },
        "digits": {"file": "digits.json", "rule": f"the first {EXAMPLES} test digits of MNIST of each class"},
        "photo": {
            "file": "photo.png",
            "text": f"scikit-image's picture `camera` (CC0), means over 4 x 4 pixels: {PHOTO} x {PHOTO}.",
        },
        "scene": {
            "file": "scene.png",
            "text": f"Random words on random shapes, made by pdo.data.text, {PHOTO} x {PHOTO}.",
        },
    }


def _network(name: str, net: Classifier, row: Mapping[str, Any]) -> dict[str, Any]:
    tied = name == "equivariant"
    order = networks.GROUP.order if tied else 1
    kept = ("parameters", "multiply_adds", "epochs", "error_upright", "error_any_angle", "constant_class")
    changes = [f"logits_change_{kind}" for kind in ("mean", "max", "quarter_turns", "eighth_turns")]
    return {
        "title": NETWORK_TITLES[name],
        "file": f"{name}.onnx",
        "input": "x",
        "outputs": list(networks.OUTPUTS),
        "first": {"fields": networks.FIELDS if tied else networks.CHANNELS, "group_order": order, "side": 37},
        "last": {"fields": networks.LAST if tied else networks.LAST_CHANNELS, "group_order": order, "side": 10},
        **{key: row[key] for key in (*kept, *changes)},
    }


def formula(name: str) -> str:
    """Return an invariant's name with signs of mathematics.

    >>> formula("g(rho1) H(O) g(rho2)"), formula("tr H(O)"), formula("g(O).g(O)"), formula("rho1")
    ('∇ρ₁ᵀ H(O) ∇ρ₂', 'tr H(O)', '∇Oᵀ∇O', 'ρ₁')
    """
    for i, sign in enumerate("₁₂₃", start=1):
        name = name.replace(f"rho{i}", f"\N{GREEK SMALL LETTER RHO}{sign}")
    if name.startswith("g("):
        left, _, rest = name[2:].partition(")")
        return f"∇{left}ᵀ{rest.lstrip('.')}".replace("g(", "∇").removesuffix(")")
    return name


def examples(images: NDArray[np.uint8], labels: NDArray[np.uint8]) -> dict[str, Any]:
    """Return the first digits of each class, `{"digits": [{"label", "index", "pixels"}]}`, by class."""
    places = [int(i) for label in range(10) for i in np.flatnonzero(labels == label)[:EXAMPLES]]
    return {
        "side": networks.DIGIT,
        "digits": [{"label": int(labels[i]), "index": i, "pixels": images[i].ravel().tolist()} for i in places],
    }


def photo() -> bytes:
    """Return scikit-image's picture `camera` at a quarter of its side, as PNG."""
    from skimage import data

    whole = data.camera()  # type: ignore[no-untyped-call]
    part = len(whole) // PHOTO
    return _png(whole.reshape(PHOTO, part, PHOTO, part).mean((1, 3)))


def scene() -> bytes:
    """Return a picture with words on it, made by the package, as PNG."""
    made = text_scenes(SCENE["place"] + 1, PHOTO, SCENE["seed"]).images[SCENE["place"], 0]
    return _png(255 * made.double().numpy())


def _png(pixels: NDArray[np.float64]) -> bytes:
    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(np.rint(pixels).astype(np.uint8)).save(file, format="PNG", optimize=True)
    return file.getvalue()


def _write_json(path: Path, content: Any, *, compact: bool = False) -> None:
    text = json.dumps(content, separators=(",", ":")) if compact else json.dumps(content, indent=1)
    write(path, (text + "\n").encode())
