// Transposes a matrix of 32-bit words in blocks of 16x16.
#pragma once

#include <immintrin.h>

#include <cstdint>

#include "vec.h"

// Columns of `rows` (at most 16; missing ones count as zero) become rows of 16 words.
INLINE void transpose16(const uint32_t* in, int64_t in_stride, int rows, uint32_t* out,
                        int64_t out_stride) {
    __m512i a[16], b[16];
    for (int i = 0; i < 16; i++)
        a[i] = i < rows ? _mm512_loadu_si512(in + i * in_stride) : _mm512_setzero_si512();
    for (int i = 0; i < 16; i += 2) {  // pairs of words
        b[i] = _mm512_unpacklo_epi32(a[i], a[i + 1]);
        b[i + 1] = _mm512_unpackhi_epi32(a[i], a[i + 1]);
    }
    for (int i = 0; i < 16; i += 4) {  // four words of four rows; row `4 * lane + j` in `a[i + j]`
        a[i] = _mm512_unpacklo_epi64(b[i], b[i + 2]);
        a[i + 1] = _mm512_unpackhi_epi64(b[i], b[i + 2]);
        a[i + 2] = _mm512_unpacklo_epi64(b[i + 1], b[i + 3]);
        a[i + 3] = _mm512_unpackhi_epi64(b[i + 1], b[i + 3]);
    }
    for (int j = 0; j < 4; j++) {  // lanes 0 and 2, 1 and 3
        const __m512i even_low = _mm512_shuffle_i32x4(a[j], a[4 + j], 0x88);
        const __m512i odd_low = _mm512_shuffle_i32x4(a[j], a[4 + j], 0xdd);
        const __m512i even_high = _mm512_shuffle_i32x4(a[8 + j], a[12 + j], 0x88);
        const __m512i odd_high = _mm512_shuffle_i32x4(a[8 + j], a[12 + j], 0xdd);
        _mm512_storeu_si512(out + j * out_stride, _mm512_shuffle_i32x4(even_low, even_high, 0x88));
        _mm512_storeu_si512(out + (4 + j) * out_stride,
                            _mm512_shuffle_i32x4(odd_low, odd_high, 0x88));
        _mm512_storeu_si512(out + (8 + j) * out_stride,
                            _mm512_shuffle_i32x4(even_low, even_high, 0xdd));
        _mm512_storeu_si512(out + (12 + j) * out_stride,
                            _mm512_shuffle_i32x4(odd_low, odd_high, 0xdd));
    }
}
