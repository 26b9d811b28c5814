// `filtered_lrelu` for any factors, filters, paddings and types, in two plain passes.
//
// Coordinates and mask are those of `filtered_lrelu.cu`. `upsample` writes all samples t, in the
// type of the arithmetic, `downsample` reads them. A thread of `upsample` computes the 16 samples
// of a word of the mask, one of `downsample` computes an output.
#include "filtered_lrelu_mode.cuh"
#include "half.cuh"

// Number of this thread in the grid, and number of threads.
__device__ int64 thread_index() { return blockIdx.x * int64{blockDim.x} + threadIdx.x; }
__device__ int64 num_threads() { return gridDim.x * int64{blockDim.x}; }

// A tap in the order of a correlation; `f` is [height, width], or [width] along both axes.
template <class A>
__device__ A tap(const A* f, bool is_2d, int width, int height, int flip, int y, int x) {
    y = flip ? y : height - 1 - y;
    x = flip ? x : width - 1 - x;
    return is_2d ? f[y * width + x] : f[y] * f[x];
}

template <class T, class A, Mode kMode>
__global__ void upsample(
    const T* x,      // [N, C, in_h, in_w], any strides
    A* samples,      // [N, C, tmp_h, tmp_w]
    uint32* mask,    // [N, C, ceil(tmp_w / 16), tmp_h]
    const A* scale,  // [N, C] or null
    const A* b,      // [C] or null
    const A* fu, int is_2d, int fu_w, int fu_h, int flip_filter, A gain, A slope, A clamp,
    int up, int num_channels, int in_h, int in_w, int tmp_h, int tmp_w, int64 x_n, int64 x_c,
    int64 x_h, int64 x_w, int pad_x, int pad_y, int64 num_planes) {
    const int num_words = (tmp_w + 15) / 16;
    const int64 count = num_planes * num_words * tmp_h;
    for (int64 index = thread_index(); index < count; index += num_threads()) {
        const int t_y = static_cast<int>(index % tmp_h);
        const int word = static_cast<int>(index / tmp_h % num_words);
        const int64 plane = index / tmp_h / num_words;
        const T* image = x + plane / num_channels * x_n + plane % num_channels * x_c;
        const A factor = scale ? scale[plane] : A{1};
        const A bias = b ? b[plane % num_channels] : A{0};
        A* row = samples + (plane * tmp_h + t_y) * tmp_w;
        uint32 bits = kMode == kReadMask ? mask[index] : 0;
        for (int j = 0; j < 16 && word * 16 + j < tmp_w; j++) {
            const int q_x = word * 16 + j - pad_x, q_y = t_y - pad_y;  // in the stuffed image
            A v = 0;
            for (int k_y = ((-q_y) % up + up) % up; k_y < fu_h; k_y += up) {
                const int i_y = (q_y + k_y) / up;
                if (q_y + k_y < 0 || i_y >= in_h) continue;
                for (int k_x = ((-q_x) % up + up) % up; k_x < fu_w; k_x += up) {
                    const int i_x = (q_x + k_x) / up;
                    if (q_x + k_x < 0 || i_x >= in_w) continue;
                    const A in = static_cast<A>(image[i_y * x_h + i_x * x_w]) * factor + bias;
                    v += in * tap(fu, is_2d, fu_w, fu_h, flip_filter, k_y, k_x);
                }
            }
            v *= gain;
            const uint32 negative = 1u << (2 * j), clamped = 2u << (2 * j);
            if constexpr (kMode == kReadMask) {
                v = bits & negative ? v * slope : v;
                v = bits & clamped ? A{0} : v;
            } else {
                if (!(v > 0)) bits |= negative;
                v = v > 0 ? v : v * slope;
                if (v > clamp || v < -clamp) bits |= clamped;
                v = v > clamp ? clamp : v < -clamp ? -clamp : v;
            }
            row[word * 16 + j] = v;
        }
        if constexpr (kMode == kWriteMask) mask[index] = bits;
    }
}

template <class T, class A>
__global__ void downsample(
    const A* samples,  // [N, C, tmp_h, tmp_w]
    T* y,              // [N, C, out_h, out_w], any strides
    const A* fd, int is_2d, int fd_w, int fd_h, int flip_filter, int down, int num_channels,
    int tmp_h, int tmp_w, int out_h, int out_w, int64 y_n, int64 y_c, int64 y_h, int64 y_w,
    int mid_x, int mid_y, int64 num_planes) {
    const int64 count = num_planes * out_h * out_w;
    for (int64 index = thread_index(); index < count; index += num_threads()) {
        const int o_x = static_cast<int>(index % out_w);
        const int o_y = static_cast<int>(index / out_w % out_h);
        const int64 plane = index / out_w / out_h;
        const A* image = samples + plane * tmp_h * tmp_w;
        A sum = 0;
        for (int k_y = 0; k_y < fd_h; k_y++) {
            const int t_y = o_y * down + k_y - mid_y;
            if (t_y < 0 || t_y >= tmp_h) continue;
            for (int k_x = 0; k_x < fd_w; k_x++) {
                const int t_x = o_x * down + k_x - mid_x;
                if (t_x < 0 || t_x >= tmp_w) continue;
                sum += image[int64{t_y} * tmp_w + t_x] *
                       tap(fd, is_2d, fd_w, fd_h, flip_filter, k_y, k_x);
            }
        }
        y[plane / num_channels * y_n + plane % num_channels * y_c + o_y * y_h + o_x * y_w] =
            static_cast<T>(sum);
    }
}
