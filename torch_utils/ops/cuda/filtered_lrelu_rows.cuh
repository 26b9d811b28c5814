// Step 2 of `filtered_lrelu.cu`: rows of samples p, the nonlinearity, and its mask.
#pragma once

#include "clamp.cuh"
#include "filtered_lrelu_tile.cuh"

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
__device__ __forceinline__ float act(float v, float slope, float limit, uint32& bits, int k) {
    const uint32 negative_bit = 1u << (2 * k), clamped_bit = 2u << (2 * k);
    if constexpr (kMode == kReadMask) {
        v = bits & negative_bit ? v * slope : v;
        return bits & clamped_bit ? 0.0f : v;
    } else {
        if constexpr (kMode == kWriteMask) bits |= v > 0 ? 0 : negative_bit;
        v = fmaxf(v, v * slope);  // slope <= 1; NaN if v is
        if constexpr (kMode == kWriteMask) bits |= fabsf(v) > limit ? clamped_bit : 0;
        return clamped(v, limit);
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

    __device__ explicit RowUpsampler(const float* fu_x) { load_taps(taps, fu_x); }
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

    __device__ RowUpsampler2d(const float* shared_taps, int row) {
        const int first_tap = S::Y::first_tap(row);
        taps = shared_taps + first_tap * S::kTapsPitch;
    }
    __device__ void start(const float* row) { next = row; }
    __device__ void advance() {
#pragma unroll
        for (int j = 0; j < S::kStride; j++) samples[j] = 0;
#pragma unroll 2
        for (int m = 0; m < S::Y::kMaxTaps; m++) {
            float in[kInputs];
#pragma unroll
            for (int i = 0; i < kInputs; i++) in[i] = next[m * S::kFirstPitch + i];
            float row[S::kTapsPitch];
            load_taps(row, taps + m * F::kUp * S::kTapsPitch);
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

// Writes the words of the mask that belong to the tile; those in its halo belong to neighbours.
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
                                           const float* fd_x, Upsampler& upsampler,
                                           const float* in, float* out, int64 plane, int row) {
    float taps[F::kFd], sums[S::kOutputs];
    load_taps(taps, fd_x);
    MaskReader reader;
    if constexpr (kMode == kReadMask)
        reader = MaskReader(call, plane, block.p_x, block.p_y + row - call.mid_y);
    upsampler.start(in);
#pragma unroll 1
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
            // The sample enters, with tap k, the sum of output (p + j - k) / kDown.
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
                            const Taps<F, S>& taps, const float* first, float* second) {
    const int rows = blockDim.x / Tile::kChannels;
    const int c = threadIdx.x / rows, row = threadIdx.x % rows;
    if (row >= block.rows || block.c + c >= call.num_channels) return;
    const int64 plane = block.n * int64{call.num_channels} + block.c + c;
    const float* in = first + c * S::kFirstPlane;
    float* out = second + c * S::kRowPlane + row * S::kRowPitch;
    if constexpr (F::kFu2d) {
        RowUpsampler2d<F, S> upsampler(taps.both, row);
        in += S::Y::first_input(row) * S::kFirstPitch;
        filter_row<kMode, F, Tile, S>(call, block, taps.fd_x, upsampler, in, out, plane, row);
    } else {
        RowUpsampler<F, S> upsampler(taps.fu_x);
        in += row * S::kFirstPitch;
        filter_row<kMode, F, Tile, S>(call, block, taps.fd_x, upsampler, in, out, plane, row);
    }
}

// Step 2 with a 2D `fd`: a thread computes samples of one stride of a row.
template <Mode kMode, class F, class Tile, class S, class T>
__device__ void sample_rows(const Call<T>& call, const Block<T, Tile>& block, const float* fu_x,
                            const float* first, float* second) {
    RowUpsampler<F, S> upsampler(fu_x);
    const int num_strides = (block.cols + S::kStride - 1) / S::kStride;
    const int num_items = Tile::kChannels * S::kSecondRows * num_strides;
#pragma unroll 1
    for (int item = threadIdx.x; item < num_items; item += blockDim.x) {
        const int row = item % S::kSecondRows, c = item / S::kSecondRows % Tile::kChannels;
        const int p = item / (S::kSecondRows * Tile::kChannels) * S::kStride;
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
