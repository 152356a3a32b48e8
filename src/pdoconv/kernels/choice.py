"""Which way a layer computes its convolution, and what each way costs."""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal, get_args

from pdoconv.fields import FieldType
from pdoconv.filters import Filters
from pdoconv.kernels import native, ops, triton_cuda
from pdoconv.kernels.plan import Plan, derivatives_plan, fourier_plan

Method = Literal["auto", "dense", "derivatives", "fourier"]
METHODS = get_args(Method)


LONGEST_ROW = 2048
MARGIN = 0.85  # the model is right within some 20%: where the two are close, the dense kernel stays


@dataclass(frozen=True)
class Fast:
    """A fast way for one layer, and what it costs beside the dense kernel, in multiplications at that kernel's speed.

    Attributes:
        plan: Name of the plan, for the operators.
        kernel_size: Side of the kernel.
        pixel: Work a pixel; `narrow`: more of it, divided by the width of the image.
        dense_pixel: The dense kernel's work a pixel, away from the border.
        start: Work a call: the weights, and the call itself; `dense_start`: that of the dense kernel.
    """

    plan: str
    kernel_size: int
    pixel: float
    narrow: float
    dense_pixel: float
    start: float
    dense_start: float

    def ratio(self, batch: int, space: Sequence[int]) -> float:
        """Return the expected time over that of the dense kernel, which skips taps outside the image."""
        k, pixels, inside = self.kernel_size, batch, 1.0
        for n in space:  # a plain loop, which compilers follow
            pixels *= n
            inside *= 1 - (k // 2) * (k // 2 + 1) / (k * n) if n >= k else 1 / k
        fast = pixels * (self.pixel + self.narrow / space[-1]) + self.start
        return fast / (pixels * self.dense_pixel * inside + self.dense_start)

    def wins(self, batch: int, space: Sequence[int]) -> bool:
        """Tell whether it is safely faster than the dense kernel; tiles are whole rows, so not for very long ones."""
        return space[-1] <= LONGEST_ROW and self.ratio(batch, space) < MARGIN


def fast(method: Method, filters: Filters, in_type: FieldType, out_type: FieldType, size: int) -> Fast | None:
    """Return the fast way of a method, for `"auto"` the Fourier one if there is one; `None` for `"dense"`.

    Raises:
        ValueError: If the method is unknown or not possible with these filters.
    """
    if method not in METHODS:
        raise ValueError(f"method must be one of {METHODS}, received {method!r}.")
    if method == "dense":
        return None
    if not {in_type.kind, out_type.kind} <= {"trivial", "regular"} or in_type.group.continuous:
        if method == "auto":
            return None
        raise ValueError(
            f"method={method!r} is for types all regular or all trivial of finite groups, received {in_type} -> "
            f"{out_type}: use 'auto'."
        )
    arguments = (filters, in_type.group, size, in_type.kind, out_type.kind)
    try:
        plan = derivatives_plan(*arguments) if method == "derivatives" else fourier_plan(*arguments)
    except ValueError:  # of a group without known irreducible representations
        if method != "auto":
            raise
        plan = None
    if plan is None:
        if method == "auto":
            return None
        raise ValueError(
            f"method='fourier' needs filters whose span {in_type.group} maps to itself, received {filters!r}: "
            f"use 'auto', 'derivatives' or 'dense'."
        )
    return _with_costs(plan, in_type, out_type, size)


def _with_costs(plan: Plan, in_type: FieldType, out_type: FieldType, size: int) -> Fast:
    """Count the work of a plan; the factors were fitted to measured times (`docs/design/004-speed.md`).

    A multiplication of a small product costs more than one of the dense kernel, a term of a sparse step more again,
    since it waits for memory; short rows waste parts of vectors.
    """
    order, in_fields, pairs = in_type.group.order, in_type.fields, in_type.fields * out_type.fields
    n_in, n_out, basis, taps = plan.enter.inputs, plan.leave.rows, plan.coordinates.shape[1], plan.stencils[0].size
    *early, last = (len(table.sources) for table in plan.passes)
    products = pairs * sum(b.copies * b.outs * b.ins for b in plan.blocks)
    steps = n_in * (1.45 * last + sum(early) + 30) + 4.4 * len(plan.couple.sources) + 2.6 * len(plan.enter.sources)
    relative = order if n_in > 1 < n_out else 1
    return Fast(
        plan=ops.name_of(plan),
        kernel_size=size,
        pixel=1.4 * products + in_fields * steps + 2.6 * out_type.fields * len(plan.leave.sources),
        narrow=17 * in_fields * n_in * last,
        dense_pixel=pairs * n_in * n_out * taps,
        start=pairs * plan.entries * (1.3 * relative * basis + 70) + 5.2e6,
        dense_start=pairs * relative * order * taps * (0.63 * basis + 10.7) + 4.2e6,
    )


def native_available() -> bool:
    """Tell whether the CPU kernel can be used; the first call may compile it."""
    return native.library() is not None


def native_pays() -> bool:
    """Tell whether the CPU kernel is there and works with all threads, as the costs above assume."""
    return native.parallel()


def triton_available() -> bool:
    """Tell whether the CUDA kernels can be used; the first call imports triton."""
    return triton_cuda.available()


for _answer in (native_available, native_pays, triton_available):
    # as torch.compiler.assume_constant_result does, which first imports torch._dynamo, and with it triton
    _answer._dynamo_marked_constant = True  # type: ignore[attr-defined]


@lru_cache(maxsize=32)
def warn_once(reason: str) -> None:
    """Warn that a method asked for by name runs without its fast kernel, once for each reason."""
    warnings.warn(f"pdoconv: {reason}: the result is the same, only slower.", RuntimeWarning, stacklevel=4)
