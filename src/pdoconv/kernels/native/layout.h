// What the drivers share: the plan as it comes from Python, the shape of the maps, and how the work is cut into tiles.
#pragma once
#include <type_traits>

#include "steps.h"

struct Block {  // one matrix product for each of `copies` rows; first_* count the rows of one field, weight its entries
    int copies, outs, ins, first_z, first_y;
    ptrdiff_t weight;
};

template <class T> struct Plan {  // pdoconv.kernels.plan.Plan and the adjoints of its tables
    int n_in, n_out, stencils, z_rows = 0;
    ptrdiff_t weights = 0;  // entries a pair of fields
    std::vector<Block> blocks;
    Table<T> enter, couple, leave, enter_t, couple_t, leave_t;
    std::vector<Table<T>> passes, passes_t;

    Plan(const int32_t* ints, const T* reals) {
        n_in = *ints++, n_out = *ints++, stencils = *ints++;
        const int dim = *ints++, count = *ints++;
        for (int b = 0, y = 0; b < count; ++b, ints += 3) {
            blocks.push_back({ints[0], ints[1], ints[2], z_rows, y, weights});
            z_rows += ints[0] * ints[2], y += ints[0] * ints[1], weights += ptrdiff_t(ints[1]) * ints[2];
        }
        auto read = [&](Table<T>& t) {
            t.rows = ints[0], t.inputs = ints[1];
            const int terms = ints[2];
            t.starts = ints + 3, t.sources = t.starts + t.rows + 1, t.shifts = t.sources + terms;
            t.coefficients = reals;
            ints = t.shifts + terms, reals += terms;
        };
        passes.resize(dim), passes_t.resize(dim);
        for (Table<T>* t : {&enter, &couple, &leave, &enter_t, &couple_t, &leave_t}) read(*t);
        for (auto* list : {&passes, &passes_t})
            for (auto& t : *list) read(t);
    }

    // Rows of a block lie together for all fields, so that a matrix product finds them: row of (block, copy, q) of
    // field i among `fields`.
    ptrdiff_t z_row(int row, int i, int fields) const {
        for (const Block& b : blocks)
            if (row < b.first_z + b.copies * b.ins) {
                const int copy = (row - b.first_z) / b.ins, q = (row - b.first_z) % b.ins;
                return ptrdiff_t(b.first_z + copy * b.ins) * fields + ptrdiff_t(i) * b.ins + q;
            }
        return -1;
    }
    ptrdiff_t y_row(int row, int o, int fields) const {
        for (const Block& b : blocks)
            if (row < b.first_y + b.copies * b.outs) {
                const int copy = (row - b.first_y) / b.outs, c = (row - b.first_y) % b.outs;
                return ptrdiff_t(b.first_y + copy * b.outs) * fields + ptrdiff_t(o) * b.outs + c;
            }
        return -1;
    }
};

struct Shape {  // always three axes of space, the absent ones of size 1; stride 1, zeros outside
    int64_t images, in_fields, out_fields, D, H, W, kz, ky, kx, dilation, padding, dim, threads, channels_last;
    // derived: padding of an axis, extent of a kernel less one pixel, size of the output
    ptrdiff_t pz, py, px, ez, ey, ex, Do, Ho, Wo, Wp;

    explicit Shape(const int64_t* v)
        : images(v[0]), in_fields(v[1]), out_fields(v[2]), D(v[3]), H(v[4]), W(v[5]), kz(v[6]), ky(v[7]), kx(v[8]),
          dilation(v[9]), padding(v[10]), dim(v[11]), threads(v[12]), channels_last(v[13]) {
        px = padding, py = dim > 1 ? padding : 0, pz = dim > 2 ? padding : 0;
        ex = (kx - 1) * dilation, ey = (ky - 1) * dilation, ez = (kz - 1) * dilation;
        Wp = W + 2 * px, Wo = Wp - ex, Ho = H + 2 * py - ey, Do = D + 2 * pz - ez;
    }
    ptrdiff_t in_size() const { return D * H * W; }
    ptrdiff_t out_size() const { return Do * Ho * Wo; }
};

// `count` channels of an image from `first` on, over a run of pixels, wherever the memory format keeps them.
template <class T> struct Channels {
    T* image;
    ptrdiff_t channels, size, first;
    bool last;

    T* run(ptrdiff_t pixel) const { return image + first * size + pixel; }  // contiguous: maps `size` apart
    void gather(ptrdiff_t pixel, ptrdiff_t length, int count, std::remove_const_t<T>* to, ptrdiff_t map) const {
        const T* from = image + pixel * channels + first;
        for (ptrdiff_t p = 0; p < length; ++p, from += channels)
            for (int c = 0; c < count; ++c) to[c * map + p] = from[c];
    }
    void scatter(ptrdiff_t pixel, ptrdiff_t length, int count, const T* from, ptrdiff_t map) const {
        T* to = image + pixel * channels + first;
        for (ptrdiff_t p = 0; p < length; ++p, to += channels)
            for (int c = 0; c < count; ++c) to[c] = from[c * map + p];
    }
};
template <class T>
Channels<T> channels_of(T* maps, const Shape& s, ptrdiff_t image, ptrdiff_t fields, int field, int n, ptrdiff_t size) {
    return {maps + image * fields * n * size, fields * n, size, ptrdiff_t(field) * n, s.channels_last != 0};
}

struct Segment {  // a box of one image's output pixels, whole rows; `column` is its place in the tile
    ptrdiff_t image, z0, nz, y0, ny, column;
};
struct Tile {
    std::vector<Segment> segments;
    ptrdiff_t columns = 0;
};
struct Tiling {
    std::vector<Tile> tiles;
    ptrdiff_t nz = 1, ny = 1, columns = 0;  // the largest
};

// Cut the outputs of all images into tiles of about `target` pixels: several small images, or boxes of a large one.
inline Tiling tiling(const Shape& s, ptrdiff_t target) {
    Tiling cut;
    const ptrdiff_t size = s.out_size();
    target = std::max<ptrdiff_t>(64, std::min<ptrdiff_t>(target, (s.images * size + s.threads - 1) / s.threads));
    ptrdiff_t nz = s.Do, ny = s.Ho;
    if (size > target) {
        double least = 1e30;  // pixels touched for each one made
        for (ptrdiff_t z = 1; z <= s.Do; ++z) {
            const ptrdiff_t y = std::min<ptrdiff_t>(s.Ho, std::max<ptrdiff_t>(1, target / (s.Wo * z)));
            const double work = double(z + s.ez) * double(y + s.ey) / double(z * y);
            if (z * y * s.Wo > std::max(target, s.Wo) || work >= least) continue;
            least = work, nz = z, ny = y;
        }
        nz = (s.Do + (s.Do + nz - 1) / nz - 1) / ((s.Do + nz - 1) / nz);  // even shares
        ny = (s.Ho + (s.Ho + ny - 1) / ny - 1) / ((s.Ho + ny - 1) / ny);
    }
    const ptrdiff_t together = std::max<ptrdiff_t>(1, target / size);
    for (ptrdiff_t image = 0; image < s.images; ++image)
        for (ptrdiff_t z = 0; z < s.Do; z += nz)
            for (ptrdiff_t y = 0; y < s.Ho; y += ny) {
                const bool join = !cut.tiles.empty() && ptrdiff_t(cut.tiles.back().segments.size()) < together;
                if (!join || size > target) cut.tiles.emplace_back();
                Tile& tile = cut.tiles.back();
                const ptrdiff_t a = std::min(nz, s.Do - z), b = std::min(ny, s.Ho - y);
                tile.segments.push_back({image, z, a, y, b, tile.columns});
                tile.columns += a * b * s.Wo;
                cut.columns = std::max(cut.columns, tile.columns);
            }
    cut.nz = nz, cut.ny = ny;
    return cut;
}
