// Vectors of the machine's width, written with the vector extensions of GCC and Clang.
//
// Arithmetic is in float or double; bfloat16 exists in memory only.
#pragma once

#include <cstdint>
#include <cstring>

#if defined(__AVX512F__) && defined(__AVX512BW__) && defined(__AVX512DQ__) && defined(__AVX512VL__)
#define VEC_AVX512 1
#elif defined(__AVX2__)
#define VEC_AVX2 1
#endif
#if defined(__SSE2__)
#include <immintrin.h>
#endif

#define INLINE inline __attribute__((always_inline))
#define LAMBDA_INLINE __attribute__((always_inline))

#if defined(VEC_AVX512)
constexpr int kVectorBytes = 64;
#elif defined(VEC_AVX2)
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

// ---- Memory. One value: `widen` and `narrow`; a vector of any alignment: `load` and `store`.

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

// ---- Parts of vectors. `count` lanes exist: all of them, known when compiling, except at the end
// of a row. Those behind are zero, or left alone in memory.

template <class T, class S>
INLINE Vec<T> load_some(const S* p, int count) {
    if (count == kLanes<T>) return load<T>(p);
#if defined(VEC_AVX512)
    const uint32_t lanes = (1u << count) - 1;
    if constexpr (sizeof(S) == 4) return Vec<T>(_mm512_maskz_loadu_ps(lanes, p));
    if constexpr (sizeof(S) == 8) return Vec<T>(_mm512_maskz_loadu_pd(lanes, p));
#endif
    Vec<T> v{};
    for (int i = 0; i < count; i++) v[i] = widen(p[i]);
    return v;
}
template <class T, class S>
INLINE void store_some(S* p, Vec<T> v, int count) {
    if (count == kLanes<T>) return store<T>(p, v);
#if defined(VEC_AVX512)
    const uint32_t lanes = (1u << count) - 1;
    if constexpr (sizeof(S) == 4) return _mm512_mask_storeu_ps(p, lanes, __m512(v));
    if constexpr (sizeof(S) == 8) return _mm512_mask_storeu_pd(p, lanes, __m512d(v));
#endif
    for (int i = 0; i < count; i++) p[i] = narrow<S>(v[i]);
}
template <class T, class F>
INLINE void for_vectors(int64_t size, const F& body) {
    int64_t i = 0;
    for (; i + kLanes<T> <= size; i += kLanes<T>) body(i, kLanes<T>);
    if (i < size) body(i, int(size - i));
}

// ---- The smaller and the larger of a limit and a value; of NaN, NaN.

template <class T>
INLINE Vec<T> at_most(Vec<T> limit, Vec<T> v) {
#if defined(VEC_AVX512)
    if constexpr (sizeof(T) == 4) return Vec<T>(_mm512_min_ps(__m512(limit), __m512(v)));
    if constexpr (sizeof(T) == 8) return Vec<T>(_mm512_min_pd(__m512d(limit), __m512d(v)));
#elif defined(VEC_AVX2)
    if constexpr (sizeof(T) == 4) return Vec<T>(_mm256_min_ps(__m256(limit), __m256(v)));
    if constexpr (sizeof(T) == 8) return Vec<T>(_mm256_min_pd(__m256d(limit), __m256d(v)));
#else
    return limit < v ? limit : v;
#endif
}
template <class T>
INLINE Vec<T> at_least(Vec<T> limit, Vec<T> v) {
#if defined(VEC_AVX512)
    if constexpr (sizeof(T) == 4) return Vec<T>(_mm512_max_ps(__m512(limit), __m512(v)));
    if constexpr (sizeof(T) == 8) return Vec<T>(_mm512_max_pd(__m512d(limit), __m512d(v)));
#elif defined(VEC_AVX2)
    if constexpr (sizeof(T) == 4) return Vec<T>(_mm256_max_ps(__m256(limit), __m256(v)));
    if constexpr (sizeof(T) == 8) return Vec<T>(_mm256_max_pd(__m256d(limit), __m256d(v)));
#else
    return limit > v ? limit : v;
#endif
}

// ---- All lanes together.

template <class T>
INLINE T sum_of_lanes(Vec<T> v) {
#if defined(VEC_AVX512)
    if constexpr (sizeof(T) == 4) return _mm512_reduce_add_ps(__m512(v));
    if constexpr (sizeof(T) == 8) return _mm512_reduce_add_pd(__m512d(v));
#endif
    for (int half = kLanes<T> / 2; half > 0; half /= 2)  // each sum waits for the one before
        for (int i = 0; i < half; i++) v[i] += v[i + half];
    return v[0];
}

// ---- One bit per lane.

#if defined(VEC_AVX512)
template <class T>
INLINE uint32_t bits_at_most(Vec<T> a, Vec<T> b) {  // where a <= b
    if constexpr (sizeof(T) == 4) return _mm512_cmp_ps_mask(__m512(a), __m512(b), _CMP_LE_OS);
    if constexpr (sizeof(T) == 8) return _mm512_cmp_pd_mask(__m512d(a), __m512d(b), _CMP_LE_OS);
}
template <class T>
INLINE uint32_t bits_above(Vec<T> a, Vec<T> b) {  // where a > b
    if constexpr (sizeof(T) == 4) return _mm512_cmp_ps_mask(__m512(a), __m512(b), _CMP_GT_OS);
    if constexpr (sizeof(T) == 8) return _mm512_cmp_pd_mask(__m512d(a), __m512d(b), _CMP_GT_OS);
}
#else
template <class T>
INLINE uint32_t bits_of(typename VecOf<T>::ints truth) {
#if defined(VEC_AVX2)
    if constexpr (sizeof(T) == 4) return _mm256_movemask_ps(__m256(truth));
    if constexpr (sizeof(T) == 8) return _mm256_movemask_pd(__m256d(truth));
#else
    uint32_t bits = 0;
    for (int i = 0; i < kLanes<T>; i++) bits |= uint32_t(truth[i] & 1) << i;
    return bits;
#endif
}
template <class T>
INLINE uint32_t bits_at_most(Vec<T> a, Vec<T> b) {  // where a <= b
    return bits_of<T>(a <= b);
}
template <class T>
INLINE uint32_t bits_above(Vec<T> a, Vec<T> b) {  // where a > b
    return bits_of<T>(a > b);
}
#endif

// The unit in which rows of bits are written and read: the bits of a vector, but whole bytes.
template <class T>
struct UnitOf {
    using type = uint8_t;
};
#if defined(VEC_AVX512)
template <>
struct UnitOf<float> {
    using type = uint16_t;
};
#endif

// Bits of one vector in a row of bits: sample `i` is bit `i % 8` of byte `i / 8`. Rows are written
// from left to right; `x` is a multiple of the number of lanes.
template <class T>
INLINE void put_lanes(uint8_t* row, int64_t x, uint32_t bits) {
    if constexpr (kLanes<T> >= 8) {
        std::memcpy(row + x / 8, &bits, kLanes<T> / 8);
    } else {
        uint8_t& byte = row[x / 8];
        byte = (x % 8 == 0 ? 0 : byte) | bits << (x % 8);
    }
}

// Lanes of `a` where the bit is set in a row of bits, else of `b`.
template <class T>
INLINE Vec<T> select(const uint8_t* row, int64_t x, Vec<T> a, Vec<T> b) {
    typename UnitOf<T>::type unit;
    std::memcpy(&unit, row + x / 8, sizeof(unit));
    int32_t bits = unit;
    if constexpr (kLanes<T> < 8) bits >>= x % 8;
#if defined(VEC_AVX512)
    if constexpr (sizeof(T) == 4) return Vec<T>(_mm512_mask_mov_ps(__m512(b), bits, __m512(a)));
    if constexpr (sizeof(T) == 8) return Vec<T>(_mm512_mask_mov_pd(__m512d(b), bits, __m512d(a)));
#elif defined(VEC_AVX2)
    // Blending looks at the sign: move the bit of every lane there.
    if constexpr (sizeof(T) == 4) {
        const __m256i to_sign = _mm256_setr_epi32(31, 30, 29, 28, 27, 26, 25, 24);
        __m256i sign = _mm256_sllv_epi32(_mm256_set1_epi32(bits), to_sign);
        return Vec<T>(_mm256_blendv_ps(__m256(b), __m256(a), _mm256_castsi256_ps(sign)));
    } else {
        const __m256i to_sign = _mm256_setr_epi64x(63, 62, 61, 60);
        __m256i sign = _mm256_sllv_epi64(_mm256_set1_epi64x(bits), to_sign);
        return Vec<T>(_mm256_blendv_pd(__m256d(b), __m256d(a), _mm256_castsi256_pd(sign)));
    }
#else
    typename VecOf<T>::ints lane_bit{};
    for (int i = 0; i < kLanes<T>; i++) lane_bit[i] = 1 << i;
    return ((lane_bit - lane_bit + bits) & lane_bit) != 0 ? a : b;
#endif
}

// Keeps a value in a register. Otherwise compilers load it again, or keep one register for each
// offset from an address rather than the address.
template <class X>
INLINE void keep_address(X*& p) {
    asm("" : "+r"(p));
}
template <class V>
INLINE void keep_in_register(V& v) {
#if defined(__SSE2__) && defined(__AVX512F__)
    asm("" : "+v"(v));
#elif defined(__SSE2__)
    asm("" : "+x"(v));
#elif defined(__aarch64__)
    asm("" : "+w"(v));
#endif
}
