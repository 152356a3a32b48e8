"""What docs/migrate.md says about escnn, checked; run by test_migration.py with the Python of `.venv-escnn`.

    .venv-escnn/bin/python benchmarks/escnn_migration.py docs/migrate.md

Prints what it found as JSON.
"""

import contextlib
import io
import json
import pickle
import re
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
from escnn import gspaces
from escnn import nn as enn
from torch import Tensor, nn

import pdoconv as pdo

Names = dict[str, Any]


def page(path: Path) -> Names:
    """Run the page's blocks of both libraries in their order; return what they defined."""
    names: Names = {"__name__": "page"}
    for block in re.findall(r"^```py(?:thon)?\n(.*?)^```$", path.read_text(), re.DOTALL | re.MULTILINE):
        exec(compile(block, str(path), "exec"), names)  # the page is our own
    return names


def distance(a: Tensor, b: Tensor) -> float:
    """Return how far apart two tensors are, relative to the second."""
    return float((a - b).norm() / b.norm())


def networks(names: Names) -> Names:
    """Compare the network of the page in both libraries, its weights taken over."""
    ours, peer = names["ours"].eval(), names["peer"].eval()
    for norm in (m for m in peer.modules() if isinstance(m, nn.BatchNorm3d | nn.BatchNorm1d)):
        for tensor in (norm.weight, norm.bias, norm.running_mean):
            nn.init.normal_(tensor, 0.5, 0.2)
        nn.init.uniform_(norm.running_var, 0.5, 2)
    before = distance(ours(names["x29"]), peer(names["x29"]))
    exec(names["copying"], names)
    return {
        "parameters": [sum(p.numel() for p in net.parameters() if p.requires_grad) for net in (ours, peer)],
        "left over": max(names["left_over"]),
        "logits differ before": before,
        "logits differ": distance(ours(names["x29"]), peer(names["x29"])),
        "error of the peer at 90 degrees": names["errors"][90],
    }


def orders(names: Names) -> dict[str, float]:
    """Compare how a turned image changes features of both libraries, after channels are put in one order."""
    found = {}
    spaces = {
        "C4": (gspaces.rot2dOnR2(4), pdo.cyclic(4)),
        "D4": (gspaces.flipRot2dOnR2(4), pdo.dihedral(4)),
        "D4, axis 0": (gspaces.flipRot2dOnR2(4, axis=0.0), pdo.dihedral(4)),
        "y to -y": (gspaces.flip2dOnR2(axis=0.0), pdo.dihedral(1)),
        "O": (gspaces.octaOnR3(), pdo.octahedral()),
    }
    for name, (space, group) in spaces.items():
        order, n = names["order_of"](space, group), group.order
        if name == "D4":  # what the page gives as a formula
            x = torch.arange(float(n)).view(1, n, 1, 1)
            assert names["from_escnn"](x, 4).flatten().tolist() == [float(k) for k in order]
        elif name != "O":
            assert order == list(range(n)), (name, order)
        image, regular = enn.FieldType(space, [space.trivial_repr]), enn.FieldType(space, 2 * [space.regular_repr])
        convolution = enn.R2Conv if group.dim == 2 else enn.R3Conv
        layer = convolution(image, regular, 5, padding=2, bias=False, initialize=False).eval()
        nn.init.normal_(layer.weights)
        lift = pdo.nn.GroupConv(
            group.trivial(1), group.regular(2), 5, filters=pdo.filters.rotated(), padding=2, bias=False
        )
        left = names["take"](lift, layer.train().expand_parameters()[0], order)
        x = torch.randn(2, 1, *(7,) * group.dim)
        y = layer(enn.GeometricTensor(x, image)).tensor.unflatten(1, (-1, n))
        found[f"{name}: left over"] = left
        found[name] = distance(lift(x), y[:, :, order].flatten(1, 2))
        if name != "O":  # between regular fields, by escnn's own filters
            between = enn.R2Conv(regular, regular, 5, padding=2).eval()
            ours = pdo.GroupConv2d(
                group.regular(2), group.regular(2), 5, filters=pdo.filters.harmonics(), padding=2, bias=False
            )
            found[f"{name}: left over between"] = names["take"](ours, between.filter, order)
            z = between(enn.GeometricTensor(y.flatten(1, 2), regular)).tensor.unflatten(1, (-1, n))[:, :, order]
            z = z - between.expanded_bias.unflatten(0, (-1, n))[:, order, None, None]
            found[f"{name} between"] = distance(ours(y[:, :, order].flatten(1, 2)), z.flatten(1, 2))
        if n > 2:
            found[f"{name}, shuffled"] = distance(lift(x), y[:, :, order[1:] + order[:1]].flatten(1, 2))
    return found


def layers() -> dict[str, float]:
    """Compare layers without weights, or with equal ones, on the same input."""
    found = {}
    C8, space = pdo.cyclic(8), gspaces.rot2dOnR2(8)
    ours, theirs = C8.regular(3), enn.FieldType(space, 3 * [space.regular_repr])
    x = torch.randn(2, 24, 9, 9)

    def compare(name: str, layer: nn.Module, other: nn.Module, x: Tensor, kind: Any) -> None:
        found[name] = distance(layer(x), other(enn.GeometricTensor(x, kind)).tensor)

    blurred = [nn.ZeroPad2d(2), pdo.BlurPool2d(ours, 2, sigma=0.66, padding=0)]
    maxima = [
        pdo.MaxPool2d(ours, 3, stride=1, padding=1),
        nn.ZeroPad2d(3),
        pdo.BlurPool2d(ours, 2, sigma=0.6, padding=0),
    ]
    pairs = {
        "InnerBatchNorm": (pdo.BatchNorm2d(ours), enn.InnerBatchNorm(theirs)),
        "GroupPooling": (pdo.GroupPool(ours), enn.GroupPooling(theirs)),
        "PointwiseMaxPool": (pdo.MaxPool2d(ours, 3), enn.PointwiseMaxPool(theirs, 3)),
        "PointwiseAvgPoolAntialiased": (
            nn.Sequential(*blurred),
            enn.PointwiseAvgPoolAntialiased(theirs, sigma=0.66, stride=2),
        ),
        "PointwiseMaxPoolAntialiased": (
            nn.Sequential(*maxima),
            enn.PointwiseMaxPoolAntialiased(theirs, 3, stride=2, padding=1),
        ),
        "R2Upsampling": (pdo.Upsample(ours, 2, mode="linear"), enn.R2Upsampling(theirs, scale_factor=2)),
        "ELU": (nn.ELU(), enn.ELU(theirs)),
        "PointwiseAdaptiveAvgPool": (nn.AdaptiveAvgPool2d(1), enn.PointwiseAdaptiveAvgPool(theirs, 1)),
    }
    for name, (layer, other) in pairs.items():
        compare(name, layer, other, x, theirs)

    SO2, circle = pdo.so2(), gspaces.rot2dOnR2(-1, maximum_frequency=4)
    vectors = enn.FieldType(circle, 4 * [circle.irrep(1)])
    gates = enn.FieldType(circle, 4 * [circle.trivial_repr])
    v, both = torch.randn(2, 8, 9, 9), torch.randn(2, 12, 9, 9)
    compare("NormPool", pdo.NormPool(SO2.irrep(1, 4)), enn.NormPool(vectors), v, vectors)
    compare("NormMaxPool", pdo.MaxPool2d(SO2.irrep(1, 4), 3), enn.NormMaxPool(vectors, 3), v, vectors)
    norm, other = pdo.NormActivation(SO2.irrep(1, 4)), enn.NormNonLinearity(vectors)
    nn.init.uniform_(other.log_bias, -1, 0)
    with torch.no_grad():
        norm.bias.copy_(-other.log_bias.exp().flatten())
    compare("NormNonLinearity", norm, other, v, vectors)
    gated = enn.GatedNonLinearity1(gates + vectors)
    found["GatedNonLinearity1, random bias"] = float(gated.bias.detach().norm())
    nn.init.zeros_(gated.bias)
    compare("GatedNonLinearity1", pdo.GatedActivation(SO2.irrep(1, 4)), gated, both, gates + vectors)

    C16, finer = pdo.cyclic(16), gspaces.rot2dOnR2(16)
    whole = enn.FieldType(finer, 2 * [finer.regular_repr])
    down = enn.RestrictionModule(whole, 8)
    z = torch.randn(1, 32, 5, 5)
    y = enn.DisentangleModule(down.out_type)(down(enn.GeometricTensor(z, whole))).tensor
    order = [f * 16 + k for f in range(2) for k in (*range(0, 16, 2), *range(1, 16, 2))]
    found["RestrictionModule, in another order"] = distance(pdo.Restrict(C16.regular(2), C8)(z), y[:, order])
    return found


def irreducible() -> dict[str, float]:
    """Compare the matrices of fields that the page calls the same."""
    found = {}
    for name, space, group, arguments in (
        ("SO2", gspaces.rot2dOnR2(-1, maximum_frequency=4), pdo.so2(), [(1,), (2,)]),
        ("C8", gspaces.rot2dOnR2(8), pdo.cyclic(8), [(1,), (3,)]),
        ("O2", gspaces.flipRot2dOnR2(-1, axis=0.0, maximum_frequency=4), pdo.o2(), [(1, 1), (1, 2)]),
        ("D8", gspaces.flipRot2dOnR2(8, axis=0.0), pdo.dihedral(8), [(1, 1), (1, 3)]),
    ):
        finite = not group.continuous
        elements = space.fibergroup.elements if finite else list(space.fibergroup.testing_elements())
        for place in arguments:
            field, worst = group.irrep(place[-1]), 0.0
            for element in elements:
                motion = np.asarray(space.basespace_action(element), dtype=np.float64)
                if finite:
                    motion = group.matrices[np.abs(group.matrices - motion).max((1, 2)).argmin()]
                worst = max(worst, float(np.abs(space.irrep(*place)(element) - field.matrix(motion)).max()))
            found[f"{name}, frequency {place[-1]}"] = worst
    return found


def quotient() -> float:
    """Compare the characters of fields on the cosets of two rotations, of C8."""
    space, group = gspaces.rot2dOnR2(8), pdo.cyclic(8)
    theirs, ours = space.quotient_repr(2), group.quotient(pdo.cyclic(2))
    pairs = zip(space.fibergroup.elements, group.matrices, strict=True)
    return max(abs(np.trace(theirs(e)) - np.trace(ours.matrix(m))) for e, m in pairs)


def weights() -> dict[str, list[int]]:
    """Count the weights of layers with escnn's filters in both libraries."""
    found = {}
    for n in (4, 8):
        space, group = gspaces.rot2dOnR2(n), pdo.cyclic(n)
        field = enn.FieldType(space, [space.regular_repr])
        for side in (3, 5, 7):
            ours = pdo.GroupConv2d(group.regular(1), group.regular(1), side, filters=pdo.filters.harmonics())
            found[f"C{n}, {side}"] = [ours.weight.numel(), enn.R2Conv(field, field, side).weights.numel()]
    return found


def tools(names: Names) -> dict[str, bool]:
    """Try what the page says fails with escnn."""
    peer = names["peer"]
    keys = [set(peer.train(mode).state_dict()) for mode in (True, False)]
    found = {"state_dict": keys[0] == keys[1]}
    for name, attempt in (
        ("pickle", lambda: pickle.dumps(peer)),
        ("torch.export", lambda: torch.export.export(peer.eval(), (names["x29"],))),
    ):
        try:
            attempt()
            found[name] = True
        except Exception:  # each has kinds of its own
            found[name] = False
    return found


def main() -> None:
    """Check everything and print it."""
    warnings.simplefilter("ignore")
    torch.manual_seed(0)
    text = Path(sys.argv[1])
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        names = page(text)
        blocks = re.findall(r"^```py\n(.*?)^```$", text.read_text(), re.DOTALL | re.MULTILINE)
        names["copying"] = next(block for block in blocks if "left_over" in block)
        names["x29"] = torch.randn(4, 1, 29, 29)
        fresh = names["network"](pdo.filters.harmonics())
        names["ours"] = fresh
        found = {"networks": networks(names), "orders": orders(names), "layers": layers()}
        found |= {"irreducible": irreducible(), "quotient": quotient(), "weights": weights(), "tools": tools(names)}
        missing = [
            name
            for name in set(
                re.findall(r"`(?:\w+ = )?(R[23]\w+|[A-Z]\w+(?:Pool|Norm|Module|NonLinearity1?)\w*)", text.read_text())
            )
            if not hasattr(enn, name) and not hasattr(pdo, name)
        ]
        missing += [n for n in set(re.findall(r"gspaces\.(\w+)", text.read_text())) if not hasattr(gspaces, n)]
    print(json.dumps({**found, "missing": sorted(missing)}))


if __name__ == "__main__":
    main()
