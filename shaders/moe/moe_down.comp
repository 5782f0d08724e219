#version 450
#extension GL_GOOGLE_include_directive : require
#ifndef HALVES
#extension GL_EXT_integer_dot_product : require
#endif
#extension GL_KHR_shader_subgroup_shuffle : require
#include "common.glsl"
// moe_down: the rows of a token's experts, one after another, are one long row: ROWS_GROUP of these a workgroup. The
// weights of the experts are multiplied into their activations while these are copied.
SL_PUSH(sl_push_moe_fused);
const uint COLUMNS = 1;
const uint INPUT = SL_INPUT_ROWS;
const uint OUTPUT = SL_ROWS_F32;
const uint ACT = 0;
layout(constant_id = 6) const uint N_K = 256; // of all experts of a token
layout(constant_id = 7) const uint ROWS_GROUP = 32;
#include "matmul/blocks.glsl"

shared uint experts[32];
shared float shares[32];
uint slot_chunks; // in the row of one expert

Chunk weight_chunk(uint which, uint r, uint i)
{
    const uint s = i / slot_chunks;
    return chunk_load(row_at(p.w, experts[s] * p.n_out + r, p.row_bytes), i - s * slot_chunks, p.n_k);
}

#include "matmul/fused.glsl"

// x of all slots, in shared memory. Ends with a barrier.
void stage_slots(uint token)
{
    const uint item = token * p.n_used;
    if (gl_LocalInvocationIndex < p.n_used) {
        const uint id = U32(p.ids).at[item + gl_LocalInvocationIndex];
        experts[gl_LocalInvocationIndex] = min(id, p.n_experts - 1u);
        shares[gl_LocalInvocationIndex] = id < p.n_experts ? F32(p.weights).at[item + gl_LocalInvocationIndex] : 0.0;
    }
    barrier();
#if X_FLOAT
    F32x4 x = F32x4(offset_mul(p.x, item, p.n_k * 4u));
    for (uint i = gl_LocalInvocationIndex; i < N_K / 4u; i += WORKGROUP)
        x_shared[vec4_slot(i)] = x.at[i] * shares[i / (p.n_k / 4u)];
#else
    const uint row = bytes_of_row(BLOCK_FORMAT, p.n_k), blocks = p.n_k / 32u, vectors = blocks * BLOCK_VECTORS;
    const uvec2 x = offset_mul(p.x, item, row);
    for (uint j = gl_LocalInvocationIndex; j < N_K / 32u * BLOCK_VECTORS; j += WORKGROUP)
        x_shared[vector_slot(j)] = U32x4(offset(x, j / vectors * row)).at[j % vectors];
    for (uint b = gl_LocalInvocationIndex; b < N_K / 32u; b += WORKGROUP)
        scale_shared[b] =
            F32x2(block_scales(offset(x, b / blocks * row), p.n_k)).at[b % blocks] * shares[b / blocks];
#endif
    barrier();
}

void main()
{
    const uint token = gl_WorkGroupID.y;
    const uint begin = gl_WorkGroupID.x * ROWS_GROUP, end = min(begin + ROWS_GROUP, p.n_out);
    const uvec2 x = uvec2(0u); // all of it is in shared memory
    slot_chunks = chunk_count(p.n_k);
    stage_slots(token);
    for (uint first = begin + gl_SubgroupID * ROWS; first < end; first += gl_NumSubgroups * ROWS) {
        float sums[COLUMNS][SUMS];
        [[unroll]] for (uint s = 0u; s < SUMS; s++) sums[0][s] = 0.0;
        [[dont_unroll]] for (uint step = 0u; step < STEPS; step++) {
            Chunk chunks[SUMS * IN_FLIGHT];
            LOAD_CHUNKS(chunks, first, step)
            ADD_CHUNKS(x, chunks, step, sums)
        }
        const uint r = first + gl_SubgroupInvocationID;
        float v = own_result(sums, 0u);
        if (gl_SubgroupInvocationID < ROWS && r < end) {
            const uint at = token * p.y_stride + r;
            if (given(p.add)) v += F32(p.add).at[at];
            F32(p.y).at[at] = v;
        }
    }
}
