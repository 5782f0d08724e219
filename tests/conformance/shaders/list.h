/* list.h - kernels of the conformance suite: SL_SHADER name source feature defines. Only preprocessed. */
SL_SHADER affine affine.comp base ""
SL_SHADER groups groups.comp base ""
SL_SHADER push128 push128.comp base ""
