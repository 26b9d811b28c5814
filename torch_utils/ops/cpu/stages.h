// The stages of a resampling pass, on rows of vectors that fit into the nearest caches.
//
// A row holds one vector of channels per pixel. Names of the spaces:
//   in   rows of the input image
//   v    rows at the up-sampled vertical rate, still at the horizontal rate of the input
//   t    rows at the up-sampled rate of both axes, where the nonlinearity acts
//   h    rows of t, filtered and down-sampled along x
//   out  rows of the output image
//
// Upsampling is polyphase. Group g of the up-sampled axis are the `UP` samples that see the inputs
// g, ..., g + M - 1; they are stored in order, sample UP - 1 - r having the taps `[r, 0..M-1]`.
// Loops run over blocks of pixels and may go past `count` up to the next multiple of kBlock: rows
// have room for that. A template argument of 0 stands for "known at run time only".
#pragma once

#include "vec.h"

constexpr int kBlock = 8;

enum Mode { kLinear, kAct, kActWriteMask, kReadMask };

// Signs of the nonlinearity's input for one pixel: bits of the channels where the slope applies,
// and where the clamp cut.
template <class T>
struct Signs {
    typename Bits<T>::type negative, clamped;
};

template <class T>
struct Nonlinearity {
    T slope, clamp;  // gains are part of the taps
};

template <class T, int MODE>
INLINE Vec<T> activate(Vec<T> t, const Nonlinearity<T>& act, Signs<T>* signs) {
    if constexpr (MODE == kAct) {
        t = t > 0 ? t : t * act.slope;
        t = t > act.clamp ? Vec<T>{} + act.clamp : t;
        t = t < -act.clamp ? Vec<T>{} - act.clamp : t;
    }
    if constexpr (MODE == kActWriteMask) {
        auto negative = bits_of<T>(t <= 0);
        t = select<T>(negative, t * act.slope, t);
        Vec<T> cut = t > act.clamp ? Vec<T>{} + act.clamp : t;
        cut = cut < -act.clamp ? Vec<T>{} - act.clamp : cut;
        *signs = {negative, bits_of<T>(cut != t)};
        t = cut;
    }
    if constexpr (MODE == kReadMask) {
        t = select<T>(signs->negative, t * act.slope, t);
        t = select<T>(signs->clamped, Vec<T>{}, t);
    }
    return t;
}

// v[r] <- in: `up` rows from `m` rows, `count` pixels each.
template <class T, int UP, int M>
void upsample_rows(const Vec<T>* const* in, Vec<T>* const* v, int count, const T* taps, int up_,
                   int m_) {
    const int up = UP ? UP : up_, m = M ? M : m_;
    constexpr int B = kBlock / 2;
    for (int x = 0; x < count; x += B) {
        for (int r = 0; r < up; r += 2) {  // two phases at a time share the loads
            const T* f0 = taps + r * m;
            const T* f1 = r + 1 < up ? f0 + m : f0;
            Vec<T> a[B], b[B];
            for (int i = 0; i < B; i++) a[i] = b[i] = Vec<T>{};
#pragma GCC unroll 6
            for (int k = 0; k < m; k++) {
                for (int i = 0; i < B; i++) {
                    Vec<T> p = in[k][x + i];
                    a[i] += p * f0[k];
                    b[i] += p * f1[k];
                }
            }
            for (int i = 0; i < B; i++) v[up - 1 - r][x + i] = a[i];
            if (r + 1 < up)
                for (int i = 0; i < B; i++) v[up - 2 - r][x + i] = b[i];
        }
    }
}

// t <- v: `count` groups of `up` samples each, through the nonlinearity.
template <class T, int UP, int M, int MODE>
void upsample_columns(const Vec<T>* v, Vec<T>* t, int count, const T* taps, int up_, int m_,
                      const Nonlinearity<T>& act, Signs<T>* signs) {
    const int up = UP ? UP : up_, m = M ? M : m_;
    constexpr int B = kBlock / 2;
    for (int x = 0; x < count; x += B, v += B, t += B * up, signs += B * up) {
        for (int r = 0; r < up; r += 2) {
            const T* f0 = taps + r * m;
            const T* f1 = r + 1 < up ? f0 + m : f0;
            Vec<T> a[B], b[B];
            for (int i = 0; i < B; i++) a[i] = b[i] = Vec<T>{};
#pragma GCC unroll 6
            for (int k = 0; k < m; k++) {
                for (int i = 0; i < B; i++) {
                    a[i] += v[i + k] * f0[k];
                    b[i] += v[i + k] * f1[k];
                }
            }
            for (int i = 0; i < B; i++) {
                int at = i * up + up - 1 - r;
                t[at] = activate<T, MODE>(a[i], act, signs + at);
                if (r + 1 < up) t[at - 1] = activate<T, MODE>(b[i], act, signs + at - 1);
            }
        }
    }
}

// t <- in: one row of samples from `my` input rows with a 2D filter; `taps` is [up][my][mx].
template <class T, int UP, int M, int MODE>
void upsample_2d(const Vec<T>* const* in, Vec<T>* t, int count, const T* taps, int up_, int mx_,
                 int my_, const Nonlinearity<T>& act, Signs<T>* signs) {
    const int up = UP ? UP : up_, mx = M ? M : mx_, my = M ? M : my_;
    constexpr int B = kBlock;
    for (int x = 0; x < count; x += B, t += B * up, signs += B * up) {
        for (int r = 0; r < up; r += 2) {
            const T* f0 = taps + r * mx * my;
            const T* f1 = r + 1 < up ? f0 + mx * my : f0;
            Vec<T> a[B], b[B];
            for (int i = 0; i < B; i++) a[i] = b[i] = Vec<T>{};
            for (int j = 0; j < my; j++, f0 += mx, f1 += mx) {
                const Vec<T>* row = in[j] + x;
#pragma GCC unroll 6
                for (int k = 0; k < mx; k++) {
                    for (int i = 0; i < B; i++) {
                        a[i] += row[i + k] * f0[k];
                        b[i] += row[i + k] * f1[k];
                    }
                }
            }
            for (int i = 0; i < B; i++) {
                int at = i * up + up - 1 - r;
                t[at] = activate<T, MODE>(a[i], act, signs + at);
                if (r + 1 < up) t[at - 1] = activate<T, MODE>(b[i], act, signs + at - 1);
            }
        }
    }
}

// h <- t: `count` filtered samples at every `down`-th position.
template <class T, int DOWN, int TAPS>
void downsample_columns(const Vec<T>* t, Vec<T>* h, int count, const T* taps, int down_,
                        int num_taps_) {
    const int down = DOWN ? DOWN : down_, num_taps = TAPS ? TAPS : num_taps_;
    constexpr int B = kBlock;
    for (int x = 0; x < count; x += B, t += B * down, h += B) {
        Vec<T> a[B];
        for (int i = 0; i < B; i++) a[i] = Vec<T>{};
#pragma GCC unroll 24
        for (int k = 0; k < num_taps; k++)
            for (int i = 0; i < B; i++) a[i] += t[i * down + k] * taps[k];
        for (int i = 0; i < B; i++) h[i] = a[i];
    }
}

// out <- h: one row from `num_taps` rows.
template <class T, int TAPS>
void downsample_rows(const Vec<T>* const* h, Vec<T>* out, int count, const T* taps,
                     int num_taps_) {
    const int num_taps = TAPS ? TAPS : num_taps_;
    constexpr int B = kBlock;
    for (int x = 0; x < count; x += B) {
        Vec<T> a[B];
        for (int i = 0; i < B; i++) a[i] = Vec<T>{};
#pragma GCC unroll 4
        for (int k = 0; k < num_taps; k++)
            for (int i = 0; i < B; i++) a[i] += h[k][x + i] * taps[k];
        for (int i = 0; i < B; i++) out[x + i] = a[i];
    }
}

// out <- t: one row from `th` rows with a 2D filter `taps` [th][tw]. FOLD: the rows of the filter
// are symmetric, so that rows of t with equal taps are added first.
template <class T, int DOWN, int TAPS, bool FOLD>
void downsample_2d(const Vec<T>* const* t, Vec<T>* out, int count, const T* taps, int down_,
                   int tw_, int th_) {
    const int down = DOWN ? DOWN : down_, tw = TAPS ? TAPS : tw_, th = TAPS ? TAPS : th_;
    constexpr int B = kBlock;
    for (int x = 0; x < count; x += B) {
        Vec<T> a[B];
        for (int i = 0; i < B; i++) a[i] = Vec<T>{};
        for (int j = 0; j < (FOLD ? th / 2 : th); j++) {
            const Vec<T>* row = t[j] + x * down;
            const Vec<T>* mirror = t[th - 1 - j] + x * down;
            const T* f = taps + j * tw;
            if constexpr (TAPS != 0) {
                // Every sum of two pixels serves all outputs of the block that see it.
#pragma GCC unroll 64
                for (int p = 0; p < (B - 1) * DOWN + TAPS; p++) {
                    Vec<T> s = FOLD ? row[p] + mirror[p] : row[p];
#pragma GCC unroll 8
                    for (int i = 0; i < B; i++)
                        if (p - i * DOWN >= 0 && p - i * DOWN < TAPS) a[i] += s * f[p - i * DOWN];
                }
            } else {
                for (int k = 0; k < tw; k++) {
                    for (int i = 0; i < B; i++) {
                        Vec<T> s = row[i * down + k];
                        if (FOLD) s += mirror[i * down + k];
                        a[i] += s * f[k];
                    }
                }
            }
        }
        for (int i = 0; i < B; i++) out[x + i] = a[i];
    }
}
