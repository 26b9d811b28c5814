// Arguments of one resampling pass; `resample.py` declares the same structure.
#pragma once

#include <cstdint>

struct ResampleArgs {
    const void* x;      // input [n, c, in_h, in_w], strides below
    void* y;            // output [n, c, out_h, out_w], contiguous
    uint8_t* mask;      // [n, c, 2, tmp_h, ceil(tmp_w / 8)] bits: slope, clamp; or null
    // Null or, in the type of the arithmetic, [n, c]: scale of y in kReadMask, otherwise of x.
    const void* scale;
    const void* bias;   // [c] in the type of the arithmetic, or null
    // For kReadMask, or null. Sums are those of rows of y before it is scaled: [n, c, out_h], in
    // the type of the arithmetic, and zero at first.
    const void* saved;  // like y
    void* sums;         // of y
    void* products;     // of y * saved
    // Filters as sums of `rank` separable ones, in the order of a correlation, gains included:
    // [rank][taps] in the type of the arithmetic.
    const void *fu_x, *fu_y, *fd_x, *fd_y;
    int64_t n, c, in_h, in_w, tmp_h, tmp_w, out_h, out_w;
    int64_t x_strides[3];  // in elements: n, c, h; pixels of a row are neighbours
    int32_t up_x, up_y, down_x, down_y;
    int32_t pad_x, pad_y, mid_x, mid_y;  // before the first sample of the input, and of the middle
    int32_t fu_w, fu_h, fu_rank, fd_w, fd_h, fd_rank;
    int32_t mode;  // Mode in rows.h
    int32_t num_threads;
    double slope, clamp;
};
