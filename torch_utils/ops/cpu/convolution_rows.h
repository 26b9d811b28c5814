// Rows of images on their way into packed planes and out of them, see convolution_plan.h.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <memory>

#include "convolution_plan.h"
#include "vec.h"

// Memory that stays with a thread: to ask the system for new pages takes as long as small
// convolutions do.
class Scratch {
  public:
    template <class T>
    T* get(int64_t count) {
        const size_t bytes = (count * sizeof(T) + 4095) / 4096 * 4096;
        if (bytes > size_) {
            memory_.reset();
            memory_.reset(std::aligned_alloc(4096, bytes));
            size_ = memory_ ? bytes : 0;
            if (!memory_) std::abort();
        }
        return static_cast<T*>(memory_.get());
    }

  private:
    struct Free {
        void operator()(void* p) const { std::free(p); }
    };
    std::unique_ptr<void, Free> memory_;
    size_t size_ = 0;
};

// One row of a packed plane: every `step`-th sample of a row of the source from `first` on.
template <class T>
INLINE void pack_row(T* out, int64_t count, const T* row, int64_t size, int64_t first,
                     int64_t step) {
    const int64_t begin = first >= 0 ? 0 : std::min((-first + step - 1) / step, count);
    const int64_t end =
        std::max(begin, std::min(count, first >= size ? 0 : (size - 1 - first) / step + 1));
    for (int64_t q = 0; q < begin; q++) out[q] = T{};
    if (step == 1) {
        if (begin < end) std::memcpy(out + begin, row + first + begin, (end - begin) * sizeof(T));
    } else if (step == 2) {
        for (int64_t q = begin; q < end; q++) out[q] = row[first + 2 * q];  // in vectors
    } else {
        for (int64_t q = begin; q < end; q++) out[q] = row[first + step * q];
    }
    for (int64_t q = end; q < count; q++) out[q] = T{};
}

// Packs a channel: all phases, the rows of a strip.
template <class T>
void pack_channel(const Plan& plan, const T* image, int64_t first_row, int64_t end_row, T* out) {
    for (int64_t phase = 0; phase < plan.step * plan.step; phase++) {
        T* row_out = out + phase * plan.phase_size;
        for (int64_t r = first_row; r < end_row + plan.more_rows; r++, row_out += plan.width) {
            const int64_t y = plan.first_y + plan.step * r + phase / plan.step;
            const int64_t x = plan.first_x + phase % plan.step;
            const bool is_inside = y >= 0 && y < plan.source_h;
            pack_row(row_out, plan.width, image + (is_inside ? y * plan.source_w : 0),
                     is_inside ? plan.source_w : 0, x, plan.step);
        }
        std::fill(row_out, out + (phase + 1) * plan.phase_size, T{});
    }
}

INLINE void copy_row(float* out, int64_t step, const float* row, int64_t count) {
    if (step == 1)
        for (int64_t q = 0; q < count; q++) out[q] = row[q];
    else if (step == 2)
        for (int64_t q = 0; q < count; q++) out[2 * q] = row[q];
    else
        for (int64_t q = 0; q < count; q++) out[step * q] = row[q];
}
INLINE void copy_row(bfloat16* out, int64_t step, const float* row, int64_t count) {
    int64_t q = 0;
    if (step == 1)
        for (; q + kLanes<float> <= count; q += kLanes<float>) 
            store<float>(out + q, load<float>(row + q));
    for (; q < count; q++) out[step * q] = narrow<bfloat16>(row[q]);
}

// Writes what a pass has computed of one channel of the target.
template <class S>
void write_rows(const Plan& plan, const Pass& pass, const float* grid, int64_t first_row,
                int64_t end_row, S* image) {
    const int64_t step = plan.target_step, x0 = pass.first_x;
    const int64_t begin = x0 >= 0 ? 0 : (-x0 + step - 1) / step;
    const int64_t end = std::min(plan.row_samples, (plan.target_w - x0 + step - 1) / step);
    for (int64_t r = first_row; r < end_row; r++, grid += plan.width) {
        const int64_t y = pass.first_y + step * r;
        if (y < 0 || y >= plan.target_h || begin >= end) continue;
        S* row = image + y * plan.target_w + x0 + step * begin;
        copy_row(row, step, grid + begin, end - begin);
    }
}
