"""Widths as unknowns: which channels of a network must stay equal, add up, or keep their number.

An `Atom` is a run of channels that some layer makes. Adding two maps makes their atoms one, concatenation lines atoms
up, a pinned atom keeps its size. So every axis of a tensor that counts channels is a row of atoms, and new widths are
one number for each independent atom.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

GOLDEN = (5**0.5 - 1) / 2


@dataclass(eq=False)
class Atom:
    """A run of channels.

    Attributes:
        size: Channels in the original network.
        divisor: New sizes are multiples of it.
        pinned: Why the size is kept, or `None`.
        same: The atom that this one turned out to be.
        parts: The atoms that this one turned out to consist of.
    """

    size: int
    divisor: int = 1
    pinned: str | None = None
    same: "Atom | None" = None
    parts: "tuple[Atom, ...]" = ()

    def leaves(self) -> "Iterator[Atom]":
        """Yield the independent atoms that this one consists of, in order."""
        atom = self
        while atom.same is not None:
            atom = atom.same
        if not atom.parts:
            yield atom
        for part in atom.parts:
            yield from part.leaves()


@dataclass(frozen=True)
class Axis:
    """A row of channels: atoms one behind the other, each channel followed by `inner` places that are its own.

    Attributes:
        atoms: The atoms.
        inner: Places of each channel, above 1 where space was flattened into the axis.
        space: Their sides, if known.
    """

    atoms: tuple[Atom, ...]
    inner: int = 1
    space: tuple[int, ...] = ()

    def leaves(self) -> tuple[Atom, ...]:
        """Return the independent atoms."""
        return tuple(leaf for atom in self.atoms for leaf in atom.leaves())

    def width(self, sizes: "Widths | None" = None) -> int:
        """Return the number of channels: the original, or with new sizes."""
        return sum(leaf.size if sizes is None else sizes(leaf) for leaf in self.leaves())


def axis(size: int, pinned: str | None = None) -> Axis:
    """Return an axis of one new atom."""
    return Axis((Atom(size, pinned=pinned),))


def pin(found: Axis | None, why: str) -> None:
    """Keep the sizes of an axis."""
    for leaf in () if found is None else found.leaves():
        leaf.pinned = leaf.pinned or why


def divide(found: Axis | None, divisor: int) -> None:
    """Let the width of an axis keep to multiples of a number; atoms that are none themselves keep their size.

    For the end of a run, when it is known which atoms are one.
    """
    leaves = () if found is None else found.leaves()
    for leaf in set(leaves):
        each = divisor // math.gcd(divisor, leaves.count(leaf))
        if leaf.size % each:
            leaf.pinned = leaf.pinned or f"not a multiple of {each} groups"
        else:
            leaf.divisor = math.lcm(leaf.divisor, each)


def unify(a: Axis | None, b: Axis | None, why: str) -> Axis | None:
    """Make two axes of the same length one; `None` is a fixed number of something, which pins the other."""
    if a is None or b is None or a.inner != b.inner:
        pin(a, why)
        pin(b, why)
        return None
    if a.width() != b.width():
        raise AssertionError("unify: axes of different lengths")
    left, right = list(a.atoms), list(b.atoms)
    while left and right:
        left[:1], right[:1] = left[0].leaves(), right[0].leaves()  # anew: atoms may have been cut or joined meanwhile
        first, second = left[0], right[0]
        if first.size == second.size:
            _join(left.pop(0), right.pop(0))
        else:
            _cut(max(first, second, key=lambda atom: atom.size), min(first.size, second.size))
    return a


def pieces(found: Axis, sizes: list[int]) -> list[Axis]:
    """Cut an axis into pieces of given sizes.

    Equal pieces of one atom are taken for chunks, whose sizes the code finds out: they stay equal. Where atoms are cut
    otherwise, the sizes are taken for numbers in the code, and kept.
    """
    whole = found.leaves()
    count = len(sizes)
    if len(whole) == 1 and len(set(sizes)) == 1 and count > 1 and sizes[0] * count == whole[0].size:
        whole[0].parts = (Atom(sizes[0], pinned=whole[0].pinned),) * count
        return [Axis((part,)) for part in whole[0].parts]
    left, cut = list(whole), []
    for missing in sizes:
        piece: list[Atom] = []
        while missing:
            atom = left.pop(0)
            if atom.size > missing:
                pin(found, "cut into unequal pieces")
                atom, rest = _cut(atom, missing)
                left.insert(0, rest)
            piece.append(atom)
            missing -= atom.size
        cut.append(Axis(tuple(piece)))
    if len(set(sizes)) == 1 and any(one.leaves() != cut[0].leaves() for one in cut):
        for one in cut[1:]:
            unify(cut[0], one, "chunks")
    return cut


def _cut(atom: Atom, size: int) -> tuple[Atom, Atom]:
    """Cut a leaf in two, the first of a size."""
    first, second = (Atom(n, pinned=atom.pinned) for n in (size, atom.size - size))
    atom.parts = (first, second)
    return first, second


def _join(a: Atom, b: Atom) -> None:
    """Make two leaves of the same size one."""
    if a is not b:
        a.pinned, b.same = a.pinned or b.pinned, a


@dataclass(frozen=True)
class Widths:
    """New sizes: `scale` times the old, in multiples of each atom's divisor, and at least one of them.

    Atoms of one size get one new size. Or each rounds at another place, given by its number in `spread`, so that their
    sum can be nearly any number.
    """

    scale: float
    spread: Mapping[Atom, int] = field(default_factory=dict)

    def __call__(self, atom: Atom) -> int:
        """Return the new size of a leaf."""
        if atom.pinned:
            return atom.size
        place = self.spread[atom] * GOLDEN % 1 if atom in self.spread else 0.5
        return atom.divisor * max(1, math.floor(atom.size * self.scale / atom.divisor + place))
