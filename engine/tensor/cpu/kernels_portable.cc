#define ATHANOR_LANES 4
#define ATHANOR_TILE_ROWS 4
#define ATHANOR_TABLE kKernelsPortable
#define ATHANOR_NAME "portable"
#define ATHANOR_ONEDNN_F32 false
#define ATHANOR_ONEDNN_BF16 false
#include "engine/tensor/cpu/kernels.inc"
