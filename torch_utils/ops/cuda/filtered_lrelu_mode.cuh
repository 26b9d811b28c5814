// What all kernels of `filtered_lrelu` have in common.
#pragma once

using uint32 = unsigned int;
using int64 = long long;

enum Mode {
    kAct,        // leaky ReLU and clamp
    kWriteMask,  // the same, and write the mask
    kReadMask,   // multiply by the derivative that the mask stores
};
