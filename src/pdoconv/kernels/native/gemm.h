// Small matrix products of operands that lie in the cache, by register tiles.
#pragma once
#include "steps.h"

#if defined(__AVX512F__) || defined(__aarch64__)
constexpr int TILE_VECTORS = 4;  // 32 registers
#else
constexpr int TILE_VECTORS = 2;  // 16 registers
#endif
constexpr int TILE_ROWS = 6;

// C (M x NV vectors) (+)= A (M x K, any strides) B (K x NV vectors)
template <class T, int M, int NV>
inline void tile(int K, const T* A, ptrdiff_t a_row, ptrdiff_t a_col, const T* B, ptrdiff_t b_row, T* C,
                 ptrdiff_t c_row, bool add) {
    using S = Simd<T>;
    typename S::Vector c[M][NV];
    for (int m = 0; m < M; ++m)
        for (int v = 0; v < NV; ++v) c[m][v] = add ? S::load(C + m * c_row + v * S::LANES) : typename S::Vector{};
    for (int k = 0; k < K; ++k) {
        typename S::Vector b[NV];
        for (int v = 0; v < NV; ++v) b[v] = S::load(B + k * b_row + v * S::LANES);
        for (int m = 0; m < M; ++m) {
            const T a = A[m * a_row + k * a_col];
            for (int v = 0; v < NV; ++v) c[m][v] += a * b[v];
        }
    }
    for (int m = 0; m < M; ++m)
        for (int v = 0; v < NV; ++v) S::store(C + m * c_row + v * S::LANES, c[m][v]);
}

template <class T, int NV>
void column(int M, int K, const T* A, ptrdiff_t a_row, ptrdiff_t a_col, const T* B, ptrdiff_t b_row, T* C,
            ptrdiff_t c_row, bool add) {
    int m = 0;
    for (; m + TILE_ROWS <= M; m += TILE_ROWS)
        tile<T, TILE_ROWS, NV>(K, A + m * a_row, a_row, a_col, B, b_row, C + m * c_row, c_row, add);
    A += m * a_row;
    C += m * c_row;
    switch (M - m) {
        case 5: return tile<T, 5, NV>(K, A, a_row, a_col, B, b_row, C, c_row, add);
        case 4: return tile<T, 4, NV>(K, A, a_row, a_col, B, b_row, C, c_row, add);
        case 3: return tile<T, 3, NV>(K, A, a_row, a_col, B, b_row, C, c_row, add);
        case 2: return tile<T, 2, NV>(K, A, a_row, a_col, B, b_row, C, c_row, add);
        case 1: return tile<T, 1, NV>(K, A, a_row, a_col, B, b_row, C, c_row, add);
    }
}

// C (M x N) (+)= A (M x K) B (K x N); N a multiple of the vector length
template <class T>
void multiply(int M, int N, int K, const T* A, ptrdiff_t a_row, ptrdiff_t a_col, const T* B, ptrdiff_t b_row, T* C,
              ptrdiff_t c_row, bool add) {
    constexpr int L = Simd<T>::LANES;
    int n = 0;
    for (; n + TILE_VECTORS * L <= N; n += TILE_VECTORS * L)
        column<T, TILE_VECTORS>(M, K, A, a_row, a_col, B + n, b_row, C + n, c_row, add);
    for (; n + 2 * L <= N; n += 2 * L) column<T, 2>(M, K, A, a_row, a_col, B + n, b_row, C + n, c_row, add);
    for (; n < N; n += L) column<T, 1>(M, K, A, a_row, a_col, B + n, b_row, C + n, c_row, add);
}

// The sum of WIDTH numbers, by halves; overwrites them.
template <int WIDTH, class T> inline T fold(T* sum) {
    if constexpr (WIDTH == 1) return sum[0];
    else {
        for (int i = 0; i < WIDTH / 2; ++i) sum[i] += sum[i + WIDTH / 2];
        return fold<WIDTH / 2>(sum);
    }
}

// C (M x NR) += A (M x K) B^T, K a multiple of the vector length: sums along the vectors
template <class T, int M, int NR>
inline void dots(int K, const T* A, ptrdiff_t a_row, const T* B, ptrdiff_t b_row, T* C, ptrdiff_t c_row) {
    using S = Simd<T>;
    typename S::Vector c[M][NR];
    for (int m = 0; m < M; ++m)
        for (int n = 0; n < NR; ++n) c[m][n] = typename S::Vector{};
    for (int k = 0; k < K; k += S::LANES) {
        typename S::Vector a[M];
        for (int m = 0; m < M; ++m) a[m] = S::load(A + m * a_row + k);
        for (int n = 0; n < NR; ++n) {
            const typename S::Vector b = S::load(B + n * b_row + k);
            for (int m = 0; m < M; ++m) c[m][n] += a[m] * b;
        }
    }
    for (int m = 0; m < M; ++m)
        for (int n = 0; n < NR; ++n) {
            alignas(64) T sum[S::LANES];
            S::store(sum, c[m][n]);
            C[m * c_row + n] += fold<S::LANES>(sum);
        }
}

// C (M x N) += A (M x K) B (N x K)^T; K a multiple of the vector length
template <class T>
void multiply_transposed(int M, int N, int K, const T* A, ptrdiff_t a_row, const T* B, ptrdiff_t b_row, T* C,
                         ptrdiff_t c_row) {
    constexpr int MR = TILE_VECTORS == 4 ? 4 : 2, NR = TILE_VECTORS == 4 ? 6 : 4;
    for (int m = 0; m < M;) {
        const int rows = M - m >= MR ? MR : 1;
        for (int n = 0; n < N;) {
            const T *a = A + m * a_row, *b = B + n * b_row;
            T* c = C + m * c_row + n;
            const int columns = N - n >= NR ? NR : (N - n >= 2 ? 2 : 1);
            if (rows == MR && columns == NR) dots<T, MR, NR>(K, a, a_row, b, b_row, c, c_row);
            else if (rows == MR && columns == 2) dots<T, MR, 2>(K, a, a_row, b, b_row, c, c_row);
            else if (rows == MR) dots<T, MR, 1>(K, a, a_row, b, b_row, c, c_row);
            else if (columns == NR) dots<T, 1, NR>(K, a, a_row, b, b_row, c, c_row);
            else if (columns == 2) dots<T, 1, 2>(K, a, a_row, b, b_row, c, c_row);
            else dots<T, 1, 1>(K, a, a_row, b, b_row, c, c_row);
            n += columns;
        }
        m += rows;
    }
}
