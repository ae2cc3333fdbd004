#define ATHANOR_LANES 8
#define ATHANOR_TILE_ROWS 6
#define ATHANOR_TABLE kKernelsAvx2
#define ATHANOR_NAME "avx2"
#define ATHANOR_ONEDNN_F32 false
#define ATHANOR_ONEDNN_BF16 false
#include "engine/tensor/cpu/kernels.inc"
