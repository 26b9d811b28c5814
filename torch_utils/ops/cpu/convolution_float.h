// float32 with AVX-512: multiplies and adds in registers, samples of the grid in the lanes.
#pragma once

#include "convolution_rows.h"
#include "transpose.h"

#if defined(VEC_AVX512)

struct FloatEngine {
    using Sample = float;
    using Word = float;    // a sample, as it is copied
    using Packed = float;  // samples of a plane
    static constexpr int64_t kBlock = 8;  // target channels that are computed at once

    static int64_t planes(int64_t channels) { return channels; }
    static int64_t grid_size(int64_t count) { return (count + 15) / 16 * 16; }
    static int64_t grid_rows(int64_t channels) { return channels; }

    static void pack(const Plan& plan, const float* image, int64_t channels, int64_t first,
                     int64_t end, float* planes) {
        const int64_t size = plan.source_h * plan.source_w;
        for (int64_t c = 0; c < channels; c++)
            pack_channel(plan, image + c * size, first, end, planes + c * plan.plane_size);
        std::fill_n(planes + channels * plan.plane_size, kSlack, 0.0f);
    }

    // Kernels are read where they are.
    class Kernels {
      public:
        Kernels(const Plan& plan, const float* k, int64_t row_stride, int64_t channel_stride)
            : plan(plan), k(k), row_stride(row_stride), channel_stride(channel_stride) {}

        // Computes all target channels: grid [target_channels, grid_size(count)].
        void multiply(const Pass& pass, const float* planes, int64_t count, float* grid) const {
            const int64_t size = grid_size(count), channels = plan.target_channels;
            const int64_t blocks = (channels + kBlock - 1) / kBlock;
            // All blocks in turn read the same samples, while these are in the first-level cache.
            for (int64_t p = 0; p < size; p += 48)
                for (int64_t b = 0; b < blocks; b++) {
                    const int64_t first = b * channels / blocks;
                    const int64_t rows = (b + 1) * channels / blocks - first;
                    const float* row_k = k + first * row_stride;
                    float* out = grid + first * size + p;
                    if (size - p >= 48) choose<3>(rows, pass, row_k, planes + p, out, size);
                    else if (size - p == 32) choose<2>(rows, pass, row_k, planes + p, out, size);
                    else choose<1>(rows, pass, row_k, planes + p, out, size);
                }
        }

      private:
        const Plan& plan;
        const float* k;
        int64_t row_stride, channel_stride;

        template <int V, int R = kBlock>
        void choose(int64_t rows, const Pass& pass, const float* k, const float* planes,
                    float* grid, int64_t stride) const {
            if (rows == R) return block<R, V>(pass, k, planes, grid, stride);
            if constexpr (R > 1) choose<V, R - 1>(rows, pass, k, planes, grid, stride);
        }

        template <int R, int V>
        __attribute__((noinline)) void block(const Pass& pass, const float* k, const float* planes,
                                             float* grid, int64_t stride) const {
            Vec<float> sums[R][V] = {};
            const float* rows[R];
            for (int r = 0; r < R; r++) rows[r] = k + r * row_stride;
            const int64_t channels = plan.channels;
            int64_t at = 0;
            for (int64_t c = 0; c < channels; c++) {
                for (const Tap* tap = pass.taps; tap < pass.taps + pass.num_taps; tap++) {
                    Vec<float> x[V];
                    for (int v = 0; v < V; v++) x[v] = load<float>(planes + tap->plane + 16 * v);
                    const int64_t offset = at + tap->k;
                    for (int r = 0; r < R; r++) {
                        const Vec<float> factor = Vec<float>(_mm512_set1_ps(rows[r][offset]));
                        for (int v = 0; v < V; v++) sums[r][v] += factor * x[v];
                    }
                }
                planes += plan.plane_size;
                at += channel_stride;
            }
            for (int r = 0; r < R; r++)
                for (int v = 0; v < V; v++) store(grid + r * stride + 16 * v, sums[r][v]);
        }
    };

    // Channels become lanes: out [count, lanes], from planes that are `stride` apart.
    static void transpose(const float* planes, int64_t stride, int64_t channels, int64_t count,
                          float* out, int64_t lanes) {
        for (int64_t p = 0; p < count; p += 16)
            for (int64_t c = 0; c < lanes; c += 16)
                transpose16(reinterpret_cast<const uint32_t*>(planes + c * stride + p), stride,
                            int(std::clamp<int64_t>(channels - c, 0, 16)),
                            reinterpret_cast<uint32_t*>(out + p * lanes + c), lanes);
    }

    // sums [channels, 9, lanes] += sum over p of planes[channel, tap + p] * others[p, lane].
    static void add_gradient(const Plan& plan, const float* planes, int64_t channels,
                             const float* others, int64_t lanes, int64_t count, float* sums) {
        for (int64_t c = 0; c < channels; c++, planes += plan.plane_size, sums += 9 * lanes)
            for (int64_t o = 0; o < lanes; o += 32)
                if (lanes - o > 16)
                    add_products<2>(plan.passes[0], planes, others + o, lanes, count, sums + o);
                else
                    add_products<1>(plan.passes[0], planes, others + o, lanes, count, sums + o);
    }

    template <int V>
    static void add_products(const Pass& pass, const float* plane, const float* others,
                             int64_t lanes, int64_t count, float* sums) {
        Vec<float> products[9][V] = {};
        const float* rows[9];
        for (int t = 0; t < 9; t++) rows[t] = plane + pass.taps[t].plane;
        for (int64_t p = 0; p < count; p++, others += lanes) {
            Vec<float> other[V];
            for (int v = 0; v < V; v++) other[v] = load<float>(others + 16 * v);
            for (int t = 0; t < 9; t++) {
                const Vec<float> factor = Vec<float>(_mm512_set1_ps(rows[t][p]));
                for (int v = 0; v < V; v++) products[t][v] += factor * other[v];
            }
        }
        for (int t = 0; t < 9; t++)
            for (int v = 0; v < V; v++) {
                float* sum = sums + t * lanes + 16 * v;
                store(sum, load<float>(sum) + products[t][v]);
            }
    }
};
#endif
