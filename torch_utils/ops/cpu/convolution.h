// Arguments of the kernels in convolution.cpp.
#pragma once

#include <cstdint>

struct ConvolutionArgs {
    // One of the three is computed from the others: `y` is the correlation of `x` with the kernels
    // `w`, and the others are the gradients of sum(y * dy), where `dy` is given in place of `y`.
    void* x;  // [n, c, h, w]
    void* k;  // [o, c, kh, kw], with any strides when it is read
    void* y;  // [n, o, out_h, out_w]
    int64_t n, c, h, w, o, out_h, out_w, kh, kw;
    int64_t k_strides[4];
    int64_t stride, pad_y, pad_x, num_threads;
};
