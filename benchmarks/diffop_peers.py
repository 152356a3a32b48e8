"""Spaces of equivariant differential operators from e2cnn, before any discretisation, as arrays to test against.

    .venv-e2cnn/bin/python benchmarks/diffop_peers.py [--groups C4 D4] [--result tests/oracles/e2cnn_diffops.npz]

A case, a group and an ordered pair of representations, has a process of its own. It is written only if its matrices
represent the group and its operators C, matrices of polynomials in v = (d/dx, d/dy), x right, y up, are independent
with C(g v) = rho_out(g) C(v) rho_in(g)^-1 for all g. All together take about 20 minutes.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from contextlib import suppress
from functools import partial, reduce
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from peer_packages import load, version

Array = NDArray[np.float64]
IRREPS = {"C4": "1 2", "C8": "1 2 3 4", "D4": "1,0 1,1 1,2 0,2", "D8": "1,0 1,1 1,2 1,3 1,4 0,4"}  # e2cnn's names
QUOTIENTS: dict[str, dict[str, Any]] = {  # e2cnn names a subgroup (first mirror, rotations), or rotations alone
    "C4": {"quotient_C2": 2},
    "C8": {"quotient_C2": 2, "quotient_C4": 4},
    "D4": {"quotient_C2": (None, 2), "quotient_m": (0, 1), "quotient_Rm": (1, 1)},
    "D8": {"quotient_C4": (None, 4), "quotient_m": (0, 1), "quotient_D2": (0, 2)},
}
KINDS = {g: ["trivial", "regular", *(f"irrep_{k}" for k in IRREPS[g].split()), *QUOTIENTS[g]] for g in IRREPS}
ORDERS, BASIS_ORDER, MOST_CHANNELS, TOLERANCE = range(5), 3, 4, 1e-10
MIRROR_AXIS = 0.0  # e2cnn's own is pi/2; its element (s, k) is R(2 pi k / n) m^s with this one
READ = {
    "matrices/GROUP": "(|G|, 2, 2): R(2 pi k / n), k ascending, then R(2 pi k / n) m with m = diag(1, -1)",
    "rho/GROUP/KIND": "(|G|, D, D): the representation of those elements, in that order",
    "dimensions/GROUP": "[n, i_out, i_in]: of the space of all operators of order <= n; -1: dropped; kinds: `kinds`",
    "basis/GROUP/KIND_IN/KIND_OUT": "(N, D_out, D_in, 10): of that space for n = 3; coefficients of `monomials`",
    "monomials": "1, x, y, x^2, x y, y^2, x^3, x^2 y, x y^2, y^3",
    "law": "C(g v) = rho_out(g) C(v) rho_in(g)^-1, v = (d/dx, d/dy), x right, y up, rotations counter-clockwise",
}


def tidy(values: Array) -> Array:
    """Return the values, each within 1e-12 of an integer made that integer."""
    near = np.round(values)
    return np.where(np.abs(values - near) < 1e-12, near, values) + 0.0


def matrices(group: str) -> Array:
    """Return the rotations, then the rotations times the mirror."""
    turns = np.exp(2j * np.pi * np.arange(int(group[1:])) / int(group[1:]))
    result = np.array([[turns.real, -turns.imag], [turns.imag, turns.real]]).transpose(2, 0, 1)
    return tidy(result if group[0] == "C" else np.concatenate([result, result @ np.diag([1.0, -1.0])]))


def span(order: int) -> slice:
    """Return where the monomials of an order stand in 1, x, y, x^2, x y, y^2, ..."""
    return slice(order * (order + 1) // 2, (order + 1) * (order + 2) // 2)


def substitution(matrix: Array, order: int) -> Array:
    """Return S with S @ c the coefficients of p(matrix v), for those c of p(v)."""
    result = np.zeros([span(order).stop] * 2)
    for n in range(order + 1):
        for j in range(n + 1):  # x^(n - j) y^j
            lines = [matrix[0]] * (n - j) + [matrix[1]] * j
            result[span(n), span(n).start + j] = reduce(np.convolve, lines, np.ones(1))
    return result


def basis(group: str, rho_in: Any, rho_out: Any, order: int) -> Array:
    """Return e2cnn's basis of the operators up to an order; no frequency that fits into it is left out."""
    lib, found = load("e2cnn.diffops"), []
    maker = lib.diffops_CN_act_R2 if group[0] == "C" else partial(lib.diffops_DN_act_R2, axis=MIRROR_AXIS)
    with suppress(load("e2cnn.kernels.basis").EmptyBasisException):
        found = maker(rho_in, rho_out, max_power=order // 2, max_frequency=order).coefficients
    found = [each for each in found if each.shape[-1] <= order + 1]  # powers of the Laplacian lead beyond
    result = np.zeros((len(found), rho_out.size, rho_in.size, span(order).stop))
    for row, each in zip(result, found, strict=True):
        row[..., span(each.shape[-1] - 1)] = each
    return tidy(result)


def check(elements: Array, rho_in: Array, rho_out: Array, operators: Array, order: int) -> None:
    """Raise ArithmeticError unless all is as the docstring of this file says."""
    for rho, (g, first), (h, second) in product((rho_in, rho_out), enumerate(elements), enumerate(elements)):
        gh = np.abs(elements - first @ second).max((1, 2)).argmin()
        if np.abs(rho[g] @ rho[h] - rho[gh]).max() > TOLERANCE:
            raise ArithmeticError("not a representation")
    for g, left, right in zip(elements, rho_out, rho_in, strict=True):
        wanted = np.einsum("ab,nbcm,cd->nadm", left, operators, np.linalg.inv(right))
        if np.abs(operators @ substitution(g, order).T - wanted).max(initial=0.0) > TOLERANCE:
            raise ArithmeticError(f"order {order}: the law fails")
    if len(operators) and np.linalg.matrix_rank(operators.reshape(len(operators), -1)) < len(operators):
        raise ArithmeticError(f"order {order}: {len(operators)} elements are not independent")


def case(group: str, kind_in: str, kind_out: str) -> dict[str, Any]:
    """Return the arrays of a case."""
    spaces, n = load("e2cnn.gspaces"), int(group[1:])
    space = spaces.Rot2dOnR2(n) if group[0] == "C" else spaces.FlipRot2dOnR2(n, axis=MIRROR_AXIS)
    names = list(range(n)) if group[0] == "C" else list(product(range(2), range(n)))
    known = {"trivial": space.trivial_repr, **space.representations}
    known |= {kind: space.quotient_repr(subgroup) for kind, subgroup in QUOTIENTS[group].items()}
    rho_in, rho_out = (tidy(np.array([known[kind](name) for name in names])) for kind in (kind_in, kind_out))
    result: dict[str, Any] = {f"rho/{group}/{kind_in}": rho_in, f"rho/{group}/{kind_out}": rho_out, "dimensions": []}
    for order in ORDERS:
        operators = basis(group, known[kind_in], known[kind_out], order)
        check(matrices(group), rho_in, rho_out, operators, order)
        result["dimensions"].append(len(operators))
        if order == BASIS_ORDER and max(operators.shape[1:3]) <= MOST_CHANNELS:
            result[f"basis/{group}/{kind_in}/{kind_out}"] = operators
    return result


def main() -> None:
    """Run every case, then write; or, in a case's own process, that case."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--groups", nargs="+", choices=KINDS, default=list(KINDS))
    parser.add_argument("--result", type=Path, default=Path("tests/oracles/e2cnn_diffops.npz"))
    parser.add_argument("--case", nargs=3, metavar=("GROUP", "KIND_IN", "KIND_OUT"), help="this one in this process")
    options = parser.parse_args()
    if options.case:
        return np.savez(options.result, **case(*options.case))
    meta = {"e2cnn": version("e2cnn", sys.executable), "read": READ, "kinds": KINDS, "basis_order": BASIS_ORDER}
    arrays: dict[str, Any] = {f"matrices/{group}": matrices(group) for group in options.groups}
    dropped = {}
    for group in options.groups:
        table = arrays[f"dimensions/{group}"] = np.full((len(ORDERS), len(KINDS[group]), len(KINDS[group])), -1)
        for (i, kind_in), (o, kind_out) in product(enumerate(KINDS[group]), repeat=2):
            print(f"\r{group}, {kind_in}, {kind_out:24}", end="", file=sys.stderr, flush=True)
            with tempfile.TemporaryDirectory() as folder:
                words = [sys.executable, __file__, "--case", group, kind_in, kind_out, "--result", f"{folder}/case.npz"]
                call = subprocess.run(words, capture_output=True, text=True)
                if call.returncode:
                    dropped[f"{group}/{kind_in}/{kind_out}"] = (call.stderr.splitlines() or ["no reason given"])[-1]
                    continue
                with np.load(words[-1]) as found:
                    arrays |= found
            table[:, o, i] = arrays.pop("dimensions")
    meta |= {"cases": [key for key in arrays if key.startswith("basis/")], "dropped": dropped}
    np.savez_compressed(options.result, meta=json.dumps(meta), **arrays)
    print(f"\nDropped: {dropped or 'none'}. Written: {options.result}")


if __name__ == "__main__":
    main()
