#define ATHANOR_LANES 16
#define ATHANOR_TILE_ROWS 12
#define ATHANOR_TABLE kKernelsAvx512
#include "engine/tensor/cpu/kernels.inc"
