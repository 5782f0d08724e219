#version 450
#extension GL_GOOGLE_include_directive : require
#extension GL_KHR_shader_subgroup_shuffle : require
#extension GL_EXT_shader_explicit_arithmetic_types_int64 : require
#include "common.glsl"
// matvec for CPUs: up to 8 columns, a row a lane.
SL_PUSH(sl_push_matmul);
layout(constant_id = 2) const uint COLUMNS = 1;
const uint LANE_ROWS = SUBGROUP > 8u || COLUMNS > 4u ? 2u : 4u;
#include "matmul/lane_blocks.glsl"
#include "matmul/lanes.glsl"

void main()
{
    for (uint tile = gl_WorkGroupID.x * SL_TILE_X; tile < p.n_out; tile += gl_NumWorkGroups.x * SL_TILE_X) {
        const uint end = min(tile + SL_TILE_X, p.n_out);
        for (uint first = tile; first < end; first += SUBGROUP * LANE_ROWS) {
            float sums[COLUMNS][LANE_ROWS];
            lanes_times_columns(p.w, p.x, p.x_stride, COLUMNS, first, sums);
            [[unroll]] for (uint r = 0u; r < LANE_ROWS; r++) {
                const uint at = first + r * SUBGROUP + gl_SubgroupInvocationID;
                if (at >= end) continue;
                const float bias = given(p.bias) ? F32(p.bias).at[at] : 0.0;
                [[unroll]] for (uint c = 0u; c < COLUMNS; c++) {
                    float v = sums[c][r] + bias;
                    if (given(p.add)) v += F32(p.add).at[c * p.y_stride + at];
                    F32(p.y).at[c * p.y_stride + at] = v;
                }
            }
        }
    }
}
