// skinny_out.glsl - what a workgroup of matmul_skinny does with its sums: straight to y, or, where several workgroups share
// a tile, to memory, and the last of them to arrive adds up. Nobody waits, and the order of the sum is that of the parts.
// Before: the push block `p` (sl_push_matmul_skinny).
#ifndef SL_SKINNY_OUT_GLSL
#define SL_SKINNY_OUT_GLSL

#define TILE_VECTORS (SL_TILE_X * SL_TILE_Y / 4u)

layout(buffer_reference, std430, buffer_reference_align = 16) coherent buffer Partial { vec4 at[]; };

shared uint arrived_before;

// Four rows from r on of token t; y is written in vectors where all lies at multiples of 16 bytes.
void put_rows(uint r, uint t, vec4 v)
{
    const uint at = t * p.y_stride + r;
    if (((p.y.x | p.add.x | p.bias.x | at << 2) & 15u) == 0u && r + 4u <= p.n_out) {
        if (given(p.bias)) v += F32x4(p.bias).at[r / 4u];
        if (given(p.add)) v += F32x4(p.add).at[at / 4u];
        F32x4(p.y).at[at / 4u] = v;
        return;
    }
    [[unroll]] for (uint i = 0u; i < 4u; i++) {
        if (r + i >= p.n_out) break;
        float one = v[i];
        if (given(p.bias)) one += F32(p.bias).at[r + i];
        if (given(p.add)) one += F32(p.add).at[at + i];
        F32(p.y).at[at + i] = one;
    }
}

// The workgroup's tile among all, and where part `part` of it stands in `partial`.
uint tile_number() { return gl_WorkGroupID.z * gl_NumWorkGroups.x + gl_WorkGroupID.x; }
uint partial_at(uint part) { return (tile_number() * p.n_splits + part) * TILE_VECTORS; }

// Vector e of the tile: rows 4 * (e % (SL_TILE_X / 4)) .. of token e / (SL_TILE_X / 4).
void put_sum(uint e, vec4 v)
{
    const uint t = gl_WorkGroupID.z * SL_TILE_Y + e / (SL_TILE_X / 4u);
    const uint r = gl_WorkGroupID.x * SL_TILE_X + e % (SL_TILE_X / 4u) * 4u;
    if (t >= p.n_tokens || r >= p.n_out) return;
    if (p.n_splits > 1u)
        Partial(p.partial).at[partial_at(gl_WorkGroupID.y) + e] = v;
    else
        put_rows(r, t, v);
}

// After all put_sum of the workgroup.
void finish_tile()
{
    if (p.n_splits <= 1u) return;
    memoryBarrierBuffer();
    barrier();
    if (gl_LocalInvocationIndex == 0u) arrived_before = atomicAdd(U32(p.arrived).at[tile_number()], 1u);
    barrier();
    if (arrived_before != p.n_splits - 1u) return;
    memoryBarrierBuffer();
    if (gl_LocalInvocationIndex == 0u) U32(p.arrived).at[tile_number()] = 0u;
    for (uint e = gl_LocalInvocationIndex; e < TILE_VECTORS; e += WORKGROUP) {
        const uint t = gl_WorkGroupID.z * SL_TILE_Y + e / (SL_TILE_X / 4u);
        const uint r = gl_WorkGroupID.x * SL_TILE_X + e % (SL_TILE_X / 4u) * 4u;
        if (t >= p.n_tokens || r >= p.n_out) continue;
        vec4 sum = vec4(0.0);
        for (uint part = 0u; part < p.n_splits; part++) sum += Partial(p.partial).at[partial_at(part) + e];
        put_rows(r, t, sum);
    }
}
#endif
