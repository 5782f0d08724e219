#version 450
#extension GL_GOOGLE_include_directive : require
#include "common.glsl"
SL_PUSH(sl_push_advance);

const uint PARAMS_WORDS = 8u, COUNTER_WORD = 6u; // of struct sl_sample_params

void main()
{
    const uint i = gl_WorkGroupID.x * WORKGROUP + gl_LocalInvocationIndex;
    if (i >= p.rows) return;
    U32(p.tokens).at[i] = U32(p.next).at[i];
    const uint position = U32(p.positions).at[i];
    if (position != SL_NO_POSITION) U32(p.positions).at[i] = position + 1u;
    U32(p.params).at[i * PARAMS_WORDS + COUNTER_WORD]++;
}
