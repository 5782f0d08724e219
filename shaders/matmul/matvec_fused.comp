#version 450
#extension GL_GOOGLE_include_directive : require
#extension GL_EXT_integer_dot_product : require
#include "common.glsl"
// matvec_fused: ROWS_GROUP rows a workgroup, ROWS at a time a subgroup. The first weights are on their way before x is
// normed, and the next ones while the present are multiplied.
SL_PUSH(sl_push_matvec_fused);
layout(constant_id = 2) const uint COLUMNS = 1;
layout(constant_id = 3) const uint INPUT = 0;
layout(constant_id = 4) const uint OUTPUT = 0;
layout(constant_id = 5) const uint ACT = 0;
layout(constant_id = 6) const uint N_K = 256;
layout(constant_id = 7) const uint ROWS_GROUP = 32;
#include "matmul/blocks.glsl"

Row weight_row(uint which, uint r) { return row_at(which == 0u ? p.w : p.w2, r, p.row_bytes); }

#include "matmul/fused.glsl"

void finish(float sums[COLUMNS][SUMS], uint begin, uint first)
{
    const uint r = first + gl_SubgroupInvocationID;
    const bool writes = gl_SubgroupInvocationID < ROWS && r < min(begin + ROWS_GROUP, p.n_out);
    [[unroll]] for (uint c = 0u; c < COLUMNS; c++) {
        float v = own_result(sums, c);
        if (writes && OUTPUT == SL_ROWS_Q8) made[c * ROWS_GROUP + r - begin] = v;
        if (writes && OUTPUT != SL_ROWS_Q8) {
            if (given(p.add)) v += F32(p.add).at[c * p.y_stride + r];
            F32(p.y).at[c * p.y_stride + r] = v;
        }
    }
}

void main()
{
    const uint begin = gl_WorkGroupID.x * ROWS_GROUP, end = min(begin + ROWS_GROUP, p.n_out);
    const uint stride = gl_NumSubgroups * ROWS;
    uint first = begin + gl_SubgroupID * ROWS;
    Chunk next[SUMS * IN_FLIGHT];
    load_step(first, p.n_out - 1u, 0u, next);
    stage_x(p.x);
    for (; first < end; first += stride) {
        float sums[COLUMNS][SUMS];
        [[unroll]] for (uint c = 0u; c < COLUMNS; c++)
            [[unroll]] for (uint s = 0u; s < SUMS; s++) sums[c][s] = 0.0;
        [[dont_unroll]] for (uint step = 0u; step < STEPS; step++) {
            const Chunk now[SUMS * IN_FLIGHT] = next;
            const bool last = step + 1u == STEPS;
            if (!last || first + stride < end) load_step(last ? first + stride : first, p.n_out - 1u, last ? 0u : step + 1u, next);
            add_step(p.x, step, now, sums);
        }
        finish(sums, begin, first);
    }
    if (OUTPUT == SL_ROWS_Q8) put_made(p.y, p.n_out, begin);
}
