#version 450
#extension GL_GOOGLE_include_directive : require
#extension GL_KHR_shader_subgroup_shuffle : require
#extension GL_EXT_shader_explicit_arithmetic_types_int64 : require
#include "common.glsl"
// moe_matvec for CPUs: one (token, slot) a workgroup row, SL_TILE_X rows of its expert a workgroup, a row a lane. Zeros
// for an expert that does not exist.
SL_PUSH(sl_push_moe_matvec);
#define COLUMNS 1
const uint LANE_ROWS = SUBGROUP > 8u ? 2u : 4u;
#include "matmul/lane_blocks.glsl"
#include "matmul/lanes.glsl"

void main()
{
    for (uint item = gl_WorkGroupID.y; item < p.n_tokens * p.n_used; item += gl_NumWorkGroups.y) {
        const uint token = item / p.n_used, slot = item % p.n_used;
        const uint expert = U32(p.ids).at[item];
        const uvec2 w = offset_mul(p.w, min(expert, p.n_experts - 1u), p.n_out * p.row_bytes);
        uvec2 x = offset_mul(p.x, token, 4u * p.x_stride);
        if (p.x_per_slot != 0u) x = offset_mul(x, slot, 4u * p.n_k);
        const uvec2 y = offset_mul(p.y, item, 4u * p.n_out);
        for (uint tile = gl_WorkGroupID.x * SL_TILE_X; tile < p.n_out; tile += gl_NumWorkGroups.x * SL_TILE_X) {
            const uint end = min(tile + SL_TILE_X, p.n_out);
            for (uint first = tile; first < end; first += SUBGROUP * LANE_ROWS) {
                float sums[COLUMNS][LANE_ROWS];
                lanes_times_columns(w, x, 0u, 1u, first, sums);
                [[unroll]] for (uint r = 0u; r < LANE_ROWS; r++) {
                    const uint at = first + r * SUBGROUP + gl_SubgroupInvocationID;
                    if (at < end) F32(y).at[at] = expert < p.n_experts ? sums[0][r] : 0.0;
                }
            }
        }
    }
}
