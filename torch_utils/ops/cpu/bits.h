// Rows of bits: sample `i` of a row is bit `i % 8` of byte `i / 8`.
#pragma once

#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "rows of bits are read and written as little-endian integers"
#endif

#include <cstdint>
#include <cstring>

#if defined(__BMI2__)
#include <immintrin.h>
#endif

// Bits 0, step, 2 * step, ... of a word.
constexpr uint64_t every(int step) {
    uint64_t word = 0;
    for (int i = 0; i < 64; i += step) word |= uint64_t(1) << i;
    return word;
}

// Bit k of `bits` goes to bit k * STEP.
template <int STEP>
inline uint64_t spread(uint8_t bits) {
#if defined(__BMI2__)
    return _pdep_u64(bits, every(STEP));
#else
    uint64_t word = 0;
    for (int k = 0; k < 8; k++) word |= uint64_t(bits >> k & 1) << (k * STEP);
    return word;
#endif
}

// Bit k * STEP of `word` goes to bit k, for 8 bits.
template <int STEP>
inline uint8_t collect(uint64_t word) {
#if defined(__BMI2__)
    return uint8_t(_pext_u64(word, every(STEP)));
#else
    uint8_t bits = 0;
    for (int k = 0; k < 8; k++) bits |= (word >> (k * STEP) & 1) << k;
    return bits;
#endif
}

// row <- phases: sample `i * step + p` of the row is sample `i` of phase `p`; 8 samples of every
// phase make `step` bytes of the row.
template <int STEP>
void join_phases(const uint8_t* const* phases, uint8_t* row, int64_t bytes) {
    for (int64_t i = 0; i < bytes; i++) {
        uint64_t word = 0;
        for (int p = 0; p < STEP; p++) word |= spread<STEP>(phases[p][i]) << p;
        std::memcpy(row + i * STEP, &word, STEP);
    }
}
template <int STEP>
void split_phases(const uint8_t* row, uint8_t* const* phases, int64_t bytes) {
    for (int64_t i = 0; i < bytes; i++) {
        uint64_t word = 0;
        std::memcpy(&word, row + i * STEP, STEP);
        for (int p = 0; p < STEP; p++) phases[p][i] = collect<STEP>(word >> p);
    }
}

inline bool get_bit(const uint8_t* row, int64_t i) { return row[i >> 3] >> (i & 7) & 1; }

inline void join_phases(const uint8_t* const* phases, uint8_t* row, int64_t bytes, int step) {
    if (step == 1) return void(std::memcpy(row, phases[0], bytes));
    if (step == 2) return join_phases<2>(phases, row, bytes);
    if (step == 4) return join_phases<4>(phases, row, bytes);
    std::memset(row, 0, bytes * step);
    for (int64_t i = 0; i < bytes * 8; i++)
        for (int p = 0; p < step; p++)
            row[(i * step + p) >> 3] |= get_bit(phases[p], i) << ((i * step + p) & 7);
}
inline void split_phases(const uint8_t* row, uint8_t* const* phases, int64_t bytes, int step) {
    if (step == 1) return void(std::memcpy(phases[0], row, bytes));
    if (step == 2) return split_phases<2>(row, phases, bytes);
    if (step == 4) return split_phases<4>(row, phases, bytes);
    for (int p = 0; p < step; p++) std::memset(phases[p], 0, bytes);
    for (int64_t i = 0; i < bytes * 8; i++)
        for (int p = 0; p < step; p++) phases[p][i >> 3] |= get_bit(row, i * step + p) << (i & 7);
}

// Up to 56 bits from bit `at` on; reads 8 bytes.
inline uint64_t peek(const uint8_t* row, int64_t at) {
    uint64_t word;
    std::memcpy(&word, row + (at >> 3), 8);
    return word >> (at & 7);
}

// dst[dst_at + i] <- src[src_at + i] for `count` bits; other bits stay. 8 bytes of slack are needed
// behind `src`, none behind `dst`.
inline void copy_bits(const uint8_t* src, int64_t src_at, uint8_t* dst, int64_t dst_at,
                      int64_t count) {
    if (count <= 0) return;
    if (int head = dst_at & 7) {  // up to the next whole byte
        int n = count < 8 - head ? count : 8 - head;
        uint8_t mask = ((1u << n) - 1) << head;
        uint8_t& byte = dst[dst_at >> 3];
        byte = (byte & ~mask) | (uint8_t(peek(src, src_at) << head) & mask);
        src_at += n, dst_at += n, count -= n;
    }
    uint8_t* out = dst + (dst_at >> 3);
    for (; count >= 48; count -= 48, src_at += 48, out += 6) {
        uint64_t word = peek(src, src_at);
        std::memcpy(out, &word, 6);
    }
    for (; count >= 8; count -= 8, src_at += 8) *out++ = uint8_t(peek(src, src_at));
    if (count > 0) {
        uint8_t mask = (1u << count) - 1;
        *out = (*out & ~mask) | (uint8_t(peek(src, src_at)) & mask);
    }
}
