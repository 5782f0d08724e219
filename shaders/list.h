/* list.h - the registry as lines for the shader build: SL_SHADER name source feature defines key tile_x
 * tile_y. Only preprocessed, never compiled. */
#define SL_KERNEL(name, push, tolerance)
#define SL_VARIANT(kernel, variant, key, source, feature, defines, needs, workgroup, tile_x, tile_y, matrix) \
    SL_SHADER kernel##__##variant source feature defines key tile_x tile_y
#define SL_LIST_ONLY 1
#include "shaders/kernels.def"
