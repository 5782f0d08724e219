#version 450
#extension GL_GOOGLE_include_directive : require
#extension GL_KHR_memory_scope_semantics : require
#extension GL_KHR_cooperative_matrix : require
#extension GL_NV_cooperative_matrix2 : require
#extension GL_EXT_shader_explicit_arithmetic_types_float16 : require
#include "common.glsl"
// gemm on matrices of a whole workgroup (NV cooperative_matrix2): SL_TILE_X rows of w by SL_TILE_Y tokens, DEPTH weights
// at a time. The driver moves operands from memory to the matrix units itself; what is chosen here are the tile and what
// the driver knows when it compiles: sizes are constants, and accesses are clamped only where a tile reaches beyond its
// matrix. Tokens are the rows of the product, so that y is stored as it lies in memory.
SL_PUSH(sl_push_gemm);
layout(constant_id = 2) const uint N_OUT = 0;
layout(constant_id = 3) const uint N_K = 0;
layout(constant_id = 4) const uint Y_STRIDE = 0;
layout(constant_id = 5) const uint CLAMP = 0; // gl_CooperativeMatrixClampModeUndefinedNV or ...ConstantNV

layout(buffer_reference, std430, buffer_reference_align = 16) buffer Halves { float16_t at[]; };
layout(buffer_reference, std430, buffer_reference_align = 16) buffer Floats { float at[]; };

#define MATRIX(type, rows, columns, use) coopmat<type, gl_ScopeWorkgroup, rows, columns, gl_MatrixUse##use>

void main()
{
    const uint token0 = gl_WorkGroupID.x * SL_TILE_Y, row0 = gl_WorkGroupID.y * SL_TILE_X;
    tensorLayoutNV<2, CLAMP> x = createTensorLayoutNV(2, CLAMP);
    tensorLayoutNV<2, CLAMP> w = createTensorLayoutNV(2, CLAMP);
    tensorLayoutNV<2, CLAMP> y = createTensorLayoutNV(2, CLAMP);
    x = setTensorLayoutDimensionNV(x, p.n_tokens, N_K);
    w = setTensorLayoutDimensionNV(w, N_OUT, N_K);
    y = setTensorLayoutDimensionNV(y, p.n_tokens, N_OUT);
    y = setTensorLayoutStrideNV(y, Y_STRIDE, 1u);
    tensorViewNV<2, false, 1, 0> turned = createTensorViewNV(2, false, 1, 0);

    MATRIX(float, SL_TILE_Y, SL_TILE_X, Accumulator) sums = MATRIX(float, SL_TILE_Y, SL_TILE_X, Accumulator)(0.0);
    for (uint k = 0u; k < N_K; k += DEPTH) {
        MATRIX(float16_t, SL_TILE_Y, DEPTH, A) a;
        MATRIX(float16_t, DEPTH, SL_TILE_X, B) b;
        coopMatLoadTensorNV(a, Halves(p.x).at, 0, sliceTensorLayoutNV(x, token0, SL_TILE_Y, k, DEPTH));
        coopMatLoadTensorNV(b, Halves(p.w).at, 0, sliceTensorLayoutNV(w, row0, SL_TILE_X, k, DEPTH), turned);
        sums = coopMatMulAdd(a, b, sums);
    }
    y = sliceTensorLayoutNV(y, token0, SL_TILE_Y, row0, SL_TILE_X);
    if (given(p.add)) {
        MATRIX(float, SL_TILE_Y, SL_TILE_X, Accumulator) before;
        coopMatLoadTensorNV(before, Floats(p.add).at, 0, y);
        sums += before;
    }
    coopMatStoreTensorNV(sums, Floats(p.y).at, 0, y);
}
