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
    y[blockIdx.x * 64 + threadIdx.x] = tile[threadIdx.x];
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

// Each thread reads what another one has written, in the other half of the block.
template <int kSync, unsigned kMask>
__global__ void pass_on(int* y) {
    __shared__ float tile[64];
    tile[threadIdx.x] = threadIdx.x;
    if constexpr (kSync == 1) __shfl_sync(kMask, 0, 0);
    if constexpr (kSync == 2) __syncwarp(kMask);
    if (kSync == 4 && threadIdx.x < 16) __syncwarp(kMask);
    if constexpr (kSync == 3) __syncthreads();
    y[threadIdx.x] = tile[threadIdx.x ^ blockDim.x / 2];
}

// All threads read a number, which then another one changes.
template <bool kHasBarrier>
__global__ void read_then_write(int* y) {
    __shared__ int number;
    if (threadIdx.x == 0) number = 5;
    __syncthreads();
    y[threadIdx.x] = number;
    if constexpr (kHasBarrier) __syncwarp();
    if (threadIdx.x == 7) number = 6;
}

// Half words next to each other belong to different threads.
__global__ void halves(half* y) {
    __shared__ half tile[64];
    tile[threadIdx.x] = float(threadIdx.x);
    y[threadIdx.x] = tile[threadIdx.x];
}

__global__ void count(float* total) { atomicAdd(total, 1.0f); }
__global__ void count_and_look(float* total, float* y) {
    atomicAdd(total, 1.0f);
    y[blockIdx.x * blockDim.x + threadIdx.x] = *total;
}

// Writes a number of the tensor, and after a barrier reads that of another thread.
__global__ void through_global(int* x, int* y, int distance) {
    const int i = blockIdx.x * blockDim.x + threadIdx.x;
    x[i] = i;
    __syncthreads();
    y[i] = x[(i + distance) % (gridDim.x * blockDim.x)];
}

// Two arrays, of which the first is written from `first` on.
__global__ void overrun(int* y, int first) {
    __shared__ int before[32], after[32];
    after[threadIdx.x] = 0;
    int* const target = before;
    target[first + static_cast<int>(threadIdx.x)] = 1;
    __syncthreads();
    y[threadIdx.x] = after[threadIdx.x];
}

__global__ void known_size(int* y, int index) {
    struct Two { int first[4], second[4]; };
    __shared__ Two two;
    two.first[index] = two.second[threadIdx.x] = 3;
    y[threadIdx.x] = two.second[threadIdx.x];
}

__global__ void vector_load(const float* x, float* y, int offset) {
    const float4 four = *reinterpret_cast<const float4*>(x + offset);
    *y = four.x + four.w;
}

__global__ void never_written(int* y) {
    __shared__ int tile[32];
    if (threadIdx.x > 0) tile[threadIdx.x] = 1;
    y[threadIdx.x] = tile[threadIdx.x];
}

// The sum of groups of 8 lanes, and the value of lane 1 of the group.
__global__ void groups(const double* x, double* y) {
    double sum = x[threadIdx.x];
    for (int step = 4; step > 0; step /= 2) sum += __shfl_down_sync(~0u, sum, step, 8);
    y[threadIdx.x] = 100 * __shfl_sync(~0u, sum, 0, 8) + __shfl_sync(~0u, x[threadIdx.x], 1, 8);
}

// Does what a program says: [blocks, steps, threads] of 8 * where + operation.
__global__ void interpret(const int* program, unsigned char* x, int steps) {
    __shared__ unsigned char shared[8];
    if (threadIdx.x < 8) shared[threadIdx.x] = 0;
    __syncthreads();
    const unsigned masks[] = {0xffffffff, 0x0000ffff, 0xffff0000};
    for (int i = 0; i < steps; i++) {
        const int code = program[(blockIdx.x * steps + i) * blockDim.x + threadIdx.x];
        const int at = code / 8, operation = code % 8;
        if (operation == 1) static_cast<volatile unsigned char*>(shared)[at];
        if (operation == 2) shared[at] = i;
        if (operation == 3) static_cast<volatile unsigned char*>(x)[at];
        if (operation == 4) x[at] = i;
        if (operation == 5) atomicAdd(x + at, static_cast<unsigned char>(i));
        if (operation == 6) __syncthreads();
        if (operation == 7) __syncwarp(masks[at]);
    }
}

__global__ void too_large(float* y) {
    __shared__ float first[6000], second[7000];
    first[0] = second[0] = y[0];
}
