#define ATHANOR_LANES 16
#define ATHANOR_TILE_ROWS 12
#define ATHANOR_TABLE kKernelsAvx512Bf16
#define ATHANOR_NAME "avx512_bf16"
#define ATHANOR_ONEDNN_F32 true
#define ATHANOR_ONEDNN_BF16 true
#include "engine/tensor/cpu/kernels.inc"
