// Upsample, apply a nonlinearity, downsample: one pass over tiles that stay in the nearest caches.
//
// A task is a block of channels of one image, a range of output columns and a range of output rows.
// It walks down the image. Every input row is read once, into a ring of rows; as soon as the rows
// that a group of up-sampled rows needs are there, these are computed, activated, filtered along x
// (separable filters) and kept in a second ring; as soon as that holds what an output row needs, it
// is written. Every value is computed by the same operations in the same order whatever the tiling
// and the number of threads.
#include "resample.h"

#include <algorithm>
#include <cstdlib>
#include <memory>
#include <vector>

#include "parallel.h"
#include "stages.h"

namespace {

constexpr int kMaxTileWidth = 48;  // output pixels; keeps the working set near 100 kB
constexpr int kMinStripHeight = 16;

int64_t ceil_div(int64_t a, int64_t b) { return a / b + (a % b > 0); }
int64_t round_up(int64_t a, int64_t b) { return ceil_div(a, b) * b; }

template <class T>
bool is_symmetric(const T* f, int w, int h) {
    for (int j = 0; j < h / 2; j++)
        if (!std::equal(f + j * w, f + (j + 1) * w, f + (h - 1 - j) * w)) return false;
    return h % 2 == 0;
}

// Taps by phase: [up][m], row r holding the taps r, r + up, r + 2 up, ...
template <class T>
std::vector<T> by_phase(const T* f, int taps, int up) {
    int m = ceil_div(taps, up);
    std::vector<T> result(up * m);
    for (int k = 0; k < taps; k++) result[(k % up) * m + k / up] = f[k];
    return result;
}

// The stages with everything chosen that does not depend on the task.
template <class T>
struct Plan {
    using V = Vec<T>;
    ResampleArgs a;
    Nonlinearity<T> act;
    int mx, my;                         // inputs that an up-sampled sample depends on
    bool up_2d, down_2d, fold, has_rows_up, has_rows_down;
    std::vector<T> fux, fuy, fu2, fdx, fdy, fd2;
    int tile_w, strip_h;
    decltype(&upsample_rows<T, 0, 0>) rows_up;
    decltype(&upsample_columns<T, 0, 0, 0>) columns_up;
    decltype(&upsample_2d<T, 0, 0, 0>) image_up;
    decltype(&downsample_columns<T, 0, 0>) columns_down;
    decltype(&downsample_rows<T, 0>) rows_down;
    decltype(&downsample_2d<T, 0, 0, false>) image_down;

    explicit Plan(const ResampleArgs& args) : a(args) {
        act = {T(a.slope), T(a.clamp)};
        mx = ceil_div(a.fu_w, a.up_x);
        my = ceil_div(a.fu_h, a.up_y);
        plan_up(static_cast<const T*>(a.fu));
        plan_down(static_cast<const T*>(a.fd));
        switch (a.mode) {
            case kLinear: choose_up<kLinear>(); break;
            case kAct: choose_up<kAct>(); break;
            case kActWriteMask: choose_up<kActWriteMask>(); break;
            default: choose_up<kReadMask>();
        }
        choose_down();
    }

    void plan_up(const T* f) {
        up_2d = a.fu_is_2d;
        if (!up_2d) {
            fux = by_phase(f, a.fu_w, a.up_x);
            fuy = by_phase(f + a.fu_w, a.fu_h, a.up_y);
        } else {  // [up_y][up_x][my][mx]
            fu2.resize(a.up_y * a.up_x * my * mx);
            for (int j = 0; j < a.fu_h; j++)
                for (int i = 0; i < a.fu_w; i++)
                    fu2[(((j % a.up_y) * a.up_x + i % a.up_x) * my + j / a.up_y) * mx +
                        i / a.up_x] = f[j * a.fu_w + i];
        }
        has_rows_up = !up_2d && (my > 1 || a.up_y > 1);
        if (!up_2d && !has_rows_up)
            for (T& tap : fux) tap *= fuy[0];
    }

    void plan_down(const T* f) {
        down_2d = a.fd_is_2d;
        fold = down_2d && is_symmetric(f, a.fd_w, a.fd_h);
        if (down_2d) {
            fd2.assign(f, f + a.fd_w * a.fd_h);
        } else {
            fdx.assign(f, f + a.fd_w);
            fdy.assign(f + a.fd_w, f + a.fd_w + a.fd_h);
        }
        has_rows_down = !down_2d && (a.fd_h > 1 || a.down_y > 1);
        if (!down_2d && !has_rows_down)
            for (T& tap : fdx) tap *= fdy[0];
    }

    template <int MODE>
    void choose_up() {
        bool is_2 = a.up_x == 2 && mx == 6, is_4 = a.up_x == 4 && mx == 6;
        columns_up = is_2   ? upsample_columns<T, 2, 6, MODE>
                     : is_4 ? upsample_columns<T, 4, 6, MODE>
                            : upsample_columns<T, 0, 0, MODE>;
        image_up = is_2 && my == 6 ? upsample_2d<T, 2, 6, MODE> : upsample_2d<T, 0, 0, MODE>;
        rows_up = a.up_y == 2 && my == 6   ? upsample_rows<T, 2, 6>
                  : a.up_y == 4 && my == 6 ? upsample_rows<T, 4, 6>
                                           : upsample_rows<T, 0, 0>;
    }

    void choose_down() {
        columns_down = a.down_x == 2 && a.fd_w == 12   ? downsample_columns<T, 2, 12>
                       : a.down_x == 4 && a.fd_w == 24 ? downsample_columns<T, 4, 24>
                       : a.down_x == 2 && a.fd_w == 4  ? downsample_columns<T, 2, 4>
                       : a.down_x == 1 && a.fd_w == 4  ? downsample_columns<T, 1, 4>
                                                       : downsample_columns<T, 0, 0>;
        rows_down = a.fd_h == 12  ? downsample_rows<T, 12>
                    : a.fd_h == 4 ? downsample_rows<T, 4>
                                  : downsample_rows<T, 0>;
        bool is_12 = a.down_x == 2 && a.fd_w == 12 && a.fd_h == 12;
        image_down = is_12 ? (fold ? downsample_2d<T, 2, 12, true> : downsample_2d<T, 2, 12, false>)
                           : (fold ? downsample_2d<T, 0, 0, true> : downsample_2d<T, 0, 0, false>);
    }
};

// The rows `first`, `first + 1`, ... of an image that were made last.
template <class T>
struct Ring {
    Vec<T>* data;
    int64_t size, width;
    Vec<T>* row(int64_t i) const { return data + ((i % size + size) % size) * width; }
};

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
        data_.reset(static_cast<char*>(std::aligned_alloc(64, round_up(bytes, 64))));
        std::memset(data_.get(), 0, bytes);
        size_ = bytes;
    }

   private:
    struct Free {
        void operator()(char* p) const { std::free(p); }
    };
    std::unique_ptr<char, Free> data_;
    int64_t size_ = 0, used_ = 0;
};

template <class T, class S>
class Task {
    using V = Vec<T>;
    static constexpr int L = kLanes<T>;
    const Plan<T>& plan;
    const ResampleArgs& a;
    int64_t image, block;
    int lanes;                   // channels of the block that exist
    V scale, bias;
    int64_t out_x0, out_x1, out_y0, out_y1;  // the outputs of this task
    int64_t own_x0, own_x1, own_y0, own_y1;  // the samples of t whose signs it writes
    int64_t t_first;             // column of t that the rows of t start with
    int64_t t_width;             // columns of t
    int64_t group_x0, group_x1;  // groups of columns of t that are computed
    int64_t in_width;
    Ring<T> in, down;            // `down` holds h, or t for 2D filters
    std::vector<V*> v;
    V *t, *out, *zeros;
    Signs<T>* signs;
    std::vector<const V*> rows;
    int64_t t_top;  // first row of t that is wanted
    int64_t next_in, next_group;

   public:
    Task(const Plan<T>& plan, int64_t image, int64_t block, int64_t tile, int64_t strip,
         Arena& arena)
        : plan(plan), a(plan.a), image(image), block(block) {
        lanes = std::min<int64_t>(L, a.c - block * L);
        auto lanes_of = [&](const void* p, int64_t at, T fallback) {
            return p ? load_lanes<T, T>(static_cast<const T*>(p) + at, 1, lanes)
                     : V{} + fallback;
        };
        scale = lanes_of(a.scale, image * a.c + block * L, 1);
        bias = lanes_of(a.bias, block * L, 0);

        out_x0 = tile * plan.tile_w;
        out_x1 = std::min<int64_t>(a.out_w, out_x0 + plan.tile_w);
        out_y0 = strip * plan.strip_h;
        out_y1 = std::min<int64_t>(a.out_h, out_y0 + plan.strip_h);
        own_x0 = std::min(out_x0 * a.down_x, a.tmp_w);
        own_x1 = out_x1 == a.out_w ? a.tmp_w : out_x1 * a.down_x;
        own_y0 = out_y0 * a.down_y;
        own_y1 = out_y1 == a.out_h ? a.tmp_h : out_y1 * a.down_y;
        int64_t count = round_up(out_x1 - out_x0, kBlock);
        int64_t t0 = out_x0 * a.down_x - a.mid_x;
        int64_t t1 = t0 + (count - 1) * a.down_x + a.fd_w;
        if (a.mode == kActWriteMask) t1 = std::max(t1, own_x1);
        group_x0 = group_of(std::max<int64_t>(t0, 0), a.pad_x, a.up_x);
        group_x1 = group_of(std::min<int64_t>(t1, a.tmp_w) - 1, a.pad_x, a.up_x) + 1;
        group_x1 = std::max(group_x1, group_x0);
        t_first = std::min(t0, first_of(group_x0, a.pad_x, a.up_x));
        // The last block of groups may go past what is needed.
        int64_t groups = round_up(group_x1 - group_x0, kBlock);
        t_width = std::max(t1, first_of(group_x0 + groups, a.pad_x, a.up_x)) - t_first;
        in_width = round_up(groups + plan.mx, kBlock);

        int64_t down_rows = a.fd_h + a.up_y;
        int64_t down_width = plan.down_2d ? t_width : count;
        int64_t num_v = plan.has_rows_up ? a.up_y : 0;
        int64_t vectors = in_width * (plan.my + num_v + 1) + t_width * (plan.down_2d ? 1 : 2) +
                          down_rows * down_width + count;
        arena.reserve(vectors * sizeof(V) + (t_width + 1) * sizeof(Signs<T>) + 1024);
        in = {arena.take<V>(plan.my * in_width), plan.my, in_width};
        down = {arena.take<V>(down_rows * down_width), down_rows, down_width};
        for (int r = 0; r < num_v; r++) v.push_back(arena.take<V>(in_width));
        t = arena.take<V>(t_width);
        out = arena.take<V>(count);
        signs = arena.take<Signs<T>>(t_width);
        zeros = arena.take<V>(in_width);
        std::memset(zeros, 0, in_width * sizeof(V));
        rows.resize(std::max<int64_t>(plan.my, a.fd_h));
    }

    void run() {
        t_top = out_y0 * a.down_y - a.mid_y;
        next_in = next_group = group_of(t_top, a.pad_y, a.up_y);
        for (int64_t y = out_y0; y < out_y1; y++) {
            int64_t top = y * a.down_y - a.mid_y;
            make_groups(top + a.fd_h);
            write_row(y, make_row(top));
        }
        if (a.mode == kActWriteMask) make_groups(own_y1);
    }

   private:
    // Group of up-sampled samples that sample `t` belongs to, and its first sample.
    static int64_t group_of(int64_t t, int64_t pad, int64_t up) { return ceil_div(t - pad, up); }
    static int64_t first_of(int64_t group, int64_t pad, int64_t up) {
        return pad + group * up - (up - 1);
    }

    void make_groups(int64_t end) {
        while (first_of(next_group, a.pad_y, a.up_y) < end) make_group();
    }

    // One group of rows of t, filtered along x if the filter is separable.
    void make_group() {
        int64_t group = next_group++, first = first_of(group, a.pad_y, a.up_y);
        next_in = std::max(next_in, group);
        for (; next_in < group + plan.my; next_in++) read_row(next_in);
        for (int k = 0; k < plan.my; k++) rows[k] = input_row(group + k);
        int count = group_x1 - group_x0;
        if (first < a.tmp_h && first + a.up_y > 0 && plan.has_rows_up)
            plan.rows_up(rows.data(), v.data(), in_width, plan.fuy.data(), a.up_y, plan.my);
        for (int64_t y = first; y < first + a.up_y; y++) {
            if (y < t_top) continue;
            V* target = plan.down_2d ? down.row(y) : t;
            if (y < 0 || y >= a.tmp_h) {
                std::memset(target, 0, t_width * sizeof(V));
            } else {
                V* start = target + first_of(group_x0, a.pad_x, a.up_x) - t_first;
                if (a.mode == kReadMask) read_signs(y);
                Signs<T>* s = signs + (start - target);
                int phase = a.up_y - 1 - int(y - first);
                if (plan.up_2d) {
                    const T* taps = plan.fu2.data() + phase * a.up_x * plan.my * plan.mx;
                    plan.image_up(rows.data(), start, count, taps, a.up_x, plan.mx, plan.my,
                                  plan.act, s);
                } else {
                    const V* source = plan.has_rows_up ? v[y - first] : rows[0];
                    plan.columns_up(source, start, count, plan.fux.data(), a.up_x, plan.mx,
                                    plan.act, s);
                }
                // Rows and columns outside of t are zero.
                std::fill(target, target + std::clamp<int64_t>(-t_first, 0, t_width), V{});
                std::fill(target + std::clamp<int64_t>(a.tmp_w - t_first, 0, t_width),
                          target + t_width, V{});
                if (a.mode == kActWriteMask) write_signs(y);
            }
            if (!plan.down_2d)
                plan.columns_down(target + out_x0 * a.down_x - a.mid_x - t_first, down.row(y),
                                  out_x1 - out_x0, plan.fdx.data(), a.down_x, a.fd_w);
        }
    }

    const V* make_row(int64_t top) {
        if (!plan.down_2d && !plan.has_rows_down) return down.row(top);
        int64_t shift = plan.down_2d ? out_x0 * a.down_x - a.mid_x - t_first : 0;
        for (int k = 0; k < a.fd_h; k++) rows[k] = down.row(top + k) + shift;
        if (plan.down_2d)
            plan.image_down(rows.data(), out, out_x1 - out_x0, plan.fd2.data(), a.down_x, a.fd_w,
                            a.fd_h);
        else
            plan.rows_down(rows.data(), out, out_x1 - out_x0, plan.fdy.data(), a.fd_h);
        return out;
    }

    const V* input_row(int64_t y) { return y < 0 || y >= a.in_h ? zeros : in.row(y); }

    void read_row(int64_t y) {
        if (y < 0 || y >= a.in_h) return;
        V* row = in.row(y);
        int64_t x0 = std::clamp<int64_t>(group_x0, 0, a.in_w);
        int64_t x1 = std::clamp<int64_t>(group_x0 + in_width, x0, a.in_w);
        const S* base = static_cast<const S*>(a.x) + image * a.x_strides[0] +
                        block * L * a.x_strides[1] + y * a.x_strides[2];
        V* p = row;
        for (int64_t x = group_x0; x < x0; x++) *p++ = V{};
        const int64_t step_c = a.x_strides[1], step_x = a.x_strides[3];
        int64_t x = x0;
        if (lanes == L && step_c == 1) {
            for (; x < x1; x++) *p++ = load<T>(base + x * step_x) * scale + bias;
        } else if (lanes == L && step_x == 1) {
            for (; x + L <= x1; x += L, p += L) {
                for (int i = 0; i < L; i++) p[i] = load<T>(base + i * step_c + x);
                transpose<T>(p);
                for (int i = 0; i < L; i++) p[i] = p[i] * scale + bias;
            }
        }
        for (; x < x1; x++)
            *p++ = load_lanes<T, S>(base + x * step_x, step_c, lanes) * scale + bias;
        for (V* end = row + in_width; p < end; p++) *p = V{};
        // The next row will be wanted soon.
        if (step_c == 1 && y + 1 < a.in_h)
            for (x = x0; x < x1; x++) __builtin_prefetch(base + a.x_strides[2] + x * step_x);
    }

    void write_row(int64_t y, const V* row) {
        S* base = static_cast<S*>(a.y) + image * a.y_strides[0] + block * L * a.y_strides[1] +
                  y * a.y_strides[2];
        const int64_t step_c = a.y_strides[1], step_x = a.y_strides[3];
        int64_t x = out_x0;
        if (lanes == L && step_c == 1) {
            for (; x < out_x1; x++) store<T>(base + x * step_x, *row++);
        } else if (lanes == L && step_x == 1) {
            for (; x + L <= out_x1; x += L, row += L) {
                V square[L];
                for (int i = 0; i < L; i++) square[i] = row[i];
                transpose<T>(square);
                for (int i = 0; i < L; i++) store<T>(base + i * step_c + x, square[i]);
            }
        }
        for (; x < out_x1; x++) store_lanes<T, S>(base + x * step_x, step_c, *row++, lanes);
    }

    // Row `y` of the signs of t.
    Signs<T>* signs_of(int64_t y) {
        const int64_t num_blocks = ceil_div(a.c, L);
        return reinterpret_cast<Signs<T>*>(a.mask) +
               ((image * num_blocks + block) * a.tmp_h + y) * a.tmp_w;
    }

    void read_signs(int64_t y) {
        int64_t x0 = std::clamp<int64_t>(t_first, 0, a.tmp_w);
        int64_t x1 = std::clamp<int64_t>(t_first + t_width, x0, a.tmp_w);
        std::memcpy(signs + (x0 - t_first), signs_of(y) + x0, (x1 - x0) * sizeof(Signs<T>));
    }

    // Tiles overlap: each writes the samples that its outputs start at.
    void write_signs(int64_t y) {
        if (y < own_y0 || y >= own_y1 || own_x1 <= own_x0) return;
        Signs<T>* row = static_cast<Signs<T>*>(signs_of(y));
        std::memcpy(row + own_x0, signs + (own_x0 - t_first), (own_x1 - own_x0) * sizeof(*row));
    }
};

template <class T, class S>
void run(const ResampleArgs& args) {
    Plan<T> plan(args);
    const int64_t num_blocks = ceil_div(args.c, kLanes<T>);
    const int64_t num_tiles = ceil_div(args.out_w, kMaxTileWidth);
    plan.tile_w = round_up(ceil_div(args.out_w, num_tiles), kBlock);
    // Strips repeat the rows that they overlap in: make only as many as the threads need.
    const int64_t num_columns = args.n * num_blocks * num_tiles;
    const int64_t wanted = ceil_div(4 * args.num_threads, num_columns);
    plan.strip_h = std::max(ceil_div(args.out_h, wanted),
                            std::min<int64_t>(args.out_h, kMinStripHeight));
    const int64_t num_strips = ceil_div(args.out_h, plan.strip_h);
    parallel_for(num_columns * num_strips, args.num_threads, [&](int64_t i) {
        // Neighbouring blocks of channels share pages of memory: they follow each other.
        thread_local Arena arena;
        const int64_t block = i % num_blocks, tile = i / num_blocks % num_tiles;
        const int64_t strip = i / (num_blocks * num_tiles) % num_strips;
        const int64_t image = i / (num_blocks * num_tiles * num_strips);
        Task<T, S>(plan, image, block, tile, strip, arena).run();
    });
}

}  // namespace

extern "C" {
void resample_float32(const ResampleArgs* args) { run<float, float>(*args); }
void resample_float64(const ResampleArgs* args) { run<double, double>(*args); }
void resample_bfloat16(const ResampleArgs* args) { run<float, bfloat16>(*args); }

// Channels in a block, and bytes of the mask for each of its pixels.
int32_t lanes_float32() { return kLanes<float>; }
int32_t lanes_float64() { return kLanes<double>; }
int32_t signs_bytes_float32() { return sizeof(Signs<float>); }
int32_t signs_bytes_float64() { return sizeof(Signs<double>); }
}
