// A group convolution by a plan (pdoconv.kernels.plan): forward, gradient of the input, gradient of the weights.
//
// Derivative maps live in the cache only: a tile of pixels and a few fields at a time, made anew in every call.
#include "gemm.h"
#include "layout.h"

#ifdef _OPENMP
#include <omp.h>
static int thread() { return omp_get_thread_num(); }
#else
static int thread() { return 0; }
#endif

constexpr size_t CACHE = 448 << 10;  // bytes of derivative maps at a time

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
    Buffer<T> plain, padded, first, second, maps;
    Step<T> enter;
    std::vector<Step<T>> passes, couple;

  public:
    Derivatives(const Plan<T>& p, const Shape& shape, const Tiling& cut, ptrdiff_t ld, int fields)
        : plan(p), s(shape), row(row_length(s.Wo)), plain_map(round_up<ptrdiff_t>((cut.ny + s.ey) * s.W, 16)),
          padded_slice((cut.ny + s.ey) * s.Wp), padded_map((cut.nz + s.ez) * padded_slice),
          slice((cut.ny + s.ey) * row), map(round_up<ptrdiff_t>((cut.nz + s.ez) * slice, 16) + 16),
          plain(p.n_in * plain_map), padded(p.n_in * padded_map), maps(ptrdiff_t(p.stencils) * p.n_in * map),
          enter(p.enter, 0, [&](int c) { return c * s.in_size(); }, [&](int c) { return c * plain_map; }) {
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

    // x: the field's first channel in this image; z: this segment's first column
    void run(const T* x, const Segment& g, T* z, int i) {
        const ptrdiff_t top = std::max<ptrdiff_t>(0, g.y0 - s.py);
        const ptrdiff_t end = std::min<ptrdiff_t>(s.H, g.y0 + g.ny + s.ey - s.py);
        const int dim = int(passes.size());
        padded.clear();
        for (ptrdiff_t k = 0; k < g.nz + s.ez; ++k) {
            const ptrdiff_t depth = g.z0 + k - s.pz;
            if (depth < 0 || depth >= s.D || end <= top) continue;
            apply<true>(enter, x + (depth * s.H + top) * s.W, plain.data(), 0, 0, 1, (end - top) * s.W);
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
        if (g.nz != last_nz || g.ny != last_ny) maps.clear();
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
                apply<false>(passes[2], from + s.ez * slice, second.data(), slice, slice, deep, slice);
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

// Between a tile's rows of the products and the channels of the output.
template <class T> struct Leave {
    const Plan<T>& plan;
    const Shape& s;
    std::vector<Step<T>> out, in;

    Leave(const Plan<T>& p, const Shape& shape, ptrdiff_t ld) : plan(p), s(shape) {
        const int fields = int(s.out_fields);
        for (int o = 0; o < fields; ++o) {
            auto row = [&](int r) { return p.y_row(r, o, fields) * ld; };
            auto channel = [&](int g) { return g * s.out_size(); };
            out.emplace_back(p.leave, 0, row, channel);
            in.emplace_back(p.leave_t, 0, channel, row);
        }
    }
    // Call f(offset in a channel, column, length) for each contiguous run of a segment.
    template <class F> void runs(const Segment& g, F f) const {
        if (g.ny == s.Ho) return f(g.z0 * s.Ho * s.Wo, g.column, g.nz * g.ny * s.Wo);
        for (ptrdiff_t k = 0; k < g.nz; ++k)
            f(((g.z0 + k) * s.Ho + g.y0) * s.Wo, g.column + k * g.ny * s.Wo, g.ny * s.Wo);
    }
    void write(const Tile& tile, const T* rows, T* y) const {
        for (const Segment& g : tile.segments)
            for (size_t o = 0; o < out.size(); ++o)
                runs(g, [&](ptrdiff_t pixel, ptrdiff_t column, ptrdiff_t length) {
                    T* to = y + (g.image * s.out_fields + o) * plan.n_out * s.out_size() + pixel;
                    apply<true>(out[o], rows + column, to, 0, 0, 1, length);
                });
    }
    void read(const Tile& tile, const T* y, T* rows) const {
        for (const Segment& g : tile.segments)
            for (size_t o = 0; o < in.size(); ++o)
                runs(g, [&](ptrdiff_t pixel, ptrdiff_t column, ptrdiff_t length) {
                    const T* from = y + (g.image * s.out_fields + o) * plan.n_out * s.out_size() + pixel;
                    apply<true>(in[o], from, rows + column, 0, 0, 1, length);
                });
    }
};

template <class T> ptrdiff_t leading(const Tiling& cut) { return round_up<ptrdiff_t>(cut.columns, 16) + 16; }

template <class T> int fields_at_once(const Plan<T>& plan, const Shape& s, ptrdiff_t ld) {
    const ptrdiff_t one = plan.z_rows * ld * sizeof(T);
    return int(std::clamp<ptrdiff_t>(ptrdiff_t(CACHE) / std::max<ptrdiff_t>(one, 1), 1, s.in_fields));
}

// Make the rows z of the fields from `i0` on.
template <class T>
void derive(Derivatives<T>& d, const Plan<T>& plan, const Shape& s, const Tile& tile, const T* x, int i0, int count,
            T* z) {
    for (int i = 0; i < count; ++i)
        for (const Segment& g : tile.segments)
            d.run(x + (g.image * s.in_fields + i0 + i) * plan.n_in * s.in_size(), g, z + g.column, i);
}

template <class T>
void forward(const Plan<T>& plan, const Shape& s, const T* x, const T* w, const T* bias, T* y) {
    const Tiling cut = ::cut(s, s.dim > 2 ? 1024 : 256);
    const ptrdiff_t ld = leading<T>(cut), row_of_w = s.in_fields;
    const int O = int(s.out_fields), fields = fields_at_once(plan, s, ld);
    const Leave<T> leave(plan, s, ld);
#pragma omp parallel num_threads(s.threads)
    {
        Derivatives<T> d(plan, s, cut, ld, fields);
        Buffer<T> z(ptrdiff_t(fields) * plan.z_rows * ld), rows(ptrdiff_t(O) * plan.n_out * ld);
#pragma omp for schedule(dynamic)
        for (size_t t = 0; t < cut.tiles.size(); ++t) {
            const Tile& tile = cut.tiles[t];
            const int N = int(round_up<ptrdiff_t>(tile.columns, Simd<T>::LANES));
            for (int r = 0; r < plan.n_out; ++r) {  // a constant enters as its transform
                T one = 0;
                for (int e = plan.leave_t.starts[r]; e < plan.leave_t.starts[r + 1]; ++e)
                    one += plan.leave_t.coefficients[e];
                for (int o = 0; o < O; ++o)
                    std::fill_n(&rows[plan.y_row(r, o, O) * ld], N, bias ? one * bias[o] : T(0));
            }
            for (int i0 = 0; i0 < s.in_fields; i0 += fields) {
                const int count = int(std::min<ptrdiff_t>(fields, s.in_fields - i0));
                derive(d, plan, s, tile, x, i0, count, z.data());
                for (const Block& b : plan.blocks)
                    for (int a = 0; a < b.copies; ++a)
                        multiply(O * b.outs, N, count * b.ins,
                                 w + b.weight * O * s.in_fields + i0 * b.ins, row_of_w * b.ins, 1,
                                 &z[ptrdiff_t(b.first_z + a * b.ins) * fields * ld], ld,
                                 &rows[ptrdiff_t(b.first_y + a * b.outs) * O * ld], ld, true);
            }
            leave.write(tile, rows.data(), y);
        }
    }
}

template <class T> void input_gradient(const Plan<T>& plan, const Shape& s, const T* gy, const T* w, T* gx) {
    const Tiling cut = ::cut(s, 1024);
    const ptrdiff_t ld = leading<T>(cut), size = s.in_size();
    const int O = int(s.out_fields), I = int(s.in_fields);
    const Leave<T> leave(plan, s, ld);
    const Step<T> enter(plan.enter_t, 0, [&](int c) { return c * size; }, [&](int c) { return c * size; });
    std::vector<std::vector<const Tile*>> images;  // tiles of the same images, one after the other
    for (const Tile& tile : cut.tiles) {
        if (images.empty() || images.back()[0]->segments[0].image != tile.segments[0].image) images.emplace_back();
        images.back().push_back(&tile);
    }
    const int shares = int(std::clamp<ptrdiff_t>((s.threads + images.size() - 1) / images.size(), 1, I));
#pragma omp parallel num_threads(s.threads)
    {
        Adjoint<T> adjoint(plan, s, cut, ld);
        Buffer<T> rows(ptrdiff_t(O) * plan.n_out * ld), z(plan.z_rows * ld);
        std::vector<T> sums;
#pragma omp for schedule(dynamic)
        for (size_t task = 0; task < images.size() * shares; ++task) {
            const auto& tiles = images[task / shares];
            const int from = int(task % shares) * I / shares, to = int(task % shares + 1) * I / shares;
            const ptrdiff_t first = tiles[0]->segments[0].image, channels = ptrdiff_t(to - from) * plan.n_in;
            const ptrdiff_t count = tiles[0]->segments.back().image - first + 1;
            sums.assign(count * channels * size, T(0));
            for (const Tile* tile : tiles) {
                const int N = int(round_up<ptrdiff_t>(tile->columns, Simd<T>::LANES));
                leave.read(*tile, gy, rows.data());
                for (int i = from; i < to; ++i) {
                    for (const Block& b : plan.blocks)
                        for (int a = 0; a < b.copies; ++a)
                            multiply(b.ins, N, O * b.outs, w + b.weight * O * I + i * b.ins, 1, ptrdiff_t(I) * b.ins,
                                     &rows[ptrdiff_t(b.first_y + a * b.outs) * O * ld], ld,
                                     &z[ptrdiff_t(b.first_z + a * b.ins) * ld], ld, false);
                    for (const Segment& g : tile->segments)
                        adjoint.run(&z[g.column], g, &sums[((g.image - first) * channels + (i - from) * plan.n_in) * size]);
                }
            }
            for (ptrdiff_t image = 0; image < count; ++image)
                for (int i = from; i < to; ++i)
                    apply<true>(enter, &sums[(image * channels + (i - from) * plan.n_in) * size],
                                gx + ((first + image) * I + i) * plan.n_in * size, 0, 0, 1, size);
        }
    }
}

template <class T> void weight_gradient(const Plan<T>& plan, const Shape& s, const T* x, const T* gy, T* gw) {
    const Tiling cut = ::cut(s, 1024);
    const ptrdiff_t ld = leading<T>(cut), entries = plan.weights * s.out_fields * s.in_fields;
    const int O = int(s.out_fields), I = int(s.in_fields), fields = fields_at_once(plan, s, ld);
    const Leave<T> leave(plan, s, ld);
    std::vector<std::vector<T>> sums(s.threads);
#pragma omp parallel num_threads(s.threads)
    {
        Derivatives<T> d(plan, s, cut, ld, fields);
        Buffer<T> rows(ptrdiff_t(O) * plan.n_out * ld), z(ptrdiff_t(fields) * plan.z_rows * ld);
        std::vector<T>& sum = sums[thread()];
        sum.assign(entries, T(0));
#pragma omp for schedule(dynamic)
        for (size_t t = 0; t < cut.tiles.size(); ++t) {
            const Tile& tile = cut.tiles[t];
            const ptrdiff_t N = round_up<ptrdiff_t>(tile.columns, Simd<T>::LANES);
            auto clear = [&](T* row) { std::fill(row + tile.columns, row + N, T(0)); };  // columns beyond the tile
            leave.read(tile, gy, rows.data());
            for (ptrdiff_t r = 0; r < ptrdiff_t(O) * plan.n_out; ++r) clear(&rows[r * ld]);
            for (int i0 = 0; i0 < I; i0 += fields) {
                const int count = std::min(fields, I - i0);
                derive(d, plan, s, tile, x, i0, count, z.data());
                for (ptrdiff_t r = 0; r < ptrdiff_t(fields) * plan.z_rows; ++r) clear(&z[r * ld]);
                for (const Block& b : plan.blocks)
                    for (int a = 0; a < b.copies; ++a)
                        multiply_transposed(O * b.outs, count * b.ins, int(N),
                                            &rows[ptrdiff_t(b.first_y + a * b.outs) * O * ld], ld,
                                            &z[ptrdiff_t(b.first_z + a * b.ins) * fields * ld], ld,
                                            &sum[b.weight * O * I + i0 * b.ins], ptrdiff_t(I) * b.ins);
            }
        }
#pragma omp for
        for (ptrdiff_t e = 0; e < entries; ++e) {
            T total = 0;
            for (const auto& part : sums)
                if (!part.empty()) total += part[e];
            gw[e] = total;
        }
    }
}

#define ENTRY(T, SUFFIX)                                                                                            \
    extern "C" void forward_##SUFFIX(const int32_t* ints, const T* reals, const int64_t* shape, const T* x,         \
                                     const T* w, const T* bias, T* y) {                                             \
        forward<T>(Plan<T>(ints, reals), Shape(shape), x, w, bias, y);                                              \
    }                                                                                                               \
    extern "C" void input_gradient_##SUFFIX(const int32_t* ints, const T* reals, const int64_t* shape, const T* gy, \
                                            const T* w, T* gx) {                                                    \
        input_gradient<T>(Plan<T>(ints, reals), Shape(shape), gy, w, gx);                                           \
    }                                                                                                               \
    extern "C" void weight_gradient_##SUFFIX(const int32_t* ints, const T* reals, const int64_t* shape, const T* x, \
                                             const T* gy, T* gw) {                                                  \
        weight_gradient<T>(Plan<T>(ints, reals), Shape(shape), x, gy, gw);                                          \
    }
ENTRY(float, f32)
ENTRY(double, f64)
