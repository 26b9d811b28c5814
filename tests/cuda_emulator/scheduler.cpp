// Runs the blocks of a grid one after another. The threads of a block are fibers that run until
// their next barrier.
#include <algorithm>
#include <csetjmp>
#include <csignal>
#include <cstdarg>
#include <cstdio>
#include <cstring>
#include <random>
#include <sys/mman.h>
#include <ucontext.h>
#include <vector>

#include "state.h"

namespace emulator {

Indices indices;

namespace {

constexpr size_t kStackBytes = 128 << 10;

enum class State { kRunnable, kAtBlockBarrier, kAtWarpBarrier, kFinished };

struct Fiber {
    ucontext_t start;
    jmp_buf registers;
    bool is_started;
    State state;
    int line;             // of the barrier it waits at
    uint32_t warp_mask;   // lanes that it waits for
    bool orders_memory;   // the barrier of the warp
};

struct Launch {
    void (*kernel)(void**);
    void** args;
    std::vector<Fiber> fibers;
    std::vector<uint64_t> exchange;  // what the lanes show each other
    jmp_buf scheduler;
    sigjmp_buf on_error;
    bool is_barrier_skipped;
    char error[512];
};
Launch run;

// Back to the scheduler, until it resumes this thread.
void wait(State state, int line, uint32_t mask = 0, bool orders_memory = false) {
    Fiber& fiber = run.fibers[current];
    fiber.state = state;
    fiber.line = line;
    fiber.warp_mask = mask;
    fiber.orders_memory = orders_memory;
    if (_setjmp(fiber.registers) == 0) _longjmp(run.scheduler, 1);
}

// One fiber serves the same thread of all blocks.
void fiber_main() {
    while (true) {
        run.kernel(run.args);
        wait(State::kFinished, 0);
    }
}

__attribute__((noinline)) void resume(int thread) {
    Fiber& fiber = run.fibers[thread];
    const dim3& size = indices.block_size;
    current = thread;
    indices.thread.x = thread % size.x;
    indices.thread.y = thread / size.x % size.y;
    indices.thread.z = thread / (size.x * size.y);
    if (_setjmp(run.scheduler) != 0) return;
    if (fiber.is_started) _longjmp(fiber.registers, 1);
    fiber.is_started = true;
    setcontext(&fiber.start);
}

// Orders what these lanes have done before what they will do.
void order_lanes(int first, int end, uint32_t mask) {
    uint32_t all[kWarp] = {};
    for (int i = first; i < end; i++)
        for (int k = 0; k < kWarp && mask >> (i - first) & 1; k++)
            all[k] = std::max(all[k], known[i][k]);
    for (int i = first; i < end; i++) {
        if (!(mask >> (i - first) & 1)) continue;
        std::copy_n(all, kWarp, known[i]);
        known[i][i - first]++;
    }
}

// Wakes the warps whose lanes have all arrived; whether there was one.
bool release_warps() {
    bool is_any = false;
    for (int first = 0; first < num_threads; first += kWarp) {
        const int end = std::min(first + kWarp, num_threads);
        for (int i = first; i < end; i++) {
            if (run.fibers[i].state != State::kAtWarpBarrier) continue;
            const uint32_t mask = run.fibers[i].warp_mask;
            bool is_complete = true;
            for (int k = first; k < end; k++) {
                const Fiber& other = run.fibers[k];
                if (mask >> (k - first) & 1 && other.state != State::kFinished)
                    is_complete &= other.state == State::kAtWarpBarrier &&
                                   other.warp_mask == mask && other.line == run.fibers[i].line;
            }
            if (!is_complete) continue;
            is_any = true;
            if (run.fibers[i].orders_memory) order_lanes(first, end, mask);
            for (int k = first; k < end; k++)
                if (mask >> (k - first) & 1 && run.fibers[k].state == State::kAtWarpBarrier)
                    run.fibers[k].state = State::kRunnable;
        }
    }
    return is_any;
}

// Whether the block has finished.
bool release_block() {
    const Fiber* first = nullptr;
    int num_finished = 0, num_waiting = 0;
    for (const Fiber& fiber : run.fibers) {
        num_finished += fiber.state == State::kFinished;
        if (fiber.state != State::kAtBlockBarrier) continue;
        num_waiting++;
        first = first ? first : &fiber;
        if (fiber.line != first->line)
            fail("threads wait at the barriers of line %d and of line %d", first->line, fiber.line);
    }
    if (num_finished == num_threads) return true;
    if (num_waiting != num_threads)
        fail("of %d threads, %d wait at a barrier, %d have left, and the rest wait for lanes that "
             "do not come",
             num_threads, num_waiting, num_finished);
    for (Fiber& fiber : run.fibers) fiber.state = State::kRunnable;
    epochs.now++;
    return false;
}

void run_block(std::vector<int>& order, std::mt19937* random) {
    for (Fiber& fiber : run.fibers) fiber.state = State::kRunnable;
    do {
        do {
            if (random) std::shuffle(order.begin(), order.end(), *random);
            for (int thread : order)
                if (run.fibers[thread].state == State::kRunnable) resume(thread);
        } while (release_warps());
    } while (!release_block());
}

void handle_fault(int, siginfo_t* info, void*) {
    fail("thread %d accesses address %p, which is not its own, near @%x", current, info->si_addr,
         last_place());
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

void start_fibers(char* stacks) {
    run.fibers.assign(num_threads, Fiber{});
    run.exchange.assign(num_threads, 0);
    for (int i = 0; i < num_threads; i++) {
        getcontext(&run.fibers[i].start);
        run.fibers[i].start.uc_stack.ss_sp = stacks + i * kStackBytes;
        run.fibers[i].start.uc_stack.ss_size = kStackBytes;
        run.fibers[i].start.uc_link = nullptr;
        makecontext(&run.fibers[i].start, fiber_main, 0);
    }
}

__attribute__((noinline)) void run_grid(size_t shared_bytes, uint32_t seed) {
    std::mt19937 random(seed);
    std::vector<int> order(num_threads);
    for (int i = 0; i < num_threads; i++) order[i] = i;
    dim3& block = indices.block;
    epochs.launch = ++epochs.now;
    for (block.z = 0; block.z < indices.grid.z; block.z++)
        for (block.y = 0; block.y < indices.grid.y; block.y++)
            for (block.x = 0; block.x < indices.grid.x; block.x++) {
                epochs.block = ++epochs.now;
                std::memset(known, 0, sizeof known[0] * num_threads);
                for (int i = 0; i < num_threads; i++) known[i][i % kWarp] = 1;
                start_block(shared_bytes);
                run_block(order, seed ? &random : nullptr);
            }
}

}  // namespace

void fail(const char* format, ...) {
    const int used = std::snprintf(run.error, sizeof run.error, "block (%u, %u, %u): ",
                                   indices.block.x, indices.block.y, indices.block.z);
    va_list arguments;
    va_start(arguments, format);
    std::vsnprintf(run.error + used, sizeof run.error - used, format, arguments);
    va_end(arguments);
    siglongjmp(run.on_error, 1);
}

const char* launch(void (*kernel)(void**), void** args, dim3 grid, dim3 block, size_t shared_bytes,
                   uint32_t seed, const Mutation& intended) {
    const size_t count = size_t{block.x} * block.y * block.z;
    if (count == 0 || count > kMaxThreads || block.z > 64 || !grid.x || !grid.y || !grid.z ||
        grid.x > 0x7fffffff || grid.y > 65535 || grid.z > 65535)
        return "the grid or the block is empty, or larger than a GPU allows";
    if (shared_bytes > kMaxSharedBytes) return "more than 64 KiB of shared memory";
    run.kernel = kernel;
    run.args = args;
    run.error[0] = 0;
    run.is_barrier_skipped = false;
    mutation = intended;
    indices.grid = grid;
    indices.block_size = block;
    num_threads = static_cast<int>(count);
    const size_t stack_bytes = count * kStackBytes;
    char* stacks = static_cast<char*>(mmap(nullptr, stack_bytes, PROT_READ | PROT_WRITE,
                                           MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0));
    start_fibers(stacks);
    start_watching(stacks, stack_bytes);
    {
        FaultGuard guard;
        if (sigsetjmp(run.on_error, 1) == 0) run_grid(shared_bytes, seed);
    }
    stop_watching();
    munmap(stacks, stack_bytes);
    if (run.error[0]) return run.error;
    const bool is_in_vain = mutation.barrier_file && !run.is_barrier_skipped;
    return is_in_vain ? "no thread came to the barrier that the test leaves out" : nullptr;
}

int lane() { return current % kWarp; }

static bool is_skipped(Place place) {
    if (!mutation.barrier_file || place.line != mutation.barrier_line) return false;
    const char* name = std::strrchr(place.file, '/');
    if (std::strcmp(name ? name + 1 : place.file, mutation.barrier_file) != 0) return false;
    run.is_barrier_skipped = true;
    return true;
}

void block_barrier(Place place) {
    if (!is_skipped(place)) wait(State::kAtBlockBarrier, place.line);
}

// Lanes wait for each other with a mask that they all are in.
static void check_mask(uint32_t mask, Place place) {
    if (!(mask >> lane() & 1))
        fail("line %d: thread %d is not in its own mask %#x", place.line, current, mask);
}

void warp_barrier(uint32_t mask, Place place) {
    check_mask(mask, place);
    if (!is_skipped(place)) wait(State::kAtWarpBarrier, place.line, mask, true);
}

uint64_t exchange(uint32_t mask, uint64_t bits, int lane, Place place) {
    check_mask(mask, place);
    const int source = current / kWarp * kWarp + lane;
    if (source >= num_threads || !(mask >> lane & 1))
        fail("line %d: thread %d asks lane %d, which does not take part", place.line, current,
             lane);
    run.exchange[current] = bits;
    wait(State::kAtWarpBarrier, place.line, mask);
    bits = run.exchange[source];
    wait(State::kAtWarpBarrier, place.line, mask);
    return bits;
}

uint32_t ballot(uint32_t mask, bool predicate, Place place) {
    check_mask(mask, place);
    const int first = current / kWarp * kWarp;
    run.exchange[current] = predicate;
    wait(State::kAtWarpBarrier, place.line, mask);
    uint32_t bits = 0;
    for (int i = 0; i < std::min(kWarp, num_threads - first); i++)
        if (mask >> i & 1 && run.fibers[first + i].state != State::kFinished)
            bits |= static_cast<uint32_t>(run.exchange[first + i]) << i;
    wait(State::kAtWarpBarrier, place.line, mask);
    return bits;
}

}  // namespace emulator
