#version 450
#extension GL_GOOGLE_include_directive : require
#ifndef HALVES
#extension GL_EXT_integer_dot_product : require
#endif
#extension GL_KHR_shader_subgroup_shuffle : require
#include "common.glsl"
// matvec_fused, matvec_gated: ROWS_GROUP rows a workgroup, ROWS at a time a subgroup. Loading the first weights before x is
// normed, or the next while the present are multiplied, measured no faster.
SL_PUSH(sl_push_matvec_fused);
layout(constant_id = 2) const uint COLUMNS = 1;
layout(constant_id = 3) const uint INPUT = 0;
layout(constant_id = 4) const uint OUTPUT = 0;
layout(constant_id = 5) const uint ACT = 0;
layout(constant_id = 6) const uint N_K = 256;
layout(constant_id = 7) const uint ROWS_GROUP = 32;
#include "matmul/blocks.glsl"

Chunk weight_chunk(uint which, uint r, uint i)
{
    return chunk_load(row_at(which == 0u ? p.w : p.w2, r, p.row_bytes), i, N_K);
}

#include "matmul/fused.glsl"

void finish(float sums[COLUMNS][SUMS], uint begin, uint first)
{
    const uint r = first + gl_SubgroupInvocationID;
    const bool writes = gl_SubgroupInvocationID < ROWS && r < min(begin + ROWS_GROUP, p.n_out);
    [[unroll]] for (uint c = 0u; c < COLUMNS; c++) {
        float v = own_result(sums, c);
        if (writes && OUTPUT != SL_ROWS_F32) made[c * ROWS_GROUP + r - begin] = v;
        if (writes && OUTPUT == SL_ROWS_F32) {
            if (given(p.add)) v += F32(p.add).at[c * p.y_stride + r];
            F32(p.y).at[c * p.y_stride + r] = v;
        }
    }
}

void main()
{
    const uint begin = gl_WorkGroupID.x * ROWS_GROUP, end = min(begin + ROWS_GROUP, p.n_out);
    stage_x(p.x);
    for (uint first = begin + gl_SubgroupID * ROWS; first < end; first += gl_NumSubgroups * ROWS) {
        float sums[COLUMNS][SUMS];
        [[unroll]] for (uint c = 0u; c < COLUMNS; c++)
            [[unroll]] for (uint s = 0u; s < SUMS; s++) sums[c][s] = 0.0;
        [[dont_unroll]] for (uint step = 0u; step < STEPS; step++) {
            Chunk chunks[SUMS * IN_FLIGHT];
            LOAD_CHUNKS(chunks, first, step)
            ADD_CHUNKS(p.x, chunks, step, sums)
        }
        finish(sums, begin, first);
    }
    if (OUTPUT != SL_ROWS_F32) put_made(p.y, p.n_out, begin);
}
