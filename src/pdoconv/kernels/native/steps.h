// Sparse linear steps: every output map is a short sum of shifted input maps, computed at the speed of the first cache.
#pragma once
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <vector>

#if defined(__AVX512F__)
constexpr int VECTOR_BYTES = 64;
#elif defined(__AVX__)
constexpr int VECTOR_BYTES = 32;
#else
constexpr int VECTOR_BYTES = 16;
#endif

template <class T> struct Simd {
    typedef T Vector __attribute__((vector_size(VECTOR_BYTES)));
    typedef T Loose __attribute__((vector_size(VECTOR_BYTES), aligned(alignof(T)), may_alias));  // any address
    static constexpr int LANES = VECTOR_BYTES / sizeof(T);
    static Vector load(const T* p) { return *reinterpret_cast<const Loose*>(p); }
    static void store(T* p, Vector v) { *reinterpret_cast<Loose*>(p) = v; }
};

template <class N> constexpr N round_up(N value, N to) { return (value + to - 1) / to * to; }

// out[m] = sum of coefficient * in[source] shifted: the sparse table of pdoconv.kernels.plan.Table
template <class T> struct Table {
    int rows = 0, inputs = 0;
    const int32_t *starts = nullptr, *sources = nullptr, *shifts = nullptr;
    const T* coefficients = nullptr;
};

// A table with addresses: offsets of every term's input and every row's output, in elements.
template <class T> struct Step {
    const Table<T>* table = nullptr;
    std::vector<ptrdiff_t> in, out;

    template <class In, class Out> Step(const Table<T>& t, ptrdiff_t shift, In in_of, Out out_of) : table(&t) {
        for (int e = 0; e < t.starts[t.rows]; ++e) in.push_back(in_of(t.sources[e]) + t.shifts[e] * shift);
        for (int m = 0; m < t.rows; ++m) out.push_back(out_of(m));
    }
};

// Apply a step to `rows` runs of `width` elements. EXACT: nothing beyond a run is written or read; otherwise up to
// one vector more, so both sides need that much slack and the rows must be in ascending order in memory.
template <bool EXACT, class T>
void apply(const Step<T>& step, const T* in, T* out, ptrdiff_t in_row, ptrdiff_t out_row, ptrdiff_t rows,
           ptrdiff_t width) {
    using S = Simd<T>;
    constexpr int L = S::LANES;
    const Table<T>& t = *step.table;
    const ptrdiff_t* offset = step.in.data();
    for (ptrdiff_t r = 0; r < rows; ++r) {
        const T* from = in + r * in_row;
        T* to = out + r * out_row;
        ptrdiff_t x = 0;
        for (; x + 4 * L <= width; x += 4 * L)
            for (int m = 0; m < t.rows; ++m) {
                typename S::Vector a{}, b{}, c{}, d{};
                for (int e = t.starts[m]; e < t.starts[m + 1]; ++e) {
                    const T* p = from + x + offset[e];
                    const T k = t.coefficients[e];
                    a += k * S::load(p);
                    b += k * S::load(p + L);
                    c += k * S::load(p + 2 * L);
                    d += k * S::load(p + 3 * L);
                }
                T* q = to + x + step.out[m];
                S::store(q, a);
                S::store(q + L, b);
                S::store(q + 2 * L, c);
                S::store(q + 3 * L, d);
            }
        while (x < width && (!EXACT || width >= L)) {
            if (EXACT) x = std::min(x, width - L);  // the last vector overlaps the one before
            for (int m = 0; m < t.rows; ++m) {
                typename S::Vector a{};
                for (int e = t.starts[m]; e < t.starts[m + 1]; ++e)
                    a += t.coefficients[e] * S::load(from + x + offset[e]);
                S::store(to + x + step.out[m], a);
            }
            x += L;
        }
        for (; x < width; ++x)
            for (int m = 0; m < t.rows; ++m) {
                T a = 0;
                for (int e = t.starts[m]; e < t.starts[m + 1]; ++e) a += t.coefficients[e] * from[x + offset[e]];
                to[x + step.out[m]] = a;
            }
    }
}
