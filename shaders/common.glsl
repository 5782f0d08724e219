// common.glsl - what every kernel begins with: extensions, push block, specialization constants, typed addresses.
#ifndef SL_COMMON_GLSL
#define SL_COMMON_GLSL
#extension GL_EXT_buffer_reference : require
#extension GL_EXT_buffer_reference_uvec2 : require
#extension GL_EXT_scalar_block_layout : require
#extension GL_EXT_shader_16bit_storage : require
#extension GL_EXT_control_flow_attributes : require
#extension GL_KHR_shader_subgroup_basic : require
#extension GL_KHR_shader_subgroup_arithmetic : require
#extension GL_KHR_shader_subgroup_vote : require

#define SL_GLSL 1
#include "push.h"
#include "weights.h"

layout(constant_id = 0) const uint SUBGROUP = 32;
layout(constant_id = 1) const uint WORKGROUP = 256;
layout(local_size_x_id = 1) in;

// Typed views of an address. Indexing is in elements; alignment is what loads may assume.
layout(buffer_reference, std430, buffer_reference_align = 4) buffer F32 { float at[]; };
layout(buffer_reference, std430, buffer_reference_align = 16) buffer F32x4 { vec4 at[]; };
layout(buffer_reference, std430, buffer_reference_align = 4) buffer U32 { uint at[]; };
layout(buffer_reference, std430, buffer_reference_align = 16) buffer U32x4 { uvec4 at[]; };
layout(buffer_reference, std430, buffer_reference_align = 2) buffer F16 { float16_t at[]; };
layout(buffer_reference, std430, buffer_reference_align = 2) buffer U16 { uint16_t at[]; };

#define SL_PUSH(name) layout(push_constant, std430) uniform Push { name p; }

bool given(uvec2 address) { return (address.x | address.y) != 0u; }

// address + bytes, for offsets below 4 GiB
uvec2 offset(uvec2 address, uint bytes)
{
    uint carry;
    uint low = uaddCarry(address.x, bytes, carry);
    return uvec2(low, address.y + carry);
}

// address + count * bytes, 64 bits
uvec2 offset_mul(uvec2 address, uint count, uint bytes)
{
    uint high, low, carry;
    umulExtended(count, bytes, high, low);
    low = uaddCarry(address.x, low, carry);
    return uvec2(low, address.y + high + carry);
}
#endif
