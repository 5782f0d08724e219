#version 450
#extension GL_GOOGLE_include_directive : require
#include "common.glsl"
// One workgroup a row. The ids of a row differ, so no two invocations meet.
SL_PUSH(sl_push_penalize);

layout(buffer_reference, std430, buffer_reference_align = 4) buffer Params { sl_penalty_params at[]; };

void main()
{
    const uint r = gl_WorkGroupID.x;
    const sl_penalty_params s = Params(p.params).at[r];
    F32 logits = F32(offset_mul(p.logits, r, p.logits_stride * 4u));
    for (uint i = gl_LocalInvocationIndex; i < p.n_entries; i += WORKGROUP) {
        const uint at = (r * p.n_entries + i) * 2u;
        const uint id = U32(p.entries).at[at], count = U32(p.entries).at[at + 1u];
        if (count == 0u || id >= p.n_vocab) continue;
        float l = logits.at[id];
        l = l > 0.0 ? l / s.repeat : l * s.repeat;
        logits.at[id] = l - (float(count) * s.frequency + s.presence);
    }
}
