// Limits of absolute values: `v` in [-limit, limit]; NaN stays NaN.
#pragma once

__device__ __forceinline__ float clamped(float v, float limit) {
#if __CUDA_ARCH__ >= 800 && !defined(CUDA_EMULATOR)
    asm("min.NaN.f32 %0, %0, %1;" : "+f"(v) : "f"(limit));
    asm("max.NaN.f32 %0, %0, %1;" : "+f"(v) : "f"(-limit));
    return v;
#else
    return fabsf(v) > limit ? copysignf(limit, v) : v;
#endif
}

__device__ __forceinline__ double clamped(double v, double limit) {
    return fabs(v) > limit ? copysign(limit, v) : v;
}
