#version 450
#extension GL_GOOGLE_include_directive : require
#extension GL_KHR_memory_scope_semantics : require
#extension GL_KHR_cooperative_matrix : require
#extension GL_NV_cooperative_matrix2 : require
#extension GL_EXT_shader_explicit_arithmetic_types_float16 : require
#extension GL_EXT_shader_explicit_arithmetic_types_int8 : require
#include "common.glsl"
#include "activation.glsl"
// gemm and gemm_gated (-DGATED) on matrices of a whole workgroup (NV cooperative_matrix2): SL_TILE_X rows of w by
// SL_TILE_Y tokens, DEPTH weights at a time. The driver moves operands from memory to the matrix units itself; what is
// chosen here are the tile and what the driver knows when it compiles: sizes are constants, and accesses are clamped only
// where a tile reaches beyond its matrix. Tokens are the rows of the product, so that y is stored as it lies in memory.
SL_PUSH(sl_push_gemm);
layout(constant_id = 2) const uint N_OUT = 0;
layout(constant_id = 3) const uint N_K = 0;
layout(constant_id = 4) const uint Y_STRIDE = 0;
layout(constant_id = 5) const uint CLAMP = 0; // gl_CooperativeMatrixClampModeUndefinedNV or ...ConstantNV
layout(constant_id = 6) const uint ACT = 0;

#if SL_KEY == SL_ROWS_S8
#define ELEMENT int8_t
#define SUM     int32_t
#else
#define ELEMENT float16_t
#define SUM     float
#endif
layout(buffer_reference, std430, buffer_reference_align = 16) buffer Elements { ELEMENT at[]; };
layout(buffer_reference, std430, buffer_reference_align = 16) buffer Floats { float at[]; };
layout(buffer_reference, std430, buffer_reference_align = 16) buffer Halves { float16_t at[]; };

#define MATRIX(type, rows, columns, use) coopmat<type, gl_ScopeWorkgroup, rows, columns, gl_MatrixUse##use>
#define TILE(type) MATRIX(type, SL_TILE_Y, SL_TILE_X, Accumulator)

#if SL_KEY == SL_ROWS_S8
// Scales of rows of w stand behind its elements, those of tokens behind x.
uvec2 w_scales, x_scales;

float scaled(const in uint t, const in uint r, const in float sum)
{
    const uint token = min(gl_WorkGroupID.x * SL_TILE_Y + t, p.n_tokens - 1u);
    const uint row = min(gl_WorkGroupID.y * SL_TILE_X + r, N_OUT - 1u);
    return sum * (F32(x_scales).at[token] * F32(w_scales).at[row]);
}

TILE(float) finish(TILE(SUM) sums, uvec2 w)
{
    TILE(float) values = TILE(float)(sums);
    w_scales = offset_mul(w, N_OUT, N_K);
    x_scales = offset_mul(p.x, p.n_tokens, N_K);
    coopMatPerElementNV(values, values, scaled);
    return values;
}
#else
#define finish(sums, w) sums
#endif

#ifdef GATED
float activated(const in uint t, const in uint r, const in float x) { return ACTIVATED(ACT, x); }

float saturated(const in uint t, const in uint r, const in float x) { return clamp(x, -65504.0, 65504.0); }
#endif

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

    TILE(SUM) sums = TILE(SUM)(SUM(0));
#ifdef GATED
    TILE(SUM) sums2 = TILE(SUM)(SUM(0));
#endif
    for (uint k = 0u; k < N_K; k += DEPTH) {
        MATRIX(ELEMENT, SL_TILE_Y, DEPTH, A) a;
        MATRIX(ELEMENT, DEPTH, SL_TILE_X, B) b;
        coopMatLoadTensorNV(a, Elements(p.x).at, 0, sliceTensorLayoutNV(x, token0, SL_TILE_Y, k, DEPTH));
        coopMatLoadTensorNV(b, Elements(p.w).at, 0, sliceTensorLayoutNV(w, row0, SL_TILE_X, k, DEPTH), turned);
        sums = coopMatMulAdd(a, b, sums);
#ifdef GATED
        coopMatLoadTensorNV(b, Elements(p.w2).at, 0, sliceTensorLayoutNV(w, row0, SL_TILE_X, k, DEPTH), turned);
        sums2 = coopMatMulAdd(a, b, sums2);
#endif
    }
    y = sliceTensorLayoutNV(y, token0, SL_TILE_Y, row0, SL_TILE_X);
    TILE(float) values = finish(sums, p.w);
#ifdef GATED
    coopMatPerElementNV(values, values, activated);
    values *= finish(sums2, p.w2);
    coopMatPerElementNV(values, values, saturated);
    coopMatStoreTensorNV(TILE(float16_t)(values), Halves(p.y).at, 0, y);
#else
    if (given(p.add)) {
        TILE(float) before;
        coopMatLoadTensorNV(before, Floats(p.add).at, 0, y);
        values += before;
    }
    coopMatStoreTensorNV(values, Floats(p.y).at, 0, y);
#endif
}
