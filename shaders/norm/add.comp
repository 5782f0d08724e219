#version 450
#extension GL_GOOGLE_include_directive : require
#include "common.glsl"
#include "vectors.glsl"
SL_PUSH(sl_push_add);

void main()
{
    const uint first = gl_GlobalInvocationID.x, step = gl_NumWorkGroups.x * WORKGROUP;
    if (in_vectors(p.a.x | p.b.x | p.y.x, p.n)) {
        for (uint i = first; i < p.n / 4u; i += step)
            F32x4(p.y).at[i] = F32x4(p.a).at[i] + p.scale * F32x4(p.b).at[i];
    } else {
        for (uint i = first; i < p.n; i += step)
            F32(p.y).at[i] = F32(p.a).at[i] + p.scale * F32(p.b).at[i];
    }
}
