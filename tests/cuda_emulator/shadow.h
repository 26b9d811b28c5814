// Finds races: two accesses to a byte by different threads, one of them writing, that nothing
// orders. Barriers of the block order all threads, barriers of a warp its lanes, and nothing orders
// blocks. A launch with a race is reported whatever the order in which its threads run; a launch
// without one never is.
//
// A cell of the shadow memory knows of one byte: the last write; and the reads and the atomic
// operations since then, of which it keeps as many as another access could race with. Source of the
// idea: Flanagan and Freund, "FastTrack: Efficient and Precise Dynamic Race Detection", PLDI 2009.
#pragma once

#include <cstdint>
#include <vector>

#include "state.h"

namespace emulator {

struct Access {
    uint32_t epoch = 0;  // 0: there was none
    uint32_t thread : 10 = 0, time : 22 = 0;
    uint32_t place = 0;  // in the code
};

// Accesses that do not race with each other.
struct Group {
    Access first;              // of an epoch
    uint32_t other_block = 0;  // the epoch of an access by a block before that of `first`
    uint32_t more = 0;         // other threads in the same epoch: see below
};

struct Cell {
    Access write;
    Group reads, atomics;
};

// Values of `Group::more`; any other is the index of the times at which the lanes of one warp came.
constexpr uint32_t kNoMore = 0;
constexpr uint32_t kSeveralWarps = ~0u;  // then `Access::time` holds a thread of another warp

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

inline Access this_access(uint32_t place) {
    Access access;
    access.epoch = epochs.now;
    access.thread = current;
    access.time = time_of(current);
    access.place = place;
    return access;
}

// One of the group that races with what this thread does now; null if there is none. `buffer` may
// hold it.
inline const Access* find_race(const Group& group, uint32_t visible, Access& buffer) {
    if (group.first.epoch == 0) return nullptr;
    buffer = group.first;
    if (group.other_block >= visible && group.other_block < epochs.block) {
        buffer.epoch = group.other_block;
        return &buffer;
    }
    if (group.first.epoch != epochs.now || group.more == kNoMore)
        return is_race(group.first, visible) ? &group.first : nullptr;
    if (group.more == kSeveralWarps) {
        if (static_cast<int>(group.first.thread) / kWarp == current / kWarp)
            buffer.thread = group.first.time;
        return &buffer;
    }
    for (int i = 0; i < kWarp; i++) {
        buffer.thread = group.first.thread / kWarp * kWarp + i;
        buffer.time = lane_times[group.more].times[i];
        if (buffer.time && is_race(buffer, visible)) return &buffer;
    }
    return nullptr;
}

inline void add_to(Group& group, uint32_t visible, uint32_t place) {
    Access& first = group.first;
    if (first.epoch != epochs.now) {
        if (first.epoch >= visible && first.epoch < epochs.block) group.other_block = first.epoch;
        first = this_access(place);
        group.more = kNoMore;
        return;
    }
    if (group.more == kSeveralWarps) return;
    const int thread = first.thread;
    if (thread / kWarp != current / kWarp) {
        group.more = kSeveralWarps;
        first.time = current;
    } else if (group.more == kNoMore && thread == current) {
        first.time = time_of(current);
    } else {
        if (lane_times_epoch != epochs.now) {
            lane_times.resize(1);
            lane_times_epoch = epochs.now;
        }
        if (group.more == kNoMore) {
            group.more = lane_times.size();
            lane_times.emplace_back();
            lane_times[group.more].times[thread % kWarp] = first.time;
        }
        lane_times[group.more].times[current % kWarp] = time_of(current);
    }
}

}  // namespace emulator
