#version 450
#extension GL_GOOGLE_include_directive : require
#extension GL_KHR_shader_subgroup_shuffle : require
#extension GL_EXT_shader_explicit_arithmetic_types_int64 : require
#include "common.glsl"
layout(constant_id = SL_ATTENTION_KV_TYPE) const uint KV_TYPE = SL_KV_F16;
#include "attention/attention.glsl"

// attention_prefill for CPUs. One subgroup: SL_TILE_X consecutive tokens (y) of one query head (x). Tokens of a tile that
// belong to one sequence form a run; runs are done one after another. Usually there is one.
SL_PUSH(sl_push_attention);
#define ROWS SL_TILE_X
#include "attention/attention_lanes.glsl"

void main()
{
    const uint head = gl_WorkGroupID.x, g = head / (p.n_heads / p.n_kv_heads);
    const uint first = gl_WorkGroupID.y * SL_TILE_X, count = min(p.n_tokens - first, SL_TILE_X);
    uvec2 ranges[ROWS];
    uint sequences[ROWS];
    [[unroll]] for (uint r = 0u; r < ROWS; r++) {
        const uint token = first + min(r, count - 1u);
        ranges[r] = r < count ? visible(U32(p.positions).at[token], p.window) : uvec2(0u);
        sequences[r] = 0u;
        if (ranges[r].y != 0u) sequences[r] = U32(p.sequences).at[token];
        begin_row(r, offset(offset_mul(p.q, token, p.q_stride * 4u), head * D * 4u), uvec2(0u));
    }
    [[dont_unroll]] for (uint done = 0u; done < ROWS;) {
        // The rows from the first that is not done on, to the first of another sequence. Those without keys do not matter.
        uvec2 keys = uvec2(0xffffffffu, 0u);
        uint sequence = 0u, end = ROWS;
        [[unroll]] for (uint r = 0u; r < ROWS; r++) {
            row_range[r] = uvec2(0u);
            if (r < done || r >= end || ranges[r].y == 0u) continue;
            if (keys.y == 0u) sequence = sequences[r];
            if (sequences[r] != sequence) {
                end = r;
                continue;
            }
            row_range[r] = ranges[r];
            keys = uvec2(min(keys.x, ranges[r].x), max(keys.y, ranges[r].y));
        }
        if (keys.y != 0u) attend(U32(offset_mul(p.block_table, sequence, p.table_stride * 4u)), g, keys);
        done = end;
    }
    [[unroll]] for (uint r = 0u; r < ROWS; r++) {
        if (r >= count) continue;
        const float factor = row_scale(subgroupAdd(weight_sum[r]));
        if (p.format == SL_ROWS_F16)
            store_halves(r, factor, offset(offset_mul(p.y, first + r, p.y_stride * 2u), head * D * 2u));
        else
            store_sums(r, factor, offset(offset_mul(p.y, first + r, p.y_stride * 4u), head * D * 4u));
    }
}
