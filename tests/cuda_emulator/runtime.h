// What kernels call in the emulator: barriers, exchange between lanes, shared memory, indices.
//
// Kernels are compiled with g++'s instrumentation of memory accesses, this runtime without.
#pragma once

#include <cstddef>
#include <cstdint>

struct dim3 {
    unsigned x = 1, y = 1, z = 1;
};

namespace emulator {

constexpr int kWarp = 32;
constexpr int kMaxThreads = 1024;
constexpr size_t kMaxStaticBytes = 48 << 10;
constexpr size_t kMaxSharedBytes = 64 << 10;  // what sm_75 has

// Those of the thread that runs: threads take turns.
struct Indices {
    dim3 thread, block, block_size, grid;
};
extern Indices indices;

// A variable in shared memory. It is placed anew for each block, full of NaNs.
struct SharedArray {
    const char* name;
    size_t bytes, alignment;
    bool has_nan;  // if not, reads of what was never written are errors
    char* address = nullptr;
    size_t limit = 0;       // bytes that may be accessed
    size_t used_bytes = 0;  // up to the last that was accessed in this launch
    uint32_t launch = 0, block = 0;  // the first epochs of the launch and block that it is placed for
};
void* place(SharedArray& array);
void* dynamic_shared();
const SharedArray* shared_array(size_t index);  // of the last launch; null beyond the last

struct Place {
    const char* file;
    int line;
};
void block_barrier(Place place);
void warp_barrier(uint32_t mask, Place place);

// Shows `bits` to the lanes in `mask` and returns what `lane` shows. Orders no memory accesses, as
// CUDA's functions do not.
uint64_t exchange(uint32_t mask, uint64_t bits, int lane, Place place);
uint32_t ballot(uint32_t mask, bool predicate, Place place);
int lane();

// To be called before an atomic operation on these bytes.
void atomic_access(const void* address, size_t bytes);

// What a test breaks on purpose.
struct Mutation {
    const char* barrier_file;  // name of a file without folders, or null
    int barrier_line;          // the barrier there does not wait
    const char* array;         // name of an array in shared memory, or null
    int missing_bytes;         // the array is so much shorter than declared
    int shift_bytes;           // the array is so far from where it should be
};

// Runs a grid; `seed` 0 runs the threads in their order. Null, or what went wrong.
const char* launch(void (*kernel)(void**), void** args, dim3 grid, dim3 block, size_t shared_bytes,
                   uint32_t seed, const Mutation& mutation);

}  // namespace emulator
