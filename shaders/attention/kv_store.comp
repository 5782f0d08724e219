#version 450
#extension GL_GOOGLE_include_directive : require
#include "common.glsl"
layout(constant_id = SL_STORE_KV_TYPE) const uint KV_TYPE = SL_KV_F16;
#include "attention/attention.glsl"
#include "attention/kv_quantize.glsl"

// One invocation: 8 elements of a row of k (z = 0) or v (z = 1) of token y. The four of a block each read all of it.
SL_PUSH(sl_push_kv_store);

void main()
{
    uint piece = gl_GlobalInvocationID.x, token = gl_WorkGroupID.y;
    uint pieces = p.head_dim / 8u;
    uint position = U32(p.positions).at[token];
    if (piece >= pieces * p.n_kv_heads || position == SL_NO_POSITION) return;

    U32 table = U32(offset_mul(p.block_table, U32(p.sequences).at[token], p.table_stride * 4u));
    bool is_v = gl_WorkGroupID.z != 0u;
    uint g = piece / pieces, in_row = piece % pieces;
    uvec2 rows = page_rows(is_v ? p.v_cache : p.k_cache, table.at[position / PAGE], g, p.n_kv_heads, p.head_dim);
    U32x4 source = U32x4(offset_mul(is_v ? p.v : p.k, token, (is_v ? p.v_stride : p.k_stride) * 4u));
    uint peak = 0u;
    if (KV_TYPE != SL_KV_F16) {
        const uint first = in_row / 4u * 4u, end = min(first + 4u, pieces);
        for (uint i = g * pieces + first; i < g * pieces + end; i++)
            peak = peak_of(peak_of(peak, source.at[i * 2u]), source.at[i * 2u + 1u]);
    }
    uvec4 a = source.at[piece * 2u], b = source.at[piece * 2u + 1u];
    store_piece(rows, position % PAGE, in_row, p.head_dim, quantize_piece(a, b, peak));
}
