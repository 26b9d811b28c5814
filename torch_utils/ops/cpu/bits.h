// Rows of bits: sample `i` of a row is bit `i % 8` of byte `i / 8`.
//
// Phase `r` of a row holds every `step`-th sample in a row of its own. The last phase comes first:
// sample `i * step + p` of the row is sample `i` of phase `step - 1 - p`.
#pragma once

#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "rows of bits are read and written as little-endian integers"
#endif

#include <cstdint>
#include <cstring>

#if defined(__BMI2__)
#include <immintrin.h>
#endif

// Bit k of `bits` goes to bit k * STEP; up to 64 / STEP bits.
template <int STEP>
inline uint64_t spread(uint64_t bits) {
    if constexpr (STEP == 1) return bits;
    if constexpr (STEP == 4) return spread<2>(spread<2>(bits));
#if defined(__BMI2__)
    return _pdep_u64(bits, 0x5555555555555555);
#else
    bits = (bits | bits << 16) & 0x0000ffff0000ffff;
    bits = (bits | bits << 8) & 0x00ff00ff00ff00ff;
    bits = (bits | bits << 4) & 0x0f0f0f0f0f0f0f0f;
    bits = (bits | bits << 2) & 0x3333333333333333;
    return (bits | bits << 1) & 0x5555555555555555;
#endif
}

// Bit k * STEP of `word` goes to bit k; other bits are dropped.
template <int STEP>
inline uint64_t collect(uint64_t word) {
    if constexpr (STEP == 1) return word;
    if constexpr (STEP == 4) return collect<2>(collect<2>(word));
#if defined(__BMI2__)
    return _pext_u64(word, 0x5555555555555555);
#else
    word &= 0x5555555555555555;
    word = (word | word >> 1) & 0x3333333333333333;
    word = (word | word >> 2) & 0x0f0f0f0f0f0f0f0f;
    word = (word | word >> 4) & 0x00ff00ff00ff00ff;
    word = (word | word >> 8) & 0x0000ffff0000ffff;
    return (word | word >> 16) & 0x00000000ffffffff;
#endif
}

inline int64_t bytes_of(int64_t bits) { return (bits + 7) >> 3; }
inline bool get_bit(const uint8_t* row, int64_t i) { return row[i >> 3] >> (i & 7) & 1; }

// The first `count` bytes of a word, at most 8.
inline void store_bytes(uint8_t* to, uint64_t word, int64_t count) {
    if (count == 8) std::memcpy(to, &word, 8);
    if (count & 4) std::memcpy(to, &word, 4), to += 4, word >>= 32;
    if (count & 2) std::memcpy(to, &word, 2), to += 2, word >>= 16;
    if (count & 1) *to = uint8_t(word);
}

// Processors wait long for a load of bytes that several stores have just written. So phases are
// written and read in the same units, `U`, of which STEP fit into a word.

// row <- `count` samples of the phases, from sample `skip` < STEP on. The bits behind them in the
// last byte become zero. Reads a unit behind the samples.
template <class U, int STEP>
void join_phases(const uint8_t* const* phases, int64_t skip, uint8_t* row, int64_t count) {
    constexpr int BITS = 8 * sizeof(U) * STEP;
    auto joined = [=](int64_t unit) {
        uint64_t word = 0;
        for (int p = 0; p < STEP; p++) {
            U bits;
            std::memcpy(&bits, phases[STEP - 1 - p] + unit * sizeof(U), sizeof(U));
            word |= spread<STEP>(bits) << p;
        }
        return word;
    };
    uint64_t next = joined(0);
    for (int64_t unit = 0; count > 0; unit++, count -= BITS, row += BITS / 8) {
        uint64_t word = next >> skip;
        next = joined(unit + 1);
        if (skip > 0) word |= next << (BITS - skip);
        if (count >= BITS) {
            std::memcpy(row, &word, BITS / 8);
        } else {
            store_bytes(row, word & ((uint64_t(1) << count) - 1), bytes_of(count));
        }
    }
}

// Samples of the row from bit `at` on go to the phases, `num_units` units for each of them. Reads
// 8 bytes behind the samples. Returns whether any of the samples is set; else writes nothing, if
// zeros are not wanted.
template <class U, int STEP>
bool split_phases(const uint8_t* row, int64_t at, uint8_t* const* phases, int64_t num_units,
                  bool wants_zeros) {
    static_assert(sizeof(U) * STEP <= 4, "`peek` yields 57 bits");
    constexpr int BITS = 8 * sizeof(U) * STEP;
    auto peek = [=](int64_t unit) {
        uint64_t word;
        std::memcpy(&word, row + (at >> 3) + unit * (BITS / 8), 8);
        return word >> (at & 7);
    };
    uint64_t any = 0;
    for (int64_t unit = 0; unit < num_units; unit++) any |= peek(unit);
    const bool is_any_set = any & ((uint64_t(1) << BITS) - 1);
    if (!is_any_set && !wants_zeros) return false;
    for (int64_t unit = 0; unit < num_units; unit++) {
        const uint64_t word = peek(unit);
        for (int p = 0; p < STEP; p++) {
            const U bits = U(collect<STEP>(word >> p));
            std::memcpy(phases[STEP - 1 - p] + unit * sizeof(U), &bits, sizeof(U));
        }
    }
    return is_any_set;
}

// The same for any step, bit by bit.
inline void join_phases(const uint8_t* const* phases, int step, int64_t skip, uint8_t* row,
                        int64_t count) {
    std::memset(row, 0, bytes_of(count));
    for (int64_t i = 0; i < count; i++) {
        const int64_t from = skip + i;
        row[i >> 3] |= get_bit(phases[step - 1 - from % step], from / step) << (i & 7);
    }
}
inline bool split_phases(const uint8_t* row, int64_t at, uint8_t* const* phases, int step,
                         int64_t count) {
    bool is_any_set = false;
    for (int p = 0; p < step; p++) std::memset(phases[p], 0, bytes_of(count));
    for (int64_t i = 0; i < count * step; i++) {
        const bool bit = get_bit(row, at + i);
        phases[step - 1 - i % step][i / step >> 3] |= bit << (i / step & 7);
        is_any_set |= bit;
    }
    return is_any_set;
}
