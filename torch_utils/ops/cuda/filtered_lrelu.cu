// The alias-free nonlinearity: upsample, leaky ReLU with clamp, downsample, in one pass.
//
// Coordinates, the same along x and y:
//   i  samples of the input                       [in_h, in_w]
//   t  upsampled samples, where the mask lives    [tmp_h, tmp_w]
//   p  the same, padded: p = t + mid; the nonlinearity and its derivative are evaluated here
//   o  samples of the output                      [out_h, out_w]
// with  up(p) = sum_k fu[k] * stuffed[p - pad + k],   stuffed[kUp * i] = x[i] * scale + b
// and   y(o) = sum_k fd[k] * act(up(kDown * o + k)).
//
// A block computes a tile of tile_w x tile_h outputs of kChannels channels, in float32:
//   1. threads are columns: read x, upsample along y                  -> `first`  [p_y, i_x]
//   2. threads are rows: upsample along x, act, downsample along x    -> `second` [p_y, o_x]
//      The samples between the two are never stored.
//   3. threads are columns again: downsample along y                  -> y
//      (in the backward pass: scale, and sum up for the gradients of bias and scale)
// If `fu` is 2D, step 1 only reads x (`first` is [i_y, i_x]) and step 2 does all the upsampling. If
// `fd` is 2D, `second` holds the samples after the nonlinearity and step 3 does the downsampling.
//
// The mask has 2 bits per sample t: 2k for "not positive", 2k + 1 for "clamped", 16 samples
// along x to a word, words of neighbouring rows side by side: [N, C, ceil(tmp_w / 16), tmp_h].
// That is how threads that are rows write and read it: 32 words of 4 bytes at once.
#include "filtered_lrelu_epilogue.cuh"
#include "filtered_lrelu_rows.cuh"
#include "filtered_lrelu_tile.cuh"
#include "half.cuh"

// Step 1: columns of the input, upsampled along y unless `fu` is 2D.
template <Mode kMode, class F, class Tile, class S, class T>
__device__ void read_columns(const Call<T>& call, const Block<T, Tile>& block,
                             const float* fu_y, float* first) {
    constexpr int kStrip = 16;  // rows of `first` per thread
    constexpr bool kUpsample = !F::kFu2d;
    constexpr int kInputs = kUpsample ? S::Y::num_inputs(kStrip) : kStrip;
    constexpr int kUpY = kUpsample ? F::kUp : 1;
    float taps[F::kFu];
    if constexpr (kUpsample) load_taps(taps, fu_y);
    // Samples p are multiples of kUp here, so that the divisions are exact.
    const int i_x0 = (block.p_x - call.pad_x - S::kPhaseX) / F::kUp;
    const int i_y0 = (block.p_y - call.pad_y - S::kPhaseY) / F::kUp;
    const int num_rows = kUpsample ? block.rows : S::Y::num_inputs(block.rows);
    const int num_cols = S::X::num_inputs(block.cols);
    const int num_strips = (num_rows + kStrip - 1) / kStrip;
    const int64 row_stride = call.x_strides.h;

    const int c = threadIdx.x % Tile::kChannels;  // the number of threads is a multiple of it
    const bool is_channel = block.c + c < call.num_channels;
    float scale = 1, bias = 0;
    if constexpr (kMode != kReadMask) {
        if (is_channel && call.scale)
            scale = call.scale[block.n * call.num_channels + block.c + c];
        if (is_channel && call.b) bias = call.b[block.c + c];
    }
    const T* image = block.x + c * call.x_strides.c;
#pragma unroll 1
    for (int item = threadIdx.x / Tile::kChannels; item < S::kInCols * num_strips;
         item += blockDim.x / Tile::kChannels) {
        const int col = item % S::kInCols, row = item / S::kInCols * kStrip;
        if (col >= num_cols) continue;
        const int i_x = i_x0 + col, i_y = i_y0 + row / kUpY;
        const bool is_inside =
            static_cast<unsigned>(i_x) < static_cast<unsigned>(call.in_w) && is_channel;
        const T* x = image + i_x * call.x_strides.w + i_y * call.x_strides.h;
        float in[kInputs];
        if (is_inside && i_y >= 0 && i_y + kInputs <= call.in_h) {
#pragma unroll
            for (int m = 0; m < kInputs; m++, x += row_stride)
                in[m] = static_cast<float>(*x) * scale + bias;
        } else {
#pragma unroll
            for (int m = 0; m < kInputs; m++, x += row_stride) {
                const bool is_valid =
                    is_inside && static_cast<unsigned>(i_y + m) < static_cast<unsigned>(call.in_h);
                in[m] = is_valid ? static_cast<float>(*x) * scale + bias : 0.0f;
            }
        }
        float* out = first + c * S::kFirstPlane + row * S::kFirstPitch + col;
#pragma unroll
        for (int j = 0; j < kStrip; j++) {
            if constexpr (kUpsample) {
                float sum = 0;
#pragma unroll
                for (int m = 0; m < S::Y::kMaxTaps; m++) {
                    const int k = S::Y::first_tap(j) + m * F::kUp;
                    if (k < F::kFu) sum += taps[k] * in[S::Y::first_input(j) + m];
                }
                out[j * S::kFirstPitch] = sum;
            } else if (row + j < S::kInRows) {
                out[j * S::kFirstPitch] = in[j];
            }
        }
    }
}

// Step 3 with a separable `fd`: threads are pieces of columns.
template <class F, class Tile, class S, class T, class Epilogue>
__device__ void write_columns(const Call<T>& call, const Block<T, Tile>& block,
                              const float* fd_y, const float* second, Epilogue& epilogue) {
    constexpr int kStrip = 8;  // outputs per thread
    constexpr int kRows = F::kDown * (kStrip - 1) + F::kFd;
    float taps[F::kFd];
    load_taps(taps, fd_y);
    const int num_strips = (block.num_outputs_y + kStrip - 1) / kStrip;
    const int c = threadIdx.x % Tile::kChannels;
    if (block.c + c >= call.num_channels) return;
#pragma unroll 1
    for (int item = threadIdx.x / Tile::kChannels; item < Tile::kWidth * num_strips;
         item += blockDim.x / Tile::kChannels) {
        const int col = item % Tile::kWidth, strip = item / Tile::kWidth * kStrip;
        if (col >= block.num_outputs_x) continue;
        const float* in = second + c * S::kRowPlane + strip * F::kDown * S::kRowPitch + col;
        float v[kRows];
#pragma unroll
        for (int r = 0; r < kRows; r++) v[r] = in[r * S::kRowPitch];
        float sums[kStrip] = {};
#pragma unroll
        for (int o = 0; o < kStrip; o++) {
#pragma unroll
            for (int k = 0; k < F::kFd; k++) sums[o] += taps[k] * v[F::kDown * o + k];
        }
        T* out = block.output(call, c, col, strip);
        const int num_outputs = block.num_outputs_y - strip;
        epilogue.apply(call, out, call.y_strides.h, num_outputs, sums);
#pragma unroll
        for (int o = 0; o < kStrip; o++, out += call.y_strides.h)
            if (o < num_outputs) *out = static_cast<T>(sums[o]);
    }
}

// Step 3 with a 2D `fd`: threads are kWide x kHigh outputs.
template <class F, class Tile, class S, class T, class Epilogue>
__device__ void write_patches(const Call<T>& call, const Block<T, Tile>& block,
                              const float* taps2d, const float* second, Epilogue& epilogue) {
    constexpr int kWide = 5, kHigh = 2;  // kWide is odd, for different banks
    static_assert(Tile::kWidth % kWide == 0);
    constexpr int kAcross = Tile::kWidth / kWide;
    const int num_down = (block.num_outputs_y + kHigh - 1) / kHigh;
#pragma unroll 1
    for (int item = threadIdx.x; item < Tile::kChannels * kAcross * num_down; item += blockDim.x) {
        const int col = item % kAcross * kWide;
        const int row = item / kAcross % num_down * kHigh;
        const int c = item / (kAcross * num_down);
        if (col >= block.num_outputs_x || block.c + c >= call.num_channels) continue;
        const float* in = second + c * S::kRowPlane + row * F::kDown * S::kRowPitch + col;
        float sums[kHigh][kWide] = {};
#pragma unroll 2
        for (int r = 0; r < F::kDown * (kHigh - 1) + F::kFd; r++) {
            float v[F::kDown * (kWide - 1) + F::kFd];
#pragma unroll
            for (int j = 0; j < F::kDown * (kWide - 1) + F::kFd; j++)
                v[j] = in[j % F::kDown * S::kSplitPlane + r * S::kRowPitch + j / F::kDown];
#pragma unroll
            for (int o_y = 0; o_y < kHigh; o_y++) {
                const int k_y = r - F::kDown * o_y;
                if (k_y < 0 || k_y >= F::kFd) continue;
                float taps[S::kTapsPitch];
                load_taps(taps, taps2d + k_y * S::kTapsPitch);
#pragma unroll
                for (int o = 0; o < kWide; o++) {
#pragma unroll
                    for (int k = 0; k < F::kFd; k++)
                        sums[o_y][o] += taps[k] * v[F::kDown * o + k];
                }
            }
        }
        const int num_outputs = block.num_outputs_x - col;
#pragma unroll
        for (int o_y = 0; o_y < kHigh; o_y++) {
            if (row + o_y >= block.num_outputs_y) break;
            T* out = block.output(call, c, col, row + o_y);
            epilogue.apply(call, out, call.y_strides.w, num_outputs, sums[o_y]);
#pragma unroll
            for (int o = 0; o < kWide; o++)
                if (o < num_outputs)
                    out[o * call.y_strides.w] = static_cast<T>(sums[o_y][o]);
        }
    }
}

template <class T, class F, class Tile, Mode kMode, int kPhaseX, int kPhaseY>
__global__ void __launch_bounds__(Tile::kThreads) filtered_lrelu(const Call<T> call) {
    using S = Sizes<F, Tile, kPhaseX, kPhaseY>;
    __shared__ float first[S::kNumFloats];
    __shared__ Taps<F, S> taps;
    static_assert(sizeof(first) + sizeof(taps) <= 48 << 10);
    float* second = S::kInPlace ? first : first + Tile::kChannels * S::kFirstPlane;
    taps.stage(call);
    __syncthreads();
    const Block<T, Tile> block(call, F::kDown, F::kFd);
    read_columns<kMode, F, Tile, S>(call, block, taps.fu_y, first);
    __syncthreads();
    if constexpr (F::kFd2d)
        sample_rows<kMode, F, Tile, S>(call, block, taps.fu_x, first, second);
    else
        filter_rows<kMode, F, Tile, S>(call, block, taps, first, second);
    __syncthreads();
    Epilogue<kMode, T, Tile> epilogue(call, block);
    static_assert(2 * Tile::kThreads / 32 <= S::kRowPlane);  // for `finish`
    if constexpr (F::kFd2d)
        write_patches<F, Tile, S>(call, block, taps.both, second, epilogue);
    else
        write_columns<F, Tile, S>(call, block, taps.fd_y, second, epilogue);
    epilogue.finish(call, block, second);
}
