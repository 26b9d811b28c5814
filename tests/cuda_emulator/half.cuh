// Found in place of the header of the kernels, whose assembly is for GPUs.
#pragma once
#include "cuda_emulator_types.h"
