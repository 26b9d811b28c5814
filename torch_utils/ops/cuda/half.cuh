// The types of half precision, in memory only; arithmetic is in float. CUDA's own headers define
// more operations, take longer to compile than a kernel, and may not be installed.
#pragma once

struct __half {
    unsigned short bits;

    __half() = default;
    __device__ explicit __half(float value) {
        asm("cvt.rn.f16.f32 %0, %1;" : "=h"(bits) : "f"(value));
    }
    __device__ explicit operator float() const {
        float value;
        asm("cvt.f32.f16 %0, %1;" : "=f"(value) : "h"(bits));
        return value;
    }
};
using half = __half;

struct __nv_bfloat16 {
    unsigned short bits;  // the upper half of a float

    __nv_bfloat16() = default;
    __device__ explicit __nv_bfloat16(float value) {
#if __CUDA_ARCH__ >= 800
        asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(bits) : "f"(value));
#else
        const unsigned all = __float_as_uint(value);
        const unsigned rounded = all + 0x7fffu + (all >> 16 & 1u);  // to nearest, ties to even
        bits = value == value ? rounded >> 16 : 0x7fffu;
#endif
    }
    __device__ explicit operator float() const {
        float value;
#if __CUDA_ARCH__ >= 900
        asm("cvt.f32.bf16 %0, %1;" : "=f"(value) : "h"(bits));
#else
        asm("mov.b32 %0, {0, %1};" : "=f"(value) : "h"(bits));
#endif
        return value;
    }
};
