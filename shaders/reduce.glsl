// reduce.glsl - one value from a whole workgroup, given to all its invocations. Any subgroup size from 4 up, at most 256
// invocations. Every invocation must call; contains barriers.
#ifndef SL_REDUCE_GLSL
#define SL_REDUCE_GLSL

shared float sl_reduce_float[64];
shared uint sl_reduce_uint[64];

float workgroup_sum(float v)
{
    v = subgroupAdd(v);
    if (subgroupElect()) sl_reduce_float[gl_SubgroupID] = v;
    barrier();
    float total = 0.0;
    for (uint i = 0u; i < gl_NumSubgroups; i++)
        total += sl_reduce_float[i];
    barrier();
    return total;
}

float workgroup_max(float v)
{
    v = subgroupMax(v);
    if (subgroupElect()) sl_reduce_float[gl_SubgroupID] = v;
    barrier();
    float most = sl_reduce_float[0];
    for (uint i = 1u; i < gl_NumSubgroups; i++)
        most = max(most, sl_reduce_float[i]);
    barrier();
    return most;
}

uint workgroup_max(uint v)
{
    v = subgroupMax(v);
    if (subgroupElect()) sl_reduce_uint[gl_SubgroupID] = v;
    barrier();
    uint most = sl_reduce_uint[0];
    for (uint i = 1u; i < gl_NumSubgroups; i++)
        most = max(most, sl_reduce_uint[i]);
    barrier();
    return most;
}

uint workgroup_min(uint v)
{
    return ~workgroup_max(~v);
}

// Floats as unsigned integers of the same order: 0 and -0 are one, a NaN is below everything. By bits alone, because
// comparisons may flush subnormals and a driver may assume that there are no NaNs.
uint ordered(float f)
{
    const uint bits = floatBitsToUint(f), magnitude = bits & 0x7fffffffu;
    if (magnitude > 0x7f800000u) return 0u;
    return bits > 0x80000000u ? ~bits : magnitude | 0x80000000u;
}

float from_ordered(uint key)
{
    return uintBitsToFloat((key & 0x80000000u) != 0u ? key & 0x7fffffffu : ~key);
}
#endif
