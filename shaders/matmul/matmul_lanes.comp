#version 450
#extension GL_GOOGLE_include_directive : require
#extension GL_KHR_shader_subgroup_shuffle : require
#extension GL_EXT_shader_explicit_arithmetic_types_int64 : require
#include "common.glsl"
// matmul for CPUs: SL_TILE_X rows by SL_TILE_Y tokens a workgroup, a row a lane.
SL_PUSH(sl_push_matmul);
#define COLUMNS SL_TILE_Y
const uint LANE_ROWS = SUBGROUP > 8u ? 2u : 4u;
#include "matmul/lane_blocks.glsl"
#include "matmul/lanes.glsl"

void main()
{
    const uint token0 = gl_WorkGroupID.y * SL_TILE_Y, tokens = min(p.n_tokens - token0, SL_TILE_Y);
    const uvec2 x = offset_mul(p.x, token0, 4u * p.x_stride);
    const uint begin = gl_WorkGroupID.x * SL_TILE_X, end = min(begin + SL_TILE_X, p.n_out);
    for (uint first = begin; first < end; first += SUBGROUP * LANE_ROWS) {
        float sums[COLUMNS][LANE_ROWS];
        lanes_times_columns(p.w, x, p.x_stride, tokens, first, sums);
        [[unroll]] for (uint r = 0u; r < LANE_ROWS; r++) {
            const uint at = first + r * SUBGROUP + gl_SubgroupInvocationID;
            if (at >= end) continue;
            const float bias = given(p.bias) ? F32(p.bias).at[at] : 0.0;
            [[unroll]] for (uint c = 0u; c < COLUMNS; c++) {
                if (c >= tokens) continue;
                float v = sums[c][r] + bias;
                if (given(p.add)) v += F32(offset_mul(p.add, token0 + c, 4u * p.y_stride)).at[at];
                F32(offset_mul(p.y, token0 + c, 4u * p.y_stride)).at[at] = v;
            }
        }
    }
}
