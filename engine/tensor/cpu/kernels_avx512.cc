#define ATHANOR_LANES 16
#define ATHANOR_TILE_ROWS 12
#define ATHANOR_TABLE kKernelsAvx512
#define ATHANOR_NAME "avx512"
#define ATHANOR_ONEDNN_F32 true
#define ATHANOR_ONEDNN_BF16 false
#include "engine/tensor/cpu/kernels.inc"
