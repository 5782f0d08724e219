#version 450
#extension GL_GOOGLE_include_directive : require
#include "common.glsl"
#include "vectors.glsl"
SL_PUSH(sl_push_add);

void main()
{
    for (uint i = gl_GlobalInvocationID.x; i < vectors_of(p.n); i += gl_NumWorkGroups.x * WORKGROUP)
        store4(p.y, i, p.n, load4(p.a, i, p.n) + p.scale * load4(p.b, i, p.n));
}
