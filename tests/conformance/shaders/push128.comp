// target[i] = words[i] + i: every word of the largest push block
#version 460
#extension GL_EXT_buffer_reference : require
layout(local_size_x = 1) in;
layout(buffer_reference, std430, buffer_reference_align = 4) buffer Words { uint at[]; };
layout(push_constant, std430) uniform Push { Words target; uint words[30]; } p;

void main()
{
    for (uint i = 0u; i < 30u; i++)
        p.target.at[i] = p.words[i] + i;
}
