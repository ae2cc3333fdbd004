#define ATHANOR_LANES 8
#define ATHANOR_TILE_ROWS 6
#define ATHANOR_TABLE kKernelsAvx2
#include "engine/tensor/cpu/kernels.inc"
