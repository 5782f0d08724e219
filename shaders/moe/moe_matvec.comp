#version 450
#extension GL_GOOGLE_include_directive : require
#include "common.glsl"
// moe_matvec: one (token, slot) a workgroup row, SL_TILE_X rows of its expert a workgroup. Zeros for an expert that
// does not exist.
SL_PUSH(sl_push_moe_matvec);
#define COLUMNS 1
#include "matmul/blocks.glsl"
#include "matmul/rows.glsl"

void main()
{
    for (uint item = gl_WorkGroupID.y; item < p.n_tokens * p.n_used; item += gl_NumWorkGroups.y) {
        const uint token = item / p.n_used, slot = item % p.n_used;
        const uint expert = U32(p.ids).at[item];
        const uint row0 = min(expert, p.n_experts - 1u) * p.n_out; // an index: an expert may begin amid a word
        uvec2 x = offset_mul(p.x, token, 4u * p.x_stride);
        if (p.x_per_slot != 0u) x = offset_mul(x, slot, 4u * p.n_k);
        const uvec2 y = offset_mul(p.y, item, 4u * p.n_out);
        for (uint tile = gl_WorkGroupID.x * SL_TILE_X; tile < p.n_out; tile += gl_NumWorkGroups.x * SL_TILE_X) {
            const uint end = min(tile + SL_TILE_X, p.n_out);
            for (uint first = tile + gl_SubgroupID * ROWS; first < end; first += gl_NumSubgroups * ROWS) {
                float sums[COLUMNS][ROWS];
                rows_times_columns(p.w, row0, x, 0u, first, sums);
                const uint r = first + gl_SubgroupInvocationID;
                const float v = expert < p.n_experts ? own_sum(sums[0]) : 0.0;
                if (gl_SubgroupInvocationID < ROWS && r < p.n_out) F32(y).at[r] = v;
            }
        }
    }
}
