// The operations of a resampling pass on rows of samples, vectorised along the row.
//
// Filtering along y is a weighted sum of rows; filtering along x is one too: of the same row, moved
// by 0, 1, 2, ... samples. Up- and downsampling along x keep rows apart by phase, every `up`-th or
// `down`-th sample in a row of its own, so that neighbouring samples of a result always come from
// neighbouring samples of its sources. So `combine` does all the arithmetic.
//
// Loops go past `count` up to the next multiple of the vector width; rows are padded accordingly.
#pragma once

#include "vec.h"

// kReadSlope: kReadMask for a row without clamped samples.
enum Mode { kLinear, kAct, kActWriteMask, kReadMask, kReadSlope };

template <class T>
struct Nonlinearity {
    T slope, clamp;  // gains are part of the taps
};

// `B` vectors from sample `x` on: out_o = sum over k of taps[o][k] * rows[k]. FOLD: taps are
// symmetric, so that rows of equal weight are added first.
template <class T, int O, int B, bool FOLD, class Emit>
INLINE void combine_block(const T* const* rows, int num_rows, const T* taps, int64_t x,
                          const Emit& emit) {
    constexpr int L = kLanes<T>;
    Vec<T> sums[O][B];
#pragma GCC unroll 16
    for (int i = 0; i < O * B; i++) sums[i / B][i % B] = Vec<T>{};
    const int num_weights = FOLD ? num_rows / 2 : num_rows;
    for (int k = 0; k < num_weights; k++) {
        const T* row = rows[k] + x;
        const T* mirror = rows[num_rows - 1 - k] + x;
        keep_address(row);
        if constexpr (FOLD) keep_address(mirror);
#pragma GCC unroll 16
        for (int i = 0; i < B; i++) {
            Vec<T> v = load(row + i * L);
            if constexpr (FOLD) v += load(mirror + i * L);
            if constexpr (O > 1) keep_in_register(v);
#pragma GCC unroll 4
            for (int o = 0; o < O; o++) sums[o][i] += v * taps[o * num_rows + k];
        }
    }
#pragma GCC unroll 4
    for (int o = 0; o < O; o++) {
#pragma GCC unroll 16
        for (int i = 0; i < B; i++) emit(o, x + i * L, sums[o][i]);
    }
}

// Vectors in a block: with fewer than eight sums at once, each waits for the one before.
template <int O>
constexpr int kMaxBlock = kVectorBytes == 64 ? (O == 1 ? 12 : O == 2 ? 8 : O == 3 ? 6 : 5)
                                             : (O == 1 ? 12 : O == 2 ? 5 : O == 3 ? 4 : 2);

// combine_block for `num_vectors` = 1 ... B.
template <class T, int O, int B, bool FOLD, class Emit>
INLINE void combine_vectors(const T* const* rows, int num_rows, const T* taps, int64_t x,
                            int num_vectors, const Emit& emit) {
    if constexpr (B > 1)
        if (num_vectors < B)
            return combine_vectors<T, O, B - 1, FOLD>(rows, num_rows, taps, x, num_vectors, emit);
    combine_block<T, O, B, FOLD>(rows, num_rows, taps, x, emit);
}

// Calls emit(o, x, vector) for all outputs `o` and samples `x`; `taps` is [O][num_rows].
template <class T, int O, bool FOLD, class Emit>
INLINE void combine(const T* const* rows, int num_rows, const T* taps, int64_t count,
                    const Emit& emit) {
    constexpr int L = kLanes<T>, B = kMaxBlock<O>;
    for (int64_t x = 0; x < count;) {
        const int left = (count - x + L - 1) / L;
        const int num_vectors = left >= 2 * B ? B : left > B ? (left + 1) / 2 : left;
        combine_vectors<T, O, B, FOLD>(rows, num_rows, taps, x, num_vectors, emit);
        x += num_vectors * L;
    }
}

// Any number of outputs, each a row: out[o] <- rows.
template <class T, bool FOLD>
void combine_rows(const T* const* rows, int num_rows, const T* taps, T* const* out,
                  int num_outputs, int64_t count) {
    for (int done = 0; done < num_outputs;) {
        const T* f = taps + done * num_rows;
        T* const* to = out + done;
        auto emit = [=](int o, int64_t x, Vec<T> v) { store(to[o] + x, v); };
        switch (num_outputs - done) {
            case 1: combine<T, 1, false>(rows, num_rows, f, count, emit); return;
            case 2: combine<T, 2, FOLD>(rows, num_rows, f, count, emit); return;
            case 3: combine<T, 3, FOLD>(rows, num_rows, f, count, emit); return;
            default: combine<T, 4, FOLD>(rows, num_rows, f, count, emit); done += 4;
        }
    }
}

// The nonlinearity. Bits of `negative` say where the slope applies, of `clamped` where the clamp
// cut: rows of bits that are written or read at sample `x`. What is written to `clamped` is added
// to `any_clamped`.
template <class T, int MODE>
INLINE Vec<T> activate(Vec<T> t, const Nonlinearity<T>& act, uint8_t* negative, uint8_t* clamped,
                       int64_t x, uint32_t& any_clamped) {
    const Vec<T> zero{}, limit = zero + act.clamp;
    if constexpr (MODE == kActWriteMask) put_lanes<T>(negative, x, bits_at_most<T>(t, zero));
    if constexpr (MODE == kAct || MODE == kActWriteMask)
        t = at_least<T>(zero, t) + at_most<T>(zero, t) * act.slope;
    if constexpr (MODE == kActWriteMask) {
        const uint32_t bits = bits_above<T>(at_least<T>(t, -t), limit);
        put_lanes<T>(clamped, x, bits);
        any_clamped |= bits;
    }
    if constexpr (MODE == kAct || MODE == kActWriteMask)
        t = at_most<T>(limit, at_least<T>(-limit, t));
    if constexpr (MODE == kReadMask || MODE == kReadSlope)
        t = select<T>(negative, x, t * act.slope, t);
    if constexpr (MODE == kReadMask) t = select<T>(clamped, x, zero, t);
    return t;
}

// Combines rows and applies the nonlinearity; `negative` and `clamped` hold a row of bits for each
// output. Returns whether it has set bits of `clamped`.
template <class T, int O, int MODE>
bool activate_rows(const T* const* rows, int num_rows, const T* taps, T* const* out,
                   int64_t count, const Nonlinearity<T>& act, uint8_t* const* negative,
                   uint8_t* const* clamped) {
    // Copies: the compiler knows that stores to bits and samples do not change them.
    const Nonlinearity<T> f = act;
    T* const to[] = {out[0], out[O - 1]};
    uint8_t* const slope_bits[] = {negative[0], negative[O - 1]};
    uint8_t* const clamp_bits[] = {clamped[0], clamped[O - 1]};
    static_assert(O <= 2);
    uint32_t any_clamped = 0;
    combine<T, O, false>(rows, num_rows, taps, count, [&](int o, int64_t x, Vec<T> v) {
        store(to[o] + x, activate<T, MODE>(v, f, slope_bits[o], clamp_bits[o], x, any_clamped));
    });
    return any_clamped != 0;
}

// out[i * N + p] <- in[p][i], and back.
template <class T, int N>
void interleave(const T* const* in, T* out, int64_t count) {
    for (int64_t i = 0; i < count; i++)
        for (int p = 0; p < N; p++) out[i * N + p] = in[p][i];
}
template <class T, int N>
void deinterleave(const T* in, T* const* out, int64_t count) {
    for (int p = 0; p < N; p++) {
        T* to = out[p];
        for (int64_t i = 0; i < count; i++) to[i] = in[i * N + p];
    }
}
