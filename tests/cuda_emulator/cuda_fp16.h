// Found in place of the header of the CUDA toolkit.
#pragma once
#include "cuda_emulator_types.h"
