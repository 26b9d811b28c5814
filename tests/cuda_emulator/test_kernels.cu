// Kernels for the tests of the emulator: right ones, and ones with the errors that it must find.
#include "half.cuh"

// Reverses 64 numbers per block.
template <class T, bool kHasBarrier>
__global__ void reverse(const T* x, T* y, int count) {
    extern __shared__ __align__(16) unsigned char shared[];
    T* tile = reinterpret_cast<T*>(shared);
    const int i = blockIdx.x * blockDim.x + threadIdx.x;
    tile[threadIdx.x] = x[i];
    if constexpr (kHasBarrier) __syncthreads();
    y[i] = tile[blockDim.x - 1 - threadIdx.x];
}

__global__ void static_shared(float* y) {
    __shared__ float tile[64];
    if (threadIdx.x < 32) tile[threadIdx.x] = threadIdx.x;
    __syncthreads();
    y[threadIdx.x] = tile[threadIdx.x];
}

__global__ void divergent(int* y) {
    if (threadIdx.x % 2) {
        __syncthreads();
    } else {
        y[threadIdx.x] = 1;
        __syncthreads();
    }
}

__global__ void leaves_early(int* y) {
    if (threadIdx.x == 3) return;
    __syncthreads();
    y[threadIdx.x] = 1;
}

__global__ void warp_sum(const float* x, float* y, unsigned* bits) {
    float sum = x[threadIdx.x];
    for (int step = 16; step > 0; step /= 2) sum += __shfl_xor_sync(0xffffffff, sum, step);
    y[threadIdx.x] = sum;
    bits[threadIdx.x] = __ballot_sync(0xffffffff, x[threadIdx.x] > 0);
}

__global__ void neighbours(const float* x, float* y) {
    const float left = __shfl_up_sync(0xffffffff, x[threadIdx.x], 1);
    const float right = __shfl_down_sync(0xffffffff, x[threadIdx.x], 2);
    y[threadIdx.x] = 100 * left + right;
}

__global__ void write_at(float* y, int index) { y[index] = 1; }

__global__ void shared_beyond_end(float* y) {
    extern __shared__ float tile[];
    tile[blockDim.x] = 1;
    y[0] = tile[blockDim.x];
}
