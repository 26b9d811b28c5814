// Everything that is the same for all parts of the image: taps in order of use, chosen kernels.
#pragma once

#include <algorithm>
#include <vector>

#include "resample.h"
#include "rows.h"

inline int64_t ceil_div(int64_t a, int64_t b) { return a / b + (a % b > 0); }
inline int64_t round_up(int64_t a, int64_t b) { return ceil_div(a, b) * b; }
inline int64_t floor_div(int64_t a, int64_t b) { return a / b - (a % b < 0); }
inline int64_t floor_mod(int64_t a, int64_t b) { return a - floor_div(a, b) * b; }

template <class T>
struct Plan {
    ResampleArgs a;
    Nonlinearity<T> act;
    int mx, my;               // inputs that an up-sampled sample depends on
    std::vector<T> fux, fuy;  // [phase][rank][mx], [rank][phase][my]
    std::vector<T> fdx, fdy;  // [rank][taps]
    bool has_rows_up, has_rows_down;  // whether there is a filter or factor along y
    int tile_w, strip_h;
    using Activate = decltype(&activate_rows<T, 1, 0>);
    Activate activate[2], activate_unclamped[2];  // by number of outputs, less one
    decltype(&combine_rows<T, false>) rows_down;

    explicit Plan(const ResampleArgs& args) : a(args) {
        act = {T(a.slope), T(a.clamp)};
        mx = ceil_div(a.fu_w, a.up_x);
        my = ceil_div(a.fu_h, a.up_y);
        const T *fu_x = taps(a.fu_x), *fu_y = taps(a.fu_y);
        fux.resize(a.up_x * a.fu_rank * mx);
        fuy.resize(a.fu_rank * a.up_y * my);
        for (int rank = 0; rank < a.fu_rank; rank++) {
            for (int k = 0; k < a.fu_w; k++)
                fux[(k % a.up_x * a.fu_rank + rank) * mx + k / a.up_x] = *fu_x++;
            for (int k = 0; k < a.fu_h; k++)
                fuy[(rank * a.up_y + k % a.up_y) * my + k / a.up_y] = *fu_y++;
        }
        fdx.assign(taps(a.fd_x), taps(a.fd_x) + a.fd_rank * a.fd_w);
        fdy.assign(taps(a.fd_y), taps(a.fd_y) + a.fd_rank * a.fd_h);
        has_rows_up = fuy.size() > 1;
        has_rows_down = fdy.size() > 1;
        if (!has_rows_up)
            for (T& tap : fux) tap *= fuy[0];
        if (!has_rows_down)
            for (T& tap : fdx) tap *= fdy[0];
        rows_down = is_symmetric(fdy, a.fd_h) ? combine_rows<T, true> : combine_rows<T, false>;
        switch (a.mode) {
            case kLinear: choose<kLinear>(activate); break;
            case kAct: choose<kAct>(activate); break;
            case kActWriteMask: choose<kActWriteMask>(activate); break;
            default: choose<kReadMask>(activate), choose<kReadSlope>(activate_unclamped);
        }
    }

   private:
    static const T* taps(const void* p) { return static_cast<const T*>(p); }

    static bool is_symmetric(const std::vector<T>& rows, int num_taps) {
        for (size_t i = 0; i < rows.size(); i += num_taps)
            for (int k = 0; k < num_taps / 2; k++)
                if (rows[i + k] != rows[i + num_taps - 1 - k]) return false;
        return num_taps % 2 == 0;
    }

    template <int MODE>
    static void choose(Activate* functions) {
        functions[0] = activate_rows<T, 1, MODE>;
        functions[1] = activate_rows<T, 2, MODE>;
    }
};
