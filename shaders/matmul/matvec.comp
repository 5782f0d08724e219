#version 450
#extension GL_GOOGLE_include_directive : require
#include "common.glsl"
// matvec: up to 8 columns. A workgroup makes SL_TILE_X rows of all columns.
SL_PUSH(sl_push_matmul);
layout(constant_id = 2) const uint COLUMNS = 1;
#include "matmul/blocks.glsl"
#include "matmul/rows.glsl"

void main()
{
    for (uint tile = gl_WorkGroupID.x * SL_TILE_X; tile < p.n_out; tile += gl_NumWorkGroups.x * SL_TILE_X) {
        const uint end = min(tile + SL_TILE_X, p.n_out);
        for (uint first = tile + gl_SubgroupID * ROWS; first < end; first += gl_NumSubgroups * ROWS) {
            float sums[COLUMNS][ROWS];
            rows_times_columns(p.w, 0u, p.x, p.x_stride, first, sums);
            const uint r = first + gl_SubgroupInvocationID;
            const bool writes = gl_SubgroupInvocationID < ROWS && r < p.n_out;
            const float bias = writes && given(p.bias) ? F32(p.bias).at[r] : 0.0;
            [[unroll]] for (uint c = 0u; c < COLUMNS; c++) {
                float v = own_sum(sums[c]) + bias;
                if (writes) {
                    if (given(p.add)) v += F32(p.add).at[c * p.y_stride + r];
                    F32(p.y).at[c * p.y_stride + r] = v;
                }
            }
        }
    }
}
