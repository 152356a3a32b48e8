"""Layers of escnn (R2Conv) with their expanded filters and outputs, as arrays to test the circular harmonics against.

    .venv-escnn/bin/python benchmarks/escnn_oracle.py [--result tests/oracles/escnn_r2conv.npz]

Channels are put in this library's order, field * D + c with c in the order of `pdoconv.group(NAME).matrices`; a case is
written only if escnn's representation, in that order, is the one of this library. escnn samples its filters in single
precision, so they are right to about 1e-7, whatever the dtype. Takes some seconds.
"""

import argparse
import json
import sys
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch
from peer_packages import load, version

import pdoconv as pdo

MIRROR_AXIS = 0.0  # escnn's own is pi/2; its element (s, k) is R(2 pi k / n) m^s with this one
SIDE, TOLERANCE = 8, 1e-6  # escnn keeps angles of SO(2) in single precision
FRAMED = [("trivial", "regular"), ("regular", "regular"), ("regular", "trivial")]
KINDS = {  # of fields, in and out; `fields_of` says how many
    **{name: FRAMED for name in ("C4", "C8", "C16", "D4")},
    "SO2": list(product(("irrep_0", "irrep_1", "irrep_2", "irrep_3"), ("irrep_0", "irrep_1", "irrep_2"))),
    "O2": list(product(("irrep_0", "pseudo_0", "irrep_1", "irrep_2"), ("irrep_0", "pseudo_0", "irrep_1"))),
}
SIZES = {"C4": (5, 7), "C8": (5, 7), "C16": (5,), "D4": (5, 7), "SO2": (7,), "O2": (7,)}
READ = {
    "GROUP/IN/OUT/SIZE/filter": "(out channels, in channels, SIZE, SIZE), for cross-correlation, rows downward, y up",
    "GROUP/IN/OUT/SIZE/bias": "(out channels,)",
    "GROUP/IN/OUT/SIZE/x, y": "input and output, without padding",
    "weights": "number of weights of every case; 0: escnn has no such layer",
    "fields": "numbers of fields in and out, of every case",
    "pseudo_0": "changes its sign in reflections",
}


def fields_of(name: str, kind_in: str, kind_out: str) -> tuple[int, int]:
    """Return the numbers of fields, small where there are many channels."""
    if name in ("C16", "D4"):
        return 1, 1
    return (1, 2) if kind_out == "trivial" else (2, 2 if kind_in == "trivial" else 1)


def field(group: pdo.Group, kind: str, fields: int) -> pdo.FieldType:
    """Return this library's type."""
    if kind[-1].isdigit():
        return group.irrep(int(kind[-1]), fields, pseudo=kind.startswith("pseudo"))
    return group.trivial(fields) if kind == "trivial" else group.regular(fields)


def representation(space: Any, kind: str) -> Any:
    """Return escnn's."""
    if kind[-1].isdigit():
        k = int(kind[-1])
        return space.irrep(int(k > 0 or kind.startswith("pseudo")), k) if space.flips_order else space.irrep(k)
    return space.trivial_repr if kind == "trivial" else space.regular_repr


def order_of(group: pdo.Group, space: Any, kind: str) -> list[int]:
    """Return, for every channel of a field here, the channel of escnn's; check that they move alike.

    Raises:
        ArithmeticError: If they do not.
    """
    rho, ours = representation(space, kind), field(group, kind, 1).blocks[0][0]
    if group.continuous:
        names = list(np.linspace(0, 2 * np.pi, 7)[:-1])
        if space.flips_order:
            names = list(product((0, 1), names))
        elements = [space.fibergroup.element(name, "radians") for name in names]
    else:
        elements = list(space.fibergroup.elements)
    motions = [np.asarray(space.basespace_action(e), dtype=np.float64) for e in elements]
    if group.continuous or kind != "regular":
        order = list(range(rho.size))
    else:
        places = [int(np.abs(group.matrices - m).max((1, 2)).argmin()) for m in motions]
        order = [places.index(g) for g in range(group.order)]
    for e, motion in zip(elements, motions, strict=True):
        if not group.continuous:
            motion = group.matrices[np.abs(group.matrices - motion).max((1, 2)).argmin()]
        if np.abs(np.asarray(rho(e))[np.ix_(order, order)] - ours.at(motion)).max() > TOLERANCE:
            raise ArithmeticError(f"{group}, {kind}: escnn's field moves otherwise")
    return order


def case(name: str, kind_in: str, kind_out: str, size: int) -> tuple[dict[str, Any], int]:
    """Return the arrays of a case and the number of weights."""
    spaces, lib = load("escnn.gspaces"), load("escnn.nn")
    group, n = pdo.group(name), -1 if name in ("SO2", "O2") else int(name[1:])
    space = spaces.rot2dOnR2(n) if name[0] in "CS" else spaces.flipRot2dOnR2(n, axis=MIRROR_AXIS)
    types, channels = [], []
    for kind, fields in zip((kind_in, kind_out), fields_of(name, kind_in, kind_out), strict=True):
        order = np.array(order_of(group, space, kind))
        channels.append((np.arange(fields)[:, None] * len(order) + order).ravel())
        types.append(lib.FieldType(space, [representation(space, kind)] * fields))
    try:
        layer = lib.R2Conv(*types, size, recompute=True, initialize=False).double()
    except ValueError as error:
        if "basis for the steerable filter is empty" in str(error):
            return {}, 0
        raise
    for parameter in layer.parameters():
        torch.nn.init.normal_(parameter)
    ins, outs = channels
    x = torch.randint(-9, 10, (1, len(ins), SIDE, SIDE)).double()  # whole numbers pack well
    with torch.no_grad():
        kernel, bias = layer.expand_parameters()
        y = layer(lib.GeometricTensor(x[:, np.argsort(ins)], types[0])).tensor[:, outs]
    bias = torch.zeros(len(outs)) if bias is None else bias
    arrays = {"filter": kernel[outs][:, ins], "bias": bias[outs], "x": x, "y": y}
    return {key: value.detach().double().numpy() for key, value in arrays.items()}, layer.weights.numel()


def main() -> None:
    """Write every case."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--result", type=Path, default=Path("tests/oracles/escnn_r2conv.npz"))
    options = parser.parse_args()
    torch.manual_seed(0)
    arrays: dict[str, Any] = {}
    meta: dict[str, Any] = {"escnn": version("escnn", sys.executable), "read": READ, "weights": {}, "fields": {}}
    for name, pairs in KINDS.items():
        for (kind_in, kind_out), size in product(pairs, SIZES[name]):
            place = f"{name}/{kind_in}/{kind_out}/{size}"
            found, meta["weights"][place] = case(name, kind_in, kind_out, size)
            meta["fields"][place] = fields_of(name, kind_in, kind_out)
            arrays |= {f"{place}/{key}": value for key, value in found.items()}
    np.savez_compressed(options.result, meta=json.dumps(meta), **arrays)
    print(f"{len(meta['weights'])} cases, {options.result.stat().st_size} bytes: {options.result}")


if __name__ == "__main__":
    main()
