import math
import pickle
from collections import Counter

import numpy as np
import pytest
import torch

import pdoconv as pdo
from pdoconv.groups import rotation
from pdoconv.pointgroups import INTERNATIONAL, generate

ORDERS = {
    **{"C1": 1, "Ci": 2, "Cs": 2, "C2h": 4, "C5": 5, "C5v": 10, "C4v": 8, "C6h": 12, "C3h": 6, "S4": 4, "S6": 6},
    **{"S10": 10, "D2": 4, "D4": 8, "D5": 10, "D2d": 8, "D3d": 12, "D5d": 20, "D4h": 16, "D5h": 20, "D6h": 24},
    **{"T": 12, "Td": 24, "Th": 24, "O": 24, "Oh": 48, "I": 60, "Ih": 120},
}


def space(name):
    return pdo.group(name, dim=3)


@pytest.mark.parametrize("name", ORDERS)
def test_axioms(name):
    """Order, closure, inverses; products of the table are products of the matrices."""
    group = space(name)
    e = np.arange(group.order)
    assert (group.order, group.dim, str(group)) == (ORDERS[name], 3, name)
    assert (np.sort(group.product, axis=1) == e).all()
    assert (group.product[e, group.inverse] == 0).all()
    products = np.einsum("gij,hjk->ghik", group.matrices, group.matrices)
    assert np.abs(group.matrices[group.product] - products).max() < 1e-12
    assert np.abs(np.abs(np.linalg.det(group.matrices)) - 1).max() < 1e-12


def turns(group):
    """Count the proper elements by the order of the rotation, from the trace 1 + 2 cos t."""
    proper = group.matrices[np.linalg.det(group.matrices) > 0]
    angles = np.arccos(np.clip((np.trace(proper, axis1=1, axis2=2) - 1) / 2, -1, 1))
    return Counter(round(math.degrees(t)) for t in angles)


def test_classes_of_the_regular_solids():
    assert turns(pdo.tetrahedral()) == {0: 1, 180: 3, 120: 8}
    assert turns(pdo.octahedral()) == {0: 1, 180: 9, 120: 8, 90: 6}
    assert turns(pdo.icosahedral()) == {0: 1, 180: 15, 120: 20, 72: 12, 144: 12}
    improper = {name: int((np.linalg.det(space(name).matrices) < 0).sum()) for name in ("O", "Td", "Th", "D4", "D2d")}
    assert improper == {"O": 0, "Td": 12, "Th": 12, "D4": 0, "D2d": 4}


def test_entries_are_exact():
    for name in ("Oh", "Td", "D4h", "D2d"):
        m = space(name).matrices
        assert np.array_equal(m, np.rint(m))
    golden = (1 + math.sqrt(5)) / 2
    entries = np.abs(pdo.icosahedral().matrices)
    known = np.array([0, 0.5, 1, golden / 2, (golden - 1) / 2])
    assert np.abs(entries[..., None] - known).min(-1).max() < 1e-14


def test_order_of_the_elements():
    for name in ("Th", "Oh", "Ih"):
        m = space(name).matrices
        assert np.abs(m[: len(m) // 2] + m[len(m) // 2 :]).max() == 0
    D6 = pdo.dihedral(6, dim=3).matrices
    assert np.abs(D6[:6] - pdo.cyclic(6, dim=3).matrices).max() == 0
    assert np.abs(D6[6:] - D6[:6] @ np.diag([1.0, -1.0, -1.0])).max() < 1e-15
    assert np.abs(pdo.cyclic(4, dim=3).matrices[1][:2, :2] - rotation(math.pi / 2)).max() < 1e-15


@pytest.mark.parametrize(
    ("small", "large"),
    [
        *[("T", "O"), ("T", "I"), ("T", "Th"), ("T", "Td"), ("Td", "Oh"), ("Th", "Oh"), ("Th", "Ih"), ("O", "Oh")],
        *[("C4", "D4"), ("D4", "O"), ("D4", "D4h"), ("D2d", "D4h"), ("S4", "D2d"), ("C3", "S6"), ("D3", "D3d")],
        *[("S6", "D3d"), ("D2", "T"), ("C3h", "D3h"), ("C6", "C6h"), ("Ci", "Oh"), ("Cs", "C3h")],
    ],
)
def test_subgroups(small, large):
    assert space(small).is_subgroup_of(space(large))
    assert not space(large).is_subgroup_of(space(small))


def test_not_subgroups():
    assert not pdo.octahedral().is_subgroup_of(pdo.icosahedral(inversion=True))
    assert not pdo.octahedral().is_subgroup_of(space("Td"))
    assert not pdo.cyclic(4).is_subgroup_of(pdo.cyclic(4, dim=3))


def test_hermann_mauguin_names():
    assert len(INTERNATIONAL) == 32 + 3 + 3
    for international, name in INTERNATIONAL.items():
        assert pdo.group(international) == space(name)
        assert str(pdo.group(international)) == name
    crystals = [space(name) for name in dict.fromkeys(INTERNATIONAL.values()) if name not in ("I", "Ih")]
    assert all(a != b for i, a in enumerate(crystals) for b in crystals[:i])
    assert pdo.group("m-3m") == pdo.octahedral(inversion=True)
    assert pdo.group("532") == pdo.icosahedral()


def test_plane_line_and_space():
    assert pdo.group("C4").dim == pdo.group("D4").dim == pdo.group("p4m").dim == 2
    assert pdo.group("C4", dim=3) == pdo.cyclic(4, dim=3)
    assert pdo.group("Ci", dim=1) == pdo.reflection()
    assert pdo.cyclic(1, dim=1).order == 1
    assert pdo.reflection().lattice_elements == (0, 1)


def test_symmetries_of_the_voxel_grid():
    assert len(pdo.octahedral(inversion=True).lattice_elements) == 48
    assert len(pdo.icosahedral(inversion=True).lattice_elements) == 24  # Th
    assert len(pdo.icosahedral().lattice_elements) == 12


@pytest.mark.parametrize("name", ["Oh", "Td", "D2d"])
def test_action_on_cubes(name):
    """act(g, act(h, x)) == act(gh, x), exactly, for regular fields."""
    group = space(name)
    field = group.regular(1)
    x = torch.randn(1, group.order, 4, 4, 4)
    for g, h in np.random.default_rng(0).integers(group.order, size=(6, 2)):
        both = field.transform(field.transform(x, int(h)), int(g))
        assert torch.equal(both, field.transform(x, int(group.product[g, h])))
        if group.product[g, h] != group.product[h, g]:
            assert not torch.equal(both, field.transform(x, int(group.product[h, g])))  # negative control


def test_generate():
    assert generate("O", [space("O").matrices[5], space("C4").matrices[1], space("T").matrices[1]]) == generate(
        "again", [space("O").matrices[5], space("C4").matrices[1], space("T").matrices[1]]
    )
    with pytest.raises(ValueError, match="do not close"):
        generate("spin", [rotation(1.0)])
    with pytest.raises(ValueError, match="do not close"):
        generate("nearly", [rotation(2 * math.pi / 8 + 1e-4)])
    with pytest.raises(ValueError, match="at least one generator"):
        generate("nothing", [])


@pytest.mark.parametrize(
    ("name", "dim"),
    [("C4v", 2), ("Oh", 2), ("C3", 1), ("S5", 3), ("K", 3), ("m-3m", 2), ("p4", 3), ("C4", 4), ("Tx", 3)],
)
def test_unknown_names(name, dim):
    with pytest.raises(ValueError, match="Unknown group"):
        pdo.group(name, dim=dim)


def test_bad_arguments():
    for make in (lambda: pdo.cyclic(2, dim=1), lambda: pdo.cyclic(2, dim=4), lambda: pdo.dihedral(2, dim=1)):
        with pytest.raises(ValueError, match="expected dim 2 or 3"):
            make()
    for make in (pdo.cyclic, pdo.dihedral):
        with pytest.raises(ValueError, match="at least 1"):
            make(0, dim=3)


def test_true_is_not_one():
    """Also when the group of order 1 is cached already."""
    assert pdo.cyclic(1).order == 1
    with pytest.raises(ValueError, match="at least 1"):
        pdo.cyclic(True)


def test_pickle():
    assert pickle.loads(pickle.dumps(pdo.icosahedral(inversion=True))) == pdo.icosahedral(inversion=True)


@pytest.mark.parametrize(("symbol", "order"), [("-1", 2), ("-3", 6), ("-4", 4), ("-6", 6)])
def test_rotoinversions(symbol, order):
    """-n is what minus a turn by 360/n degrees generates."""
    turn = np.eye(3)
    turn[:2, :2] = rotation(2 * np.pi / -int(symbol))
    made = generate(symbol, [-turn])
    assert made.order == order == pdo.group(symbol).order
    assert made.is_subgroup_of(pdo.group(symbol))
