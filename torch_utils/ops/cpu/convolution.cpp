// 3x3 convolutions of images and both gradients, in float32 (AVX-512) and bfloat16 (AMX).
//
// convolution_plan.h has the spaces. An engine packs planes, multiplies, and adds products up; the
// drivers here are the same for all engines. Every element of a result is summed up in an order
// that does not depend on the number of threads.
#include "convolution.h"

#include "convolution_amx.h"
#include "convolution_float.h"
#include "convolution_plan.h"
#include "convolution_rows.h"
#include "parallel.h"
#include "vec.h"

namespace {

#if defined(VEC_AVX512)

enum { kOutput, kInput };  // which image is computed: `y` or `x`

template <class Engine>
void correlate(const ConvolutionArgs& a, int direction) {
    using Sample = typename Engine::Sample;
    using Packed = typename Engine::Packed;
    const bool is_output = direction == kOutput;
    Plan plan = is_output ? plan_output(a) : plan_input(a);
    const int64_t planes = Engine::planes(plan.channels);
    const int64_t row_bytes = planes * plan.step * plan.step * plan.width * sizeof(Packed);
    choose_strips(plan, row_bytes, (a.num_threads + a.n - 1) / a.n);
    is_output ? add_output_pass(plan, a) : add_input_passes(plan, a);
    const auto* source = static_cast<const Sample*>(is_output ? a.x : a.y);
    auto* target = static_cast<Sample*>(is_output ? a.y : a.x);
    const int64_t source_size = plan.channels * plan.source_h * plan.source_w;
    const int64_t target_plane = plan.target_h * plan.target_w;
    const int64_t row_stride = a.k_strides[is_output ? 0 : 1];
    const int64_t channel_stride = a.k_strides[is_output ? 1 : 0];
    const typename Engine::Kernels kernels(plan, static_cast<const Sample*>(a.k), row_stride,
                                           channel_stride);
    const int64_t strips = plan.strips();
    parallel_for(a.n * strips, int(a.num_threads), [&](int64_t task) {
        static thread_local Scratch packed_memory, grid_memory;
        const int64_t n = task / strips, first = task % strips * plan.strip_rows;
        const int64_t end = plan.strip_end(first), count = (end - first) * plan.width;
        auto* packed = packed_memory.get<Packed>(planes * plan.plane_size + kSlack);
        Engine::pack(plan, source + n * source_size, plan.channels, first, end, packed);
        const int64_t stride = Engine::grid_size(count);
        auto* grid = grid_memory.get<float>(Engine::grid_rows(plan.target_channels) * stride);
        for (const Pass& pass : plan.passes) {
            kernels.multiply(pass, packed, count, grid);
            for (int64_t c = 0; c < plan.target_channels; c++)
                write_rows(plan, pass, grid + c * stride, first, end,
                           target + (n * plan.target_channels + c) * target_plane);
        }
    });
}

// Transposes sums [taps, lanes] to [o, taps]; a row of the target has the taps of all channels.
template <class Sample>
void write_kernels(const ConvolutionArgs& a, const float* sums, int64_t taps, int64_t lanes,
                   Sample* target) {
    for (int64_t t = 0; t < taps; t += 16)
        for (int64_t o = 0; o < lanes; o += 16) {
            float block[16][16];
            transpose16(reinterpret_cast<const uint32_t*>(sums + t * lanes + o), lanes,
                        int(std::min<int64_t>(16, taps - t)),
                        reinterpret_cast<uint32_t*>(block[0]), 16);
            for (int64_t row = 0; row < std::min<int64_t>(16, a.o - o); row++)
                copy_row(target + (o + row) * a.c * 9 + t, 1, block[row],
                         std::min<int64_t>(16, taps - t));
        }
}

// `k` from `x` and `y`.
template <class Engine>
void kernel_gradient(const ConvolutionArgs& a) {
    using Sample = typename Engine::Sample;
    using Word = typename Engine::Word;
    Plan plan = plan_output(a);
    const int64_t lanes = (a.o + 15) / 16 * 16;
    const int64_t packed_row = std::max(a.c * a.stride * a.stride, lanes) * plan.width;
    choose_strips(plan, packed_row * sizeof(Word), 1);
    add_output_pass(plan, a);
    Plan other = plan;  // `y`, in the same grid: zeros where samples mean nothing
    other.channels = a.o, other.source_h = a.out_h, other.source_w = a.out_w;
    other.first_y = other.first_x = 0, other.step = 1, other.more_rows = 0;
    other.plane_size = other.phase_size;
    const int64_t blocks = (a.c + 15) / 16;  // 16 channels of x
    const int64_t tasks = std::min(blocks, a.num_threads);
    const int64_t count = (plan.phase_size + 31) / 32 * 32;
    auto* target = static_cast<Sample*>(a.k);
    parallel_for(tasks, int(a.num_threads), [&](int64_t task) {
        static thread_local Scratch packed_memory, row_memory, other_memory, sum_memory;
        const int64_t first_c = task * blocks / tasks * 16;
        const int64_t end_c = std::min((task + 1) * blocks / tasks * 16, a.c);
        const int64_t channels = end_c - first_c, planes = (channels + 15) / 16 * 16;
        auto* packed = packed_memory.get<Word>(planes * plan.plane_size + kSlack);
        auto* rows = row_memory.get<Word>(lanes * other.plane_size + kSlack);
        auto* others = other_memory.get<Word>(count * lanes);
        auto* sums = sum_memory.get<float>(planes * 9 * lanes);
        std::fill_n(sums, planes * 9 * lanes, 0.0f);
        std::fill_n(packed + channels * plan.plane_size,
                    (planes - channels) * plan.plane_size + kSlack, Word{});
        std::fill_n(rows + a.o * other.plane_size, (lanes - a.o) * other.plane_size + kSlack,
                    Word{});
        for (int64_t n = 0; n < a.n; n++)
            for (int64_t first = 0; first < plan.rows; first += plan.strip_rows) {
                const int64_t end = plan.strip_end(first);
                const auto* x = static_cast<const Word*>(a.x) + (n * a.c + first_c) * a.h * a.w;
                const auto* y = static_cast<const Word*>(a.y) + n * a.o * a.out_h * a.out_w;
                for (int64_t c = 0; c < channels; c++)
                    pack_channel(plan, x + c * a.h * a.w, first, end,
                                 packed + c * plan.plane_size);
                for (int64_t c = 0; c < a.o; c++)
                    pack_channel(other, y + c * a.out_h * a.out_w, first, end,
                                 rows + c * other.plane_size);
                const int64_t size = (end - first) * plan.width;
                Engine::transpose(rows, other.plane_size, a.o, size, others, lanes);
                Engine::add_gradient(plan, packed, channels, others, lanes, size, sums);
            }
        write_kernels(a, sums, channels * 9, lanes, target + first_c * 9);
    });
}
#endif

}  // namespace

extern "C" {
// Whether there are kernels for this processor: the first bit for float32, the second for bfloat16.
void convolution_support(int32_t* bits) {
    *bits = 0;
#if defined(VEC_AVX512)
    *bits |= 1;
#endif
#if defined(CONVOLUTION_AMX)
    if (AmxEngine::is_permitted()) *bits |= 2;
#endif
}
#if defined(VEC_AVX512)
void convolution_output_float32(const ConvolutionArgs* a) { correlate<FloatEngine>(*a, kOutput); }
void convolution_input_float32(const ConvolutionArgs* a) { correlate<FloatEngine>(*a, kInput); }
void convolution_kernel_float32(const ConvolutionArgs* a) { kernel_gradient<FloatEngine>(*a); }
#endif
#if defined(CONVOLUTION_AMX)
void convolution_output_bfloat16(const ConvolutionArgs* a) { correlate<AmxEngine>(*a, kOutput); }
void convolution_input_bfloat16(const ConvolutionArgs* a) { correlate<AmxEngine>(*a, kInput); }
void convolution_kernel_bfloat16(const ConvolutionArgs* a) { kernel_gradient<AmxEngine>(*a); }
#endif
}
