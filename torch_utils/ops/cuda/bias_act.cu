// y = clamp(act(x * scale + noise + bias) * gain), and all of its gradients.
//
// The channels c and pixels s of a sample n lie as [c][s] ("planes") or as [s][c] (channels last).
// Either way a sample is a matrix of rows and contiguous columns: of channels and pixels, or the
// other way round. A thread takes VEC columns of a row at a time, 16 bytes where they are aligned.
//
// `bias_act` computes one such piece per thread. `bias_act_gradient` gives each block a tile of
// TILE_ROWS x (32 * VEC): a warp takes every eighth row, and what the gradients of scale, noise and
// bias sum over rows or columns leaves the block as one number per row or column of the tile. The
// launcher adds these up, in a fixed order.
#include "clamp.cuh"
#include "half.cuh"

constexpr int THREADS = 256, WARPS = THREADS / 32, TILE_ROWS = 64;

// The type of the arithmetic.
template <class T>
struct NumberOf {
    using type = float;
};
template <>
struct NumberOf<double> {
    using type = double;
};

template <class T, int VEC>
struct alignas(sizeof(T) * VEC) Pack {
    T values[VEC];
};

// The same structure, with the same names, is in bias_act.py; so is `Gradient` below.
template <class Number>
struct BiasAct {
    const Number* scale;  // [n, c] or null, likewise below
    const Number* bias;   // [c]
    const Number* noise;  // [n or 1, s]
    Number floor, slope;  // act(v) is v = max(v, floor), times `slope` where that is not positive
    Number gain, clamp;   // a clamp of infinity is none
    Number saved_clamp;   // `clamp` rounded as outputs are; NaN, which no output reaches, for none
    int noise_has_samples;
    long long samples, channels, pixels;
};

template <class T, class Number>
struct Gradient {
    const T* saved;           // the input or the output, [n, rows, columns]
    const T* dy;              // likewise
    T* dx;                    // likewise
    Number* row_sums;         // of dv: [n, column tiles, rows] or null
    Number* row_products;     // of dv * x, likewise
    Number* column_sums;      // [n, row tiles, columns] or null
    Number* column_products;  // likewise
    int is_output_saved, scales_dx;
    long long row_tiles, column_tiles;
};

// Comparisons are written so that NaN stays NaN.
template <class Number>
__device__ Number unclamped(const BiasAct<Number>& a, Number v) {
    v = v < a.floor ? a.floor : v;
    return (v > 0 ? v : v * a.slope) * a.gain;
}

template <class Number>
__device__ Number slope_at_input(const BiasAct<Number>& a, Number v) {
    const Number y = unclamped(a, v);
    return y > a.clamp || y < -a.clamp ? Number(0) : v > 0 ? a.gain : a.gain * a.slope;
}

// Valid for a positive gain and a slope of zero or more, or for a linear function.
template <class Number>
__device__ Number slope_at_output(const BiasAct<Number>& a, Number y) {
    const bool is_clamped = y >= a.saved_clamp || y <= -a.saved_clamp;
    return is_clamped ? Number(0) : y > 0 ? a.gain : a.gain * a.slope;
}

// Scale and offset of one element of a sample.
template <bool CHANNELS_LAST, class Index, class Number>
__device__ Number scale_of(const BiasAct<Number>& a, Index n, Index row, Index column) {
    const Index c = CHANNELS_LAST ? column : row;
    return a.scale ? a.scale[n * Index(a.channels) + c] : Number(1);
}
template <bool CHANNELS_LAST, class Index, class Number>
__device__ Number offset_of(const BiasAct<Number>& a, Index n, Index row, Index column) {
    const Index c = CHANNELS_LAST ? column : row, s = CHANNELS_LAST ? row : column;
    const Number bias = a.bias ? a.bias[c] : Number(0);
    const Index first = a.noise_has_samples ? n * Index(a.pixels) : Index(0);
    return a.noise ? a.noise[first + s] + bias : bias;
}

template <class T, class Index, int VEC, bool CHANNELS_LAST>
__global__ void __launch_bounds__(THREADS) bias_act(
    const T* __restrict__ x,  // [n, rows, columns]
    T* __restrict__ y,        // likewise
    BiasAct<typename NumberOf<T>::type> a) {
    using Number = typename NumberOf<T>::type;
    const Index rows = CHANNELS_LAST ? a.pixels : a.channels;
    const Index columns = CHANNELS_LAST ? a.channels : a.pixels;
    const Index piece = blockIdx.x * Index(THREADS) + threadIdx.x;
    const Index pieces_per_row = columns / VEC;
    const Index row_of_all = piece / pieces_per_row, n = row_of_all / rows;
    if (n >= a.samples) return;
    const Index row = row_of_all - n * rows;
    const Index column = (piece - row_of_all * pieces_per_row) * VEC;

    Pack<T, VEC> pack = reinterpret_cast<const Pack<T, VEC>*>(x)[piece];
#pragma unroll
    for (int i = 0; i < VEC; i++) {
        const Number scale = scale_of<CHANNELS_LAST>(a, n, row, column + i);
        const Number offset = offset_of<CHANNELS_LAST>(a, n, row, column + i);
        pack.values[i] = T(clamped(unclamped(a, Number(pack.values[i]) * scale + offset), a.clamp));
    }
    reinterpret_cast<Pack<T, VEC>*>(y)[piece] = pack;
}

template <class Number>
__device__ Number sum_of_warp(Number value) {
#pragma unroll
    for (int bits = 16; bits > 0; bits /= 2) value += __shfl_xor_sync(~0u, value, bits);
    return value;
}

// Add up the sums of the warps for their columns, and write those of columns that exist.
template <int VEC, class Index, class Number>
__device__ void add_columns(const Number (&sums)[VEC], Number* target, Index num_columns) {
    __shared__ Number shared[WARPS][32 * VEC];
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    __syncthreads();
#pragma unroll
    for (int i = 0; i < VEC; i++) shared[warp][lane * VEC + i] = sums[i];
    __syncthreads();
    for (int column = threadIdx.x; column < 32 * VEC && column < num_columns; column += THREADS) {
        Number sum = 0;
#pragma unroll
        for (int i = 0; i < WARPS; i++) sum += shared[i][column];
        target[column] = sum;
    }
}

template <class T, class Index, int VEC, bool CHANNELS_LAST>
__global__ void __launch_bounds__(THREADS) bias_act_gradient(
    BiasAct<typename NumberOf<T>::type> a, Gradient<T, typename NumberOf<T>::type> g) {
    using Number = typename NumberOf<T>::type;
    const Index rows = CHANNELS_LAST ? a.pixels : a.channels;
    const Index columns = CHANNELS_LAST ? a.channels : a.pixels;
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    const Index column_tile = blockIdx.x % Index(g.column_tiles);
    const Index row_tile = blockIdx.x / Index(g.column_tiles) % Index(g.row_tiles);
    const Index n = blockIdx.x / (Index(g.column_tiles) * Index(g.row_tiles));
    const Index column = column_tile * (32 * VEC) + lane * VEC;

    Number column_sums[VEC] = {}, column_products[VEC] = {};
    for (int i = warp; i < TILE_ROWS; i += WARPS) {
        const Index row = row_tile * TILE_ROWS + i;
        if (row >= rows) break;  // of the whole warp
        Number row_sum = 0, row_product = 0;
        if (column < columns) {
            const Index piece = ((n * rows + row) * columns + column) / VEC;
            const auto saved = reinterpret_cast<const Pack<T, VEC>*>(g.saved)[piece];
            auto pack = reinterpret_cast<const Pack<T, VEC>*>(g.dy)[piece];
#pragma unroll
            for (int k = 0; k < VEC; k++) {
                const Number value = Number(saved.values[k]);
                const Number scale = scale_of<CHANNELS_LAST>(a, n, row, column + k);
                Number dv = Number(pack.values[k]);
                if (g.is_output_saved)
                    dv *= slope_at_output(a, value);
                else
                    dv *= slope_at_input(
                        a, value * scale + offset_of<CHANNELS_LAST>(a, n, row, column + k));
                pack.values[k] = T(g.scales_dx ? dv * scale : dv);
                row_sum += dv;
                row_product += dv * value;
                column_sums[k] += dv;
                column_products[k] += dv * value;
            }
            reinterpret_cast<Pack<T, VEC>*>(g.dx)[piece] = pack;
        }
        const Index target = (n * Index(g.column_tiles) + column_tile) * rows + row;
        if (g.row_sums) {
            row_sum = sum_of_warp(row_sum);
            if (lane == 0) g.row_sums[target] = row_sum;
        }
        if (g.row_products) {
            row_product = sum_of_warp(row_product);
            if (lane == 0) g.row_products[target] = row_product;
        }
    }
    const Index first = column_tile * (32 * VEC);
    const Index target = (n * Index(g.row_tiles) + row_tile) * columns + first;
    if (g.column_sums) add_columns<VEC>(column_sums, g.column_sums + target, columns - first);
    if (g.column_products)
        add_columns<VEC>(column_products, g.column_products + target, columns - first);
}
