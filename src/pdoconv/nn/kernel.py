r"""From the weights of a group convolution to its dense kernel.

Between a block of n_in fields and a block of n_out fields the kernel is $\sum_{r,b} w[o, i, r, b]\, K_{rb}$ with the
equivariant kernels $K_{rb}$ of `pdoconv.kernels.steerable`. With $F_b^{(g)}$ the basis filter b moved by g these are

* lifting, trivial -> regular:   $K[(o, g), i] = \sum_b w[o, i, 0, b]\, F_b^{(g)}$ (the paper's $\Psi$),
* group, regular -> regular:     $K[(o, g), (i, h)] = \sum_b w[o, i, g^{-1}h, b]\, F_b^{(g)}$ (the paper's $\Phi$),
* projection, regular -> trivial: $K[o, (i, h)] = \sum_b w[o, i, 0, b]\, F_b^{(h)}$,

and so on for every other pair.
"""

import math
from collections.abc import Callable
from contextlib import nullcontext
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from pdoconv.fields import FieldType
from pdoconv.filters import Filters
from pdoconv.kernels.plan import pairs
from pdoconv.kernels.steerable import count, space
from pdoconv.kernels.weights import expand
from pdoconv.nn.blocks import by_channel, joined
from pdoconv.nn.checks import autocast_on
from pdoconv.nn.init import draw
from pdoconv.representations import Representation


class Piece(NamedTuple):
    """The part of a weight that joins one block of fields to another.

    Attributes:
        out, into: Kinds of the fields.
        shape: `(out_fields, in_fields, R, B)`.
        start, stop: Its entries in the flat weight.
        constants: Name of the buffer with the kernels `(R * B, D_out * D_in * taps)`; `None` between regular and
            trivial fields, whose kernels are made from the moved filters.
    """

    out: Representation
    into: Representation
    shape: tuple[int, int, int, int]
    start: int
    stop: int
    constants: str | None


class GroupKernel(nn.Module):
    """Weight, bias and dense kernel of an equivariant linear map; the base of `GroupConv`."""

    init: str = "unit"
    centred: bool = True  # the first weights sum to zero over the input, where that is regular
    basis: Tensor | None
    relative: Tensor | None
    spread: Tensor | None

    def __init__(
        self,
        in_type: FieldType,
        out_type: FieldType,
        kernel_size: int,
        filters: Filters,
        bias: bool,
        device: torch.device | str | None,
        dtype: torch.dtype | None,
    ) -> None:
        """Make parameters and constants; `reset_parameters` draws the weights."""
        super().__init__()
        self.in_type, self.out_type, self.filters = in_type, out_type, filters
        self.kernel_size = self.side = kernel_size
        self.pieces = _pieces(in_type, out_type, kernel_size, filters)
        if self.pieces[-1].stop == 0:
            raise ValueError(
                f"{type(self).__name__}: no map from {in_type} to {out_type} made of these filters is equivariant: "
                f"use a larger kernel_size, operators of higher order, or other fields."
            )
        shape = self.pieces[0].shape if len(self.pieces) == 1 else (self.pieces[-1].stop,)
        self.weight = nn.Parameter(torch.empty(shape, device=device, dtype=dtype))
        free = sum(fields * len(kind.invariant) for kind, fields in out_type.blocks)
        self.bias = nn.Parameter(torch.empty(free, device=device, dtype=dtype)) if bias and free else None
        for name in ("basis", "relative", "spread", *(p.constants for p in self.pieces if p.constants)):
            self.register_buffer(name, None, persistent=False)
        self._cache: tuple[str, Tensor, Tensor] | None = None
        self._set_constants()

    def reset_parameters(self) -> None:
        """Draw the weights anew and set the bias to zero."""
        draw(self, self.init)
        if self.bias is not None:
            nn.init.zeros_(self.bias)

    def kernel(self) -> Tensor:
        """Return the dense weight `(out_channels, in_channels, *kernel)` of the convolution, differentiable."""
        exact = torch.promote_types(self.weight.dtype, torch.float32)
        self._follow_weights()
        # filters are expanded in the weights' own precision
        with torch.autocast(self.weight.device.type, enabled=False) if autocast_on(self.weight) else nullcontext():
            w, columns = self.weight.to(exact).flatten(), len(self.in_type.blocks)
            parts = [self._part(w[p.start : p.stop].view(p.shape), p) for p in self.pieces]
            dense = joined([joined(parts[i : i + columns]) for i in range(0, len(parts), columns)], 0)
            return torch.unflatten(dense, 2, (self.side,) * self.in_type.group.dim).to(self.weight.dtype)

    def dense_bias(self) -> Tensor | None:
        """Return the bias of every channel, or `None`."""
        self._follow_weights()
        if self.bias is None:
            return None
        if self.spread is None:
            return by_channel(self.bias, self.out_type, 0)
        return self.bias @ self.spread.to(self.bias.dtype)

    def _convolved(
        self, function: Callable[..., Tensor], x: Tensor, kernel: Tensor, bias: Tensor | None, *geometry: int
    ) -> Tensor:
        """Call one of torch's convolutions; in space, training in half precision on CPUs goes through float32."""
        if self.in_type.group.dim == 3 and x.device.type == "cpu" and torch.is_grad_enabled():
            low = torch.get_autocast_dtype("cpu") if autocast_on(x) else x.dtype
            if low in (torch.bfloat16, torch.float16):  # torch's weight gradients are now and then not finite there
                wide = None if bias is None else bias.float()
                with torch.autocast("cpu", enabled=False):
                    return function(x.float(), kernel.float(), wide, *geometry).to(low)
        return function(x, kernel, bias, *geometry)

    def _remembered(self, what: str, make: Callable[[], Tensor]) -> Tensor:
        """Make an expanded weight; without gradients keep it while the weights hold the same numbers."""
        weight = self.weight
        learning = torch.is_grad_enabled() and weight.requires_grad
        traced = torch.compiler.is_compiling() or not isinstance(weight, nn.Parameter)  # functional_call, vmap
        if learning or traced or weight.device.type != "cpu":
            return make()
        cached = self._cache
        if cached is None or cached[0] != what or cached[1].dtype != weight.dtype or not torch.equal(cached[1], weight):
            with torch.inference_mode(False), torch.no_grad():  # what is kept may be needed for training others
                cached = self._cache = (what, weight.detach().clone(), make())
        return cached[2]

    def __getstate__(self) -> dict[str, object]:
        """Leave the cached kernel out of pickles and copies."""
        return {**self.__dict__, "_cache": None}

    def _part(self, w: Tensor, piece: Piece) -> Tensor:
        """Return the kernel `(channels, channels, taps)` between two blocks of fields."""
        outs, ins = piece.out.dim, piece.into.dim
        if piece.constants is None:
            assert self.basis is not None
            assert self.relative is not None
            dense = expand(w, self.basis.flatten(2), self.relative, outs, ins)  # (o, outs, i, ins, taps)
        else:
            flat = w.flatten(2) @ getattr(self, piece.constants)
            dense = torch.unflatten(flat, 2, (outs, ins, -1)).transpose(1, 2)
        return dense.reshape(piece.shape[0] * outs, piece.shape[1] * ins, -1)

    def _follow_weights(self) -> None:
        """Make the constants anew if weights of another device or dtype were assigned."""
        if self._constants_on != (self.weight.device, torch.promote_types(self.weight.dtype, torch.float32)):
            self._set_constants()

    def _set_constants(self) -> None:
        """Fill the buffers from float64 arrays, so that no conversion of the module ever costs precision."""
        group, device = self.in_type.group, self.weight.device
        dtype = torch.promote_types(self.weight.dtype, torch.float32)

        def constant(array: object, dtype: torch.dtype | None = None) -> Tensor:
            return torch.tensor(array, dtype=dtype, device="cpu").to(device)

        if any(piece.constants is None for piece in self.pieces):
            self.basis = constant(self.filters.basis(group, self.side), dtype)
            self.relative = constant(pairs(group))
        for piece in self.pieces:
            if piece.constants is not None:
                kernels = space(self.filters, self.side, piece.out, piece.into).basis
                setattr(
                    self, piece.constants, constant(kernels.reshape(len(kernels), math.prod(kernels.shape[1:])), dtype)
                )
        plain = all(np.array_equal(kind.invariant, np.ones((1, kind.dim))) for kind, _ in self.out_type.blocks)
        self.spread = None if plain or self.bias is None else constant(_spread(self.out_type), dtype)
        self._constants_on = (device, dtype)
        self._cache = None

    def _apply(self, fn, recurse=True):  # type: ignore[no-untyped-def]  # torch's own signature is untyped
        """Follow `.to()`, `.double()`, `.to_empty()` and their like with fresh constants."""
        for name in self._buffers:
            self._buffers[name] = None  # so that nothing is converted only to be replaced
        try:
            super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        finally:  # also after a conversion that failed
            self._set_constants()
        return self


def _pieces(in_type: FieldType, out_type: FieldType, kernel_size: int, filters: Filters) -> tuple[Piece, ...]:
    """List the parts of the weight, by blocks of the output, then of the input."""
    found: list[Piece] = []
    start = 0
    for out, n_out in out_type.blocks:
        for into, n_in in in_type.blocks:
            names = {out.name, into.name}
            framed = "regular" in names and names <= {"regular", "trivial"}
            shape = (n_out, n_in, *count(filters, kernel_size, out, into))
            stop = start + math.prod(shape)
            found.append(Piece(out, into, shape, start, stop, None if framed else f"kernels_{len(found)}"))
            start = stop
    return tuple(found)


def _spread(field: FieldType) -> np.ndarray:
    """Return the matrix from biases to channels: for every field the vectors that no element moves."""
    rows = [(kind.invariant, fields) for kind, fields in field.blocks]
    whole = np.zeros((sum(len(v) * n for v, n in rows), field.channels))
    row = column = 0
    for vectors, fields in rows:
        for _ in range(fields):
            whole[row : row + len(vectors), column : column + vectors.shape[1]] = vectors
            row, column = row + len(vectors), column + vectors.shape[1]
    return whole
