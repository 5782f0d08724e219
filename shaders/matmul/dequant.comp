#version 450
#extension GL_GOOGLE_include_directive : require
#extension GL_KHR_shader_subgroup_shuffle : require
#include "common.glsl"
// dequant: an invocation decodes a chunk of a row. A run of 16 halves is two vectors of 16 bytes, so one invocation's
// stores would each fill half a sector of memory; two neighbours exchange halves instead and write one of their runs
// after the other. On an H100 that is 2590 instead of 1540 GB/s (Q4_K).
SL_PUSH(sl_push_dequant);
#include "matmul/blocks.glsl"

const vec4 HALF_MOST = vec4(65504.0);

uvec4 halves(vec4 a, vec4 b)
{
    a = clamp(a, -HALF_MOST, HALF_MOST);
    b = clamp(b, -HALF_MOST, HALF_MOST);
    return uvec4(packHalf2x16(a.xy), packHalf2x16(a.zw), packHalf2x16(b.xy), packHalf2x16(b.zw));
}

// Writes run `run` of this invocation and that of its neighbour. at: vector of y where it begins, vectors: how many of
// its two are in the row.
void put_runs(Run run, uint at, uint vectors)
{
    const bool odd = (gl_SubgroupInvocationID & 1u) != 0u;
    const uvec4 low = halves(run.v[0], run.v[1]), high = halves(run.v[2], run.v[3]);
    const uvec4 got = subgroupShuffleXor(odd ? low : high, 1u);
    const uint their_at = subgroupShuffleXor(at, 1u), their_vectors = subgroupShuffleXor(vectors, 1u);
    const uint half_of = uint(odd), even_at = odd ? their_at : at, odd_at = odd ? at : their_at;
    const uint even_vectors = odd ? their_vectors : vectors, odd_vectors = odd ? vectors : their_vectors;
    if (half_of < even_vectors) U32x4(p.y).at[even_at + half_of] = odd ? got : low;
    if (half_of < odd_vectors) U32x4(p.y).at[odd_at + half_of] = odd ? high : got;
}

void main()
{
    const uint chunks = chunk_count(p.n_k), items = chunks * p.n_rows, row_vectors = p.n_k / 8u;
    const uint first = gl_WorkGroupID.x * WORKGROUP, step = gl_NumWorkGroups.x * WORKGROUP;
    for (uint base = first; base < items; base += step) {
        const uint item = base + gl_LocalInvocationIndex, mine = min(item, items - 1u);
        const uint r = mine / chunks, i = mine % chunks;
        const Chunk chunk = chunk_load(row_at(p.w, r, p.row_bytes), i, p.n_k);
        [[unroll]] for (uint which = 0u; which < CHUNK_RUNS; which++) {
            const uint v = chunk_k(i, which) / 8u;
            const uint vectors = item < items ? min(row_vectors - v, 2u) : 0u;
            put_runs(chunk_run(chunk, which), (p.first_row + r) * row_vectors + v, vectors);
        }
    }
}
