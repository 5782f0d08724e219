#version 450
#extension GL_GOOGLE_include_directive : require
#extension GL_KHR_shader_subgroup_shuffle : require
#extension GL_EXT_shader_explicit_arithmetic_types_int64 : require
#include "common.glsl"
layout(constant_id = SL_ATTENTION_KV_TYPE) const uint KV_TYPE = SL_KV_F16;
#include "attention/attention.glsl"

// attention_decode for CPUs. One subgroup: the query heads of one token (x) that share a kv head (y), over one split (z)
// of the keys.
SL_PUSH(sl_push_attention);
layout(constant_id = SL_DECODE_HEADS) const uint HEADS = SL_DECODE_HEADS_USUAL; // at a time; more take another pass over the keys
#define ROWS HEADS
#include "attention/attention_lanes.glsl"

// The result, or a split's part: sums, their maximum, the sum of weights.
void store(uint r, uint token, uint head, uint split)
{
    const float sum = subgroupAdd(weight_sum[r]);
    const bool whole = p.n_splits == 1u;
    const uvec2 part = offset_mul(p.partial, (token * p.n_heads + head) * p.n_splits + split, (D + 2u) * 4u);
    const uvec2 y = offset(offset_mul(p.y, token, p.y_stride * 4u), head * D * 4u);
    store_sums(r, whole ? row_scale(sum) : 1.0, whole ? y : part);
    if (!whole && gl_SubgroupInvocationID == 0u) {
        F32(part).at[D] = sum > 0.0 ? maximum[r] : uintBitsToFloat(0xff800000u);
        F32(part).at[D + 1u] = sum;
    }
}

void main()
{
    const uint token = gl_WorkGroupID.x, g = gl_WorkGroupID.y, split = gl_WorkGroupID.z;
    const uint group = p.n_heads / p.n_kv_heads;
    const uvec2 range = split_range(visible(U32(p.positions).at[token], p.window), split, p.n_splits);
    uvec2 table = p.block_table;
    if (range.y != 0u) table = offset_mul(table, U32(p.sequences).at[token], p.table_stride * 4u);

    [[dont_unroll]] for (uint done = 0u; done < group; done += HEADS) {
        const uint head = g * group + done, count = min(HEADS, group - done);
        const uvec2 q = offset_mul(p.q, token, p.q_stride * 4u);
        [[unroll]] for (uint r = 0u; r < ROWS; r++)
            begin_row(r, offset(q, (head + min(r, count - 1u)) * D * 4u), r < count ? range : uvec2(0u));
        attend(U32(table), g, range);
        [[unroll]] for (uint r = 0u; r < ROWS; r++)
            if (r < count) store(r, token, head + r, split);
    }
}
