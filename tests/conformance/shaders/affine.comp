// target[i] = source[i] * MULTIPLIER + add
#version 460
#extension GL_EXT_buffer_reference : require
layout(local_size_x = 64) in;
layout(constant_id = 0) const uint UNUSED = 7;
layout(constant_id = 1) const uint MULTIPLIER = 1;
layout(buffer_reference, std430, buffer_reference_align = 4) buffer Words { uint at[]; };
layout(push_constant, std430) uniform Push { Words source; Words target; uint count; uint add; } p;

void main()
{
    const uint i = gl_GlobalInvocationID.x;
    if (i < p.count) p.target.at[i] = p.source.at[i] * MULTIPLIER + p.add + (UNUSED - 7u);
}
