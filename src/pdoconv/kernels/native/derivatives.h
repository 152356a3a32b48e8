// Derivative maps of a tile, and the adjoint: the steps on both sides of the matrix products.
#pragma once
#include "layout.h"

// Length of a row of maps: whole cache lines where that wastes little, so that shifts along y keep vectors aligned.
inline ptrdiff_t row_length(ptrdiff_t width) {
    const ptrdiff_t whole = round_up<ptrdiff_t>(width, 16);
    return 2 * whole <= 3 * width ? whole : width;
}

// Derivative maps of one field over a tile, coupled to the rows of the products.
template <class T> class Derivatives {
    const Plan<T>& plan;
    const Shape& s;
    const ptrdiff_t row, plain_map, padded_slice, padded_map, slice, map;
    Buffer<T> loose, plain, padded, first, second, maps;
    Step<T> enter;
    std::vector<Step<T>> passes, couple;

  public:
    Derivatives(const Plan<T>& p, const Shape& shape, const Tiling& cut, ptrdiff_t ld, int fields)
        : plan(p), s(shape), row(row_length(s.Wo)), plain_map(round_up<ptrdiff_t>((cut.ny + s.ey) * s.W, 16)),
          padded_slice((cut.ny + s.ey) * s.Wp), padded_map((cut.nz + s.ez) * padded_slice),
          slice((cut.ny + s.ey) * row), map(round_up<ptrdiff_t>((cut.nz + s.ez) * slice, 16) + 16),
          loose(s.channels_last ? p.n_in * plain_map : 0), plain(p.n_in * plain_map), padded(p.n_in * padded_map), maps(ptrdiff_t(p.stencils) * p.n_in * map),
          enter(p.enter, 0, [&](int c) { return c * (s.channels_last ? plain_map : s.in_size()); },
                [&](int c) { return c * plain_map; }) {
        const ptrdiff_t shift[3] = {s.dilation, row * s.dilation, slice * s.dilation};
        const int dim = int(p.passes.size());
        for (int axis = 0; axis < dim; ++axis)
            passes.emplace_back(p.passes[axis], shift[axis], [&](int f) { return f * map; },
                                [&](int f) { return f * map * (axis == dim - 1 ? p.n_in : 1); });
        if (dim > 1) first.resize(p.passes[0].rows * map);
        if (dim > 2) second.resize(p.passes[1].rows * map);
        for (int i = 0; i < fields; ++i)
            couple.emplace_back(p.couple, 0, [&](int c) { return c * map; },
                                [&](int r) { return p.z_row(r, i, fields) * ld; });
    }

    // x: the field's channels in this image; z: this segment's first column
    void run(const Channels<const T>& x, const Segment& g, T* z, int i) {
        const ptrdiff_t top = std::max<ptrdiff_t>(0, g.y0 - s.py);
        const ptrdiff_t end = std::min<ptrdiff_t>(s.H, g.y0 + g.ny + s.ey - s.py);
        const int dim = int(passes.size());
        padded.clear();
        for (ptrdiff_t k = 0; k < g.nz + s.ez; ++k) {
            const ptrdiff_t depth = g.z0 + k - s.pz;
            if (depth < 0 || depth >= s.D || end <= top) continue;
            const ptrdiff_t pixel = (depth * s.H + top) * s.W, length = (end - top) * s.W;
            if (x.last) x.gather(pixel, length, plan.n_in, loose.data(), plain_map);
            apply<true>(enter, x.last ? loose.data() : x.run(pixel), plain.data(), 0, 0, 1, length);
            for (int c = 0; c < plan.n_in; ++c)
                for (ptrdiff_t y = top; y < end; ++y)
                    std::memcpy(&padded[c * padded_map + k * padded_slice + (y + s.py - g.y0) * s.Wp + s.px],
                                &plain[c * plain_map + (y - top) * s.W], s.W * sizeof(T));
        }
        for (int c = 0; c < plan.n_in; ++c) {
            T* to = &maps[c * map];
            for (ptrdiff_t k = 0; k < g.nz + s.ez; ++k)
                apply<false>(passes[0], &padded[c * padded_map + k * padded_slice],
                             (dim > 1 ? first.data() : to) + k * slice, s.Wp, row, g.ny + s.ey, s.Wo);
            if (dim > 1)
                apply<false>(passes[1], first.data(), dim > 2 ? second.data() : to, slice, slice, g.nz + s.ez,
                             g.ny * row);
            if (dim > 2) apply<false>(passes[2], second.data(), to, slice, slice, g.nz, g.ny * row);
        }
        for (ptrdiff_t k = 0; k < g.nz; ++k)
            apply<false>(couple[i], &maps[k * slice], z + k * g.ny * s.Wo, row, s.Wo, g.ny, s.Wo);
    }
};

// The adjoint: from rows of the products back to the gradient of a field.
template <class T> class Adjoint {
    const Plan<T>& plan;
    const Shape& s;
    const ptrdiff_t row, slice, map, line_map;
    Buffer<T> maps, second, first, line, sum;  // rows and slices around the tile, and the ends of lines, stay zero
    Step<T> couple;
    std::vector<Step<T>> passes;
    ptrdiff_t last_nz = 0, last_ny = 0;

  public:
    Adjoint(const Plan<T>& p, const Shape& shape, const Tiling& cut, ptrdiff_t ld)
        : plan(p), s(shape), row(row_length(s.Wo)), slice((cut.ny + 2 * s.ey) * row),
          map(round_up<ptrdiff_t>((cut.nz + 2 * s.ez) * slice, 16) + 16),
          line_map(round_up<ptrdiff_t>(s.Wo + 2 * s.ex, 16) + 16), maps(ptrdiff_t(p.stencils) * p.n_in * map),
          line(p.passes[0].rows * line_map), sum(line_map),
          couple(p.couple_t, 0, [&](int r) { return r * ld; }, [&](int c) { return c * map; }) {
        const ptrdiff_t shift[3] = {-s.dilation, -row * s.dilation, -slice * s.dilation};
        const int dim = int(p.passes_t.size());
        for (int axis = 0; axis < dim; ++axis)
            passes.emplace_back(p.passes_t[axis], shift[axis],
                                [&](int f) { return f * (!axis ? line_map : axis == dim - 1 ? p.n_in * map : map); },
                                [&](int f) { return f * map; });
        if (dim > 1) first.resize(p.passes[0].rows * map);
        if (dim > 2) second.resize(p.passes[1].rows * map);
    }

    // z: this segment's first column of one field's rows; total: the field's gradient over the whole image
    void run(const T* z, const Segment& g, T* total) {
        const int dim = int(passes.size());
        const ptrdiff_t deep = g.nz + s.ez, high = g.ny + s.ey, stride = dim > 1 ? map : plan.n_in * map;
        if (g.nz != last_nz || g.ny != last_ny) maps.clear(), second.clear();
        last_nz = g.nz, last_ny = g.ny;
        for (ptrdiff_t k = 0; k < g.nz; ++k) {
            const ptrdiff_t inside = (s.ez + k) * slice + s.ey * row;
            apply<false>(couple, z + k * g.ny * s.Wo, &maps[inside], s.Wo, row, g.ny, s.Wo);
            for (int m = 0; s.ey && m < plan.stencils * plan.n_in; ++m)  // where the last vector reached too far
                std::fill_n(&maps[m * map + inside + g.ny * row], Simd<T>::LANES, T(0));
        }
        for (int c = 0; c < plan.n_in; ++c) {
            const T* from = &maps[c * map];
            if (dim > 2) {
                const ptrdiff_t inside = s.ey * row;  // the rows around stay zero
                apply<false>(passes[2], from + s.ez * slice + inside, &second[inside], slice, slice, deep, g.ny * row);
                from = second.data();
            }
            if (dim > 1) {
                apply<false>(passes[1], from + s.ey * row, first.data(), slice, slice, deep, high * row);
                from = first.data();
            }
            for (ptrdiff_t k = 0; k < deep; ++k)
                for (ptrdiff_t r = 0; r < high; ++r) {
                    const ptrdiff_t depth = g.z0 + k - s.pz, y = g.y0 + r - s.py;
                    if (depth < 0 || depth >= s.D || y < 0 || y >= s.H) continue;
                    for (int f = 0; f < plan.passes[0].rows; ++f)
                        std::memcpy(&line[f * line_map + s.ex], from + f * stride + k * slice + r * row,
                                    s.Wo * sizeof(T));
                    apply<false>(passes[0], &line[s.ex + s.px], sum.data(), 0, 0, 1, s.W);
                    T* to = total + c * s.in_size() + (depth * s.H + y) * s.W;
                    for (ptrdiff_t x = 0; x < s.W; ++x) to[x] += sum[x];
                }
        }
    }
};
