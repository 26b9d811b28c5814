// bfloat16 with AMX: products of tiles, summed up in float32.
//
// A tile has 16 rows of 64 bytes. `product += A * B` multiplies A, 16 rows of 32 numbers, with B,
// 32 numbers (16 rows of pairs) in 16 columns. Convolutions pair two channels: planes of pairs can
// be loaded as B from any sample on. Gradients of kernels pair two neighbouring samples of `y`.
#pragma once

#include "convolution_rows.h"
#include "transpose.h"

#if defined(VEC_AVX512) && defined(__AMX_TILE__) && defined(__AMX_BF16__) && defined(__linux__)
#define CONVOLUTION_AMX 1

#include <sys/syscall.h>
#include <unistd.h>

#include <vector>

// All tiles in full size, while it lives; then whatever was configured before.
class TileConfiguration {
  public:
    TileConfiguration() {
        _tile_storeconfig(before_);
        alignas(64) uint8_t all[64] = {1};  // the palette
        for (int tile = 0; tile < 8; tile++) {
            all[16 + 2 * tile] = 64;  // bytes of a row, 16 bits each
            all[48 + tile] = 16;      // rows
        }
        _tile_loadconfig(all);
    }
    ~TileConfiguration() { before_[0] == 0 ? _tile_release() : _tile_loadconfig(before_); }

  private:
    alignas(64) uint8_t before_[64];
};

struct AmxEngine {
    using Sample = bfloat16;
    using Word = uint16_t;
    using Packed = uint32_t;  // two channels, the first in the lower half
    static constexpr int64_t kTile = 16 * 32;

    // Linux gives processes the registers when they ask.
    static bool is_permitted() {
        constexpr long kRequestPermission = 0x1023, kTileData = 18;
        return syscall(SYS_arch_prctl, kRequestPermission, kTileData) == 0;
    }

    static int64_t planes(int64_t channels) { return (channels + 31) / 32 * 16; }
    static int64_t grid_size(int64_t count) { return (count + 31) / 32 * 32; }
    static int64_t grid_rows(int64_t channels) { return (channels + 15) / 16 * 16; }

    static void pack(const Plan& plan, const bfloat16* image, int64_t channels, int64_t first,
                     int64_t end, uint32_t* planes) {
        static thread_local Scratch memory;
        auto* even = memory.get<uint16_t>(2 * plan.plane_size);
        auto* odd = even + plan.plane_size;
        const int64_t size = plan.source_h * plan.source_w;
        const auto* words = reinterpret_cast<const uint16_t*>(image);
        for (int64_t c = 0; c < channels; c += 2, planes += plan.plane_size) {
            pack_channel(plan, words + c * size, first, end, even);
            if (c + 1 < channels)
                pack_channel(plan, words + (c + 1) * size, first, end, odd);
            else
                std::fill_n(odd, plan.plane_size, uint16_t(0));
            for (int64_t p = 0; p < plan.plane_size; p++)
                planes[p] = even[p] | uint32_t(odd[p]) << 16;
        }
        const int64_t missing = AmxEngine::planes(channels) - (channels + 1) / 2;
        std::fill_n(planes, missing * plan.plane_size + kSlack, 0u);
    }

    // Kernels as tiles of 16 target channels and 32 channels: [pass, target, channels, tap].
    class Kernels {
      public:
        Kernels(const Plan& plan, const bfloat16* k, int64_t row_stride, int64_t channel_stride)
            : plan(plan), targets((plan.target_channels + 15) / 16),
              chunks((plan.channels + 31) / 32) {
            static thread_local Scratch memory;
            int64_t taps = 0;
            for (const Pass& pass : plan.passes) taps += pass.num_taps;
            tiles = memory.get<bfloat16>(targets * chunks * taps * kTile);
            const bool is_padded = plan.target_channels % 16 != 0 || plan.channels % 32 != 0;
            if (is_padded) std::fill_n(tiles, targets * chunks * taps * kTile, bfloat16{});
            bfloat16* out = tiles;
            for (const Pass& pass : plan.passes) {
                for (int64_t row = 0; row < plan.target_channels; row++)
                    for (int64_t chunk = 0; chunk < chunks; chunk++) {
                        const int64_t tile = (row / 16 * chunks + chunk) * pass.num_taps;
                        const bfloat16* in = k + row * row_stride + chunk * 32 * channel_stride;
                        const int64_t count = std::min<int64_t>(32, plan.channels - chunk * 32);
                        bfloat16* to = out + tile * kTile + row % 16 * 32;
                        for (int64_t c = 0; c < count; c++)
                            for (int t = 0; t < pass.num_taps; t++)
                                to[t * kTile + c] = in[c * channel_stride + pass.taps[t].k];
                    }
                out += targets * chunks * pass.num_taps * kTile;
            }
        }

        // Computes all target channels: grid [grid_rows(target_channels), grid_size(count)].
        void multiply(const Pass& pass, const uint32_t* planes, int64_t count, float* grid) const {
            const TileConfiguration configuration;
            const bfloat16* pass_tiles = tiles;
            for (const Pass* p = plan.passes.data(); p != &pass; p++)
                pass_tiles += targets * chunks * p->num_taps * kTile;
            const int64_t size = grid_size(count);
            for (int64_t target = 0; target < targets; target += 2)
                for (int64_t p = 0; p < size; p += 32) {
                    const bfloat16* k = pass_tiles + target * chunks * pass.num_taps * kTile;
                    float* out = grid + target * 16 * size + p;
                    if (target + 1 < targets)
                        block<true>(pass, k, planes + p, out, size);
                    else
                        block<false>(pass, k, planes + p, out, size);
                }
        }

      private:
        const Plan& plan;
        int64_t targets, chunks;
        bfloat16* tiles;

        template <bool IS_PAIR>
        void block(const Pass& pass, const bfloat16* k, const uint32_t* planes, float* out,
                   int64_t size) const {
            const int64_t second = chunks * pass.num_taps * kTile, stride = plan.plane_size * 4;
            _tile_zero(0);
            _tile_zero(1);
            if (IS_PAIR) _tile_zero(2);
            if (IS_PAIR) _tile_zero(3);
            for (int64_t chunk = 0; chunk < chunks; chunk++, planes += 16 * plan.plane_size)
                for (int t = 0; t < pass.num_taps; t++, k += kTile) {
                    const uint32_t* x = planes + pass.taps[t].plane;
                    _tile_loadd(4, k, 64);
                    _tile_loadd(6, x, stride);
                    _tile_dpbf16ps(0, 4, 6);
                    _tile_loadd(7, x + 16, stride);
                    _tile_dpbf16ps(1, 4, 7);
                    if (IS_PAIR) {
                        _tile_loadd(5, k + second, 64);
                        _tile_dpbf16ps(2, 5, 6);
                        _tile_dpbf16ps(3, 5, 7);
                    }
                }
            _tile_stored(0, out, size * 4);
            _tile_stored(1, out + 16, size * 4);
            if (IS_PAIR) _tile_stored(2, out + 16 * size, size * 4);
            if (IS_PAIR) _tile_stored(3, out + 16 * size + 16, size * 4);
        }
    };

    // Channels become lanes of pairs of samples: out [count / 2, lanes, 2], zeros to the next
    // multiple of 32 samples. Planes are zero behind their samples.
    static void transpose(const uint16_t* planes, int64_t stride, int64_t channels, int64_t count,
                          uint16_t* out, int64_t lanes) {
        const auto* words = reinterpret_cast<const uint32_t*>(planes);
        auto* out_words = reinterpret_cast<uint32_t*>(out);
        for (int64_t pair = 0; pair < (count + 1) / 2; pair += 16)
            for (int64_t c = 0; c < lanes; c += 16) {
                uint32_t* to = out_words + pair * lanes + c;
                transpose16(words + c * stride / 2 + pair, stride / 2,
                            int(std::clamp<int64_t>(channels - c, 0, 16)), to, lanes);
                for (int64_t row = stride / 2 - pair; row < 16; row++)  // of the next plane
                    std::fill_n(to + row * lanes, 16, 0u);
            }
    }

    // sums [channels, 9, lanes] += sum over p of planes[channel, tap + p] * others[p, lane]. There
    // are planes for the next multiple of 16 channels.
    static void add_gradient(const Plan& plan, const uint16_t* planes, int64_t channels,
                             const uint16_t* others, int64_t lanes, int64_t count, float* sums) {
        const TileConfiguration configuration;
        for (int64_t c = 0; c < channels; c += 32)
            for (int64_t o = 0; o < lanes; o += 32)
                for (int t = 0; t < 9; t++) {
                    const uint16_t* x = planes + c * plan.plane_size + plan.passes[0].taps[t].plane;
                    float* sum = sums + (c * 9 + t) * lanes + o;
                    const bool has_rows = c + 16 < channels, has_columns = o + 16 < lanes;
                    const auto add = has_rows ? has_columns ? add_products<true, true>
                                                            : add_products<true, false>
                                     : has_columns ? add_products<false, true>
                                                   : add_products<false, false>;
                    add(x, plan.plane_size, others + 2 * o, lanes, count, sum);
                }
    }

    template <bool HAS_ROWS, bool HAS_COLUMNS>
    static void add_products(const uint16_t* x, int64_t plane_size, const uint16_t* others,
                             int64_t lanes, int64_t count, float* sums) {
        const int64_t row = 9 * lanes * 4, x_row = plane_size * 2, other_row = lanes * 4;
        float* below = sums + 16 * 9 * lanes;
        const uint16_t* x_below = x + 16 * plane_size;
        _tile_loadd(0, sums, row);
        if (HAS_COLUMNS) _tile_loadd(1, sums + 16, row);
        if (HAS_ROWS) _tile_loadd(2, below, row);
        if (HAS_ROWS && HAS_COLUMNS) _tile_loadd(3, below + 16, row);
        for (int64_t p = 0; p < count; p += 32) {
            const uint16_t* other = others + p * lanes;
            _tile_loadd(4, x + p, x_row);
            _tile_loadd(6, other, other_row);
            _tile_dpbf16ps(0, 4, 6);
            if (HAS_COLUMNS) _tile_loadd(7, other + 32, other_row);
            if (HAS_COLUMNS) _tile_dpbf16ps(1, 4, 7);
            if (HAS_ROWS) _tile_loadd(5, x_below + p, x_row);
            if (HAS_ROWS) _tile_dpbf16ps(2, 5, 6);
            if (HAS_ROWS && HAS_COLUMNS) _tile_dpbf16ps(3, 5, 7);
        }
        _tile_stored(0, sums, row);
        if (HAS_COLUMNS) _tile_stored(1, sums + 16, row);
        if (HAS_ROWS) _tile_stored(2, below, row);
        if (HAS_ROWS && HAS_COLUMNS) _tile_stored(3, below + 16, row);
    }
};
#endif
