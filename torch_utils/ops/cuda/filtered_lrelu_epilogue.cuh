// The end of step 3 of `filtered_lrelu.cu`: outputs become gradients of input, bias and scale.
#pragma once

#include "filtered_lrelu_tile.cuh"

// If the mask is read, the outputs v are the gradient of x * scale + b. Then the gradient of x is
// v * scale; those of bias and scale are the sums of v and v * x, which each block writes for its
// tile. The launcher adds up the tiles, so that the order of all sums is fixed. Otherwise nothing.
template <Mode kMode, class T, class Tile>
struct Epilogue {
    __device__ Epilogue(const Call<T>&, const Block<T, Tile>&) {}
    template <int kCount>
    __device__ void apply(const Call<T>&, const T*, int64, int, float (&)[kCount]) {}
    __device__ void finish(const Call<T>&, const Block<T, Tile>&, float*) {}
};

template <class T, class Tile>
struct Epilogue<kReadMask, T, Tile> {
    float scale = 1, sum = 0, product = 0;

    // The channel of a thread does not change.
    __device__ Epilogue(const Call<T>& call, const Block<T, Tile>& block) {
        const int c = block.c + threadIdx.x % Tile::kChannels;
        if (call.scale && c < call.num_channels) scale = call.scale[block.n * call.num_channels + c];
    }

    // The first `count` outputs at `out`, `stride` apart.
    template <int kCount>
    __device__ __forceinline__ void apply(const Call<T>& call, const T* out, int64 stride,
                                          int count, float (&v)[kCount]) {
#pragma unroll
        for (int o = 0; o < kCount; o++) sum += o < count ? v[o] : 0.0f;
        if (call.saved) {
            const T* saved = call.saved + (out - call.y);
#pragma unroll
            for (int o = 0; o < kCount; o++, saved += stride)
                product += o < count ? v[o] * static_cast<float>(*saved) : 0.0f;
        }
#pragma unroll
        for (int o = 0; o < kCount; o++) v[o] *= scale;
    }

    // Add up the sums of all threads. All of them come here; `shared` is what step 3 has read.
    __device__ void finish(const Call<T>& call, const Block<T, Tile>& block, float* shared) {
        if (!call.sums && !call.products) return;
        const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
#pragma unroll
        for (int bits = 16; bits >= Tile::kChannels; bits /= 2) {
            sum += __shfl_xor_sync(~0u, sum, bits);
            product += __shfl_xor_sync(~0u, product, bits);
        }
        __syncthreads();
        float* of_warp = shared + 2 * Tile::kChannels * warp;
        if (lane < Tile::kChannels) {
            of_warp[2 * lane] = sum;
            of_warp[2 * lane + 1] = product;
        }
        __syncthreads();
        const int c = threadIdx.x;
        if (c >= Tile::kChannels || block.c + c >= call.num_channels) return;
        sum = product = 0;
#pragma unroll 1
        for (int w = 0; w < blockDim.x / 32; w++) {
            sum += shared[2 * (Tile::kChannels * w + c)];
            product += shared[2 * (Tile::kChannels * w + c) + 1];
        }
        const int64 plane = block.n * int64{call.num_channels} + block.c + c;
        const int64 tile = (plane * gridDim.y + blockIdx.y) * gridDim.z + blockIdx.z;
        if (call.sums) call.sums[tile] = sum;
        if (call.products) call.products[tile] = product;
    }
};
