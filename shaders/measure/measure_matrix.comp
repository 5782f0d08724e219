#version 450
#extension GL_GOOGLE_include_directive : require
#extension GL_KHR_memory_scope_semantics : require
#extension GL_KHR_cooperative_matrix : require
#if SL_KEY == 0
#extension GL_EXT_shader_explicit_arithmetic_types_float16 : require
#else
#extension GL_EXT_shader_explicit_arithmetic_types_int8 : require
#extension GL_EXT_shader_8bit_storage : require
#endif
#include "common.glsl"
// Multiplies in a loop what stands in registers: SL_TILE_X tiles of a by as many of b, each product with an accumulator
// of its own, so that the units never wait for a result. M, N, K: shape of a matrix, by -D.
SL_PUSH(sl_push_measure_matrix);

#if SL_KEY == 0
#define IN  float16_t
#define OUT float
#define IN_REF  F16
#define OUT_REF F32
#else
#define IN  int8_t
#define OUT int
layout(buffer_reference, std430, buffer_reference_align = 16) buffer I8 { int8_t at[]; };
layout(buffer_reference, std430, buffer_reference_align = 16) buffer I32 { int at[]; };
#define IN_REF  I8
#define OUT_REF I32
#endif
#define TILES uint(SL_TILE_X)
#define ROWS gl_CooperativeMatrixLayoutRowMajor

void main()
{
    coopmat<IN, gl_ScopeSubgroup, M, K, gl_MatrixUseA> a[TILES];
    coopmat<IN, gl_ScopeSubgroup, K, N, gl_MatrixUseB> b[TILES];
    coopmat<OUT, gl_ScopeSubgroup, M, N, gl_MatrixUseAccumulator> c[TILES * TILES];
    [[unroll]] for (uint i = 0u; i < TILES; i++) {
        coopMatLoad(a[i], IN_REF(p.a).at, i * M * K, K, ROWS);
        coopMatLoad(b[i], IN_REF(p.b).at, i * K * N, N, ROWS);
    }
    [[unroll]] for (uint i = 0u; i < TILES * TILES; i++)
        c[i] = coopmat<OUT, gl_ScopeSubgroup, M, N, gl_MatrixUseAccumulator>(OUT(0));
    for (uint round = 0u; round < p.rounds; round++)
        [[unroll]] for (uint i = 0u; i < TILES; i++)
            [[unroll]] for (uint j = 0u; j < TILES; j++)
                c[i * TILES + j] = coopMatMulAdd(a[i], b[j], c[i * TILES + j]);
    [[unroll]] for (uint i = 1u; i < TILES * TILES; i++) c[0] += c[i];
    const uint subgroup = gl_WorkGroupID.x * gl_NumSubgroups + gl_SubgroupID;
    coopMatStore(c[0], OUT_REF(p.y).at, subgroup * M * N, N, ROWS);
}
