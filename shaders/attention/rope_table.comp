#version 450
#extension GL_GOOGLE_include_directive : require
#include "common.glsl"

// One invocation: one pair of one token (grid: x pairs, y tokens).
SL_PUSH(sl_push_rope);
#include "attention/rope.glsl"

layout(buffer_reference, std430, buffer_reference_align = 8) buffer Turns { vec2 at[]; };

void main()
{
    const uint pairs = p.rot_dim / 2u, i = gl_GlobalInvocationID.x, token = gl_WorkGroupID.y;
    const uint position = U32(p.positions).at[token];
    if (i >= pairs || position == SL_NO_POSITION) return;
    Turns(offset_mul(p.x, token, p.rot_dim * 4u)).at[i] = turn_at(i, position);
}
