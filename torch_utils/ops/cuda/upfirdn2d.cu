// Pad, upsample, filter and downsample planes.
//
// Three coordinates are used along each axis:
//   input     pixels of x, from 0
//   stuffed   input pixel i is at UP * i, the rest is zero
//   output    pixels of y; the window of output o starts at o * DOWN - pad, stuffed, and the
//             output is the sum of its samples times the taps of the filter, in this order
//
// `upfirdn2d` is for factors and taps that are known when it is compiled. A block computes a tile
// of outputs of one or more planes: it stages the inputs of the tile in shared memory and filters
// from there; separable filters go along x to shared memory again, then along y. A thread computes
// patches of outputs from registers, so that it reads an input once for several outputs.
// `upfirdn2d_general` takes everything else, a piece of a row per thread.
#include "half.cuh"

constexpr int THREADS = 256;  // at most, in a block of `upfirdn2d`

// The inputs and taps of the outputs of a group, whose first window starts at an input.
template <int UP, int DOWN, int TAPS>
struct Polyphase {
    // The first input in the window of output `r` of the group.
    static constexpr __host__ __device__ int first_input(int r) {
        return (r * DOWN + UP - 1) / UP;
    }
    // The tap that input `i` of the group meets in the window of output `r`, if there is one.
    static constexpr __host__ __device__ int tap(int r, int i) { return i * UP - r * DOWN; }
    static constexpr __host__ __device__ bool has_tap(int r, int i) {
        return 0 <= tap(r, i) && tap(r, i) < TAPS;
    }
    // Number of inputs that the first `count` outputs of the group reach.
    static constexpr __host__ __device__ int num_inputs(int count) {
        return ((count - 1) * DOWN + TAPS - 1) / UP + 1;
    }
};

// The same structure, with the same names, is in upfirdn2d.py.
struct Tiled {
    float tap_gain;
    int is_flipped, samples, channels, channel_blocks, in_w, in_h, out_w, out_h, pad_x, pad_y;
    int first_x, first_y, tile_w, tile_h, tile_c;  // first output of the first tile; size of tiles
    // The inputs of a tile: rows that are needed; pairs of columns, teams of threads and batches of
    // rows that are staged; floats between rows and between planes.
    int tile_in_h, in_pairs, in_teams, in_batches, in_pitch, in_plane;
    int row_teams, out_pitch, out_plane;  // the same for rows that have been filtered along x
    int has_pairs;  // pairs of outputs in a row are aligned
    long long x_n, x_c, x_h, x_w, y_n, y_c, y_h, y_w;  // strides
};

struct General {
    double gain;
    int is_flipped, is_channels_last, channels, in_w, in_h, out_w, out_h;
    int up_x, up_y, down_x, down_y, pad_x, pad_y, fw, fh, pieces_w;
    long long num_pieces, x_n, x_c, x_h, x_w;
};

// A thread's part of a matrix. Neighbours take neighbouring columns, and if there are more threads
// than columns, teams of threads take every TEAMS-th row.
struct Part {
    int column, row, column_step, row_step;

    __device__ Part(unsigned thread, unsigned num_threads, unsigned columns, unsigned teams) {
        const unsigned team = teams > 1 ? thread / columns : 0;
        column = team < teams ? thread - team * columns : 1 << 30;  // none for threads left over
        row = team;
        column_step = teams > 1 ? columns : num_threads;
        row_step = teams;
    }
};

template <int BYTES>
struct Unsigned {
    using type = unsigned;
};
template <>
struct Unsigned<8> {
    using type = unsigned long long;
};

template <class T, int COUNT>
struct alignas(sizeof(T) * COUNT) Pack {
    T values[COUNT];
};

// Reads COUNT numbers that are STRIDE apart; neighbours are read in pieces of ALIGN numbers.
template <int COUNT, int ALIGN, int STRIDE, int SIZE>
__device__ __forceinline__ void load(float (&values)[SIZE], const float* from) {
    static_assert(SIZE == (COUNT + ALIGN - 1) / ALIGN * ALIGN);
    if constexpr (STRIDE == 1) {
#pragma unroll
        for (int i = 0; i < SIZE; i += ALIGN) {
            const auto pack = *reinterpret_cast<const Pack<float, ALIGN>*>(from + i);
#pragma unroll
            for (int k = 0; k < ALIGN; k++) values[i + k] = pack.values[k];
        }
    } else {
#pragma unroll
        for (int i = 0; i < COUNT; i++) values[i] = from[i * STRIDE];
    }
}

template <int STRIDE, int COUNT>
__device__ __forceinline__ void store(float* to, const Pack<float, COUNT>& pack) {
    if constexpr (STRIDE == 1) {
        *reinterpret_cast<Pack<float, COUNT>*>(to) = pack;
    } else {
#pragma unroll
        for (int i = 0; i < COUNT; i++) to[i * STRIDE] = pack.values[i];
    }
}

// One store, which compilers do not always make of a structure of two.
template <class T>
__device__ __forceinline__ void store_pair(T* to, T left, T right) {
    using Word = typename Unsigned<2 * sizeof(T)>::type;
    union {
        T values[2];
        Word word;
    } pair;
    pair.values[0] = left;
    pair.values[1] = right;
    *reinterpret_cast<Word*>(to) = pair.word;
}

__host__ __device__ constexpr int round_up(int a, int b) { return (a + b - 1) / b * b; }

// Channels of a tile are apart in shared memory (PACKED 0), or neighbours: PACKED of them, which
// as many neighbouring threads take, for tensors in channels-last layout.
template <class T, class Index, int UP, int DOWN, int TAPS, bool IS_SEPARABLE, int PACKED>
__global__ void __launch_bounds__(THREADS) upfirdn2d(
    const T* __restrict__ x,      // [N, C, in_h, in_w]
    T* __restrict__ y,            // [N, C, out_h, out_w]
    const float* __restrict__ f,  // [TAPS] or [TAPS, TAPS]
    Tiled a) {
    static_assert(UP == 1 || DOWN == 1, "no more than one of the factors");
    using Axis = Polyphase<UP, DOWN, TAPS>;
    // A thread's patch of outputs, and rows that it reads at a time. In upfirdn2d_tiles.py, too.
    constexpr int COLS = 2, ROWS = 8 / DOWN, BATCH = 4 / UP;
    static_assert(COLS % UP == 0 && ROWS % UP == 0);
    constexpr int NUM_TAPS = IS_SEPARABLE ? TAPS : TAPS * TAPS;
    constexpr int STEP = PACKED ? PACKED : 1;
    using Offset = typename Unsigned<sizeof(Index)>::type;

    // [tile_c, rows, in_pitch], then the rows that have been filtered along x, [..., out_pitch].
    extern __shared__ __align__(16) float shared[];
    __shared__ __align__(16) float shared_taps[round_up(NUM_TAPS, 4)];

    // Threads of a plane are a matrix of groups and strips, like the patches of outputs.
    const int group = PACKED ? threadIdx.y : threadIdx.x;
    const int strip = PACKED ? threadIdx.z : threadIdx.y;
    const int channel = PACKED ? threadIdx.x : threadIdx.z;
    const int groups = PACKED ? blockDim.y : blockDim.x;
    const int strips = PACKED ? blockDim.z : blockDim.y;
    const int thread = strip * groups + group, num_threads = strips * groups;
    float* const staged = shared + channel * (PACKED ? 1 : a.in_plane);
    float* const filtered =
        shared + (a.tile_c * a.in_plane + channel * (PACKED ? 1 : a.out_plane));

    // Windows of outputs at multiples of UP from out_x0 and out_y0 start at an input.
    const int out_x0 = a.first_x + int(blockIdx.x) * a.tile_w;
    const int out_y0 = a.first_y + int(blockIdx.y) * a.tile_h;
    const int in_x0 = (out_x0 * DOWN - a.pad_x) / UP, in_y0 = (out_y0 * DOWN - a.pad_y) / UP;
    const int in_y1 = min(a.in_h, in_y0 + a.tile_in_h);  // behind the last row

    for (int i = threadIdx.x + blockDim.x * (threadIdx.y + blockDim.y * threadIdx.z); i < NUM_TAPS;
         i += blockDim.x * blockDim.y * blockDim.z)
        shared_taps[i] = f[a.is_flipped ? i : NUM_TAPS - 1 - i] * a.tap_gain;

#pragma unroll 1
    for (int block = blockIdx.z; block < a.samples * a.channel_blocks; block += gridDim.z) {
        const int n = a.samples == 1 ? 0 : unsigned(block) / unsigned(a.channel_blocks);
        const int c = (block - n * a.channel_blocks) * a.tile_c + channel;
        // The last block has been filtered. (Separable filters have the barrier between their steps.)
        if (!IS_SEPARABLE && block != int(blockIdx.z)) __syncthreads();

        const Part pixels(thread, num_threads, a.in_pairs, a.in_teams);
#pragma unroll 1
        for (int pair = pixels.column; pair < a.in_pairs; pair += pixels.column_step) {
            const int in_x = in_x0 + 2 * pair;
            const T* from[2];
            unsigned end[2];  // behind the last row that exists
#pragma unroll
            for (int k = 0; k < 2; k++) {
                const bool has_column = c < a.channels && (unsigned)(in_x + k) < (unsigned)a.in_w;
                const Index offset =
                    n * Index(a.x_n) + c * Index(a.x_c) + (in_x + k) * Index(a.x_w);
                from[k] = has_column ? x + offset : nullptr;
                end[k] = has_column ? max(in_y1, 0) : 0;
            }
            T values[BATCH][2];
            int in_y = in_y0 + pixels.row;
            const auto read = [&] {
#pragma unroll
                for (int i = 0; i < BATCH; i++) {
                    const unsigned row = in_y + i * a.in_teams;
#pragma unroll
                    for (int k = 0; k < 2; k++) {
                        values[i][k] = T(0.0f);
                        if (row < end[k]) values[i][k] = from[k][row * Offset(a.x_h)];
                    }
                }
                in_y += BATCH * a.in_teams;
            };
            // A batch is read behind a branch, so that compilers start all of its loads before they
            // wait for the first.
            int rest = a.in_batches;
            if (rest > 0) read();
            int to = (pixels.row * a.in_pitch + 2 * pair) * STEP;
#pragma unroll 1
            while (rest > 0) {
#pragma unroll
                for (int i = 0; i < BATCH; i++, to += a.in_teams * a.in_pitch * STEP)
                    store<STEP, 2>(staged + to, {float(values[i][0]), float(values[i][1])});
                if (--rest > 0) read();
            }
        }
        __syncthreads();

        if constexpr (IS_SEPARABLE) {
            // Neighbouring threads take neighbouring rows, which start at different banks.
            constexpr int WIDTH = 4 * UP, COUNT = Axis::num_inputs(WIDTH);
            const Part pieces(thread, num_threads, a.tile_in_h, a.row_teams);
            float taps[round_up(TAPS, 4)];
            load<TAPS, 4, 1>(taps, shared_taps);
#pragma unroll 1
            for (int row = pieces.column; row < a.tile_in_h; row += pieces.column_step) {
#pragma unroll 1
                for (int piece = pieces.row; piece < a.tile_w / WIDTH; piece += pieces.row_step) {
                    float in[round_up(COUNT, 4)], sum[WIDTH] = {};
                    const int column = piece * (4 * DOWN);
                    load<COUNT, 4, STEP>(in, staged + (row * a.in_pitch + column) * STEP);
#pragma unroll
                    for (int k = 0; k < COUNT; k++)
#pragma unroll
                        for (int q = 0; q < WIDTH; q++)
                            if (Axis::has_tap(q, k)) sum[q] += in[k] * taps[Axis::tap(q, k)];
                    float* const to = filtered + (row * a.out_pitch + piece * WIDTH) * STEP;
#pragma unroll
                    for (int q = 0; q < WIDTH; q += 4)
                        store<STEP, 4>(to + q * STEP, {sum[q], sum[q + 1], sum[q + 2], sum[q + 3]});
                }
            }
            __syncthreads();
        }

        const int out_x = out_x0 + group * COLS, out_y = out_y0 + strip * ROWS;
        if (c >= a.channels || out_x >= a.out_w || out_y >= a.out_h) continue;
        float taps[round_up(NUM_TAPS, 4)], sum[ROWS][COLS] = {};
        load<NUM_TAPS, 4, 1>(taps, shared_taps);
        constexpr int COUNT = IS_SEPARABLE ? COLS : Axis::num_inputs(COLS);
        constexpr int ALIGN = IS_SEPARABLE ? COLS : COLS * DOWN / UP;
        const int pitch = IS_SEPARABLE ? a.out_pitch : a.in_pitch;
        const float* from =
            (IS_SEPARABLE ? filtered : staged) +
            (Axis::first_input(strip * ROWS) * pitch + group * ALIGN) * STEP;
#pragma unroll
        for (int j = 0; j < Axis::num_inputs(ROWS); j++, from += pitch * STEP) {
            float in[round_up(COUNT, ALIGN)];
            load<COUNT, ALIGN, STEP>(in, from);
#pragma unroll
            for (int r = 0; r < ROWS; r++) {
                if (!Axis::has_tap(r, j)) continue;
                const int ky = Axis::tap(r, j);
#pragma unroll
                for (int q = 0; q < COLS; q++) {
                    if constexpr (IS_SEPARABLE) {
                        sum[r][q] += in[q] * taps[ky];
                    } else {
#pragma unroll
                        for (int k = 0; k < COUNT; k++)
                            if (Axis::has_tap(q, k))
                                sum[r][q] += in[k] * taps[ky * TAPS + Axis::tap(q, k)];
                    }
                }
            }
        }

        T* to =
            y + (n * Index(a.y_n) + c * Index(a.y_c) + out_y * Index(a.y_h) + out_x * Index(a.y_w));
        const bool has[] = {out_x >= 0, out_x + 1 < a.out_w};
        const bool is_inside = has[0] && has[1] && out_y >= 0 && out_y + ROWS <= a.out_h;
        if (!PACKED && a.has_pairs && is_inside) {
#pragma unroll
            for (int r = 0; r < ROWS; r++, to += Index(a.y_h))
                store_pair(to, T(sum[r][0]), T(sum[r][1]));
        } else if (is_inside) {
#pragma unroll
            for (int r = 0; r < ROWS; r++, to += Index(a.y_h)) {
                to[0] = T(sum[r][0]);
                to[Index(a.y_w)] = T(sum[r][1]);
            }
        } else {
#pragma unroll
            for (int r = 0; r < ROWS; r++, to += Index(a.y_h)) {
                const bool has_row = (unsigned)(out_y + r) < (unsigned)a.out_h;
                if (has_row && has[0]) to[0] = T(sum[r][0]);
                if (has_row && has[1]) to[Index(a.y_w)] = T(sum[r][1]);
            }
        }
    }
}

// The windows of consecutive outputs along an axis: the first input in a window that exists, and the
// tap that it meets. Only the first window needs a division.
template <class Index>
struct Window {
    Index input, tap;
    int up, down;

    __device__ Window(Index output, int up_, int down_, int pad) : up(up_), down(down_) {
        const Index start = output * down - pad;
        input = start > 0 ? (start + up - 1) / up : 0;
        tap = input * up - start;
    }
    __device__ void advance() {
        for (tap -= down; tap < 0; tap += up) input++;
    }
};

// A thread computes PIECE neighbours in a row. `Number` is the type of the arithmetic and of the
// taps; `Index` also holds all positions in the stuffed image.
template <class In, class Out, class Number, class Index>
__global__ void __launch_bounds__(THREADS) upfirdn2d_general(
    const In* __restrict__ x,      // [N, C, in_h, in_w]
    Out* __restrict__ y,           // [N, C, out_h, out_w], without gaps
    const Number* __restrict__ f,  // [fh, fw]
    General a) {
    constexpr int PIECE = 4;  // in upfirdn2d.py, too
    const long long thread = (long long)blockIdx.x * THREADS + threadIdx.x;
    if (thread >= a.num_pieces) return;
    Index rest = Index(thread);
    const auto digit = [&rest](int base) {
        const Index next = rest / base, remainder = rest - next * base;
        rest = next;
        return remainder;
    };
    Index c = a.is_channels_last ? digit(a.channels) : 0;
    const Index out_x = digit(a.pieces_w) * PIECE, out_y = digit(a.out_h);
    if (!a.is_channels_last) c = digit(a.channels);
    const Index n = rest;
    const In* const plane = x + (n * Index(a.x_n) + c * Index(a.x_c));
    Out* to = y + (a.is_channels_last ? ((n * a.out_h + out_y) * a.out_w + out_x) * a.channels + c
                                      : ((n * a.channels + c) * a.out_h + out_y) * a.out_w + out_x);

    const Number* const first_tap = f + (a.is_flipped ? 0 : a.fw * a.fh - 1);
    const int next_tap = a.is_flipped ? 1 : -1;
    const Window<Index> rows(out_y, a.up_y, a.down_y, a.pad_y);
    Window<Index> columns(out_x, a.up_x, a.down_x, a.pad_x);
    const int count = a.out_w - out_x < PIECE ? int(a.out_w - out_x) : PIECE;
#pragma unroll 1
    for (int i = 0; i < count; i++) {
        Number sum = 0;
        Index in_y = rows.input;
        for (Index ky = rows.tap; ky < a.fh && in_y < a.in_h; ky += a.up_y, in_y++) {
            const In* from = plane + (in_y * Index(a.x_h) + columns.input * Index(a.x_w));
            const Number* tap = first_tap + (ky * a.fw + columns.tap) * next_tap;
            Index in_x = columns.input;
            for (Index kx = columns.tap; kx < a.fw && in_x < a.in_w; kx += a.up_x, in_x++) {
                sum += Number(*from) * *tap;
                from += Index(a.x_w);
                tap += a.up_x * next_tap;
            }
        }
        *to = Out(sum * Number(a.gain));
        to += a.is_channels_last ? a.channels : 1;
        columns.advance();
    }
}
