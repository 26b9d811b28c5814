// Lets g++ compile our .cu files as C++ and runs them on the CPU, one block after another.
//
// The threads of a block are fibers that run until their next barrier, in an order that a seed
// shuffles anew at every barrier. Shared memory holds NaNs when a block begins. Reported as errors:
//   - races: see `shadow.h`
//   - accesses beyond the end of an array in shared memory or of one with a known size, and to
//     guard pages, which tests place around tensors
//   - addresses that are not a multiple of what the type needs, as vectors do
//   - threads that wait at different barriers or leave while others wait
//   - arguments that do not fit the kernel
// Not modelled: inline PTX, and the order of memory operations that fences or atomic operations
// bring about.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <type_traits>
#include <utility>

#include "runtime.h"

#define CUDA_EMULATOR 1
#define __CUDA_ARCH__ 800
#define __global__
#define __device__
#define __host__
#define __constant__ static
#define __forceinline__ inline __attribute__((always_inline))
#define __noinline__ __attribute__((noinline))
#define __launch_bounds__(...)
#define __align__(n) __attribute__((aligned(n)))
#define __grid_constant__
#define NOT_WATCHED __attribute__((no_sanitize("thread", "alignment", "bounds")))

#include "cuda_emulator_types.h"

#define threadIdx (const_cast<const dim3&>(emulator::indices.thread))
#define blockIdx (const_cast<const dim3&>(emulator::indices.block))
#define blockDim (const_cast<const dim3&>(emulator::indices.block_size))
#define gridDim (const_cast<const dim3&>(emulator::indices.grid))
constexpr int warpSize = emulator::kWarp;

#define HERE {__builtin_FILE(), __builtin_LINE()}
inline void __syncthreads(emulator::Place here = HERE) { emulator::block_barrier(here); }
inline void __syncwarp(unsigned mask = ~0u, emulator::Place here = HERE) {
    emulator::warp_barrier(mask, here);
}
inline unsigned __ballot_sync(unsigned mask, bool predicate, emulator::Place here = HERE) {
    return emulator::ballot(mask, predicate, here);
}
inline bool __any_sync(unsigned mask, bool predicate, emulator::Place here = HERE) {
    return emulator::ballot(mask, predicate, here) != 0;
}
inline bool __all_sync(unsigned mask, bool predicate, emulator::Place here = HERE) {
    return emulator::ballot(mask, !predicate, here) == 0;
}

namespace emulator {

// Whether a T whose bits are all ones is NaN; structures are assumed to hold floats.
template <class T>
constexpr bool has_nan = !std::is_integral_v<std::remove_all_extents_t<T>>;

// The value that `lane` of the warp shows.
template <class T>
NOT_WATCHED T shuffle(unsigned mask, T value, int lane, Place here) {
    static_assert(sizeof(T) <= 8);
    uint64_t bits = 0;
    std::memcpy(&bits, &value, sizeof(T));
    bits = exchange(mask, bits, lane, here);
    std::memcpy(&value, &bits, sizeof(T));
    return value;
}

// `target` if it lies in the group of this lane, else this lane.
inline int lane_in_group(int target, int width) {
    return target >= 0 && target / width == lane() / width ? target : lane();
}

}  // namespace emulator

template <class T>
T __shfl_sync(unsigned mask, T value, int source, int width = 32, emulator::Place here = HERE) {
    const int first = emulator::lane() / width * width;
    return emulator::shuffle(mask, value, first + (source & (width - 1)), here);
}
template <class T>
T __shfl_xor_sync(unsigned mask, T value, int bits, int width = 32, emulator::Place here = HERE) {
    const int lane = emulator::lane(), target = lane ^ bits;  // may be in a group before
    return emulator::shuffle(mask, value, target / width > lane / width ? lane : target, here);
}
template <class T>
T __shfl_up_sync(unsigned mask, T value, unsigned delta, int width = 32,
                 emulator::Place here = HERE) {
    const int target = emulator::lane() - static_cast<int>(delta);
    return emulator::shuffle(mask, value, emulator::lane_in_group(target, width), here);
}
template <class T>
T __shfl_down_sync(unsigned mask, T value, unsigned delta, int width = 32,
                   emulator::Place here = HERE) {
    const int target = emulator::lane() + static_cast<int>(delta);
    return emulator::shuffle(mask, value, emulator::lane_in_group(target, width), here);
}
#undef HERE

namespace emulator {

// Calls a kernel with arguments given by their addresses, as cuLaunchKernel() does.
template <auto kernel, class... A, size_t... I>
NOT_WATCHED void call(void** args, void (*)(A...), std::index_sequence<I...>) {
    kernel(*static_cast<A*>(args[I])...);
}
template <auto kernel>
void call(void** args) {
    auto unpack = []<class... A>(void (*pointer)(A...), void** args) {
        call<kernel>(args, pointer, std::make_index_sequence<sizeof...(A)>());
    };
    unpack(kernel, args);
}

// Bytes of the arguments of a kernel; their number.
template <class... A>
int argument_sizes(void (*)(A...), int* sizes) {
    const int all[] = {static_cast<int>(sizeof(A))..., 0};
    std::copy_n(all, sizeof...(A), sizes);
    return sizeof...(A);
}

}  // namespace emulator
