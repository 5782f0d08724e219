#version 450
#extension GL_GOOGLE_include_directive : require
#include "common.glsl"
#include "attention/attention.glsl"

// One invocation: 8 elements of a row of k (z = 0) or v (z = 1) of token y.
SL_PUSH(sl_push_kv_store);

// Bits of an f32 to bits of an f16, to nearest even. In integers, so that it is the same everywhere: the rounding of
// packHalf2x16 is the device's choice.
uint half_bits(uint w)
{
    uint sign = (w >> 16) & 0x8000u, a = w & 0x7fffffffu;
    if (a > 0x7f800000u) return sign | 0x7e00u;
    if (a >= 0x477ff000u) return sign | 0x7c00u;
    if (a >= 0x38800000u) return sign | ((a + 0xfffu + ((a >> 13) & 1u) - 0x38000000u) >> 13);
    if (a <= 0x33000000u) return sign;
    uint shift = 126u - (a >> 23), mantissa = (a & 0x7fffffu) | 0x800000u;
    uint kept = mantissa >> shift, rest = mantissa & ((1u << shift) - 1u), tie = 1u << (shift - 1u);
    return sign | (kept + (rest > tie || (rest == tie && (kept & 1u) != 0u) ? 1u : 0u));
}

uint half_pair(uvec2 w) { return half_bits(w.x) | half_bits(w.y) << 16; }

void main()
{
    uint piece = gl_GlobalInvocationID.x, token = gl_WorkGroupID.y;
    uint pieces = p.head_dim / 8u;
    uint position = U32(p.positions).at[token];
    if (piece >= pieces * p.n_kv_heads || position == SL_NO_POSITION) return;

    U32 table = U32(offset_mul(p.block_table, U32(p.sequences).at[token], p.table_stride * 4u));
    bool is_v = gl_WorkGroupID.z != 0u;
    uvec2 rows = page_rows(is_v ? p.v_cache : p.k_cache, table.at[position / PAGE], piece / pieces, p.n_kv_heads,
                           p.head_dim);
    U32x4 source = U32x4(offset_mul(is_v ? p.v : p.k, token, (is_v ? p.v_stride : p.k_stride) * 4u));
    uvec4 a = source.at[piece * 2u], b = source.at[piece * 2u + 1u];
    U32x4(rows).at[(position % PAGE) * pieces + piece % pieces] =
        uvec4(half_pair(a.xy), half_pair(a.zw), half_pair(b.xy), half_pair(b.zw));
}
