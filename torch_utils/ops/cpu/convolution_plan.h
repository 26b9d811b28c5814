// How convolutions become sums of shifted planes.
//
// Three spaces: the *source* (an image), the *grid* (samples that are computed at once), and the
// *target* (the image that is written). A source is packed into planes as wide as the grid, with
// its padding in place. If the convolution is strided, each channel becomes stride x stride planes
// of every stride-th sample. Sample `p` of the grid, counted row by row, is then
//     sum over channels and taps of k[tap.k] * plane[tap.plane + p],
// for all `p` in a row without a look at the borders. The last samples of a row of the grid mean
// nothing (their taps reach into the next row); they are not written.
//
// Grids are computed in strips of rows, so that packed planes stay in the cache.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "convolution.h"

constexpr int64_t kMaxTaps = 9;
constexpr int64_t kStripBytes = 256 * 1024;  // of packed planes: part of a second-level cache
constexpr int64_t kSlack = 64;               // samples that kernels may read behind the planes

struct Tap {
    int64_t plane;  // offset in the packed planes of a channel, in samples
    int64_t k;      // offset in the kernel of a pair of channels, in elements
    int64_t index;  // number of the tap, row by row
};

// Samples of the grid that are written to every `step`-th sample of the target from `first` on.
struct Pass {
    int num_taps = 0;
    Tap taps[kMaxTaps];
    int64_t first_y, first_x;
};

struct Plan {
    // Source: packed sample (r, q) of phase (a, b) is source (first + step * r + a, ... q + b).
    int64_t channels, source_h, source_w, first_y, first_x, step;
    // Grid: rows and samples of a row that are computed, and taps beyond them.
    int64_t rows, row_samples, more_rows, width;
    // Target.
    int64_t target_channels, target_h, target_w, target_step;
    std::vector<Pass> passes;

    int64_t strip_rows;   // rows of the grid that are computed at once
    int64_t phase_size;   // samples of a packed plane of the largest strip
    int64_t plane_size;   // samples of all phases of a channel

    int64_t strips() const { return (rows + strip_rows - 1) / strip_rows; }
    int64_t strip_end(int64_t first) const { return std::min(rows, first + strip_rows); }
};

// Chooses strips such that packed planes of `channels` channels stay in the cache.
inline void choose_strips(Plan& plan, int64_t bytes_per_row, int64_t min_strips) {
    const int64_t most = std::max<int64_t>(kStripBytes / bytes_per_row - plan.more_rows, 4);
    const int64_t strips = std::max((plan.rows + most - 1) / most, min_strips);
    plan.strip_rows = std::max<int64_t>((plan.rows + strips - 1) / strips, 1);
    // Lines of the cache, an odd number of them: planes should not compete for the same places.
    const int64_t samples = (plan.strip_rows + plan.more_rows) * plan.width;
    plan.phase_size = ((samples + 15) / 16 | 1) * 16;
    plan.plane_size = plan.phase_size * plan.step * plan.step;
}

// `y` from `x`.
inline Plan plan_output(const ConvolutionArgs& a) {
    Plan plan;
    plan.channels = a.c, plan.source_h = a.h, plan.source_w = a.w;
    plan.first_y = -a.pad_y, plan.first_x = -a.pad_x, plan.step = a.stride;
    plan.rows = a.out_h, plan.row_samples = a.out_w;
    plan.more_rows = (a.kh - 1) / a.stride, plan.width = a.out_w + (a.kw - 1) / a.stride;
    plan.target_channels = a.o, plan.target_h = a.out_h, plan.target_w = a.out_w;
    plan.target_step = 1;
    return plan;
}

inline void add_output_pass(Plan& plan, const ConvolutionArgs& a) {
    Pass pass;
    pass.first_y = pass.first_x = 0;
    for (int64_t i = 0; i < a.kh; i++)
        for (int64_t j = 0; j < a.kw; j++) {
            const int64_t phase = i % a.stride * a.stride + j % a.stride;
            Tap& tap = pass.taps[pass.num_taps++];
            tap.plane = phase * plan.phase_size + i / a.stride * plan.width + j / a.stride;
            tap.k = i * a.k_strides[2] + j * a.k_strides[3];
            tap.index = i * a.kw + j;
        }
    plan.passes.push_back(pass);
}

// `x` from `y`: x[h] sums the taps i of y[(h + pad - i) / stride] that divide. With
// h + pad = stride * u + a and i = stride * m + a, sample u of the grid reads y[u - m].
inline Plan plan_input(const ConvolutionArgs& a) {
    Plan plan;
    const int64_t most_y = (a.kh - 1) / a.stride, most_x = (a.kw - 1) / a.stride;
    plan.channels = a.o, plan.source_h = a.out_h, plan.source_w = a.out_w;
    plan.first_y = a.pad_y / a.stride - most_y, plan.first_x = a.pad_x / a.stride - most_x;
    plan.step = 1;
    plan.rows = (a.h - 1 + a.pad_y) / a.stride + 1 - a.pad_y / a.stride;
    plan.row_samples = (a.w - 1 + a.pad_x) / a.stride + 1 - a.pad_x / a.stride;
    plan.more_rows = most_y, plan.width = plan.row_samples + most_x;
    plan.target_channels = a.c, plan.target_h = a.h, plan.target_w = a.w;
    plan.target_step = a.stride;
    return plan;
}

inline void add_input_passes(Plan& plan, const ConvolutionArgs& a) {
    for (int64_t phase_y = 0; phase_y < a.stride; phase_y++)
        for (int64_t phase_x = 0; phase_x < a.stride; phase_x++) {
            Pass pass;
            pass.first_y = a.pad_y / a.stride * a.stride + phase_y - a.pad_y;
            pass.first_x = a.pad_x / a.stride * a.stride + phase_x - a.pad_x;
            for (int64_t i = phase_y; i < a.kh; i += a.stride)
                for (int64_t j = phase_x; j < a.kw; j += a.stride) {
                    const int64_t row = plan.more_rows - i / a.stride;
                    const int64_t column = plan.width - plan.row_samples - j / a.stride;
                    Tap& tap = pass.taps[pass.num_taps++];
                    tap.plane = row * plan.width + column;
                    tap.k = i * a.k_strides[2] + j * a.k_strides[3];
                    tap.index = i * a.kw + j;
                }
            plan.passes.push_back(pass);
        }
}
