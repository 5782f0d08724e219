// skinny_out.glsl - what a workgroup of matmul_skinny does with its sums: straight to y, or, where several workgroups share
// a tile, to memory, and the last of them to arrive adds up. Nobody waits, and the order of the sum is that of the parts.
// Before: the push block `p` (sl_push_matmul_skinny). GATED: matmul_skinny_gated.
#ifndef SL_SKINNY_OUT_GLSL
#define SL_SKINNY_OUT_GLSL

#ifdef GATED
#include "activation.glsl"
#include "rows_out.glsl"
#define MATRICES 2u
#else
#define MATRICES 1u
#endif
// A tile is SL_TILE_X rows of y by SL_TILE_Y tokens. Of each token there are SL_TILE_X sums of w, then as many of w2.
#define TOKEN_ROWS    (SL_TILE_X * MATRICES)
#define TILE_VECTORS  (TOKEN_ROWS * SL_TILE_Y / 4u)
#define TOKEN_OUTPUTS (SL_TILE_X / 4u)
#define TILE_OUTPUTS  (TOKEN_OUTPUTS * SL_TILE_Y)

layout(buffer_reference, std430, buffer_reference_align = 16) coherent buffer Partial { vec4 at[]; };

shared uint arrived_before;

// Four rows from r on of token t.
#ifdef GATED
void put_rows(uint r, uint t, vec4 sums[MATRICES])
{
    const vec4 v = ACTIVATED(p.act, sums[0]) * sums[1];
    const uvec2 y = offset_mul(p.y, t, 2u * p.y_stride);
    if (((y.x | r << 1) & 7u) == 0u && r + 4u <= p.n_out) {
        put_halves(y, r / 4u, v);
        return;
    }
    [[unroll]] for (uint i = 0u; i < 4u; i++)
        if (r + i < p.n_out) put_half(y, r + i, v[i]);
}
#else
// y is written in vectors where all lies at multiples of 16 bytes.
void put_rows(uint r, uint t, vec4 sums[MATRICES])
{
    vec4 v = sums[0];
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
#endif

// The workgroup's tile among all, and where part `part` of it stands in `partial`.
uint tile_number() { return gl_WorkGroupID.z * gl_NumWorkGroups.x + gl_WorkGroupID.x; }
uint partial_at(uint part) { return (tile_number() * p.n_splits + part) * TILE_VECTORS; }

// Vector e of the outputs of a tile: rows 4 * (e % TOKEN_OUTPUTS) .. of its token e / TOKEN_OUTPUTS. Where its sums of
// matrix m stand among all.
uint sum_at(uint e, uint m) { return (e / TOKEN_OUTPUTS * MATRICES + m) * TOKEN_OUTPUTS + e % TOKEN_OUTPUTS; }
uint token_of(uint e) { return gl_WorkGroupID.z * SL_TILE_Y + e / TOKEN_OUTPUTS; }
uint row_of(uint e) { return gl_WorkGroupID.x * SL_TILE_X + e % TOKEN_OUTPUTS * 4u; }
bool output_exists(uint e) { return token_of(e) < p.n_tokens && row_of(e) < p.n_out; }

void put_sums(uint e, vec4 sums[MATRICES])
{
    if (!output_exists(e)) return;
    if (p.n_splits > 1u)
        [[unroll]] for (uint m = 0u; m < MATRICES; m++)
            Partial(p.partial).at[partial_at(gl_WorkGroupID.y) + sum_at(e, m)] = sums[m];
    else
        put_rows(row_of(e), token_of(e), sums);
}

// The sum of all parts of a vector of sums. Loads of several parts are in flight at once: one after the other they would
// take longer than the product itself, for nothing else runs on this processor.
vec4 sum_of_parts(uint at)
{
    const uint AT_ONCE = 4u;
    vec4 sum = vec4(0.0);
    for (uint part = 0u; part < p.n_splits; part += AT_ONCE) {
        vec4 v[AT_ONCE];
        [[unroll]] for (uint i = 0u; i < AT_ONCE; i++)
            v[i] = Partial(p.partial).at[partial_at(min(part + i, p.n_splits - 1u)) + at];
        [[unroll]] for (uint i = 0u; i < AT_ONCE; i++)
            if (part + i < p.n_splits) sum += v[i];
    }
    return sum;
}

// After all put_sums of the workgroup.
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
    for (uint e = gl_LocalInvocationIndex; e < TILE_OUTPUTS; e += WORKGROUP) {
        if (!output_exists(e)) continue;
        vec4 sums[MATRICES];
        [[unroll]] for (uint m = 0u; m < MATRICES; m++) sums[m] = sum_of_parts(sum_at(e, m));
        put_rows(row_of(e), token_of(e), sums);
    }
}
#endif
