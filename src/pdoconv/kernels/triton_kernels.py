"""Device code of `pdoconv.kernels.triton_cuda`; importing it needs triton.

Space has three axes, the missing ones of size 1 in front. Maps are contiguous, `(batch, fields, channels, pixels)`.
Names in capitals are known when a kernel is compiled; `DIM` is the number of axes that padding applies to.
"""

# mypy: disable-error-code="misc,untyped-decorator,no-untyped-def,no-untyped-call,unused-ignore"

import triton
import triton.language as tl


@triton.jit
def coordinates(pixel, depth, height, width):
    """Return the number of the image and the place of flat pixels of a batch."""
    plane = pixel // width
    return plane // (height * depth), (plane // height) % depth, plane % height, pixel % width


@triton.jit
def source(place, tap, size, step, padding, gap, BACK: tl.constexpr, PADDED: tl.constexpr):
    """Return where along an axis a tap reads, and whether that is inside; `BACK`: of the adjoint."""
    shift = tap * gap - (padding if PADDED else 0)
    if BACK:
        far = place - shift
        at = far // step
        return at, (far >= 0) & (far == at * step) & (at < size)
    else:
        at = place * step + shift
        return at, (at >= 0) & (at < size)


@triton.jit
def combine(
    maps, index, coefficients, field, row, known, fields, channels, image, front, down, right, seen,
    depth, height, width, step, padding, gap,
    SLOTS: tl.constexpr, KD: tl.constexpr, KH: tl.constexpr, KW: tl.constexpr, DIM: tl.constexpr, BACK: tl.constexpr,
    ROWS: tl.constexpr, PIXELS: tl.constexpr,
):  # fmt: skip
    """Return a tile `(ROWS, PIXELS)`: each row sums, over its channels and all taps, coefficient times shifted map."""
    total = tl.zeros((ROWS, PIXELS), tl.float32)
    volume = depth * height * width
    first = (image.to(tl.int64) * fields * channels * volume)[None, :]
    for tap in range(KD * KH * KW):
        z, in_z = source(front, tap // (KH * KW), depth, step, padding, gap, BACK, DIM > 2)
        y, in_y = source(down, (tap // KW) % KH, height, step, padding, gap, BACK, DIM > 1)
        x, in_x = source(right, tap % KW, width, step, padding, gap, BACK, True)
        place = first + ((z * height + y) * width + x)[None, :]
        mask = known[:, None] & (seen & in_z & in_y & in_x)[None, :]
        for slot in range(SLOTS):
            entry = row * SLOTS + slot
            channel = (field * channels + tl.load(index + entry, known, 0)).to(tl.int64)
            factor = tl.load(coefficients + entry * (KD * KH * KW) + tap, known, 0.0)
            values = tl.load(maps + (channel * volume)[:, None] + place, mask, 0.0)
            total += factor[:, None] * values.to(tl.float32)
    return total


@triton.jit(do_not_specialize=["pixels", "rows", "first_row"])
def forward(
    maps, index, coefficients, weight, out, pixels, fields, channels, ins, rows, outs, out_rows, first_row,
    depth, height, width, out_depth, out_height, out_width, step, padding, gap,
    SLOTS: tl.constexpr, KD: tl.constexpr, KH: tl.constexpr, KW: tl.constexpr, DIM: tl.constexpr,
    PRECISION: tl.constexpr, ROWS: tl.constexpr, INNER: tl.constexpr, PIXELS: tl.constexpr,
):  # fmt: skip
    """Write a tile of one copy of a block: weights times rows z, which are made here; `rows` = out_fields * outs."""
    pixel = tl.program_id(0) * PIXELS + tl.arange(0, PIXELS)
    m = tl.program_id(1) * ROWS + tl.arange(0, ROWS)
    copy = tl.program_id(2)
    image, front, down, right = coordinates(pixel, out_depth, out_height, out_width)
    total = tl.zeros((ROWS, PIXELS), tl.float32)
    for start in range(0, fields * ins, INNER):
        k = start + tl.arange(0, INNER)
        known = k < fields * ins
        z = combine(
            maps, index, coefficients, k // ins, copy * ins + k % ins, known, fields, channels,
            image, front, down, right, pixel < pixels, depth, height, width, step, padding, gap,
            SLOTS, KD, KH, KW, DIM, False, INNER, PIXELS,
        )  # fmt: skip
        w = tl.load(weight + m[:, None] * (fields * ins) + k[None, :], (m < rows)[:, None] & known[None, :], 0.0)
        total = tl.dot(w, z.to(w.dtype), total, input_precision=PRECISION)
    volume = out_depth * out_height * out_width
    row = (m // outs) * out_rows + first_row + copy * outs + m % outs
    place = image.to(tl.int64) * (rows // outs) * out_rows * volume + pixel % volume
    where = out + (row.to(tl.int64) * volume)[:, None] + place[None, :]
    tl.store(where, total.to(out.dtype.element_ty), (m < rows)[:, None] & (pixel < pixels)[None, :])


@triton.jit(do_not_specialize=["pixels", "rows", "first_row"])
def weight_gradient(
    maps, index, coefficients, grad, partial, pixels, copies, fields, channels, ins, rows, outs, out_rows, first_row,
    depth, height, width, out_depth, out_height, out_width, step, padding, gap,
    SLOTS: tl.constexpr, KD: tl.constexpr, KH: tl.constexpr, KW: tl.constexpr, DIM: tl.constexpr,
    PRECISION: tl.constexpr, ROWS: tl.constexpr, INNER: tl.constexpr, PIXELS: tl.constexpr,
):  # fmt: skip
    """Write a tile of one partial sum `(splits, rows, fields * ins)`: over every splits-th tile of pixels and copy."""
    k = tl.program_id(0) * INNER + tl.arange(0, INNER)
    m = tl.program_id(1) * ROWS + tl.arange(0, ROWS)
    split = tl.program_id(2)
    known = k < fields * ins
    volume = out_depth * out_height * out_width
    tiles = tl.cdiv(pixels, PIXELS)
    total = tl.zeros((ROWS, INNER), tl.float32)
    for job in range(split, copies * tiles, tl.num_programs(2)):
        copy = job // tiles
        pixel = (job % tiles) * PIXELS + tl.arange(0, PIXELS)
        image, front, down, right = coordinates(pixel, out_depth, out_height, out_width)
        z = combine(
            maps, index, coefficients, k // ins, copy * ins + k % ins, known, fields, channels,
            image, front, down, right, pixel < pixels, depth, height, width, step, padding, gap,
            SLOTS, KD, KH, KW, DIM, False, INNER, PIXELS,
        )  # fmt: skip
        row = (m // outs) * out_rows + first_row + copy * outs + m % outs
        place = image.to(tl.int64) * (rows // outs) * out_rows * volume + pixel % volume
        where = grad + (row.to(tl.int64) * volume)[:, None] + place[None, :]
        g = tl.load(where, (m < rows)[:, None] & (pixel < pixels)[None, :], 0.0)
        total = tl.dot(g, tl.trans(z.to(g.dtype)), total, input_precision=PRECISION)
    where = partial + (split.to(tl.int64) * rows + m)[:, None] * (fields * ins) + k[None, :]
    tl.store(where, total, (m < rows)[:, None] & known[None, :])


@triton.jit(do_not_specialize=["pixels", "fields", "first_field"])
def adjoint(
    maps, index, coefficients, out, pixels, fields, rows, channels, out_fields, first_field,
    depth, height, width, out_depth, out_height, out_width, step, padding, gap,
    SLOTS: tl.constexpr, KD: tl.constexpr, KH: tl.constexpr, KW: tl.constexpr, DIM: tl.constexpr,
    ROWS: tl.constexpr, PIXELS: tl.constexpr,
):  # fmt: skip
    """Gather gradients of rows z `(batch, fields, rows, pixels)` to those of some fields of the transformed input."""
    pixel = tl.program_id(0) * PIXELS + tl.arange(0, PIXELS)
    m = tl.program_id(1) * ROWS + tl.arange(0, ROWS)
    known = m < fields * channels
    image, front, down, right = coordinates(pixel, out_depth, out_height, out_width)
    total = combine(
        maps, index, coefficients, m // channels, m % channels, known, fields, rows,
        image, front, down, right, pixel < pixels, depth, height, width, step, padding, gap,
        SLOTS, KD, KH, KW, DIM, True, ROWS, PIXELS,
    )  # fmt: skip
    volume = out_depth * out_height * out_width
    row = first_field * channels + m
    place = image.to(tl.int64) * out_fields * channels * volume + pixel % volume
    where = out + (row.to(tl.int64) * volume)[:, None] + place[None, :]
    tl.store(where, total.to(out.dtype.element_ty), known[:, None] & (pixel < pixels)[None, :])
