// target[index of the group] = a number that tells which group wrote it
#version 460
#extension GL_EXT_buffer_reference : require
layout(local_size_x = 1) in;
layout(buffer_reference, std430, buffer_reference_align = 4) buffer Words { uint at[]; };
layout(push_constant, std430) uniform Push { Words target; } p;

void main()
{
    const uvec3 g = gl_WorkGroupID, n = gl_NumWorkGroups;
    p.target.at[(g.z * n.y + g.y) * n.x + g.x] = g.x + 100u * g.y + 10000u * g.z;
}
