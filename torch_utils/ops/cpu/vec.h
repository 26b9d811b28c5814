// Vectors of the machine's width, written with the vector extensions of GCC and Clang.
//
// One vector holds as many channels as fit into a register: "lanes". Arithmetic is in float or
// double; bfloat16 exists in memory only.
#pragma once

#include <cstdint>
#include <cstring>

#if defined(__AVX512F__) && defined(__AVX512BW__) && defined(__AVX512DQ__) && defined(__AVX512VL__)
#define VEC_AVX512 1
#include <immintrin.h>
#endif

#define INLINE inline __attribute__((always_inline))

#if defined(VEC_AVX512)
constexpr int kVectorBytes = 64;
#elif defined(__AVX__)
constexpr int kVectorBytes = 32;
#else
constexpr int kVectorBytes = 16;
#endif

struct bfloat16 {
    uint16_t bits;
};

template <class T>
constexpr int kLanes = kVectorBytes / sizeof(T);

template <class T>
struct VecOf;
template <>
struct VecOf<float> {
    typedef float type __attribute__((vector_size(kVectorBytes)));
    typedef float loose __attribute__((vector_size(kVectorBytes), aligned(4), may_alias));
    typedef int32_t ints __attribute__((vector_size(kVectorBytes)));
    typedef uint16_t halves __attribute__((vector_size(kVectorBytes / 2), aligned(2), may_alias));
    typedef uint32_t words __attribute__((vector_size(kVectorBytes)));
};
template <>
struct VecOf<double> {
    typedef double type __attribute__((vector_size(kVectorBytes)));
    typedef double loose __attribute__((vector_size(kVectorBytes), aligned(8), may_alias));
    typedef int64_t ints __attribute__((vector_size(kVectorBytes)));
};

template <class T>
using Vec = typename VecOf<T>::type;

// ---- Memory: T is the type of the arithmetic, S the type in memory.

INLINE float widen(float v) { return v; }
INLINE double widen(double v) { return v; }
INLINE float widen(bfloat16 v) {
    uint32_t word = uint32_t(v.bits) << 16;
    float result;
    std::memcpy(&result, &word, 4);
    return result;
}

template <class S>
INLINE S narrow(float v);
template <>
INLINE float narrow<float>(float v) {
    return v;
}
template <>
INLINE bfloat16 narrow<bfloat16>(float v) {  // to the nearest, ties to even
    uint32_t word;
    std::memcpy(&word, &v, 4);
    if (v != v) return {uint16_t((word >> 16) | 0x40)};
    return {uint16_t((word + 0x7fff + ((word >> 16) & 1)) >> 16)};
}
template <class S>
INLINE S narrow(double v) {
    return v;
}

template <class T>
INLINE Vec<T> load(const T* p) {
    return *reinterpret_cast<const typename VecOf<T>::loose*>(p);
}
template <class T>
INLINE Vec<float> load(const bfloat16* p) {
    using V = VecOf<float>;
    auto halves = *reinterpret_cast<const V::halves*>(p);
    return reinterpret_cast<Vec<float>>(__builtin_convertvector(halves, V::words) << 16);
}

template <class T>
INLINE void store(T* p, Vec<T> v) {
    *reinterpret_cast<typename VecOf<T>::loose*>(p) = v;
}
template <class T>
INLINE void store(bfloat16* p, Vec<float> v) {
    using V = VecOf<float>;
    auto words = reinterpret_cast<V::words>(v);
    V::words rounded = (words + 0x7fff + ((words >> 16) & 1)) >> 16;
    V::words nan = (words >> 16) | 0x40;
    V::words chosen = (v != v) ? nan : rounded;
    *reinterpret_cast<V::halves*>(p) = __builtin_convertvector(chosen, V::halves);
}

// The first `count` lanes; those behind are zero, or left alone in memory.
template <class T, class S>
INLINE Vec<T> load_lanes(const S* p, int64_t stride, int count) {
    Vec<T> v{};
    for (int i = 0; i < count; i++) v[i] = widen(p[i * stride]);
    return v;
}
template <class T, class S>
INLINE void store_lanes(S* p, int64_t stride, Vec<T> v, int count) {
    for (int i = 0; i < count; i++) p[i * stride] = narrow<S>(v[i]);
}

// ---- One bit per lane.

template <class T>
struct Bits {
    using type = uint8_t;
};
#if defined(VEC_AVX512)
template <>
struct Bits<float> {
    using type = uint16_t;
};
#endif

// Bits of the lanes where `a <= b`, and where `a != b`.
template <class T>
INLINE typename Bits<T>::type bits_of(typename VecOf<T>::ints truth) {
#if defined(VEC_AVX512)
    if constexpr (sizeof(T) == 4) return _mm512_movepi32_mask(__m512i(truth));
    if constexpr (sizeof(T) == 8) return _mm512_movepi64_mask(__m512i(truth));
#else
    typename Bits<T>::type bits = 0;
    for (int i = 0; i < kLanes<T>; i++) bits |= (truth[i] & 1) << i;
    return bits;
#endif
}

// Lanes of `a` where the bit is set, else of `b`.
template <class T>
INLINE Vec<T> select(typename Bits<T>::type bits, Vec<T> a, Vec<T> b) {
#if defined(VEC_AVX512)
    if constexpr (sizeof(T) == 4) return Vec<T>(_mm512_mask_mov_ps(__m512(b), bits, __m512(a)));
    if constexpr (sizeof(T) == 8) return Vec<T>(_mm512_mask_mov_pd(__m512d(b), bits, __m512d(a)));
#else
    using Ints = typename VecOf<T>::ints;
    Ints lane_bit;
    for (int i = 0; i < kLanes<T>; i++) lane_bit[i] = 1 << i;
    return ((Ints{} + bits) & lane_bit) != 0 ? a : b;
#endif
}

// ---- Transposing a square of lanes x lanes.

template <class T>
INLINE void transpose(Vec<T>* rows) {
    using Ints = typename VecOf<T>::ints;
    constexpr int n = kLanes<T>;
#pragma GCC unroll 4
    for (int step = 1; step < n; step *= 2) {
        Ints low, high;  // where each lane comes from: 0..n-1 of the first, n.. of the second row
        for (int i = 0; i < n; i++) {
            low[i] = (i & step) ? n + i - step : i;
            high[i] = (i & step) ? n + i : i + step;
        }
#pragma GCC unroll 16
        for (int i = 0; i < n; i++) {
            if (i & step) continue;
            Vec<T> a = rows[i], b = rows[i + step];
#if defined(__clang__)
            for (int k = 0; k < n; k++) {
                rows[i][k] = low[k] < n ? a[low[k]] : b[low[k] - n];
                rows[i + step][k] = high[k] < n ? a[high[k]] : b[high[k] - n];
            }
#else
            rows[i] = __builtin_shuffle(a, b, low);
            rows[i + step] = __builtin_shuffle(a, b, high);
#endif
        }
    }
}
