#version 450
#extension GL_GOOGLE_include_directive : require
#include "common.glsl"

// Rotates pairs of elements of each head by position * frequency. One invocation: one pair of SL_TILE_X heads of one
// token (grid: x pairs and blocks of heads, y tokens).
SL_PUSH(sl_push_rope);
#include "attention/rope.glsl"

void main()
{
    uint pairs = p.rot_dim / 2u, item = gl_GlobalInvocationID.x, token = gl_WorkGroupID.y;
    uint i = item % pairs, head = item / pairs * SL_TILE_X;
    uint position = U32(p.positions).at[token];
    if (head >= p.n_heads || position == SL_NO_POSITION) return;

    vec2 turn = turn_at(i, position);
    uint first = p.mode != 0u ? i : 2u * i, step = p.mode != 0u ? pairs : 1u;
    F32 x = F32(offset_mul(p.x, token, p.token_stride * 4u));
    uint end = min(head + SL_TILE_X, p.n_heads);
    for (; head < end; head++) {
        uint at = head * p.head_dim + first;
        float a = x.at[at], b = x.at[at + step];
        x.at[at] = a * turn.x - b * turn.y;
        x.at[at + step] = a * turn.y + b * turn.x;
    }
}
