// Pad, upsample, filter and downsample planes.
//
// Three coordinates are used along each axis:
//   input     pixels of x, from 0
//   stuffed   input pixel i is at UP * i, the rest is zero
//   output    pixels of y; the window of output o starts at o * DOWN - pad, stuffed, and the
//             output is the sum of its samples times the taps of the filter, in this order
//
// `upfirdn2d` is for factors and taps that are known when it is compiled. A block computes
// TILE_H x TILE_W outputs of TILE_C planes: it stages the inputs of the tile in shared memory and
// filters from there; separable filters go along x to shared memory again, then along y.
// `upfirdn2d_general` takes everything else, one output per thread.
#include "half.cuh"

constexpr int THREADS = 256;

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
    int is_flipped, num_planes, channels, in_w, in_h, out_w, out_h, pad_x, pad_y;
    int first_x, first_y, tiles_x, tiles_y;
    long long x_n, x_c, x_h, x_w, y_n, y_c, y_h, y_w;  // strides
};

struct General {
    double gain;
    int is_flipped, is_channels_last, channels, in_w, in_h, out_w, out_h;
    int up_x, up_y, down_x, down_y, pad_x, pad_y, fw, fh;
    long long num_outputs, x_n, x_c, x_h, x_w;
};

template <class T, class Index, int UP, int DOWN, int TAPS, bool IS_SEPARABLE, int TILE_W,
          int TILE_H, int TILE_C, bool CHANNELS_LAST>
__global__ void __launch_bounds__(THREADS) upfirdn2d(
    const T* __restrict__ x,      // [N, C, in_h, in_w]
    T* __restrict__ y,            // [N, C, out_h, out_w]
    const float* __restrict__ f,  // [TAPS] or [TAPS, TAPS]
    Tiled a) {
    static_assert(UP == 1 || DOWN == 1, "no more than one of the factors");
    using Axis = Polyphase<UP, DOWN, TAPS>;
    constexpr int ROWS = 4;  // outputs of a thread along y; along x they are the UP phases
    static_assert(TILE_W % UP == 0 && TILE_H % ROWS == 0 && ROWS % UP == 0);
    constexpr int IN_W = Axis::num_inputs(TILE_W), IN_H = Axis::num_inputs(TILE_H);
    constexpr int NUM_TAPS = IS_SEPARABLE ? TAPS : TAPS * TAPS;

    __shared__ float taps[NUM_TAPS];
    __shared__ float staged[IN_H * IN_W * TILE_C];
    __shared__ float filtered[IS_SEPARABLE ? IN_H * TILE_W * TILE_C : 1];
    __shared__ Index x_plane[TILE_C], y_plane[TILE_C];  // where planes start; -1 beyond the last

    const int thread = threadIdx.x;
    const int tile_x = blockIdx.x % a.tiles_x, tile_y = blockIdx.x / a.tiles_x % a.tiles_y;
    const int first_plane = blockIdx.x / (a.tiles_x * a.tiles_y) * TILE_C;
    // Windows of outputs at multiples of UP from out_x0 and out_y0 start at an input.
    const int out_x0 = a.first_x + tile_x * TILE_W, out_y0 = a.first_y + tile_y * TILE_H;
    const int in_x0 = (out_x0 * DOWN - a.pad_x) / UP, in_y0 = (out_y0 * DOWN - a.pad_y) / UP;

    // Short loops are not unrolled: this halves the code and the time to compile it.
#pragma unroll 1
    for (int i = thread; i < NUM_TAPS; i += THREADS)
        taps[i] = f[a.is_flipped ? i : NUM_TAPS - 1 - i] * a.tap_gain;
#pragma unroll 1
    for (int i = thread; i < TILE_C; i += THREADS) {
        const int n = (first_plane + i) / a.channels, c = first_plane + i - n * a.channels;
        const bool exists = first_plane + i < a.num_planes;
        x_plane[i] = exists ? Index(n * a.x_n + c * a.x_c) : Index(-1);
        y_plane[i] = exists ? Index(n * a.y_n + c * a.y_c) : Index(-1);
    }
    __syncthreads();

    // Neighbouring threads take neighbouring addresses of x and y.
    const auto split = [](int i, int width, int height, int& column, int& row, int& c) {
        c = CHANNELS_LAST ? i % TILE_C : i / (width * height);
        i = CHANNELS_LAST ? i / TILE_C : i % (width * height);
        column = i % width;
        row = i / width;
    };
    const auto join = [](int column, int row, int c, int width, int height) {
        return CHANNELS_LAST ? (row * width + column) * TILE_C + c
                             : (c * height + row) * width + column;
    };

#pragma unroll 4
    for (int i = thread; i < IN_H * IN_W * TILE_C; i += THREADS) {
        int column, row, c;
        split(i, IN_W, IN_H, column, row, c);
        const int in_x = in_x0 + column, in_y = in_y0 + row;
        float value = 0;
        if (x_plane[c] >= 0 && (unsigned)in_x < (unsigned)a.in_w && (unsigned)in_y < (unsigned)a.in_h)
            value = float(x[x_plane[c] + in_y * Index(a.x_h) + in_x * Index(a.x_w)]);
        staged[i] = value;
    }
    __syncthreads();

    if constexpr (IS_SEPARABLE) {
        constexpr int GROUPS = TILE_W / UP;
#pragma unroll 1
        for (int i = thread; i < GROUPS * IN_H * TILE_C; i += THREADS) {
            int group, row, c;
            split(i, GROUPS, IN_H, group, row, c);
            float sum[UP] = {};
#pragma unroll
            for (int k = 0; k < Axis::num_inputs(UP); k++) {
                const int column = Axis::first_input(group * UP) + k;
                const float value = staged[join(column, row, c, IN_W, IN_H)];
#pragma unroll
                for (int q = 0; q < UP; q++)
                    if (Axis::has_tap(q, k)) sum[q] += value * taps[Axis::tap(q, k)];
            }
#pragma unroll
            for (int q = 0; q < UP; q++)
                filtered[join(group * UP + q, row, c, TILE_W, IN_H)] = sum[q];
        }
        __syncthreads();
    }

    constexpr int GROUPS = TILE_W / UP, STRIPS = TILE_H / ROWS;
#pragma unroll 1
    for (int i = thread; i < GROUPS * STRIPS * TILE_C; i += THREADS) {
        int group, strip, c;
        split(i, GROUPS, STRIPS, group, strip, c);
        float sum[ROWS][UP] = {};
#pragma unroll
        for (int j = 0; j < Axis::num_inputs(ROWS); j++) {
            const int row = Axis::first_input(strip * ROWS) + j;
            if constexpr (IS_SEPARABLE) {
#pragma unroll
                for (int q = 0; q < UP; q++) {
                    const float value = filtered[join(group * UP + q, row, c, TILE_W, IN_H)];
#pragma unroll
                    for (int r = 0; r < ROWS; r++)
                        if (Axis::has_tap(r, j)) sum[r][q] += value * taps[Axis::tap(r, j)];
                }
            } else {
#pragma unroll
                for (int k = 0; k < Axis::num_inputs(UP); k++) {
                    const int column = Axis::first_input(group * UP) + k;
                    const float value = staged[join(column, row, c, IN_W, IN_H)];
#pragma unroll
                    for (int r = 0; r < ROWS; r++)
#pragma unroll
                        for (int q = 0; q < UP; q++)
                            if (Axis::has_tap(r, j) && Axis::has_tap(q, k))
                                sum[r][q] +=
                                    value * taps[Axis::tap(r, j) * TAPS + Axis::tap(q, k)];
                }
            }
        }
        if (y_plane[c] < 0) continue;
#pragma unroll
        for (int r = 0; r < ROWS; r++) {
            const int out_y = out_y0 + strip * ROWS + r;
#pragma unroll
            for (int q = 0; q < UP; q++) {
                const int out_x = out_x0 + group * UP + q;
                if ((unsigned)out_x < (unsigned)a.out_w && (unsigned)out_y < (unsigned)a.out_h)
                    y[y_plane[c] + out_y * Index(a.y_h) + out_x * Index(a.y_w)] = T(sum[r][q]);
            }
        }
    }
}

// `Number` is the type of the arithmetic and of the taps.
template <class In, class Out, class Number, class Index>
__global__ void __launch_bounds__(THREADS) upfirdn2d_general(
    const In* __restrict__ x,      // [N, C, in_h, in_w]
    Out* __restrict__ y,           // [N, C, out_h, out_w], without gaps
    const Number* __restrict__ f,  // [fh, fw]
    General a) {
    const long long position = (long long)blockIdx.x * THREADS + threadIdx.x;
    if (position >= a.num_outputs) return;
    Index rest = Index(position), c = 0;
    if (a.is_channels_last) {
        c = rest % a.channels;
        rest /= a.channels;
    }
    const int out_x = int(rest % a.out_w);
    rest /= a.out_w;
    const int out_y = int(rest % a.out_h);
    rest /= a.out_h;
    if (!a.is_channels_last) {
        c = rest % a.channels;
        rest /= a.channels;
    }
    const In* const plane = x + (rest * Index(a.x_n) + c * Index(a.x_c));

    // The first input at or after the start of the window, and the tap that it meets.
    const long long x0 = (long long)out_x * a.down_x - a.pad_x, y0 = (long long)out_y * a.down_y - a.pad_y;
    const long long in_x0 = x0 > 0 ? (x0 + a.up_x - 1) / a.up_x : 0;
    const long long in_y0 = y0 > 0 ? (y0 + a.up_y - 1) / a.up_y : 0;
    Number sum = 0;
    long long in_y = in_y0;
    for (long long ky = in_y0 * a.up_y - y0; ky < a.fh && in_y < a.in_h; ky += a.up_y, in_y++) {
        long long in_x = in_x0;
        for (long long kx = in_x0 * a.up_x - x0; kx < a.fw && in_x < a.in_w; kx += a.up_x, in_x++) {
            const long long k = ky * a.fw + kx;
            const Number value = Number(plane[Index(in_y) * Index(a.x_h) + Index(in_x) * Index(a.x_w)]);
            sum += value * f[a.is_flipped ? k : (long long)a.fw * a.fh - 1 - k];
        }
    }
    y[Index(position)] = Out(sum * Number(a.gain));
}
