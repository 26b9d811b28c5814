// Finds races: two accesses to a byte by different threads, one of them writing, that nothing
// orders. Barriers of the block order all threads, barriers of a warp its lanes, and nothing orders
// blocks. Exact: what is reported is a race in every order of the threads that the barriers allow.
//
// A cell of the shadow memory knows of one byte: the last write; and the reads since then, of which
// it keeps as many as another write could race with. Source of the idea: Flanagan and Freund,
// "FastTrack: Efficient and Precise Dynamic Race Detection", PLDI 2009.
#pragma once

#include <cstdint>
#include <vector>

#include "state.h"

namespace emulator {

struct Access {
    uint32_t epoch = 0;  // 0: there was none
    uint32_t thread : 10 = 0, is_atomic : 1 = 0, time : 21 = 0;
    uint32_t place = 0;  // in the code
};

struct Cell {
    Access write;
    Access read;               // the first of an epoch
    uint32_t other_block = 0;  // the epoch of a read by a block before that of `read`
    uint32_t more = 0;         // other threads that read in the same epoch: see below
};

// Values of `Cell::more`; any other is the index of the times at which the lanes of one warp read.
constexpr uint32_t kNoMore = 0;
constexpr uint32_t kSeveralWarps = ~0u;  // one of another warp is then in `Access::time`

struct LaneTimes {
    uint32_t times[kWarp] = {};
};
inline std::vector<LaneTimes> lane_times(1);  // of this epoch; the first is not used
inline uint32_t lane_times_epoch = 0;

// Whether nothing orders `past` before what this thread does now. What happened before the epoch
// `visible` does not count: a launch for tensors; for shared memory, a block.
inline bool is_race(const Access& past, uint32_t visible) {
    if (past.epoch < visible) return false;
    if (past.epoch < epochs.block) return true;
    if (past.epoch < epochs.now || static_cast<int>(past.thread) == current) return false;
    if (static_cast<int>(past.thread) / kWarp != current / kWarp) return true;
    return known[current][past.thread % kWarp] < past.time;
}

inline Access this_access(uint32_t place, bool is_atomic) {
    Access access;
    access.epoch = epochs.now;
    access.thread = current;
    access.is_atomic = is_atomic;
    access.time = time_of(current);
    access.place = place;
    return access;
}

// A read that races with a write of this thread; null if there is none. `buffer` may hold it.
inline const Access* racing_read(const Cell& cell, uint32_t visible, Access& buffer) {
    if (cell.other_block >= visible && cell.other_block > 0) {
        buffer = Access{};
        buffer.epoch = cell.other_block;
        return &buffer;
    }
    if (cell.read.epoch != epochs.now || cell.more == kNoMore)
        return is_race(cell.read, visible) ? &cell.read : nullptr;
    buffer = cell.read;
    if (cell.more == kSeveralWarps) {
        if (static_cast<int>(cell.read.thread) / kWarp == current / kWarp)
            buffer.thread = cell.read.time;
        return &buffer;
    }
    for (int i = 0; i < kWarp; i++) {
        buffer.thread = cell.read.thread / kWarp * kWarp + i;
        buffer.time = lane_times[cell.more].times[i];
        if (buffer.time && is_race(buffer, visible)) return &buffer;
    }
    return nullptr;
}

inline void note_read(Cell& cell, uint32_t visible, uint32_t place) {
    Access& read = cell.read;
    if (read.epoch != epochs.now) {
        if (read.epoch >= visible && read.epoch < epochs.block) cell.other_block = read.epoch;
        read = this_access(place, false);
        cell.more = kNoMore;
        return;
    }
    if (cell.more == kSeveralWarps) return;
    const int thread = read.thread;
    if (thread / kWarp != current / kWarp) {
        cell.more = kSeveralWarps;
        read.time = current;
    } else if (cell.more == kNoMore && thread == current) {
        read.time = time_of(current);
    } else {
        if (lane_times_epoch != epochs.now) {
            lane_times.resize(1);
            lane_times_epoch = epochs.now;
        }
        if (cell.more == kNoMore) {
            cell.more = lane_times.size();
            lane_times.emplace_back();
            lane_times[cell.more].times[thread % kWarp] = read.time;
        }
        lane_times[cell.more].times[current % kWarp] = time_of(current);
    }
}

inline void note_write(Cell& cell, uint32_t place, bool is_atomic) {
    cell.write = this_access(place, is_atomic);
    cell.read = Access{};
    cell.other_block = 0;
}

}  // namespace emulator
