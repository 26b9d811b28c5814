// Lets g++ compile our .cu files as C++ and runs them on the CPU, one block after another.
//
// The threads of a block are fibers that run until their next barrier, in an order that a seed
// shuffles anew at every barrier: code that lacks one computes something else. Shared memory
// holds NaNs when a block begins. Reported as errors: threads that wait at different barriers or
// leave while others wait, arguments that do not fit the kernel, and accesses to guard pages, one
// of which follows the dynamic shared memory.
// Not modelled: the order of memory operations between blocks, and inline PTX.
#pragma once

#include <algorithm>
#include <cmath>
#include <csetjmp>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <random>
#include <sys/mman.h>
#include <ucontext.h>
#include <unistd.h>
#include <utility>
#include <vector>

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
// Blocks run one after another, so one copy is enough. The section makes it poisonable.
#define __shared__ static __attribute__((section("emulated_shared")))

#include "cuda_emulator_types.h"

namespace emulator {

constexpr int kWarp = 32;
constexpr int kMaxThreads = 1024;
constexpr size_t kStackBytes = 128 << 10;
constexpr size_t kMaxSharedBytes = 64 << 10;  // what sm_75 has

enum class State { kRunnable, kAtBlockBarrier, kAtWarpBarrier, kFinished };

struct Fiber {
    ucontext_t start;
    jmp_buf registers;
    bool is_started;
    State state;
    int line;            // of the barrier it waits at
    uint32_t warp_mask;  // lanes that it waits for
};

struct Launch {
    void (*kernel)(void**);
    void** args;
    std::vector<Fiber> fibers;
    std::vector<uint64_t> exchange;  // what the lanes show each other
    jmp_buf scheduler;
    int current;
    char error[256];
};

inline Launch run;
inline char* dynamic_shared_end = nullptr;
inline char* dynamic_shared_begin = nullptr;
inline sigjmp_buf on_fault;

inline dim3 thread_idx, block_idx, block_dim, grid_dim;

// Back to the scheduler, until it resumes this thread.
__attribute__((noinline)) inline void wait(State state, int line, uint32_t mask = 0) {
    Fiber& fiber = run.fibers[run.current];
    fiber.state = state;
    fiber.line = line;
    fiber.warp_mask = mask;
    if (_setjmp(fiber.registers) == 0) _longjmp(run.scheduler, 1);
}

// One fiber serves the same thread of all blocks.
inline void fiber_main() {
    while (true) {
        run.kernel(run.args);
        wait(State::kFinished, 0);
    }
}

__attribute__((noinline)) inline void resume(int thread) {
    Fiber& fiber = run.fibers[thread];
    run.current = thread;
    thread_idx.x = thread % block_dim.x;
    thread_idx.y = thread / block_dim.x % block_dim.y;
    thread_idx.z = thread / (block_dim.x * block_dim.y);
    if (_setjmp(run.scheduler) != 0) return;
    if (fiber.is_started) _longjmp(fiber.registers, 1);
    fiber.is_started = true;
    setcontext(&fiber.start);
}

// Wakes the warps whose lanes have all arrived; whether there was one.
inline bool release_warps() {
    bool is_any = false;
    const int count = run.fibers.size();
    for (int first = 0; first < count; first += kWarp) {
        for (int i = first; i < std::min(first + kWarp, count); i++) {
            if (run.fibers[i].state != State::kAtWarpBarrier) continue;
            const uint32_t mask = run.fibers[i].warp_mask;
            bool is_complete = true;
            for (int k = first; k < std::min(first + kWarp, count); k++) {
                const Fiber& other = run.fibers[k];
                if (mask >> (k - first) & 1 && other.state != State::kFinished)
                    is_complete &= other.state == State::kAtWarpBarrier &&
                                   other.warp_mask == mask && other.line == run.fibers[i].line;
            }
            if (!is_complete) continue;
            is_any = true;
            for (int k = first; k < std::min(first + kWarp, count); k++)
                if (mask >> (k - first) & 1 && run.fibers[k].state == State::kAtWarpBarrier)
                    run.fibers[k].state = State::kRunnable;
        }
    }
    return is_any;
}

// Whether the block has finished; on an error too, which is then set.
inline bool release_block() {
    const Fiber* first = nullptr;
    int num_finished = 0, num_waiting = 0;
    for (const Fiber& fiber : run.fibers) {
        num_finished += fiber.state == State::kFinished;
        if (fiber.state != State::kAtBlockBarrier) continue;
        num_waiting++;
        first = first ? first : &fiber;
        if (fiber.line != first->line)
            std::snprintf(run.error, sizeof run.error,
                          "threads wait at the barriers of line %d and of line %d", first->line,
                          fiber.line);
    }
    const int count = run.fibers.size();
    if (num_finished == count || run.error[0]) return true;
    if (num_waiting != count) {
        std::snprintf(run.error, sizeof run.error,
                      "of %d threads, %d wait at a barrier, %d have left, and the rest wait for "
                      "lanes that do not come",
                      count, num_waiting, num_finished);
        return true;
    }
    for (Fiber& fiber : run.fibers) fiber.state = State::kRunnable;
    return false;
}

inline void run_block(std::vector<int>& order, std::mt19937* random) {
    for (Fiber& fiber : run.fibers) fiber.state = State::kRunnable;
    do {
        do {
            if (random) std::shuffle(order.begin(), order.end(), *random);
            for (int thread : order)
                if (run.fibers[thread].state == State::kRunnable) resume(thread);
        } while (release_warps());
    } while (!release_block());
}

inline void handle_fault(int, siginfo_t* info, void*) {
    std::snprintf(run.error, sizeof run.error,
                  "block (%u, %u, %u), thread (%u, %u, %u) accesses address %p, which is not its "
                  "own",
                  block_idx.x, block_idx.y, block_idx.z, thread_idx.x, thread_idx.y, thread_idx.z,
                  info->si_addr);
    siglongjmp(on_fault, 1);
}

// While it lives, faults end the launch instead of the process.
class FaultGuard {
  public:
    FaultGuard() : stack_(64 << 10) {
        stack_t stack = {};
        stack.ss_sp = stack_.data();
        stack.ss_size = stack_.size();
        sigaltstack(&stack, &old_stack_);
        struct sigaction action = {};
        action.sa_sigaction = handle_fault;
        action.sa_flags = SA_SIGINFO | SA_ONSTACK;
        sigaction(SIGSEGV, &action, &old_segv_);
        sigaction(SIGBUS, &action, &old_bus_);
    }
    ~FaultGuard() {
        sigaction(SIGSEGV, &old_segv_, nullptr);
        sigaction(SIGBUS, &old_bus_, nullptr);
        sigaltstack(&old_stack_, nullptr);
    }

  private:
    std::vector<char> stack_;
    stack_t old_stack_;
    struct sigaction old_segv_, old_bus_;
};

// The end of the dynamic shared memory is followed by a guard page.
inline void place_dynamic_shared(size_t bytes) {
    if (!dynamic_shared_end) {
        const size_t page = sysconf(_SC_PAGESIZE);
        void* memory = mmap(nullptr, kMaxSharedBytes + page, PROT_READ | PROT_WRITE,
                            MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        dynamic_shared_end = static_cast<char*>(memory) + kMaxSharedBytes;
        mprotect(dynamic_shared_end, page, PROT_NONE);
    }
    dynamic_shared_begin = dynamic_shared_end - (bytes + 15) / 16 * 16;
}

__attribute__((noinline)) inline void* dynamic_shared() { return dynamic_shared_begin; }

__attribute__((noinline)) inline void start_fibers(int count, char* stacks) {
    run.fibers.assign(count, Fiber{});
    run.exchange.assign(count, 0);
    for (int i = 0; i < count; i++) {
        getcontext(&run.fibers[i].start);
        run.fibers[i].start.uc_stack.ss_sp = stacks + i * kStackBytes;
        run.fibers[i].start.uc_stack.ss_size = kStackBytes;
        run.fibers[i].start.uc_link = nullptr;
        makecontext(&run.fibers[i].start, fiber_main, 0);
    }
}

extern "C" char __start_emulated_shared[] __attribute__((weak, visibility("hidden")));
extern "C" char __stop_emulated_shared[] __attribute__((weak, visibility("hidden")));

inline void poison_shared(size_t dynamic_bytes) {
    std::memset(dynamic_shared_begin, 0xff, dynamic_bytes);
    if (__start_emulated_shared)
        std::memset(__start_emulated_shared, 0xff,
                    __stop_emulated_shared - __start_emulated_shared);
}

__attribute__((noinline)) inline void run_grid(size_t shared_bytes, uint32_t seed) {
    std::mt19937 random(seed);
    std::vector<int> order(run.fibers.size());
    for (size_t i = 0; i < order.size(); i++) order[i] = i;
    for (block_idx.z = 0; block_idx.z < grid_dim.z; block_idx.z++)
        for (block_idx.y = 0; block_idx.y < grid_dim.y; block_idx.y++)
            for (block_idx.x = 0; block_idx.x < grid_dim.x; block_idx.x++) {
                poison_shared(shared_bytes);
                run_block(order, seed ? &random : nullptr);
                if (run.error[0]) return;
            }
}

// Runs a grid; `seed` 0 runs the threads in their order. Null, or what went wrong.
inline const char* launch(void (*kernel)(void**), void** args, dim3 grid, dim3 block,
                          size_t shared_bytes, uint32_t seed) {
    run.error[0] = 0;
    const size_t count = size_t{block.x} * block.y * block.z;
    if (count == 0 || count > kMaxThreads || !grid.x || !grid.y || !grid.z ||
        grid.x > 0x7fffffff || grid.y > 65535 || grid.z > 65535)
        return "the grid or the block is empty, or larger than a GPU allows";
    if (shared_bytes > kMaxSharedBytes) return "more than 64 KiB of shared memory";
    run.kernel = kernel;
    run.args = args;
    grid_dim = grid;
    block_dim = block;
    place_dynamic_shared(shared_bytes);
    const size_t stack_bytes = count * kStackBytes;
    void* stacks = mmap(nullptr, stack_bytes, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    start_fibers(count, static_cast<char*>(stacks));
    {
        FaultGuard guard;
        if (sigsetjmp(on_fault, 1) == 0) run_grid(shared_bytes, seed);
    }
    munmap(stacks, stack_bytes);
    return run.error[0] ? run.error : nullptr;
}

// Calls a kernel with arguments given by their addresses, as cuLaunchKernel() does.
template <auto kernel, class... A, size_t... I>
void call(void** args, void (*)(A...), std::index_sequence<I...>) {
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

// Shows `value` to the lanes in `mask` and returns what `lane` shows.
template <class T>
T exchange(uint32_t mask, T value, int lane, int line) {
    static_assert(sizeof(T) <= 8);
    const int first = run.current / kWarp * kWarp;
    std::memcpy(&run.exchange[run.current], &value, sizeof(T));
    wait(State::kAtWarpBarrier, line, mask);
    const int source = first + lane;
    if (source < static_cast<int>(run.exchange.size()))
        std::memcpy(&value, &run.exchange[source], sizeof(T));
    wait(State::kAtWarpBarrier, line, mask);
    return value;
}

inline uint32_t ballot(uint32_t mask, bool predicate, int line) {
    const int first = run.current / kWarp * kWarp;
    run.exchange[run.current] = predicate;
    wait(State::kAtWarpBarrier, line, mask);
    uint32_t bits = 0;
    const int count = std::min<int>(kWarp, run.exchange.size() - first);
    for (int i = 0; i < count; i++)
        if (mask >> i & 1 && run.fibers[first + i].state != State::kFinished)
            bits |= static_cast<uint32_t>(run.exchange[first + i]) << i;
    wait(State::kAtWarpBarrier, line, mask);
    return bits;
}

inline int lane() { return run.current % kWarp; }

// The lane that far away; this one if there is none.
inline int lane_at(int distance) {
    const int at = lane() + distance;
    return at >= 0 && at < kWarp ? at : lane();
}

}  // namespace emulator

#define threadIdx (const_cast<const dim3&>(emulator::thread_idx))
#define blockIdx (const_cast<const dim3&>(emulator::block_idx))
#define blockDim (const_cast<const dim3&>(emulator::block_dim))
#define gridDim (const_cast<const dim3&>(emulator::grid_dim))
constexpr int warpSize = emulator::kWarp;

#define __syncthreads() emulator::wait(emulator::State::kAtBlockBarrier, __LINE__)
#define __syncwarp(...)                                                      \
    emulator::wait(emulator::State::kAtWarpBarrier, __LINE__, emulator::mask_or_all(__VA_ARGS__))
#define __ballot_sync(mask, predicate) emulator::ballot(mask, predicate, __LINE__)
#define __any_sync(mask, predicate) (emulator::ballot(mask, predicate, __LINE__) != 0)
#define __all_sync(mask, predicate) (emulator::ballot(mask, !(predicate), __LINE__) == 0)
#define __shfl_sync(mask, value, source) \
    emulator::exchange<decltype(+(value))>(mask, value, (source) % 32, __LINE__)
#define __shfl_xor_sync(mask, value, bits) \
    emulator::exchange<decltype(+(value))>(mask, value, emulator::lane() ^ (bits), __LINE__)
#define __shfl_down_sync(mask, value, delta) \
    emulator::exchange<decltype(+(value))>(mask, value, emulator::lane_at(delta), __LINE__)
#define __shfl_up_sync(mask, value, delta) \
    emulator::exchange<decltype(+(value))>( \
        mask, value, emulator::lane_at(-static_cast<int>(delta)), __LINE__)

namespace emulator {
inline uint32_t mask_or_all(uint32_t mask = 0xffffffff) { return mask; }
}  // namespace emulator
