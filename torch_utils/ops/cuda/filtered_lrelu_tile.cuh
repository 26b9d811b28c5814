// Parameters of `filtered_lrelu.cu`: filters, tiles and the sizes that follow from them.
#pragma once

#include "filtered_lrelu_mode.cuh"

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
    __device__ static constexpr int first_tap(int j) {
        return first_input(j) * F::kUp - kPhase - j;
    }
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
    static constexpr int kMaxHeight = ((Tile::kRows - F::kFd) / F::kDown + 1) / 8 * 8;
    static constexpr int kSecondRows = F::kDown * (kMaxHeight - 1) + F::kFd;
    static constexpr int kSplitPlane = kSecondRows * kSecondPitch;
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
};

struct Strides {
    int64 n, c, h, w;
};

// Arguments of the kernel; `Arguments` in filtered_lrelu_plan.py is the same.
template <class T>
struct Call {
    const T* x;            // [N, C, in_h, in_w], any strides
    T* y;                  // [N, C, out_h, out_w], any strides
    uint32* mask;          // [N, C, ceil(tmp_w / 16), tmp_h]
    const float* scale;    // [N, C] or null: of the outputs in kReadMask, else of the inputs
    const float* b;        // [C] or null
    const float* fu;       // [kFu] or [kFu, kFu]
    const float* fd;       // [kFd] or [kFd, kFd]
    // For kReadMask. Each block sums up its outputs before they are scaled: [N, C, tiles] or null.
    const T* saved;        // like `y`; null if there are no `products`
    float* sums;           // of the outputs
    float* products;       // of the outputs times `saved`
    Strides x_strides, y_strides;
    float gain, slope, clamp;
    int fu_once, fd_once;  // one tap [1, 1] that counts once, not once per axis
    int flip_filter;       // correlate instead of convolve
    int num_channels, in_h, in_w, tmp_h, tmp_w, out_h, out_w;
    int pad_x, pad_y, mid_x, mid_y;
    int tile_w, tile_h;
};

// The part of the images that a block computes.
template <class T, class Tile>
struct Block {
    const T* x;                        // the first channel of the image
    T* y;                              // likewise
    int n, c;                          // image and first channel
    int o_x, o_y;                      // first output
    int p_x, p_y;                      // first sample p
    int num_outputs_x, num_outputs_y;  // inside of the image
    int cols, rows;                    // of samples p that those need

    __device__ Block(const Call<T>& call, int down, int taps) {
        const int groups = (call.num_channels + Tile::kChannels - 1) / Tile::kChannels;
        n = static_cast<int>(blockIdx.x) / groups;
        // If channels are interleaved, neighbouring blocks read the same cache lines.
        c = (static_cast<int>(blockIdx.x) - n * groups) * Tile::kChannels;
        o_x = static_cast<int>(blockIdx.y) * call.tile_w;
        o_y = static_cast<int>(blockIdx.z) * call.tile_h;
        x = call.x + n * call.x_strides.n + c * call.x_strides.c;
        y = call.y + n * call.y_strides.n + c * call.y_strides.c;
        p_x = o_x * down;
        p_y = o_y * down;
        num_outputs_x = min(call.tile_w, call.out_w - o_x);
        num_outputs_y = min(call.tile_h, call.out_h - o_y);
        cols = (num_outputs_x - 1) * down + taps;
        rows = (num_outputs_y - 1) * down + taps;
    }
    __device__ T* output(const Call<T>& call, int channel, int col, int row) const {
        const Strides& strides = call.y_strides;
        return y + channel * strides.c + (o_y + row) * strides.h + (o_x + col) * strides.w;
    }
};

// The filters in shared memory, in the order of a correlation; filled up with zeros.
template <class F, class S>
struct Taps {
    __align__(16) float fu_x[round_up(F::kFu, 4)];
    __align__(16) float fu_y[round_up(F::kFu, 4)];  // with the gain
    __align__(16) float fd_x[round_up(F::kFd, 4)];
    __align__(16) float fd_y[round_up(F::kFd, 4)];
    __align__(16) float both[larger(4, S::kTaps2d * S::kTapsPitch)];  // the 2D one

    // A block has at least as many threads as a separable filter has taps.
    template <class T>
    __device__ void stage(const Call<T>& call) {
        static_assert(F::kFu <= 32 && F::kFd <= 32);
        const int k = threadIdx.x, flip = call.flip_filter;
        if constexpr (F::kFu2d) {
            copy2d<F::kFu>(call.fu, flip, call.gain);
        } else if (k < F::kFu) {
            fu_x[k] = call.fu[flip ? k : F::kFu - 1 - k];
            fu_y[k] = call.gain * (call.fu_once ? 1.0f : fu_x[k]);
        }
        if constexpr (F::kFd2d) {
            copy2d<F::kFd>(call.fd, flip, 1.0f);
        } else if (k < F::kFd) {
            fd_x[k] = call.fd[flip ? k : F::kFd - 1 - k];
            fd_y[k] = call.fd_once ? 1.0f : fd_x[k];
        }
    }
    template <int kTaps>
    __device__ void copy2d(const float* f, int flip, float gain) {
        for (int k = threadIdx.x; k < S::kTaps2d * S::kTapsPitch; k += blockDim.x) {
            const int y = k / S::kTapsPitch, x = k % S::kTapsPitch, at = y * kTaps + x;
            const bool is_inside = y < kTaps && x < kTaps;
            both[k] = is_inside ? gain * f[flip ? at : kTaps * kTaps - 1 - at] : 0.0f;
        }
    }
};

// Taps in registers.
template <int kTaps>
__device__ __forceinline__ void load_taps(float (&taps)[kTaps], const float* shared) {
    constexpr int kVector = kTaps % 4 == 0 ? 4 : 1;
#pragma unroll
    for (int k = 0; k < kTaps; k += kVector) {
        if constexpr (kVector == 4)
            *reinterpret_cast<float4*>(taps + k) = *reinterpret_cast<const float4*>(shared + k);
        else
            taps[k] = shared[k];
    }
}
