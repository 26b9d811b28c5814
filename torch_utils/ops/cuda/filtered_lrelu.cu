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
// If `fu` is 2D, step 1 only reads x (`first` is [i_y, i_x]) and step 2 does all of the upsampling.
// If `fd` is 2D, `second` holds the samples after the nonlinearity and step 3 does the downsampling.
//
// The mask has 2 bits per sample t: 2k for "not positive", 2k + 1 for "clamped", 16 samples
// along x to a word, words of neighbouring rows side by side: [N, C, ceil(tmp_w / 16), tmp_h].
// That is how threads that are rows write and read it: 32 words of 4 bytes at once.
#include <cuda_bf16.h>
#include <cuda_fp16.h>

using uint32 = unsigned int;
using int64 = long long;

enum Mode {
    kAct,        // leaky ReLU and clamp
    kWriteMask,  // the same, and write the mask
    kReadMask,   // multiply by the derivative that the mask tells
};

__host__ __device__ constexpr int ceil_div(int a, int b) { return (a + b - 1) / b; }
__host__ __device__ constexpr int round_up(int a, int b) { return ceil_div(a, b) * b; }
__host__ __device__ constexpr int larger(int a, int b) { return a < b ? b : a; }
__host__ __device__ constexpr int power_of_two(int a) {
    return a <= 1 ? 1 : 2 * power_of_two(ceil_div(a, 2));
}
// Channels lie in different banks where several share a warp.
__host__ __device__ constexpr int padded_plane(int size, int channels) {
    return channels == 1 ? size : round_up(size, 32) + 32 / channels;
}

// Taps of the filters per axis; both separable or one of them 2D.
template <int kUp_, int kDown_, int kFu_, int kFd_, bool kFu2d_ = false, bool kFd2d_ = false>
struct Filters {
    static constexpr int kUp = kUp_, kDown = kDown_, kFu = kFu_, kFd = kFd_;
    static constexpr bool kFu2d = kFu2d_, kFd2d = kFd2d_;
    static_assert(!(kFu2d && kFd2d));
    static_assert(16 % kUp == 0 && 16 % kDown == 0);
};

// Largest tile: columns of outputs, rows of p, channels; and the threads that compute it.
template <int kWidth_, int kRows_, int kChannels_, int kThreads_>
struct Tile {
    static constexpr int kWidth = kWidth_, kRows = kRows_, kChannels = kChannels_;
    static constexpr int kThreads = kThreads_;
    static_assert(kRows % 16 == 0 && 16 % kChannels == 0);
};

// Upsampling along one axis for samples j = 0, 1, ... counted from a p that is a multiple of kUp.
// Inputs are counted from floor((p - pad) / kUp); kPhase is (p - pad) % kUp.
template <class F, int kPhase>
struct Polyphase {
    static constexpr int kMaxTaps = ceil_div(F::kFu, F::kUp);
    __device__ static constexpr int first_input(int j) { return ceil_div(kPhase + j, F::kUp); }
    __device__ static constexpr int first_tap(int j) { return first_input(j) * F::kUp - kPhase - j; }
    // Inputs that the first `count` samples need.
    __device__ static constexpr int num_inputs(int count) {
        return ceil_div(kPhase + count - 1, F::kUp) + kMaxTaps;
    }
};

// Sizes that follow from the parameters.
template <class F, class Tile, int kPhaseX_, int kPhaseY_>
struct Sizes {
    static constexpr int kPhaseX = kPhaseX_, kPhaseY = kPhaseY_;
    using X = Polyphase<F, kPhaseX>;
    using Y = Polyphase<F, kPhaseY>;
    // Step 2 walks along a row in strides of kStride samples p, after which the roles of all
    // registers repeat: it has the kOutputs sums that are under way at a time.
    static constexpr int kStride =
        larger(16, F::kFd2d ? 16 : F::kDown * larger(8, power_of_two(ceil_div(F::kFd, F::kDown))));
    static constexpr int kOutputs = kStride / F::kDown;
    static constexpr int kMaxCols = F::kDown * (Tile::kWidth - 1) + F::kFd;
    static constexpr int kPaddedCols = round_up(kMaxCols, kStride);
    static_assert(F::kFd2d || Tile::kWidth % kOutputs == 0);

    static constexpr int kInCols = X::num_inputs(kMaxCols);
    static constexpr int kInRows = F::kFu2d ? Y::num_inputs(Tile::kRows) : Tile::kRows;
    // Odd, so that the threads of a warp, one per row, use different banks.
    static constexpr int kFirstPitch = X::num_inputs(kPaddedCols) | 1;
    static constexpr int kFirstPlane = padded_plane(kInRows * kFirstPitch, Tile::kChannels);

    // A 2D `fd` finds the samples p_x at [p_x % kDown][p_y][p_x / kDown]: what the threads read at
    // once is then not kDown apart, but in different banks.
    static constexpr int kSplitPitch = round_up(kPaddedCols / F::kDown, 8) + 2;
    static constexpr int kSecondPitch = F::kFd2d ? kSplitPitch : Tile::kWidth | 1;
    static constexpr int kSplitPlane = Tile::kRows * kSecondPitch;
    static constexpr int kSecondPlane =
        padded_plane((F::kFd2d ? F::kDown : 1) * kSplitPlane, Tile::kChannels);

    // Writing along a row stays behind reading if there are no more outputs than inputs.
    static constexpr bool kInPlace = !F::kFu2d && !F::kFd2d && F::kUp <= F::kDown;
    static_assert(!kInPlace || kFirstPitch >= Tile::kWidth);
    static constexpr int kRowPitch = kInPlace ? kFirstPitch : kSecondPitch;
    static constexpr int kRowPlane = kInPlace ? kFirstPlane : kSecondPlane;

    // A 2D filter in shared memory, rows and columns filled up with zeros.
    static constexpr int kTaps2d = F::kFu2d   ? round_up(F::kFu, F::kUp)
                                   : F::kFd2d ? F::kFd
                                              : 0;
    static constexpr int kTapsPitch = round_up(kTaps2d, 4);
    static constexpr int kNumFloats =
        Tile::kChannels * (kFirstPlane + (kInPlace ? 0 : kSecondPlane));
    static_assert((kNumFloats + kTaps2d * kTapsPitch) * sizeof(float) <= 48 << 10);
};

template <class T>
struct Call {
    const T* x;          // [N, C, in_h, in_w], any strides
    T* y;                // [N, C, out_h, out_w], any strides
    uint32* mask;        // [N, C, ceil(tmp_w / 16), tmp_h]
    const float* scale;  // [N, C] or null
    const T* b;          // [C] or null
    const float* fu;     // [kFu] or [kFu, kFu]
    const float* fd;     // [kFd] or [kFd, kFd]
    int fu_once, fd_once;  // one tap [1, 1] that counts once, not once per axis
    int flip_filter;       // correlate instead of convolve
    float gain, slope, clamp;
    int num_channels, in_h, in_w, tmp_h, tmp_w, out_h, out_w;
    int64 x_n, x_c, x_h, x_w, y_n, y_c, y_h, y_w;  // strides
    int pad_x, pad_y, mid_x, mid_y;
    int tile_w, tile_h;
};

// What a block works on.
template <class T, class Tile>
struct Block {
    const T* x;  // sample 0, 0 of the first channel
    T* y;
    int n, c;      // the first channel of the tile
    int o_x, o_y;  // its first output
    int p_x, p_y;  // its first sample p
    int num_outputs_x, num_outputs_y, cols, rows;  // of outputs, of samples p

    __device__ Block(const Call<T>& call, int64 index, int down, int taps) {
        const int groups = (call.num_channels + Tile::kChannels - 1) / Tile::kChannels;
        const int tiles_x = (call.out_w + call.tile_w - 1) / call.tile_w;
        // Neighbouring blocks share what they read of images whose channels are interleaved.
        c = static_cast<int>(index % groups) * Tile::kChannels;
        index /= groups;
        o_x = static_cast<int>(index % tiles_x) * call.tile_w;
        index /= tiles_x;
        const int tiles_y = (call.out_h + call.tile_h - 1) / call.tile_h;
        o_y = static_cast<int>(index % tiles_y) * call.tile_h;
        n = static_cast<int>(index / tiles_y);
        x = call.x + n * call.x_n + c * call.x_c;
        y = call.y + n * call.y_n + c * call.y_c;
        p_x = o_x * down;
        p_y = o_y * down;
        num_outputs_x = min(call.tile_w, call.out_w - o_x);
        num_outputs_y = min(call.tile_h, call.out_h - o_y);
        cols = (num_outputs_x - 1) * down + taps;
        rows = (num_outputs_y - 1) * down + taps;
    }
};

// Taps of a separable filter along one axis, in the order of a correlation.
template <int kTaps>
__device__ void load_taps(float (&taps)[kTaps], const float* f, int flip, bool is_one, float gain) {
#pragma unroll
    for (int k = 0; k < kTaps; k++)
        taps[k] = is_one ? gain : gain * __ldg(f + (flip ? k : kTaps - 1 - k));
}

// A 2D filter into shared memory, likewise, with zeros up to a multiple of kUp.
template <int kTaps, int kRows, int kPitch>
__device__ void stage_taps2d(float* shared, const float* f, int flip, float gain) {
    for (int k = threadIdx.x; k < kRows * kPitch; k += blockDim.x) {
        const int y = k / kPitch, x = k % kPitch;
        const int at = y * kTaps + x;
        const bool is_inside = y < kTaps && x < kTaps;
        shared[k] = is_inside ? gain * __ldg(f + (flip ? at : kTaps * kTaps - 1 - at)) : 0.0f;
    }
}

// Step 1: columns of the input, upsampled along y unless `fu` is 2D.
template <class F, class Tile, class S, class T>
__device__ void read_columns(const Call<T>& call, const Block<T, Tile>& block, float* first) {
    constexpr int kStrip = 16;  // rows of `first` per thread
    constexpr bool kUpsample = !F::kFu2d;
    constexpr int kInputs = kUpsample ? S::Y::num_inputs(kStrip) : kStrip;
    constexpr int kUpY = kUpsample ? F::kUp : 1;
    float taps[F::kFu];
    if constexpr (kUpsample)
        load_taps(taps, call.fu, call.flip_filter, call.fu_once, call.gain);
    // Samples p are multiples of kUp here, so that only the sum with the phase is divided: exact.
    constexpr int kPhaseX = S::kPhaseX, kPhaseY = S::kPhaseY;
    const int i_x0 = (block.p_x - call.pad_x - kPhaseX) / F::kUp;
    const int i_y0 = (block.p_y - call.pad_y - kPhaseY) / F::kUp;
    const int num_rows = kUpsample ? block.rows : S::Y::num_inputs(block.rows);
    const int num_cols = S::X::num_inputs(block.cols);
    const int num_strips = (num_rows + kStrip - 1) / kStrip;
    const int row_stride = static_cast<int>(call.x_h);

    for (int item = threadIdx.x; item < Tile::kChannels * S::kInCols * num_strips;
         item += blockDim.x) {
        const int c = item % Tile::kChannels;
        const int col = item / Tile::kChannels % S::kInCols;
        const int row = item / (Tile::kChannels * S::kInCols) * kStrip;
        if (col >= num_cols) continue;
        const int i_x = i_x0 + col, i_y = i_y0 + row / kUpY;
        const bool is_inside = static_cast<unsigned>(i_x) < static_cast<unsigned>(call.in_w) &&
                               block.c + c < call.num_channels;
        float scale = 1, bias = 0;
        if (is_inside && call.scale) scale = call.scale[block.n * int64{call.num_channels} + block.c + c];
        if (is_inside && call.b) bias = static_cast<float>(call.b[block.c + c]);
        const T* x = block.x + c * call.x_c + i_x * call.x_w + i_y * call.x_h;
        float in[kInputs];
#pragma unroll
        for (int m = 0; m < kInputs; m++) {
            const bool is_valid =
                is_inside && static_cast<unsigned>(i_y + m) < static_cast<unsigned>(call.in_h);
            in[m] = is_valid ? static_cast<float>(x[m * row_stride]) * scale + bias : 0.0f;
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

// Reads the mask of a row, 16 samples p at a time.
struct MaskReader {
    MaskReader() = default;
    const uint32* words;  // of the row, tmp_h apart; null outside of the image
    int num_words, pitch, index, shift;
    uint32 tail, current;

    template <class T>
    __device__ MaskReader(const Call<T>& call, int64 plane, int p_x, int t_y) {
        num_words = (call.tmp_w + 15) / 16;
        pitch = call.tmp_h;
        const bool is_inside = static_cast<unsigned>(t_y) < static_cast<unsigned>(call.tmp_h);
        words = is_inside ? call.mask + plane * num_words * pitch + t_y : nullptr;
        // Samples beyond the image count as clamped.
        tail = call.tmp_w % 16 ? ~0u << (2 * (call.tmp_w % 16)) : 0;
        const int t_x = p_x - call.mid_x;
        index = t_x >> 4;
        shift = 2 * (t_x & 15);
        current = word(index);
    }
    __device__ uint32 word(int i) const {
        if (!words || static_cast<unsigned>(i) >= static_cast<unsigned>(num_words)) return ~0u;
        return __ldg(words + static_cast<int64>(i) * pitch) | (i == num_words - 1 ? tail : 0);
    }
    __device__ uint32 next() {
        const uint32 following = word(++index);
        const uint32 bits = shift ? current >> shift | following << (32 - shift) : current;
        current = following;
        return bits;
    }
};

// The nonlinearity, or its derivative times `v`; `bits` are those of the mask.
template <Mode kMode>
__device__ __forceinline__ float act(float v, float slope, float clamp, uint32& bits, int k) {
    const uint32 negative = 1u << (2 * k), clamped = 2u << (2 * k);
    if constexpr (kMode == kReadMask) {
        v = bits & negative ? v * slope : v;
        return bits & clamped ? 0.0f : v;
    } else {
        if constexpr (kMode == kWriteMask) bits |= v > 0 ? 0 : negative;
        v = fmaxf(v, v * slope);  // slope <= 1; NaN if v is
        const bool is_clamped = fabsf(v) > clamp;
        if constexpr (kMode == kWriteMask) bits |= is_clamped ? clamped : 0;
        return is_clamped ? copysignf(clamp, v) : v;
    }
}

// The samples of a row, a stride at a time, from inputs that are upsampled along y already.
template <class F, class S>
struct RowUpsampler {
    static constexpr int kInputs = S::X::num_inputs(S::kStride);
    static constexpr int kNew = S::kStride / F::kUp;
    static constexpr int kOld = kInputs - kNew;
    float taps[F::kFu];
    float in[kInputs];
    const float* next;  // the first input that has not been read

    template <class T>
    __device__ explicit RowUpsampler(const Call<T>& call) {
        load_taps(taps, call.fu, call.flip_filter, false, 1.0f);
    }
    __device__ void start(const float* row) {
#pragma unroll
        for (int m = 0; m < kOld; m++) in[kNew + m] = row[m];
        next = row + kOld;
    }
    __device__ void advance() {
#pragma unroll
        for (int m = 0; m < kOld; m++) in[m] = in[kNew + m];
#pragma unroll
        for (int m = 0; m < kNew; m++) in[kOld + m] = next[m];
        next += kNew;
    }
    __device__ __forceinline__ float sample(int j) const {
        float sum = 0;
#pragma unroll
        for (int m = 0; m < S::X::kMaxTaps; m++) {
            const int k = S::X::first_tap(j) + m * F::kUp;
            if (k < F::kFu) sum += taps[k] * in[S::X::first_input(j) + m];
        }
        return sum;
    }
};

// The same with a 2D filter, from inputs as they are.
template <class F, class S>
struct RowUpsampler2d {
    static constexpr int kInputs = S::X::num_inputs(S::kStride);
    float samples[S::kStride];
    const float* taps;  // the first row of taps that meets inputs
    const float* next;  // the inputs there

    template <class T>
    __device__ RowUpsampler2d(const Call<T>&, const float* shared_taps, int row) {
        const int first_tap = S::Y::first_tap(row);
        taps = shared_taps + first_tap * S::kTapsPitch;
    }
    __device__ void start(const float* row) { next = row; }
    __device__ void advance() {
#pragma unroll
        for (int j = 0; j < S::kStride; j++) samples[j] = 0;
#pragma unroll
        for (int m = 0; m < S::Y::kMaxTaps; m++) {
            float in[kInputs];
#pragma unroll
            for (int i = 0; i < kInputs; i++) in[i] = next[m * S::kFirstPitch + i];
            float row[S::kTapsPitch];
#pragma unroll
            for (int k = 0; k < S::kTapsPitch; k += 4)
                *reinterpret_cast<float4*>(row + k) = *reinterpret_cast<const float4*>(
                    taps + m * F::kUp * S::kTapsPitch + k);
#pragma unroll
            for (int j = 0; j < S::kStride; j++) {
#pragma unroll
                for (int i = 0; i < S::X::kMaxTaps; i++) {
                    const int k = S::X::first_tap(j) + i * F::kUp;
                    if (k < F::kFu) samples[j] += row[k] * in[S::X::first_input(j) + i];
                }
            }
        }
        next += S::kStride / F::kUp;
    }
    __device__ __forceinline__ float sample(int j) const { return samples[j]; }
};

// Writes words of the mask that belong to the tile: those in its halo are the neighbour's.
template <class F, class Tile, class T>
__device__ void write_mask(const Call<T>& call, const Block<T, Tile>& block, int64 plane, int row,
                           int p, uint32 bits) {
    const bool is_own_col = p < call.tile_w * F::kDown || block.o_x + call.tile_w >= call.out_w;
    const bool is_own_row = row < call.tile_h * F::kDown || block.o_y + call.tile_h >= call.out_h;
    const int num_words = (call.tmp_w + 15) / 16, word = (block.p_x + p) / 16;
    if (is_own_col && is_own_row && word < num_words && block.p_y + row < call.tmp_h)
        call.mask[(plane * num_words + word) * call.tmp_h + block.p_y + row] = bits;
}

// Step 2 with a separable `fd`: a thread walks along a row.
template <Mode kMode, class F, class Tile, class S, class T, class Upsampler>
__device__ __forceinline__ void filter_row(const Call<T>& call, const Block<T, Tile>& block,
                                           Upsampler& upsampler, const float* in, float* out,
                                           int64 plane, int row) {
    float taps[F::kFd], sums[S::kOutputs];
    load_taps(taps, call.fd, call.flip_filter, false, 1.0f);
    MaskReader reader;
    if constexpr (kMode == kReadMask)
        reader = MaskReader(call, plane, block.p_x, block.p_y + row - call.mid_y);
    upsampler.start(in);
    for (int p = 0; p < block.cols; p += S::kStride) {
        uint32 bits[S::kStride / 16] = {};
        if constexpr (kMode == kReadMask) {
#pragma unroll
            for (int w = 0; w < S::kStride / 16; w++) bits[w] = reader.next();
        }
        upsampler.advance();
#pragma unroll
        for (int j = 0; j < S::kStride; j++) {
            if (j % 4 == 0 && p + j >= block.cols) break;
            const float v =
                act<kMode>(upsampler.sample(j), call.slope, call.clamp, bits[j / 16], j % 16);
            // It enters, with tap k, the sums of the outputs (p + j - k) / kDown.
#pragma unroll
            for (int k = j % F::kDown; k < F::kFd; k += F::kDown) {
                const int o = (j - k) / F::kDown;
                const int at = (o + 64 * S::kOutputs) % S::kOutputs;
                sums[at] = k == 0 ? taps[k] * v : sums[at] + taps[k] * v;
                const int col = p / F::kDown + o;
                if (k == F::kFd - 1 &&
                    static_cast<unsigned>(col) < static_cast<unsigned>(block.num_outputs_x))
                    out[col] = sums[at];
            }
        }
        if constexpr (kMode == kWriteMask) {
#pragma unroll
            for (int w = 0; w < S::kStride / 16; w++)
                write_mask<F>(call, block, plane, row, p + 16 * w, bits[w]);
        }
    }
}

template <Mode kMode, class F, class Tile, class S, class T>
__device__ void filter_rows(const Call<T>& call, const Block<T, Tile>& block,
                            const float* taps2d, const float* first, float* second) {
    const int rows = blockDim.x / Tile::kChannels;
    const int c = threadIdx.x / rows, row = threadIdx.x % rows;
    if (row >= block.rows || block.c + c >= call.num_channels) return;
    const int64 plane = block.n * int64{call.num_channels} + block.c + c;
    const float* in = first + c * S::kFirstPlane;
    float* out = second + c * S::kRowPlane + row * S::kRowPitch;
    if constexpr (F::kFu2d) {
        RowUpsampler2d<F, S> upsampler(call, taps2d, row);
        in += S::Y::first_input(row) * S::kFirstPitch;
        filter_row<kMode, F, Tile, S>(call, block, upsampler, in, out, plane, row);
    } else {
        RowUpsampler<F, S> upsampler(call);
        in += row * S::kFirstPitch;
        filter_row<kMode, F, Tile, S>(call, block, upsampler, in, out, plane, row);
    }
}

// Step 2 with a 2D `fd`: a thread computes samples of one stride of a row.
template <Mode kMode, class F, class Tile, class S, class T>
__device__ void sample_rows(const Call<T>& call, const Block<T, Tile>& block, const float* first,
                            float* second) {
    RowUpsampler<F, S> upsampler(call);
    const int num_strides = (block.cols + S::kStride - 1) / S::kStride;
    const int num_items = Tile::kChannels * Tile::kRows * num_strides;
    for (int item = threadIdx.x; item < num_items; item += blockDim.x) {
        const int row = item % Tile::kRows, c = item / Tile::kRows % Tile::kChannels;
        const int p = item / (Tile::kRows * Tile::kChannels) * S::kStride;
        if (row >= block.rows || block.c + c >= call.num_channels) continue;
        const int64 plane = block.n * int64{call.num_channels} + block.c + c;
        uint32 bits = 0;
        if constexpr (kMode == kReadMask)
            bits = MaskReader(call, plane, block.p_x + p, block.p_y + row - call.mid_y).next();
        upsampler.start(first + c * S::kFirstPlane + row * S::kFirstPitch + p / F::kUp);
        upsampler.advance();
        float* out = second + c * S::kRowPlane + row * S::kRowPitch + p / F::kDown;
#pragma unroll
        for (int j = 0; j < S::kStride; j++)
            out[j % F::kDown * S::kSplitPlane + j / F::kDown] =
                act<kMode>(upsampler.sample(j), call.slope, call.clamp, bits, j);
        if constexpr (kMode == kWriteMask) write_mask<F>(call, block, plane, row, p, bits);
    }
}

template <class T, class Tile>
__device__ void store(const Call<T>& call, const Block<T, Tile>& block, int c, int o_x, int o_y,
                      float value) {
    if (o_x < block.num_outputs_x && o_y < block.num_outputs_y)
        block.y[c * call.y_c + (block.o_y + o_y) * call.y_h + (block.o_x + o_x) * call.y_w] =
            static_cast<T>(value);
}

// Step 3 with a separable `fd`: threads are pieces of columns.
template <class F, class Tile, class S, class T>
__device__ void write_columns(const Call<T>& call, const Block<T, Tile>& block,
                              const float* second) {
    constexpr int kStrip = 8;  // outputs per thread
    float taps[F::kFd];
    load_taps(taps, call.fd, call.flip_filter, call.fd_once, 1.0f);
    const int num_strips = (block.num_outputs_y + kStrip - 1) / kStrip;
    for (int item = threadIdx.x; item < Tile::kChannels * Tile::kWidth * num_strips;
         item += blockDim.x) {
        const int c = item % Tile::kChannels;
        const int col = item / Tile::kChannels % Tile::kWidth;
        const int strip = item / (Tile::kChannels * Tile::kWidth) * kStrip;
        if (col >= block.num_outputs_x || block.c + c >= call.num_channels) continue;
        const float* in = second + c * S::kRowPlane + strip * F::kDown * S::kRowPitch + col;
        float sums[kStrip] = {};
#pragma unroll
        for (int r = 0; r < F::kDown * (kStrip - 1) + F::kFd; r++) {
            const float v = in[r * S::kRowPitch];
#pragma unroll
            for (int o = 0; o < kStrip; o++) {
                const int k = r - F::kDown * o;
                if (k >= 0 && k < F::kFd) sums[o] += taps[k] * v;
            }
        }
#pragma unroll
        for (int o = 0; o < kStrip; o++) store(call, block, c, col, strip + o, sums[o]);
    }
}

// Step 3 with a 2D `fd`: threads are kWide x kHigh outputs.
template <class F, class Tile, class S, class T>
__device__ void write_patches(const Call<T>& call, const Block<T, Tile>& block,
                              const float* taps2d, const float* second) {
    constexpr int kWide = 5, kHigh = 2;  // odd, for different banks
    static_assert(Tile::kWidth % kWide == 0);
    constexpr int kAcross = Tile::kWidth / kWide;
    const int num_down = (block.num_outputs_y + kHigh - 1) / kHigh;
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
#pragma unroll
                for (int k = 0; k < S::kTapsPitch; k += 4)
                    *reinterpret_cast<float4*>(taps + k) =
                        *reinterpret_cast<const float4*>(taps2d + k_y * S::kTapsPitch + k);
#pragma unroll
                for (int o = 0; o < kWide; o++) {
#pragma unroll
                    for (int k = 0; k < F::kFd; k++)
                        sums[o_y][o] += taps[k] * v[F::kDown * o + k];
                }
            }
        }
#pragma unroll
        for (int o_y = 0; o_y < kHigh; o_y++) {
#pragma unroll
            for (int o = 0; o < kWide; o++)
                store(call, block, c, col + o, row + o_y, sums[o_y][o]);
        }
    }
}

template <class T, class F, class Tile, Mode kMode, int kPhaseX, int kPhaseY>
__global__ void __launch_bounds__(Tile::kThreads) filtered_lrelu(
    const T* x, T* y, uint32* mask, const float* scale, const T* b, const float* fu,
    const float* fd, int fu_once, int fd_once, int flip_filter, float gain, float slope,
    float clamp, int num_channels, int in_h, int in_w, int tmp_h, int tmp_w, int out_h, int out_w,
    int64 x_n, int64 x_c, int64 x_h, int64 x_w, int64 y_n, int64 y_c, int64 y_h, int64 y_w,
    int pad_x, int pad_y, int mid_x, int mid_y, int tile_w, int tile_h, int64 num_blocks) {
    using S = Sizes<F, Tile, kPhaseX, kPhaseY>;
    __shared__ float first[S::kNumFloats];
    __shared__ __align__(16) float taps2d[larger(4, S::kTaps2d * S::kTapsPitch)];
    float* second = S::kInPlace ? first : first + Tile::kChannels * S::kFirstPlane;
    const Call<T> call = {x,     y,     mask,  scale, b,     fu,    fd,     fu_once, fd_once,
                          flip_filter,  gain,  slope, clamp, num_channels,  in_h,    in_w,
                          tmp_h, tmp_w, out_h, out_w, x_n,   x_c,   x_h,    x_w,     y_n,
                          y_c,   y_h,   y_w,   pad_x, pad_y, mid_x, mid_y,  tile_w,  tile_h};
    if constexpr (F::kFu2d)
        stage_taps2d<F::kFu, S::kTaps2d, S::kTapsPitch>(taps2d, fu, flip_filter, gain);
    if constexpr (F::kFd2d)
        stage_taps2d<F::kFd, S::kTaps2d, S::kTapsPitch>(taps2d, fd, flip_filter, 1.0f);
    for (int64 index = blockIdx.x; index < num_blocks; index += gridDim.x) {
        const Block<T, Tile> block(call, index, F::kDown, F::kFd);
        read_columns<F, Tile, S>(call, block, first);
        __syncthreads();
        if constexpr (F::kFd2d)
            sample_rows<kMode, F, Tile, S>(call, block, first, second);
        else
            filter_rows<kMode, F, Tile, S>(call, block, taps2d, first, second);
        __syncthreads();
        if constexpr (F::kFd2d)
            write_patches<F, Tile, S>(call, block, taps2d, second);
        else
            write_columns<F, Tile, S>(call, block, second);
        __syncthreads();  // before the next tile takes the memory
    }
}
