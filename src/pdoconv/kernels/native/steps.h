// Sparse linear steps: every output map is a short sum of shifted input maps, computed at the speed of the first cache.
#pragma once
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <numeric>
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

// A buffer of zeros that starts on a cache line.
template <class T> class Buffer {
    std::vector<T> memory;
    T* first = nullptr;

  public:
    explicit Buffer(ptrdiff_t size = 0) { resize(size); }
    void resize(ptrdiff_t size) {
        memory.assign(size + 2 * 64 / sizeof(T), T(0));  // a vector beyond the end may be touched
        first = memory.data();
        while (reinterpret_cast<uintptr_t>(first) % 64) ++first;
    }
    Buffer(const Buffer&) = delete;
    Buffer& operator=(const Buffer&) = delete;
    void clear() { std::fill(memory.begin(), memory.end(), T(0)); }
    T& operator[](ptrdiff_t i) { return first[i]; }
    T* data() { return first; }
};

template <class N> constexpr N round_up(N value, N to) { return (value + to - 1) / to * to; }

// out[m] = sum of coefficient * in[source] shifted: the sparse table of pdoconv.kernels.plan.Table
template <class T> struct Table {
    int rows = 0, inputs = 0;
    const int32_t *starts = nullptr, *sources = nullptr, *shifts = nullptr;
    const T* coefficients = nullptr;
};

// A table with addresses: offsets of every term's input and every row's output, in elements. Rows are in order of their
// number of terms, so that the inner loop's length is easy to predict.
template <class T> struct Step {
    std::vector<int> starts{0};
    std::vector<ptrdiff_t> in, out;
    std::vector<T> coefficients;

    template <class In, class Out> Step(const Table<T>& t, ptrdiff_t shift, In in_of, Out out_of) {
        std::vector<int> order(t.rows);
        std::iota(order.begin(), order.end(), 0);
        auto terms = [&](int m) { return t.starts[m + 1] - t.starts[m]; };
        std::stable_sort(order.begin(), order.end(), [&](int a, int b) { return terms(a) < terms(b); });
        for (int m : order) {
            for (int e = t.starts[m]; e < t.starts[m + 1]; ++e) {
                in.push_back(in_of(t.sources[e]) + t.shifts[e] * shift);
                coefficients.push_back(t.coefficients[e]);
            }
            starts.push_back(int(in.size()));
            out.push_back(out_of(m));
        }
    }
    int rows() const { return int(out.size()); }
};

// One block of NV vectors of every output row.
template <int NV, class T> inline void block(const Step<T>& step, const T* from, T* to) {
    using S = Simd<T>;
    for (int m = 0; m < step.rows(); ++m) {
        typename S::Vector sum[NV] = {};
        for (int e = step.starts[m]; e < step.starts[m + 1]; ++e) {
            const T* p = from + step.in[e];
            const T k = step.coefficients[e];
            for (int v = 0; v < NV; ++v) sum[v] += k * S::load(p + v * S::LANES);
        }
        for (int v = 0; v < NV; ++v) S::store(to + step.out[m] + v * S::LANES, sum[v]);
    }
}

// Apply a step to `rows` runs of `width` elements. EXACT: nothing beyond a run is written or read; otherwise up to
// one vector more, so both sides need that much slack and the rows must be in ascending order in memory.
template <bool EXACT, class T>
void apply(const Step<T>& step, const T* in, T* out, ptrdiff_t in_row, ptrdiff_t out_row, ptrdiff_t rows,
           ptrdiff_t width) {
    constexpr int L = Simd<T>::LANES;
    if (in_row == width && out_row == width) width *= rows, rows = 1;
    for (ptrdiff_t r = 0; r < rows; ++r) {
        const T* from = in + r * in_row;
        T* to = out + r * out_row;
        ptrdiff_t x = 0;
        for (; x + 4 * L <= width; x += 4 * L) block<4>(step, from + x, to + x);
        for (; x + 2 * L <= width; x += 2 * L) block<2>(step, from + x, to + x);
        while (x < width && (!EXACT || width >= L)) {
            if (EXACT) x = std::min(x, width - L);  // the last vector overlaps the one before
            block<1>(step, from + x, to + x);
            x += L;
        }
        for (; x < width; ++x)
            for (int m = 0; m < step.rows(); ++m) {
                T sum = 0;
                for (int e = step.starts[m]; e < step.starts[m + 1]; ++e)
                    sum += step.coefficients[e] * from[x + step.in[e]];
                to[x + step.out[m]] = sum;
            }
    }
}
