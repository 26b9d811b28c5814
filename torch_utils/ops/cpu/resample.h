// What Python passes for one resampling pass; `resample.py` declares the same structure.
#pragma once

#include <cstdint>

struct ResampleArgs {
    const void* x;      // input, strides below
    void* y;            // output
    uint8_t* mask;      // [n, blocks of channels, tmp_h, tmp_w] Signs, or null
    const void* scale;  // [n, c] in the type of the arithmetic, or null
    const void* bias;   // [c] in the type of the arithmetic, or null
    const void* fu;     // taps in the order of a correlation, gains included: x taps then y taps
    const void* fd;     // if separable, else [fu_h, fu_w] or [fd_h, fd_w]
    int64_t n, c, in_h, in_w, tmp_h, tmp_w, out_h, out_w;
    int64_t x_strides[4], y_strides[4];  // in elements: n, c, h, w
    int32_t up_x, up_y, down_x, down_y;
    int32_t pad_x, pad_y, mid_x, mid_y;  // before the first sample of the input, and of the middle
    int32_t fu_w, fu_h, fd_w, fd_h;
    int32_t fu_is_2d, fd_is_2d;
    int32_t mode;  // Mode in stages.h
    int32_t num_threads;
    double slope, clamp;
};
