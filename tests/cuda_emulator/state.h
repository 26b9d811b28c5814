// What the parts of the runtime know of each other.
#pragma once

#include <cstdint>

#include "runtime.h"

namespace emulator {

// An epoch lies between two barriers of a block, or between a barrier and the beginning or the end
// of a block. Epochs are numbered through all launches, so that a number tells the block and the
// launch, too.
struct Epochs {
    uint32_t now = 0, block = 0, launch = 0;  // this one, and the first of its block and launch
};
inline Epochs epochs;

inline int current = 0;    // the thread that runs
inline int num_threads = 0;  // of a block
inline Mutation mutation = {};

// What each lane knows of its warp: `known[a][b]` is the time until which what lane b did is
// ordered before what a does. The time of a lane is `known[a][a]`; barriers of warps advance it.
inline uint32_t known[kMaxThreads][kWarp];

inline uint32_t time_of(int thread) { return known[thread][thread % kWarp]; }

// Ends the launch with an error. "@" with a hexadecimal number stands for a place in the code.
[[noreturn]] void fail(const char* format, ...) __attribute__((format(printf, 1, 2)));

// Accesses to memory are ignored before and after; `stacks` are those of the threads.
void start_watching(const char* stacks, size_t bytes);
void stop_watching();
void start_block(size_t dynamic_bytes);

// The place of the last access that was watched, for messages.
uint32_t last_place();

}  // namespace emulator
