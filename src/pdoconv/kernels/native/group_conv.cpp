// A group convolution by a plan (pdoconv.kernels.plan): forward, gradient of the input, gradient of the weights.
//
// Derivative maps are made for a tile of pixels and a few fields at a time, anew in every call, and never leave a thread.
#include <atomic>
#include <new>

#include "derivatives.h"
#include "gemm.h"

#ifdef _OPENMP
extern "C" int parallel() { return 1; }
#else
extern "C" int parallel() { return 0; }
#endif

constexpr size_t CACHE = 448 << 10;  // bytes of rows z at a time, or one field's

// Between a tile's rows of the products and the channels of the output.
template <class T> class Leave {
    const Plan<T>& plan;
    const Shape& s;
    const ptrdiff_t loose_map;
    Buffer<T> loose;
    std::vector<Step<T>> steps;  // one a field

    // Call f(field, its channels, first pixel, column, length) for each run of pixels in a tile.
    template <class P, class F> void each(const Tile& tile, P* y, F f) const {
        for (const Segment& g : tile.segments)
            for (int o = 0; o < s.out_fields; ++o) {
                const auto to = channels_of(y, s, g.image, s.out_fields, o, plan.n_out, s.out_size());
                if (g.ny == s.Ho) f(o, to, g.z0 * s.Ho * s.Wo, g.column, g.nz * g.ny * s.Wo);
                else
                    for (ptrdiff_t k = 0; k < g.nz; ++k)
                        f(o, to, ((g.z0 + k) * s.Ho + g.y0) * s.Wo, g.column + k * g.ny * s.Wo, g.ny * s.Wo);
            }
    }

  public:
    Leave(const Plan<T>& p, const Shape& shape, ptrdiff_t ld, bool write)
        : plan(p), s(shape), loose_map(ld), loose(s.channels_last ? p.n_out * ld : 0) {
        for (int o = 0; o < s.out_fields; ++o) {
            auto row = [&](int r) { return p.y_row(r, o, int(s.out_fields)) * ld; };
            auto channel = [&](int g) { return g * (s.channels_last ? ld : s.out_size()); };
            if (write) steps.emplace_back(p.leave, 0, row, channel);
            else steps.emplace_back(p.leave_t, 0, channel, row);
        }
    }
    void write(const Tile& tile, const T* rows, T* y) {
        each(tile, y, [&](int o, const Channels<T>& to, ptrdiff_t pixel, ptrdiff_t column, ptrdiff_t length) {
            apply<true>(steps[o], rows + column, to.last ? loose.data() : to.run(pixel), 0, 0, 1, length);
            if (to.last) to.scatter(pixel, length, plan.n_out, loose.data(), loose_map);
        });
    }
    void read(const Tile& tile, const T* y, T* rows) {
        each(tile, y, [&](int o, const Channels<const T>& from, ptrdiff_t pixel, ptrdiff_t column, ptrdiff_t length) {
            if (from.last) from.gather(pixel, length, plan.n_out, loose.data(), loose_map);
            apply<true>(steps[o], from.last ? loose.data() : from.run(pixel), rows + column, 0, 0, 1, length);
        });
    }
};

// Run `work(make tasks)` on the threads: `tasks` gives each the numbers that it shall do. False: memory ran out.
template <class F> bool in_parallel(ptrdiff_t threads, ptrdiff_t tasks, F work) {
    std::atomic<ptrdiff_t> next{0};
    std::atomic<bool> whole{true};
    const int count = int(std::max<ptrdiff_t>(1, std::min(threads, tasks)));
#pragma omp parallel num_threads(count)
    {
        try {
            work([&](ptrdiff_t& task) { return (task = next++) < tasks; });
        } catch (const std::bad_alloc&) {
            whole = false;
        }
    }
    return whole;
}

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
            d.run(channels_of(x, s, g.image, s.in_fields, i0 + i, plan.n_in, s.in_size()), g, z + g.column, i);
}

template <class T>
bool forward(const Plan<T>& plan, const Shape& s, const T* x, const T* w, const T* bias, T* y) {
    const Tiling cut = tiling(s, s.dim > 2 ? 1024 : 256);
    const ptrdiff_t ld = leading<T>(cut), row_of_w = s.in_fields;
    const int O = int(s.out_fields), fields = fields_at_once(plan, s, ld);
    return in_parallel(s.threads, cut.tiles.size(), [&](auto more) {
        Derivatives<T> d(plan, s, cut, ld, fields);
        Leave<T> leave(plan, s, ld, true);
        Buffer<T> z(ptrdiff_t(fields) * plan.z_rows * ld), rows(ptrdiff_t(O) * plan.n_out * ld);
        for (ptrdiff_t t; more(t);) {
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
    });
}

template <class T> bool input_gradient(const Plan<T>& plan, const Shape& s, const T* gy, const T* w, T* gx) {
    const Tiling cut = tiling(s, 1024);
    const ptrdiff_t ld = leading<T>(cut), size = s.in_size();
    const int O = int(s.out_fields), I = int(s.in_fields);
    const Step<T> enter(plan.enter_t, 0, [&](int c) { return c * size; }, [&](int c) { return c * size; });
    std::vector<std::vector<const Tile*>> images;  // tiles of the same images, one after the other
    for (const Tile& tile : cut.tiles) {
        if (images.empty() || images.back()[0]->segments[0].image != tile.segments[0].image) images.emplace_back();
        images.back().push_back(&tile);
    }
    const int shares = int(std::clamp<ptrdiff_t>((s.threads + images.size() - 1) / images.size(), 1, I));
    return in_parallel(s.threads, images.size() * shares, [&](auto more) {
        Adjoint<T> adjoint(plan, s, cut, ld);
        Leave<T> leave(plan, s, ld, false);
        Buffer<T> rows(ptrdiff_t(O) * plan.n_out * ld), z(plan.z_rows * ld);
        Buffer<T> loose(s.channels_last ? plan.n_in * size : 0);
        std::vector<T> sums;
        for (ptrdiff_t task; more(task);) {
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
                for (int i = from; i < to; ++i) {
                    const Channels<T> out = channels_of(gx, s, first + image, I, i, plan.n_in, size);
                    apply<true>(enter, &sums[(image * channels + (i - from) * plan.n_in) * size],
                                out.last ? loose.data() : out.run(0), 0, 0, 1, size);
                    if (out.last) out.scatter(0, size, plan.n_in, loose.data(), size);
                }
        }
    });
}

template <class T> bool weight_gradient(const Plan<T>& plan, const Shape& s, const T* x, const T* gy, T* gw) {
    const Tiling cut = tiling(s, 1024);
    const ptrdiff_t ld = leading<T>(cut), entries = plan.weights * s.out_fields * s.in_fields;
    const int O = int(s.out_fields), I = int(s.in_fields), fields = fields_at_once(plan, s, ld);
    // every share of the tiles has its own sums, whatever thread makes them: the result does not depend on chance
    const ptrdiff_t tiles = cut.tiles.size(), shares = std::min<ptrdiff_t>(s.threads, tiles);
    std::vector<std::vector<T>> sums(shares);
    const bool whole = in_parallel(s.threads, shares, [&](auto more) {
        Derivatives<T> d(plan, s, cut, ld, fields);
        Leave<T> leave(plan, s, ld, false);
        Buffer<T> rows(ptrdiff_t(O) * plan.n_out * ld), z(ptrdiff_t(fields) * plan.z_rows * ld);
        auto add = [&](const Tile& tile, T* sum) {
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
                                            sum + b.weight * O * I + i0 * b.ins, ptrdiff_t(I) * b.ins);
            }
        };
        for (ptrdiff_t share; more(share);) {
            sums[share].assign(entries, T(0));
            for (ptrdiff_t t = share * tiles / shares; t < (share + 1) * tiles / shares; ++t)
                add(cut.tiles[t], sums[share].data());
        }
    });
    if (!whole) return false;
#pragma omp parallel for num_threads(int(s.threads))
    for (ptrdiff_t e = 0; e < entries; ++e) {
        T total = 0;
        for (const auto& part : sums) total += part[e];
        gw[e] = total;
    }
    return true;
}

// 0: done; 1: memory ran out.
template <class F> int guarded(F call) {
    try {
        return call() ? 0 : 1;
    } catch (const std::bad_alloc&) {
        return 1;
    }
}

#define ENTRY(T, SUFFIX)                                                                                             \
    extern "C" int forward_##SUFFIX(const int32_t* ints, const T* reals, const int64_t* shape, const T* x,           \
                                    const T* w, const T* bias, T* y) {                                               \
        return guarded([&] { return forward<T>(Plan<T>(ints, reals), Shape(shape), x, w, bias, y); });               \
    }                                                                                                                \
    extern "C" int input_gradient_##SUFFIX(const int32_t* ints, const T* reals, const int64_t* shape, const T* gy,   \
                                           const T* w, T* gx) {                                                      \
        return guarded([&] { return input_gradient<T>(Plan<T>(ints, reals), Shape(shape), gy, w, gx); });            \
    }                                                                                                                \
    extern "C" int weight_gradient_##SUFFIX(const int32_t* ints, const T* reals, const int64_t* shape, const T* x,   \
                                            const T* gy, T* gw) {                                                    \
        return guarded([&] { return weight_gradient<T>(Plan<T>(ints, reals), Shape(shape), x, gy, gw); });           \
    }
ENTRY(float, f32)
ENTRY(double, f64)
