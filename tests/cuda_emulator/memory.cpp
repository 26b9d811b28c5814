// Watches the accesses of kernels to memory: `-fsanitize=thread,alignment,bounds` has the compiler
// call the functions at the end of this file, which g++'s own libraries would define otherwise.
//
// Shared variables lie in an arena, far from each other, at addresses that are no more aligned
// than their types. Accesses there must be to one of them; accesses elsewhere are to tensors.
#include <algorithm>
#include <cstdio>
#include <cstring>
#include <sys/mman.h>
#include <unordered_map>

#include "shadow.h"
#include "state.h"

extern "C" __attribute__((visibility("hidden"))) const char __ehdr_start[];  // by the linker

namespace emulator {

namespace {

enum class Kind { kRead, kWrite, kAtomic };

constexpr size_t kSlotBytes = 256 << 10, kNumSlots = 16, kBeforeArray = 64 << 10;
constexpr size_t kArenaBytes = kNumSlots * kSlotBytes;
constexpr size_t kPageBytes = 4 << 10, kMaxPages = 1024, kCachedPages = 256;

struct Page {
    uintptr_t number = 0;
    Cell* cells = nullptr;
};

uintptr_t ignored_begin = 0, ignored_bytes = ~uintptr_t{0};  // nothing is watched at first
uintptr_t arena;
Cell* arena_cells;
SharedArray* arrays[kNumSlots];  // of this launch
size_t num_arrays;
SharedArray dynamic_array = {"dynamic shared memory", 0, 16, true};
std::unordered_map<uintptr_t, Cell*> pages;
Page cached_pages[kCachedPages];
uint32_t last_access;

void* reserve(size_t bytes) {
    return mmap(nullptr, bytes, PROT_READ | PROT_WRITE,
                MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
}

Cell* page_cells(uintptr_t number) {
    Page& cached = cached_pages[number % kCachedPages];
    if (cached.number != number) {
        Cell*& cells = pages[number];
        if (!cells) cells = new Cell[kPageBytes];
        cached = {number, cells};
    }
    return cached.cells;
}

const char* name_of(Kind kind) {
    return kind == Kind::kRead ? "reads" : kind == Kind::kWrite ? "writes" : "changes atomically";
}

// Bytes that are accessed: `first` is the offset in an array, or an address.
struct Target {
    const SharedArray* array;  // null for a tensor
    uintptr_t first;
    size_t bytes;
};

[[noreturn]] void fail_race(Kind kind, const Target& target, size_t byte, const Access& past,
                            const char* what) {
    char who[32] = "another block", where[64];
    if (past.epoch >= epochs.block) std::snprintf(who, sizeof who, "thread %u", past.thread);
    if (target.array)
        std::snprintf(where, sizeof where, "byte %zu of %.32s", target.first + byte,
                      target.array->name);
    else
        std::snprintf(where, sizeof where, "address %#zx", target.first + byte);
    fail("race: thread %d %s %s at @%x, which %s %s at @%x", current, name_of(kind), where,
         last_access, who, what, past.place);
}

void check(Cell* cells, Kind kind, const Target& target, uint32_t visible) {
    for (size_t i = 0; i < target.bytes; i++) {
        Cell& cell = cells[i];
        Access buffer;
        if (is_race(cell.write, visible)) fail_race(kind, target, i, cell.write, "wrote");
        if (kind != Kind::kRead)
            if (const Access* past = find_race(cell.reads, visible, buffer))
                fail_race(kind, target, i, *past, "read");
        if (kind != Kind::kAtomic)
            if (const Access* past = find_race(cell.atomics, visible, buffer))
                fail_race(kind, target, i, *past, "changed atomically");
        if (target.array && !target.array->has_nan && kind != Kind::kWrite &&
            cell.write.epoch < visible)
            fail("thread %d %s byte %zu of %s at @%x, which nothing has written", current,
                 name_of(kind), target.first + i, target.array->name, last_access);
        if (kind == Kind::kRead) {
            add_to(cell.reads, visible, last_access);
        } else if (kind == Kind::kAtomic) {
            add_to(cell.atomics, visible, last_access);
        } else {
            cell.write = this_access(last_access);
            cell.reads = cell.atomics = Group{};
        }
    }
}

void access_shared(uintptr_t offset, size_t bytes, Kind kind) {
    const size_t slot = offset / kSlotBytes;
    SharedArray* array = slot < num_arrays ? arrays[slot] : nullptr;
    const uintptr_t address = arena + offset;
    const long at = array ? static_cast<long>(address - reinterpret_cast<uintptr_t>(array->address))
                          : -1;
    if (!array || array->block != epochs.block || at < 0 || at + bytes > array->limit)
        fail("thread %d %s %zu bytes at byte %ld of %s, which has %zu, at @%x", current,
             name_of(kind), bytes, at, array ? array->name : "no array", array ? array->limit : 0,
             last_access);
    array->used_bytes = std::max(array->used_bytes, at + bytes);
    const Target target = {array, static_cast<uintptr_t>(at), bytes};
    check(arena_cells + offset, kind, target, epochs.block);
}

void access_tensor(uintptr_t address, size_t bytes, Kind kind) {
    while (bytes > 0) {
        const size_t offset = address % kPageBytes, count = std::min(bytes, kPageBytes - offset);
        const Target target = {nullptr, address, count};
        check(page_cells(address / kPageBytes) + offset, kind, target, epochs.launch);
        address += count;
        bytes -= count;
    }
}

inline void access(const void* pointer, size_t bytes, Kind kind, const void* code) {
    const uintptr_t address = reinterpret_cast<uintptr_t>(pointer);
    if (address - ignored_begin < ignored_bytes) return;
    if (address - reinterpret_cast<uintptr_t>(&indices) < sizeof indices) return;
    last_access = static_cast<const char*>(code) - __ehdr_start - 1;  // within the call
    if (address - arena < kArenaBytes)
        access_shared(address - arena, bytes, kind);
    else
        access_tensor(address, bytes, kind);
}

}  // namespace

void start_watching(const char* stacks, size_t bytes) {
    if (!arena) {
        arena = reinterpret_cast<uintptr_t>(reserve(kArenaBytes));
        arena_cells = static_cast<Cell*>(reserve(kArenaBytes * sizeof(Cell)));
    }
    if (pages.size() > kMaxPages) {
        for (auto [number, cells] : pages) delete[] cells;
        pages.clear();
        std::fill_n(cached_pages, kCachedPages, Page{});
    }
    num_arrays = 0;
    ignored_begin = reinterpret_cast<uintptr_t>(stacks);
    ignored_bytes = bytes;
}

void stop_watching() {
    ignored_begin = 0;
    ignored_bytes = ~uintptr_t{0};
}

void start_block(size_t dynamic_bytes) {
    dynamic_array.bytes = dynamic_bytes;
    place(dynamic_array);
}

uint32_t last_place() { return last_access; }

void* place(SharedArray& array) {
    if (array.launch != epochs.launch) {
        if (num_arrays == kNumSlots) fail("more than %zu arrays in shared memory", kNumSlots);
        const bool is_mutated = mutation.array && std::strcmp(mutation.array, array.name) == 0;
        const uintptr_t slot = arena + num_arrays * kSlotBytes + kBeforeArray;
        array.address = reinterpret_cast<char*>(slot + array.alignment +
                                                (is_mutated ? mutation.shift_bytes : 0));
        array.limit = array.bytes - (is_mutated ? mutation.missing_bytes : 0);
        array.used_bytes = 0;
        array.launch = epochs.launch;
        arrays[num_arrays++] = &array;
        size_t static_bytes = 0;
        for (size_t i = 1; i < num_arrays; i++) static_bytes += arrays[i]->bytes;
        if (static_bytes > kMaxStaticBytes) fail("more than 48 KiB of static shared memory");
        if (static_bytes + dynamic_array.bytes > kMaxSharedBytes)
            fail("more than 64 KiB of shared memory");
    }
    if (array.block != epochs.block) {
        array.block = epochs.block;
        std::memset(array.address, 0xff, array.bytes);
    }
    return array.address;
}

void* dynamic_shared() { return dynamic_array.address; }

void atomic_access(const void* address, size_t bytes) {
    access(address, bytes, Kind::kAtomic, __builtin_return_address(0));
}

const SharedArray* shared_array(size_t index) {
    return index < num_arrays ? arrays[index] : nullptr;
}

}  // namespace emulator

// Called by instrumented code.
extern "C" {

#define WATCHED(name, bytes)                                                                      \
    void __tsan_read##name(void* address) {                                                       \
        emulator::access(address, bytes, emulator::Kind::kRead, __builtin_return_address(0));     \
    }                                                                                             \
    void __tsan_write##name(void* address) {                                                      \
        emulator::access(address, bytes, emulator::Kind::kWrite, __builtin_return_address(0));    \
    }
WATCHED(1, 1)
WATCHED(2, 2)
WATCHED(4, 4)
WATCHED(8, 8)
WATCHED(16, 16)
#undef WATCHED
#define WATCHED(bytes)                                                                            \
    void __tsan_unaligned_read##bytes(void* address) {                                            \
        emulator::access(address, bytes, emulator::Kind::kRead, __builtin_return_address(0));     \
    }                                                                                             \
    void __tsan_unaligned_write##bytes(void* address) {                                           \
        emulator::access(address, bytes, emulator::Kind::kWrite, __builtin_return_address(0));    \
    }
WATCHED(2)
WATCHED(4)
WATCHED(8)
WATCHED(16)
#undef WATCHED
void __tsan_read_range(void* address, size_t bytes) {
    emulator::access(address, bytes, emulator::Kind::kRead, __builtin_return_address(0));
}
void __tsan_write_range(void* address, size_t bytes) {
    emulator::access(address, bytes, emulator::Kind::kWrite, __builtin_return_address(0));
}
void __tsan_init() {}
void __tsan_func_entry(void*) {}
void __tsan_func_exit() {}

// The first members of what the compiler tells of a violation.
struct Violation {
    const char* file;
    uint32_t line, column;
};
struct Mismatch {
    Violation violation;
    const void* type;
    unsigned char log_alignment, kind;
};
void __ubsan_handle_type_mismatch_v1(const Mismatch* data, const void* address) {
    emulator::fail("%s:%u: thread %d accesses address %p, which is not a multiple of %d",
                   data->violation.file, data->violation.line, emulator::current, address,
                   1 << data->log_alignment);
}
void __ubsan_handle_out_of_bounds(const Violation* violation, size_t index) {
    emulator::fail("%s:%u: thread %d accesses element %zd, beyond the end of an array",
                   violation->file, violation->line, emulator::current, index);
}

}  // extern "C"
