// Upsample, apply a nonlinearity, downsample: one pass over tiles that stay in the nearest caches.
//
// A task is a range of output rows and columns of one plane (an image and a channel). It walks down
// the plane. Every input row is read once, into a ring of rows; as soon as the rows that a group of
// up-sampled rows needs are there, these are computed, activated and kept in a second ring; as soon
// as that holds what an output row needs, it is filtered and written. Every value is computed by
// the same operations in the same order whatever the tiling and the number of threads.
//
// Names of the spaces:
//   in   the input image
//   v    at the up-sampled rate along y, still at the rate of the input along x
//   t    at the up-sampled rate of both axes, where the nonlinearity acts
//   u    rows of t filtered along y, at the rate of the output
//   out  the output image
//
// Upsampling is polyphase. Group g of an up-sampled axis are the `up` samples that depend on the
// inputs g, ..., g + m - 1: samples pad + g * up - r, phase r having the taps r, r + up, ... Rows
// of t are stored by phase of the downsampling: sample j * down + q is number j of row q.
#include "resample.h"

#include <cstdlib>
#include <memory>
#include <new>
#include <utility>

#include "bits.h"
#include "parallel.h"
#include "plan.h"

namespace {

constexpr int kRingBytes = 24 << 10;  // of t; leaves room in a first-level cache of 32 kB
constexpr int kMinTileWidth = 48;     // output pixels: narrower tiles overlap too much
constexpr int kMinStripHeight = 16;
constexpr int kChunksPerThread = 8;   // of planes
constexpr int kBlock = 16;            // bit rows and vectors fill whole blocks of samples

// Memory of one thread, made once and grown as needed.
class Arena {
   public:
    template <class X>
    X* take(int64_t count) {
        int64_t bytes = round_up(count * int64_t(sizeof(X)), 64);
        used_ += bytes;
        return reinterpret_cast<X*>(data_.get() + used_ - bytes);
    }
    void reserve(int64_t bytes) {
        used_ = 0;
        if (bytes <= size_) return;
        size_ = round_up(bytes, 4096);
        data_.reset(static_cast<char*>(std::aligned_alloc(64, size_)));
        if (!data_) throw std::bad_alloc();
        std::memset(data_.get(), 0, size_);
    }

   private:
    struct Free {
        void operator()(char* p) const { std::free(p); }
    };
    std::unique_ptr<char, Free> data_;
    int64_t size_ = 0, used_ = 0;
};

// The last rows of an image that were computed; their number is a power of two.
template <class T>
struct Ring {
    int64_t size;
    std::vector<T*> rows;  // twice, so that any `size` rows follow one another

    Ring() = default;
    Ring(T* data, int64_t size, int64_t width) : size(size) {
        for (int64_t i = 0; i < 2 * size; i++) rows.push_back(data + (i & (size - 1)) * width);
    }
    T* row(int64_t i) const { return rows[i & (size - 1)]; }
    T* const* from(int64_t i) const { return &rows[i & (size - 1)]; }  // row i, i + 1, ...
};

int64_t power_of_two_from(int64_t n) {
    int64_t size = 1;
    while (size < n) size *= 2;
    return size;
}

template <class T, class S>
class Task {
    static constexpr int L = kLanes<T>;
    const Plan<T>& plan;
    const ResampleArgs& a;
    int64_t plane = 0;                      // image * channels + channel
    const S* x = nullptr;                   // of the plane
    T scale = 1, bias = 0;                  // of the input
    T out_scale = 1;
    int64_t out_x0, out_x1, out_y0, out_y1;  // the outputs of this task
    int64_t own_x0, own_x1, own_y0, own_y1;  // the samples of t whose bits it writes
    int64_t t_x0, t_x1;                      // columns of t that are wanted
    int64_t t_top;                           // first row of t that is wanted
    int64_t group_x0, groups;                // groups of columns of t that are computed
    int64_t group_first;                     // column of t that they start with
    int64_t j_first, phase_w;                // first sample and width of a phase of t's rows
    int64_t in_w;                            // width of rows of `in` and `v`
    int64_t next_in = 0, next_group = 0;
    Ring<T> in, t;
    T *zeros, *out;
    uint8_t* bit_row;                        // of the mask, where there is no room behind
    std::vector<T*> v, u, parts;             // `parts`: t by phase of the upsampling
    std::vector<const T*> rows;
    // What is filtered along x: for rows of t, by phase along y, and for the output.
    std::vector<const T*> t_sources, out_sources;
    std::vector<uint8_t*> negative, clamped;  // bits of t by phase of the upsampling
    // Where things are in a row of t: the samples that the first output depends on, the first
    // sample of each phase of the upsampling, all that precede the next of its phase of the
    // downsampling, and what is outside of t.
    std::vector<int64_t> tap_at, phase_at, split_at, outside_at;

   public:
    // For the part of each plane that the tile and the strip have in common.
    Task(const Plan<T>& plan, int64_t tile, int64_t strip, Arena& arena) : plan(plan), a(plan.a) {
        out_x0 = tile * plan.tile_w;
        out_x1 = std::min<int64_t>(a.out_w, out_x0 + plan.tile_w);
        out_y0 = strip * plan.strip_h;
        out_y1 = std::min<int64_t>(a.out_h, out_y0 + plan.strip_h);
        own_x0 = std::min(out_x0 * a.down_x, a.tmp_w);
        own_x1 = out_x1 == a.out_w ? a.tmp_w : std::min(out_x1 * a.down_x, a.tmp_w);
        own_y0 = out_y0 * a.down_y;
        own_y1 = out_y1 == a.out_h ? a.tmp_h : out_y1 * a.down_y;
        t_x0 = out_x0 * a.down_x - a.mid_x;
        t_x1 = (out_x1 - 1) * a.down_x - a.mid_x + a.fd_w;
        if (a.mode == kActWriteMask) t_x1 = std::max(t_x1, own_x1);
        group_x0 = group_of(std::max<int64_t>(t_x0, 0), a.pad_x, a.up_x);
        groups = group_of(std::min(t_x1, a.tmp_w) - 1, a.pad_x, a.up_x) + 1 - group_x0;
        groups = std::max<int64_t>(groups, 0);
        group_first = first_of(group_x0, a.pad_x, a.up_x);
        const int64_t t_first = std::min(t_x0, group_first);
        const int64_t t_end = std::max(t_x1, group_first + round_up(groups, L) * a.up_x);
        j_first = floor_div(t_first, a.down_x);
        phase_w = round_up(ceil_div(t_end, a.down_x) - j_first + 1, L);
        for (int k = 0; k < a.fd_w; k++) tap_at.push_back(t_at(t_x0 + k));
        for (int r = 0; r < a.up_x; r++) {
            phase_at.push_back(t_at(t_of(0, r)));
            for (int p = 0; p < a.down_x / a.up_x; p++) split_at.push_back(t_at(t_of(p, r)));
        }
        for (int64_t x = t_x0; x < std::min<int64_t>(0, t_x1); x++) outside_at.push_back(t_at(x));
        for (int64_t x = std::max(t_x0, a.tmp_w); x < t_x1; x++) outside_at.push_back(t_at(x));
        take_memory(arena);
    }

    void run(int64_t plane_idx) {
        plane = plane_idx;
        x = static_cast<const S*>(a.x) + plane / a.c * a.x_strides[0] +
            plane % a.c * a.x_strides[1];
        const T factor = a.scale ? static_cast<const T*>(a.scale)[plane] : 1;
        (a.mode == kReadMask ? out_scale : scale) = factor;
        bias = a.bias ? static_cast<const T*>(a.bias)[plane % a.c] : 0;
        t_top = out_y0 * a.down_y - a.mid_y;
        next_in = next_group = group_of(t_top, a.pad_y, a.up_y);
        for (int64_t y = out_y0; y < out_y1; y++) {
            int64_t top = y * a.down_y - a.mid_y;
            make_groups(top + a.fd_h);
            make_row(y, top);
        }
        if (a.mode == kActWriteMask) make_groups(own_y1);
    }

   private:
    static int64_t group_of(int64_t t, int64_t pad, int64_t up) { return ceil_div(t - pad, up); }
    static int64_t first_of(int64_t group, int64_t pad, int64_t up) {
        return pad + group * up - (up - 1);
    }

    void take_memory(Arena& arena) {
        const int64_t padded = round_up(groups, kBlock) + kBlock, t_w = a.down_x * phase_w + kBlock;
        in_w = round_up(groups + plan.mx, kBlock) + kBlock;
        const int64_t num_v = plan.has_rows_up ? a.fu_rank * a.up_y : 0;
        const int64_t num_u = plan.has_rows_down ? a.fd_rank : 0;
        const int64_t in_rows = power_of_two_from(plan.my);
        const int64_t t_rows = power_of_two_from(a.fd_h + a.up_y - 1);
        const int64_t out_w = round_up(out_x1 - out_x0, kBlock);
        const int64_t samples = in_w * (in_rows + num_v) + t_w * (t_rows + num_u + 1) +
                                std::max(in_w, t_w) + padded * a.up_x + out_w;
        const int64_t bit_bytes = padded / 8 + 8;
        arena.reserve(samples * sizeof(T) + bit_bytes * a.up_x * 3 +
                      64 * (num_v + num_u + 3 * a.up_x + 16));
        T* in_data = arena.take<T>(in_rows * in_w);
        std::fill(in_data, in_data + in_rows * in_w, T(0));  // stays zero outside the image
        in = {in_data, in_rows, in_w};
        t = {arena.take<T>(t_rows * t_w), t_rows, t_w};
        zeros = arena.take<T>(std::max(in_w, t_w));
        std::fill(zeros, zeros + std::max(in_w, t_w), T(0));
        for (int i = 0; i < num_v; i++) v.push_back(arena.take<T>(in_w));
        for (int i = 0; i < num_u; i++) u.push_back(arena.take<T>(t_w));
        for (int r = 0; r < a.up_x; r++) {
            parts.push_back(arena.take<T>(padded));
            negative.push_back(arena.take<uint8_t>(bit_bytes));
            clamped.push_back(arena.take<uint8_t>(bit_bytes));
        }
        out = arena.take<T>(out_w);
        bit_row = arena.take<uint8_t>(bit_bytes * a.up_x);
        rows.resize(std::max<int64_t>(plan.my, a.fd_h));
        t_sources.resize(a.up_y * a.fu_rank * plan.mx);
        out_sources.resize(a.fd_rank * a.fd_w);
        if (plan.has_rows_up)
            for (int phase = 0; phase < a.up_y; phase++)
                for (int rank = 0; rank < a.fu_rank; rank++)
                    set_t_source(phase, rank, v[rank * a.up_y + phase]);
        if (plan.has_rows_down)
            for (int rank = 0; rank < a.fd_rank; rank++) set_out_source(rank, u[rank]);
    }

    void set_t_source(int phase, int rank, const T* source) {
        for (int k = 0; k < plan.mx; k++)
            t_sources[(phase * a.fu_rank + rank) * plan.mx + k] = source + k;
    }
    void set_out_source(int rank, const T* source) {
        for (int k = 0; k < a.fd_w; k++) out_sources[rank * a.fd_w + k] = source + tap_at[k];
    }

    // Rows `first`, `first + 1`, ... of an image, which is zero outside.
    const T* const* rows_from(const Ring<T>& ring, int64_t first, int count, int64_t height) {
        if (first >= 0 && first + count <= height) return ring.from(first);
        for (int k = 0; k < count; k++)
            rows[k] = first + k < 0 || first + k >= height ? zeros : ring.row(first + k);
        return rows.data();
    }

    // ---- From the input to t.

    void make_groups(int64_t end) {
        while (first_of(next_group, a.pad_y, a.up_y) < end) make_group();
    }

    void make_group() {
        const int64_t group = next_group++, first = first_of(group, a.pad_y, a.up_y);
        next_in = std::max(next_in, group);
        for (; next_in < group + plan.my; next_in++) read_row(next_in);
        const int64_t y0 = std::max({first, t_top, int64_t(0)});
        const int64_t y1 = std::min(first + a.up_y, a.tmp_h);
        if (y0 >= y1 || groups == 0) return;
        const T* const* sources = rows_from(in, group, plan.my, a.in_h);
        if (plan.has_rows_up)
            combine_rows<T, false>(sources, plan.my, plan.fuy.data(), v.data(), v.size(),
                                   groups + plan.mx - 1);
        else  // one row, and one phase
            for (int rank = 0; rank < a.fu_rank; rank++) set_t_source(0, rank, sources[0]);
        for (int64_t y = y0; y < y1; y++) make_t_row(y, a.up_y - 1 - int(y - first));
    }

    void read_row(int64_t y) {
        if (y < 0 || y >= a.in_h) return;
        const int64_t x0 = std::clamp<int64_t>(group_x0, 0, a.in_w);
        const int64_t x1 = std::clamp<int64_t>(group_x0 + groups + plan.mx, x0, a.in_w);
        const S* from = x + y * a.x_strides[2] + x0;
        T* to = in.row(y) + std::clamp<int64_t>(x0 - group_x0, 0, in_w);
        const int64_t count = x1 - x0;
        if (y + 2 < a.in_h)  // prefetch a row that is needed soon
            for (int64_t k = 0; k < count; k += 64 / sizeof(S))
                __builtin_prefetch(from + 2 * a.x_strides[2] + k);
        for_vectors<T>(count, [&](int64_t i, int lanes) LAMBDA_INLINE {
            store_some<T>(to + i, load_some<T>(from + i, lanes) * scale + bias, lanes);
        });
    }

    void make_t_row(int64_t y, int phase_y) {
        T* row = t.row(y);
        const int num_sources = a.fu_rank * plan.mx;
        const T* const* sources = &t_sources[phase_y * num_sources];
        const auto* activate = plan.activate;
        if (a.mode == kReadMask && !read_bits(y)) activate = plan.activate_unclamped;
        bool is_any_clamped = false;
        for (int r = 0; r < a.up_x; r += 2) {
            const int count = std::min(2, a.up_x - r);
            T* targets[2];
            for (int o = 0; o < count; o++)
                targets[o] = a.up_x == a.down_x ? row + phase_at[r + o] : parts[r + o];
            is_any_clamped |= activate[count - 1](
                sources, num_sources, plan.fux.data() + r * num_sources, targets, groups,
                plan.act, &negative[r], &clamped[r]);
        }
        if (a.up_x != a.down_x) regroup(row);
        for (int64_t at : outside_at) row[at] = 0;
        if (a.mode == kActWriteMask) write_bits(y, is_any_clamped);
    }

    // Column of t of sample `i` of phase `r` of the upsampling, and where a column is in a row.
    int64_t t_of(int64_t i, int64_t r) const { return a.pad_x + (group_x0 + i) * a.up_x - r; }
    int64_t t_at(int64_t x) const {
        return floor_mod(x, a.down_x) * phase_w + floor_div(x, a.down_x) - j_first;
    }

    // Rows of t from `parts`: by phase of the downsampling instead of the upsampling.
    void regroup(T* row) {
        const int up = a.up_x, down = a.down_x;
        if (up == 2 * down || up == 4 * down) {
            for (int r = 0; r < down; r++) {  // samples of the phases r, r + down, ... take turns
                const T* from[4];
                const int ratio = up / down;
                for (int p = 0; p < ratio; p++) from[p] = parts[r + (ratio - 1 - p) * down];
                T* to = row + phase_at[r + (ratio - 1) * down];
                ratio == 2 ? interleave<T, 2>(from, to, groups) : interleave<T, 4>(from, to, groups);
            }
        } else if (down == 2 * up || down == 4 * up) {
            const int ratio = down / up;
            for (int r = 0; r < up; r++) {  // every `ratio`-th sample is of the same phase
                T* to[4];
                for (int p = 0; p < ratio; p++) to[p] = row + split_at[r * ratio + p];
                const int64_t count = ceil_div(groups, ratio);
                ratio == 2 ? deinterleave<T, 2>(parts[r], to, count)
                           : deinterleave<T, 4>(parts[r], to, count);
            }
        } else {
            for (int r = 0; r < up; r++)
                for (int64_t i = 0; i < groups; i++) row[t_at(t_of(i, r))] = parts[r][i];
        }
    }

    // ---- From t to the output.

    void make_row(int64_t y, int64_t top) {
        S* to = static_cast<S*>(a.y) + (plane * a.out_h + y) * a.out_w + out_x0;
        const int64_t count = out_x1 - out_x0;
        for (int64_t k = 0; k < count; k += 64 / sizeof(S)) __builtin_prefetch(to + k, 1);
        const T* const* sources = rows_from(t, top, a.fd_h, groups == 0 ? 0 : a.tmp_h);
        if (plan.has_rows_down)
            plan.rows_down(sources, a.fd_h, plan.fdy.data(), u.data(), a.fd_rank,
                           a.down_x * phase_w);
        else
            for (int rank = 0; rank < a.fd_rank; rank++) set_out_source(rank, sources[0]);
        combine_rows<T, false>(out_sources.data(), out_sources.size(), plan.fdx.data(), &out, 1,
                               count);
        if (a.mode == kReadMask) sum_and_scale(y, count);
        for_vectors<T>(count, [&](int64_t i, int lanes) LAMBDA_INLINE {
            store_some<T>(to + i, load(out + i), lanes);
        });
    }

    // Adds a part of a row to the sums of the row, which no other thread does, and scales it.
    void sum_and_scale(int64_t y, int64_t count) {
        if (!a.sums && !a.products && !a.scale) return;
        const int64_t row = plane * a.out_h + y;
        const S* saved = static_cast<const S*>(a.saved);
        if (saved) saved += row * a.out_w + out_x0;
        Vec<T> sums{}, products{};
        for_vectors<T>(count, [&](int64_t i, int lanes) LAMBDA_INLINE {
            const Vec<T> v = load_some<T>(out + i, lanes);
            sums += v;
            if (saved) products += v * load_some<T>(saved + i, lanes);
            store(out + i, v * out_scale);  // there is room for whole vectors
        });
        if (a.sums) static_cast<T*>(a.sums)[row] += sum_of_lanes<T>(sums);
        if (a.products) static_cast<T*>(a.products)[row] += sum_of_lanes<T>(products);
    }

    // ---- Bits of the nonlinearity.

    int64_t row_bytes() const { return ceil_div(a.tmp_w, 8); }
    uint8_t* mask_row(int which, int64_t y) const {
        return a.mask + ((plane * 2 + which) * a.tmp_h + y) * row_bytes();
    }

    // Returns whether any sample was clamped.
    bool read_bits(int64_t y) {
        read_row_of_bits(mask_row(0, y), negative, true);
        return read_row_of_bits(mask_row(1, y), clamped, false);
    }

    bool read_row_of_bits(const uint8_t* row, const std::vector<uint8_t*>& to, bool wants_zeros) {
        // Bits outside of the row, which belong to no sample, may be any.
        const uint8_t* first = row + floor_div(group_first, 8);
        const int64_t at = floor_mod(group_first, 8);
        const int64_t bytes = ceil_div(at + round_up(groups, kBlock) * a.up_x, 8) + 8;
        const uint8_t *begin = a.mask, *end = begin + a.n * a.c * 2 * a.tmp_h * row_bytes();
        if (first < begin || first + bytes > end) {  // the mask's own memory ends here
            const int64_t before = std::max<int64_t>(begin - first, 0);
            const int64_t count = std::min<int64_t>(end - first, bytes) - before;
            if (count > 0) std::memcpy(bit_row + before, first + before, count);
            first = bit_row;
        }
        using Unit = typename UnitOf<T>::type;
        const int64_t num_units = ceil_div(groups, 8 * sizeof(Unit));
        switch (a.up_x) {
            case 1: return split_phases<Unit, 1>(first, at, to.data(), num_units, wants_zeros);
            case 2: return split_phases<Unit, 2>(first, at, to.data(), num_units, wants_zeros);
            case 4:
                return split_phases<uint8_t, 4>(first, at, to.data(), ceil_div(groups, 8),
                                                wants_zeros);
            default: return split_phases(first, at, to.data(), a.up_x, groups);
        }
    }

    // Tiles overlap: each writes the samples that its outputs start at, which are whole bytes. Bits
    // behind the row are zero: equal inputs give equal masks.
    void write_bits(int64_t y, bool is_any_clamped) {
        if (y < own_y0 || y >= own_y1 || own_x1 <= own_x0) return;
        write_row_of_bits(mask_row(0, y) + own_x0 / 8, negative);
        if (is_any_clamped)
            write_row_of_bits(mask_row(1, y) + own_x0 / 8, clamped);
        else
            std::memset(mask_row(1, y) + own_x0 / 8, 0, bytes_of(own_x1 - own_x0));
    }

    void write_row_of_bits(uint8_t* to, const std::vector<uint8_t*>& from) {
        const int64_t skip = own_x0 - group_first, count = own_x1 - own_x0;
        using Unit = typename UnitOf<T>::type;
        switch (a.up_x) {
            case 1: return join_phases<Unit, 1>(from.data(), skip, to, count);
            case 2: return join_phases<Unit, 2>(from.data(), skip, to, count);
            case 4: return join_phases<Unit, 4>(from.data(), skip, to, count);
            default: return join_phases(from.data(), a.up_x, skip, to, count);
        }
    }
};

template <class T, class S>
void run(const ResampleArgs& args) {
    Plan<T> plan(args);
    // Tiles are as wide as the ring of t allows. A task walks down one tile; tiles cover the plane.
    const int64_t ring_row = kRingBytes / int64_t(sizeof(T)) / (args.fd_h + args.up_y);
    const int64_t widest = std::max<int64_t>((ring_row - args.fd_w) / args.down_x, kMinTileWidth);
    const int64_t num_tiles = ceil_div(args.out_w, widest);
    plan.tile_w = round_up(ceil_div(args.out_w, num_tiles), kBlock);
    // Strips compute the rows in which they overlap twice, so make only as many as threads need.
    const int64_t num_planes = args.n * args.c;
    const int64_t wanted = ceil_div(4 * args.num_threads, num_planes);
    plan.strip_h = std::max(ceil_div(args.out_h, wanted),
                            std::min<int64_t>(args.out_h, kMinStripHeight));
    const int64_t num_strips = ceil_div(args.out_h, plan.strip_h);
    // Setting up a task takes as long as a few rows, so that small planes share one.
    const bool is_small = num_tiles == 1 && num_strips == 1;
    const int64_t shared = is_small ? ceil_div(num_planes, kChunksPerThread * args.num_threads) : 1;
    const int64_t num_chunks = ceil_div(num_planes, shared);
    parallel_for(num_chunks * num_strips, args.num_threads, [&](int64_t i) {
        thread_local Arena arena;
        const int64_t first = i / num_strips * shared, end = std::min(first + shared, num_planes);
        // Tiles of a plane share cache lines, so one thread makes them all.
        for (int64_t tile = 0; tile * plan.tile_w < args.out_w; tile++) {
            Task<T, S> task(plan, tile, i % num_strips, arena);
            for (int64_t plane = first; plane < end; plane++) task.run(plane);
        }
    });
}

}  // namespace

extern "C" {
void resample_float32(const ResampleArgs* args) { run<float, float>(*args); }
void resample_float64(const ResampleArgs* args) { run<double, double>(*args); }
void resample_bfloat16(const ResampleArgs* args) { run<float, bfloat16>(*args); }
}
