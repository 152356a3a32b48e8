import copy
import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import pdoconv as pdo
from pdoconv.groups import Group, rotation

NS = st.integers(1, 24)


@settings(max_examples=30, deadline=None)
@given(n=NS, reflections=st.booleans())
def test_group_axioms(n, reflections):
    group = pdo.dihedral(n) if reflections else pdo.cyclic(n)
    e = np.arange(group.order)
    assert group.order == n * (1 + reflections)
    assert (group.product[0] == e).all()
    assert (group.product[:, 0] == e).all()
    assert (group.product[e, group.inverse] == 0).all()
    assert (np.sort(group.product, axis=1) == e).all()
    left = group.product[group.product[:, :, None], e]
    right = group.product[e[:, None, None], group.product[None]]
    assert (left == right).all()
    products = np.einsum("gij,hjk->ghik", group.matrices, group.matrices)
    assert np.allclose(group.matrices[group.product], products, atol=1e-12)


def test_dihedral_formulas():
    """Index of (s,k)^-1 (t,l) is (s xor t) n + ((-1)^s (l - k) mod n)."""
    n, group = 6, pdo.dihedral(6)
    for s, k, t, j in np.ndindex(2, n, 2, n):
        expected = (s ^ t) * n + ((-1) ** s * (j - k)) % n
        assert group.relative[s * n + k, t * n + j] == expected


def test_relative_tables_equal_oracle(oracle):
    arrays = oracle("numpy_group_kernels")
    for n in (4, 6, 8):
        assert (pdo.dihedral(n).relative == arrays[f"D{n}_invmul"]).all()


def test_elements_and_lattice():
    D4 = pdo.dihedral(4)
    assert np.array_equal(D4.matrices[1], [[0, -1], [1, 0]])  # 90 degrees, exactly
    assert np.array_equal(D4.matrices[4], [[1, 0], [0, -1]])
    assert D4.lattice_elements == tuple(range(8))
    assert pdo.cyclic(8).lattice_elements == (0, 2, 4, 6)
    assert pdo.dihedral(6).lattice_elements == (0, 3, 6, 9)
    assert pdo.cyclic(3).lattice_elements == (0,)


def test_names():
    assert pdo.group("p4") == pdo.group("C4") == pdo.cyclic(4)
    assert pdo.group("p12m") == pdo.group("D12") == pdo.dihedral(12)
    assert str(pdo.group("p6m")) == "D6"
    assert repr(pdo.cyclic(8)) == "Group(C8: order 8, dimension 2)"


@pytest.mark.parametrize("name", ["p", "E8", "c8", "C", "p4g", "", "C8 ", "D-4", None])
def test_unknown_name(name):
    with pytest.raises(ValueError, match="Unknown group"):
        pdo.group(name)


@pytest.mark.parametrize("n", [0, -1, 2.0, True, "4"])
def test_bad_order(n):
    for make in (pdo.cyclic, pdo.dihedral):
        with pytest.raises(ValueError, match="at least 1"):
            make(n)
    with pytest.raises(ValueError, match="at least 1"):
        pdo.group("C0")


def test_subgroups():
    C4, C8, D4, D8 = pdo.cyclic(4), pdo.cyclic(8), pdo.dihedral(4), pdo.dihedral(8)
    assert C4.is_subgroup_of(C8)
    assert C4.is_subgroup_of(D4)
    assert D4.is_subgroup_of(D8)
    assert not C8.is_subgroup_of(D4)
    assert not pdo.cyclic(3).is_subgroup_of(C8)
    assert pdo.dihedral(1).is_subgroup_of(D4)


def test_other_dimensions_fit():
    line = Group("reflection", np.array([[[1.0]], [[-1.0]]]))
    assert (line.product == [[0, 1], [1, 0]]).all()
    turns = np.stack([np.eye(3)] * 4)
    turns[:, :2, :2] = pdo.cyclic(4).matrices
    space = Group("C4 about z", turns)
    assert (space.product == pdo.cyclic(4).product).all()


@pytest.mark.parametrize(
    ("matrices", "message"),
    [
        (np.stack([np.eye(2), 2 * np.eye(2)]), "orthogonal"),
        (np.stack([rotation(1.0)]), "identity"),
        (np.stack([np.eye(2), np.eye(2)]), "twice"),
        (np.stack([np.eye(2), rotation(1.0)]), "not closed"),
        (np.eye(2), "expected matrices"),
    ],
)
def test_not_a_group(matrices, message):
    with pytest.raises(ValueError, match=message):
        Group("wrong", matrices)


def test_missing_element():
    with pytest.raises(ValueError, match="no such element"):
        pdo.cyclic(4).index(rotation(0.1))
    with pytest.raises(ValueError, match="elements 0 to 3"):
        pdo.cyclic(4).check_element(4)


def test_values():
    C8 = pdo.cyclic(8)
    assert pickle.loads(pickle.dumps(C8)) == C8 == copy.deepcopy(C8)
    assert len({C8, pdo.group("p8"), pdo.dihedral(8)}) == 2
    with pytest.raises(ValueError, match="read-only"):
        Group("another", C8.matrices).matrices[0, 0, 0] = 2
