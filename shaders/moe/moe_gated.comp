#version 450
#extension GL_GOOGLE_include_directive : require
#ifndef HALVES
#extension GL_EXT_integer_dot_product : require
#endif
#extension GL_KHR_shader_subgroup_shuffle : require
#include "common.glsl"
// moe_gated: gate, up and activation of one (token, slot) a workgroup row, ROWS_GROUP rows of its expert a workgroup.
SL_PUSH(sl_push_moe_fused);
const uint COLUMNS = 1;
layout(constant_id = 3) const uint INPUT = 0;
layout(constant_id = 4) const uint OUTPUT = 0;
layout(constant_id = 5) const uint ACT = 0;
layout(constant_id = 6) const uint N_K = 256;
layout(constant_id = 7) const uint ROWS_GROUP = 32;
#include "matmul/blocks.glsl"

uint expert;

Chunk weight_chunk(uint which, uint r, uint i)
{
    return chunk_load(row_at(which == 0u ? p.w : p.w2, expert * p.n_out + r, p.row_bytes), i, N_K);
}

#include "matmul/fused.glsl"

void main()
{
    const uint item = gl_WorkGroupID.y, id = U32(p.ids).at[item];
    const uint begin = gl_WorkGroupID.x * ROWS_GROUP, end = min(begin + ROWS_GROUP, p.n_out);
    const bool there = id < p.n_experts;
    expert = min(id, p.n_experts - 1u);
    const uint format = INPUT == SL_INPUT_ROWS && !X_FLOAT ? BLOCK_FORMAT : SL_ROWS_F32;
    const uvec2 x = offset_mul(p.x, item / p.n_used, bytes_of_row(format, p.x_stride));
    const uvec2 y = offset_mul(p.y, item, bytes_of_row(OUTPUT, p.n_out));
    stage_x(x);
    for (uint first = begin + gl_SubgroupID * ROWS; first < end; first += gl_NumSubgroups * ROWS) {
        float sums[COLUMNS][SUMS];
        [[unroll]] for (uint s = 0u; s < SUMS; s++) sums[0][s] = 0.0;
        [[dont_unroll]] for (uint step = 0u; step < STEPS; step++) {
            Chunk chunks[SUMS * IN_FLIGHT];
            LOAD_CHUNKS(chunks, first, step)
            ADD_CHUNKS(x, chunks, step, sums)
        }
        const uint r = first + gl_SubgroupInvocationID;
        const float own = own_result(sums, 0u), v = there ? own : 0.0;
        if (gl_SubgroupInvocationID < ROWS && r < end) {
            if (OUTPUT != SL_ROWS_F32)
                made[r - begin] = v;
            else
                F32(y).at[r] = v;
        }
    }
    if (OUTPUT != SL_ROWS_F32) put_made(y, p.n_out, begin);
}
