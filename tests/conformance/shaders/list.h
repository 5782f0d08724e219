/* list.h - kernels of the conformance suite: SL_SHADER name source feature defines key tile_x tile_y. Only preprocessed. */
SL_SHADER affine affine.comp base "" 0 1 1
SL_SHADER groups groups.comp base "" 0 1 1
SL_SHADER push128 push128.comp base "" 0 1 1
