"""Representations: homomorphisms, irreducible by their characters, in a basis that is the same everywhere."""

import itertools
import pickle

import numpy as np
import pytest
import torch

import pdoconv as pdo
from pdoconv import representations
from pdoconv.fields import FieldType
from pdoconv.groups import Group, rotation
from pdoconv.irreps import _canonical, _from_table, irreps

PLANE = ["C1", "C2", "C3", "C4", "C6", "C7", "C8", "C16", "D1", "D2", "D3", "D4", "D6", "D8", "D16"]
SPACE = ["T", "O", "I", "Th", "Td", "Oh", "Ih", "D4h", "S4", "C4h", "C3v", "D3d"]
GROUPS = {name: pdo.group(name) for name in PLANE + SPACE} | {"Ci": pdo.reflection()}


def kinds(group):
    """One of each kind of representation."""
    found = [representations.trivial(group), representations.vector(group)]
    found += [group.irrep(k).blocks[0][0] for k in range(representations._last(group) + 1)]
    if group.continuous:
        return found
    subgroups = {tuple(group.product[:, g] == 0): g for g in range(group.order)}
    found.append(representations.regular(group))
    for g in list(subgroups.values())[1:4]:
        powers = [0]
        while group.product[powers[-1], g] != 0:
            powers.append(int(group.product[powers[-1], g]))
        found.append(representations.quotient(group, Group("H", group.matrices[powers])))
    return found


def characters(group):
    return np.stack([np.trace(r.matrices, axis1=1, axis2=2) for r in irreps(group)])


@pytest.mark.parametrize("name", GROUPS)
def test_irreducible_complete_and_different(name):
    """Character relations: orthogonal; of norm 1 (real) or 2 (complex pair); squares of the dimensions make |G|."""
    group = GROUPS[name]
    found, table = irreps(group), characters(group)
    assert np.allclose(table @ table.T / group.order, np.diag([1 + r.complex for r in found]), atol=1e-9)
    assert sum(r.dim * r.copies for r in found) == group.order
    assert (found[0].matrices == 1).all()
    for r in found:
        both = np.einsum("gij,hjk->ghik", r.matrices, r.matrices)
        assert np.abs(both - r.matrices[group.product]).max() < 1e-12
        assert np.abs(np.einsum("gij,gkj->gik", r.matrices, r.matrices) - np.eye(r.dim)).max() < 1e-12


@pytest.mark.parametrize("name", PLANE)
def test_closed_form_and_table_agree(name):
    """Frequencies in closed form have the characters that are found from the table."""
    group = GROUPS[name]
    numeric = np.stack([np.trace(r.matrices, axis1=1, axis2=2) for r in _from_table(group)])
    ours = characters(group)
    assert sorted(map(tuple, np.round(ours, 6) + 0.0)) == sorted(map(tuple, np.round(numeric, 6) + 0.0))


@pytest.mark.parametrize("name", ["T", "O", "I", "Th", "C4h", "S4"])
def test_the_basis_depends_on_the_group_alone(name):
    """From any orthogonal turn of a representation the same matrices come."""
    group, rng = GROUPS[name], np.random.default_rng(0)
    for r in irreps(group):
        turned = [np.linalg.qr(rng.standard_normal((r.dim, r.dim)))[0] for _ in range(3)]
        results = [_canonical(group, np.einsum("ia,gij,jb->gab", q, r.matrices, q)) for q in turned]
        assert np.abs(results[0] - results[1]).max() < 1e-9
        assert np.abs(results[0] - results[2]).max() < 1e-9


def test_frozen_values():
    """Numbers that trained weights stand on; a change of these breaks checkpoints."""
    O, T, I = (GROUPS[name] for name in ("O", "T", "I"))  # noqa: E741
    half, fifth = np.sqrt(3) / 2, np.sqrt(5) / 4
    assert np.allclose(irreps(O)[1].matrices[[1, 4, 12, 20], 0, 0], [1, 1, -1, -1])
    third = [[-0.5, -half], [half, -0.5]]
    assert np.allclose(irreps(O)[2].matrices[4], third, atol=1e-12)
    assert np.allclose(irreps(T)[1].matrices[4], third, atol=1e-12)
    four = [
        [-0.25, fifth, -fifth, -fifth],
        [fifth, -0.25, 0.25, -0.75],
        [-fifth, 0.25, 0.75, -0.25],
        [-fifth, -0.75, -0.25, -0.25],
    ]
    assert np.allclose(irreps(I)[3].matrices[5], four, atol=1e-12)
    assert np.array_equal(irreps(O)[3].matrices, O.matrices)


def test_planar_irreps_in_closed_form():
    """R(k t) m^s, signs for k = 0 and n / 2, times the determinant where asked."""
    D8 = GROUPS["D8"]
    m = np.diag([1.0, -1.0])
    for s, j, k in itertools.product(range(2), range(8), range(5)):
        g = 8 * s + j
        for pseudo in (False, True):
            matrices = D8.irrep(k, pseudo=pseudo).blocks[0][0].matrices
            sign = -1 if s and pseudo else 1
            if k in (0, 4):
                assert matrices[g] == sign * (-1) ** (j * (k == 4))
            else:
                turned = rotation(2 * np.pi * k * j / 8) @ np.linalg.matrix_power(m, s)
                assert np.abs(matrices[g] - sign * turned).max() < 1e-12
    assert D8.irrep(1) == D8.vector(1)
    assert D8.irrep(0) == D8.trivial(1)
    assert pdo.cyclic(8).irrep(4, pseudo=True) == pdo.cyclic(8).irrep(4)


@pytest.mark.parametrize("name", [*GROUPS, "SO2", "O2"])
def test_every_kind_is_a_representation(name):
    group = pdo.group(name) if name in ("SO2", "O2") else GROUPS[name]
    v = np.random.default_rng(0).standard_normal(group.order)
    for r in kinds(group)[:12]:
        moved = r.matrices @ v[: r.dim] if r.dim <= len(v) else r.matrices @ np.resize(v, r.dim)
        both = np.einsum("gij,hj->ghi", r.matrices, moved)
        assert np.abs(both - moved[group.product]).max() < 1e-12
        assert r.permutes == bool((r.matrices.max(axis=2) > 0.99).all())
        copy = pickle.loads(pickle.dumps(r))
        assert copy == r
        assert hash(copy) == hash(r)


@pytest.mark.parametrize(("whole", "part"), [("C8", "C2"), ("D4", "C4"), ("D8", "D2"), ("D6", "D1"), ("C16", "C8")])
def test_quotient_fields_are_functions_on_cosets(whole, part):
    """From the definition: (g f)[aH] = f[g^-1 a H], cosets in the order of their first elements."""
    group, subgroup = pdo.group(whole), pdo.group(part)
    h = [group.index(m) for m in subgroup.matrices]
    cosets = []
    for a in range(group.order):
        coset = sorted(int(group.product[a, b]) for b in h)
        if coset not in cosets:
            cosets.append(coset)
    field = group.quotient(subgroup, 1)
    assert field.channels == len(cosets) == group.order // subgroup.order
    for g in range(group.order):
        for c, coset in enumerate(cosets):
            back = int(group.product[group.inverse[g], coset[0]])
            assert back in cosets[field.permutation(g)[c]]
    assert group.quotient(pdo.cyclic(1), 2) == group.regular(2)
    assert group.quotient(group, 2) == group.trivial(2)


RESTRICTIONS = [("D16", "C16"), ("C16", "C8"), ("D8", "D4"), ("D4", "C1"), ("C12", "C4"), ("Oh", "O"), ("O", "T")]


@pytest.mark.parametrize(("whole", "part"), [*RESTRICTIONS, ("SO2", "C5"), ("O2", "D7"), ("O2", "SO2")])
def test_restriction_keeps_the_action(whole, part):
    """The same tensor moves alike under the elements of the subgroup, before and after `Restrict`."""
    group, subgroup = pdo.group(whole), pdo.group(part)
    field = FieldType(group, tuple((r, 2) for r in kinds(group)[:9]))
    under, layer = field.restrict(subgroup), pdo.Restrict(field, subgroup)
    assert under.channels == field.channels == layer.out_type.channels
    space = (3,) * group.dim
    x = torch.randn(1, field.channels, *space, dtype=torch.float64)
    y = layer(x)
    assert torch.equal(x.flatten().sort()[0], y.flatten().sort()[0])
    for g, matrix in enumerate(subgroup.matrices):
        moved = field.mix(x, matrix)
        assert (under.mix(x, matrix) - moved).abs().max() < 1e-12
        assert (layer.out_type.mix(y, matrix) - layer(moved)).abs().max() < 1e-12
        if under.permuted:
            assert torch.equal(x[:, under.permutation(g)], moved)


def test_restriction_of_regular_fields():
    assert pdo.dihedral(16).regular(3).restrict(pdo.cyclic(16)) == pdo.cyclic(16).regular(6)
    assert pdo.cyclic(16).regular(3).restrict(pdo.cyclic(8)).kind == "regular of C16"  # other order of channels
    assert pdo.Restrict(pdo.cyclic(16).regular(3), pdo.cyclic(8)).out_type == pdo.cyclic(8).regular(6)
    assert pdo.Restrict(pdo.octahedral(True).regular(1), pdo.octahedral()).out_type == pdo.octahedral().regular(2)
    quotient = pdo.dihedral(8).quotient(pdo.dihedral(1), 1)
    assert pdo.Restrict(quotient, pdo.cyclic(8)).out_type == pdo.cyclic(8).regular(1)
    assert pdo.so2().irrep(3, 2).restrict(pdo.cyclic(8)) == pdo.cyclic(8).irrep(3, 2)
    assert pdo.so2().irrep(4, 1).restrict(pdo.cyclic(8)) == pdo.cyclic(8).irrep(4, 2)


def test_restrict_makes_few_blocks():
    """Fields of one kind come together, whatever a field falls into: each pair of blocks costs a layer time."""
    for field, subgroup in [
        (pdo.dihedral(8).irrep(1, 32), pdo.dihedral(1)),
        (pdo.dihedral(8).quotient(pdo.dihedral(1), 16), pdo.dihedral(4)),
        (pdo.octahedral().vector(16), pdo.group("D4", dim=3)),
    ]:
        layer = pdo.Restrict(field, subgroup)
        assert len(layer.out_type.blocks) <= 3
        x = torch.randn(1, field.channels, *(2,) * field.group.dim, dtype=torch.float64)
        for matrix in subgroup.matrices:
            assert (layer.out_type.mix(layer(x), matrix) - layer(field.mix(x, matrix))).abs().max() < 1e-12


def test_restriction_in_the_wrong_order_is_caught():
    """Negative control: C16's channels taken for C8's without being put in order."""
    C16, C8 = pdo.cyclic(16), pdo.cyclic(8)
    x = torch.randn(1, 16, 1, 1)
    moved = C16.regular(1).mix(x, C8.matrices[1])
    assert not torch.equal(C8.regular(2).mix(x, C8.matrices[1]), moved)


def test_vectors_and_scalars_move_by_anything():
    field = pdo.cyclic(4).trivial(1) + pdo.cyclic(4).vector(1)
    turn = rotation(0.3)
    x = torch.randn(2, 3, 4, 4, dtype=torch.float64)
    y = field.mix(x, turn)
    assert torch.equal(y[:, 0], x[:, 0])
    assert torch.allclose(y[:, 1], turn[0, 0] * x[:, 1] + turn[0, 1] * x[:, 2])
    assert torch.allclose(pdo.so2().irrep(3).mix(x[:, :2], turn), pdo.cyclic(4).vector(1).mix(x[:, :2], rotation(0.9)))
    with pytest.raises(ValueError, match="no element of the group"):
        pdo.cyclic(4).irrep(2).mix(x[:, :1], turn)
    with pytest.raises(ValueError, match="no element of the group"):
        pdo.so2().irrep(3).mix(x[:, :2], np.diag([1.0, -1.0]))
    with pytest.raises(ValueError, match="floating-point"):
        field.transform(torch.zeros(1, 3, 4, 4, dtype=torch.int32), 1)


@pytest.mark.parametrize("name", ["C4", "D4", "SO2", "O2", "O", "Ci"])
def test_what_no_element_changes_moves_by_anything(name):
    """A field of several channels on which every element is the identity, as the order 0 of complex maps."""
    group = pdo.group(name) if name in ("SO2", "O2") else GROUPS[name]
    others = {1: -np.eye(1), 2: rotation(0.3) @ np.diag([1.0, -1.0]), 3: -np.eye(3)}
    for table in (np.tile(np.arange(3), (group.order, 1)), np.tile(np.eye(3), (group.order, 1, 1))):
        kind = pdo.Representation(group, "still", table)
        for matrix in (*group.matrices[:4], others[group.dim]):
            assert np.array_equal(kind.at(matrix), np.eye(3))


def test_what_some_element_changes_does_not():
    """Negative controls: one element of C2 acts; vectors of the group with one element turn."""
    turn = rotation(0.3)
    kind = pdo.Representation(pdo.cyclic(2), "swap", np.array([[0, 1, 2], [1, 0, 2]]))
    with pytest.raises(ValueError, match="no element of the group"):
        kind.at(turn)
    assert np.array_equal(pdo.cyclic(1).vector().matrix(turn), turn)
    x = torch.randn(2, 2, 5, 5, dtype=torch.float64)
    still = FieldType(pdo.so2(), ((pdo.Representation(pdo.so2(), "still", np.tile(np.arange(2), (64, 1))), 1),))
    assert torch.equal(still.mix(x, turn), x)
    assert not torch.allclose(pdo.so2().irrep(1).mix(x, turn), x)


def test_own_representation():
    """C4 on the signed corners of a square, given by its matrices; one that permutes is known to."""
    C4 = pdo.cyclic(4)
    corner = np.array([[0.0, 0, 0, -1], [1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0]])
    matrices = np.stack([np.linalg.matrix_power(corner, 2 * k) for k in range(4)])
    own = pdo.Representation(C4, "corners", matrices)
    assert (own.dim, own.permutes, own.signed) == (4, False, True)
    layer = pdo.PDOConv2d(C4.regular(1), FieldType(C4, ((own, 2),)), padding=2, dtype=torch.float64)
    x = torch.randn(1, 4, 6, 6, dtype=torch.float64)
    moved = layer(layer.in_type.transform(x, 1))
    assert (layer.out_type.transform(layer(x), 1) - moved).abs().max() < 1e-12
    assert pdo.Representation(C4, "turn", np.eye(4)[C4.relative]).permutes


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: pdo.cyclic(8).irrep(5), "representations 0 to 4, received 5"),
        (lambda: pdo.cyclic(8).irrep(-1), "0 to 4"),
        (lambda: pdo.cyclic(8).irrep(1.0), "received 1.0"),
        (lambda: pdo.octahedral().irrep(5), "0 to 4"),
        (lambda: pdo.so2().irrep(25), "0 to 24"),
        (lambda: pdo.so2().regular(1), "needs a finite subgroup"),
        (lambda: pdo.o2().quotient(pdo.so2()), "needs a finite subgroup"),
        (lambda: pdo.cyclic(8).quotient(pdo.cyclic(3)), "expected a subgroup of C8"),
        (lambda: pdo.cyclic(8).quotient(2), "expected a subgroup of C8, received 2"),
        (lambda: pdo.cyclic(8).regular(1).restrict(pdo.dihedral(4)), "expected a subgroup of C8"),
        (lambda: pdo.cyclic(64).regular(1).restrict(pdo.so2()), "expected a subgroup of C64"),
        (lambda: pdo.cyclic(8).vector(1) + pdo.so2().vector(1), "use one group"),
        (lambda: pdo.Representation(pdo.cyclic(2), "x", np.ones((3, 1, 1))), r"expected matrices \(2, D, D\)"),
        (lambda: pdo.Representation(pdo.cyclic(2), "x", np.full((2, 1, 1), 2.0)), "not an orthogonal one"),
        (lambda: pdo.Representation(pdo.cyclic(3), "x", -np.ones((3, 1, 1))), "not an orthogonal one"),
        (lambda: pdo.Representation(pdo.cyclic(2), "x", np.array([[0, 1], [0, 0]])), "not an orthogonal one"),
        (lambda: pdo.Representation(pdo.cyclic(2), "regular", np.array([[0, 1], [0, 1]])), "not an orthogonal one"),
        (lambda: pdo.cyclic(8).irrep(1).permutation(1), "does not permute"),
    ],
)
def test_bad_arguments(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_printing():
    D8 = pdo.dihedral(8)
    field = D8.trivial(1) + D8.irrep(4, 2, pseudo=True) + D8.vector(1) + D8.quotient(pdo.cyclic(2), 3)
    assert str(field) == "D8: 1 trivial + 2 irrep(4, pseudo) + 1 vector + 3 quotient(C2)"
    assert field.sizes == (1, 1, 1, 2, 8, 8, 8)
    assert repr(D8.irrep(3).blocks[0][0]) == "Representation(D8: irrep(3), 2 channels)"


def test_names_follow_the_table():
    """The names that choose a layer's expansion; of one element regular and trivial are one table and stay apart."""
    C4, C1 = pdo.cyclic(4), pdo.cyclic(1)
    assert pdo.Representation(C4, "mine", C4.relative).name == "regular"
    assert pdo.Representation(C4, "mine", np.zeros((4, 1), int)).name == "trivial"
    assert C1.regular(1) != C1.trivial(1)
    assert pdo.PDOConv2d(C1.regular(1), C1.regular(1), filters=pdo.filters.paper()).weight.shape == (1, 1, 1, 9)


@pytest.mark.parametrize("name", ["C59h", "D50h"])
def test_large_groups(name):
    """Eigenvalues that happen to lie close are kept apart."""
    group = pdo.group(name)
    assert sum(r.dim * r.copies for r in irreps(group)) == group.order


def test_pickles_hold_the_table_alone():
    regular = pdo.icosahedral().regular(1).blocks[0][0]
    assert regular.matrices.shape == (60, 60, 60)
    copy = pickle.loads(pickle.dumps(regular))
    assert copy == regular
    assert len(pickle.dumps(regular)) < 60_000
    with pytest.raises(ValueError, match="read-only"):
        copy.table[0, 0] = 1


def test_sums_of_frequencies_are_no_irrep():
    SO2 = pdo.so2()
    both = np.zeros((64, 4, 4))
    both[:, :2, :2], both[:, 2:, 2:] = SO2.irrep(1).blocks[0][0].matrices, SO2.irrep(2).blocks[0][0].matrices
    kind = pdo.Representation(SO2, "both", both)
    assert kind == pdo.Representation(SO2, "again", both)
    with pytest.raises(ValueError, match="no element of the group"):
        kind.at(rotation(0.3))
    assert pdo.Representation(SO2, "mine", SO2.irrep(2).blocks[0][0].table).at(rotation(0.3)) == pytest.approx(
        rotation(0.6)
    )
