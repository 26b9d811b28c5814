// Arguments of the kernels in bias_act.cpp.
#pragma once

#include <cstdint>

struct BiasActArgs {
    // Images: [n, c, s], or [n, s, c] if channels come last. For gradients, `x` is the saved tensor
    // (the input, or the output), `dy` the gradient of the output, and `y` receives that of the
    // input.
    const void *x, *dy;
    void* y;
    // In the type of the arithmetic, each may be null: [n, c], [c], [n or 1, s].
    const void *scale, *bias, *noise;
    // Their gradients, likewise, but [n, s] of the noise.
    void *dscale, *dbias, *dnoise;
    int64_t n, c, s;       // samples, channels, pixels
    double floor, slope;   // act(v) is v = max(v, floor), times `slope` where that is not positive
    double gain, clamp;    // a clamp of infinity is none
    int32_t is_channels_last, noise_has_samples, is_output_saved, scales_dx, num_threads;
};
