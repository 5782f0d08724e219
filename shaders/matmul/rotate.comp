#version 450
#extension GL_GOOGLE_include_directive : require
#extension GL_KHR_shader_subgroup_shuffle : require
#extension GL_EXT_shader_explicit_arithmetic_types_float16 : require
#include "common.glsl"
#include "reduce.glsl"
// rotate: a workgroup makes a row, an invocation up to ITEMS chunks of it, which stay in registers until the row's
// largest element is known. A rotation of 256 mixes what the runs of 8 or 16 invocations hold, in any order of the bits
// of the position: within a pair of elements, between pairs, between the runs of a chunk, between invocations. Quants
// are rotated as pairs of halves, what may be large (floats, activations) as pairs of floats.
SL_PUSH(sl_push_dequant);
#define FLOATS (SL_KEY == 0 || SL_KEY == 1 || SL_KEY == 30)
#if !FLOATS
#define RUN_HALVES
#endif
#include "matmul/blocks.glsl"

#ifndef ITEMS
#define ITEMS (SL_ROTATE_N_K_MAX / (16u * CHUNK_RUNS * THREADS)) // THREADS: of the workgroup, by -D
#endif

#if FLOATS
#define PAIR         vec2
#define WORDS        uvec2
#define to_words(v)  floatBitsToUint(v)
#define to_pair(w)   uintBitsToFloat(w)
#else
#define PAIR         f16vec2
#define WORDS        uint
#define to_words(v)  packFloat2x16(v)
#define to_pair(w)   unpackFloat2x16(w)
#endif
#define PAIRS (8u * CHUNK_RUNS)

shared WORDS exchange[256];

// What invocation (mine ^ mask) has. Where it is in another subgroup (they are small on CPUs), through memory.
PAIR from_neighbour(PAIR v, uint mask)
{
    WORDS words = to_words(v);
    if (mask < SUBGROUP) return to_pair(subgroupShuffleXor(words, mask));
    exchange[gl_LocalInvocationIndex] = words;
    barrier();
    words = exchange[gl_LocalInvocationIndex ^ mask];
    barrier();
    return to_pair(words);
}

struct Item {
    PAIR v[PAIRS]; // of each run, elements (0, 2), (1, 3), (4, 6), (5, 7), ...
};

// The elements of a chunk, not yet mixed with those of other invocations. Not divided by sqrt(size).
Item mixed(Chunk chunk)
{
    Item item;
    [[unroll]] for (uint which = 0u; which < CHUNK_RUNS; which++) {
#if FLOATS
        const Run run = chunk_run(chunk, which);
#else
        const HalfRun run = chunk_run(chunk, which);
#endif
        [[unroll]] for (uint i = 0u; i < 4u; i++) {
#if FLOATS
            const PAIR even = run.v[i].xz, odd = run.v[i].yw;
#else
            const PAIR even = run.v[2u * i], odd = run.v[2u * i + 1u];
#endif
            const PAIR sum = even + odd, difference = even - odd;
            item.v[8u * which + 2u * i] = PAIR(sum.x + sum.y, sum.x - sum.y);
            item.v[8u * which + 2u * i + 1u] = PAIR(difference.x + difference.y, difference.x - difference.y);
        }
    }
    [[unroll]] for (uint step = 2u; step < PAIRS; step *= 2u)
        [[unroll]] for (uint i = 0u; i < PAIRS; i++)
            if ((i & step) == 0u) {
                const PAIR a = item.v[i], b = item.v[i + step];
                item.v[i] = a + b;
                item.v[i + step] = a - b;
            }
    return item;
}

// round(v * inverse) of four elements as bytes. Adding 1.5 * 2^10 (2^23) leaves the integer in the low bits.
uint bytes_of(PAIR even, PAIR odd, PAIR inverse)
{
#if FLOATS
    const vec4 v = vec4(even.x, odd.x, even.y, odd.y);
    const uvec4 q = floatBitsToUint(fma(v, inverse.xxxx, vec4(12582912.0))) & 255u;
    return q.x | (q.y << 8) | (q.z << 16) | (q.w << 24);
#else
    const uint a = to_words(fma(even, inverse, f16vec2(1536.0))), b = to_words(fma(odd, inverse, f16vec2(1536.0)));
    return (a & 0x00ff00ffu) | ((b & 0x00ff00ffu) << 8);
#endif
}

void main()
{
    const uint r = gl_WorkGroupID.y * gl_NumWorkGroups.x + gl_WorkGroupID.x;
    if (r >= p.n_rows) return; // a workgroup
    const uint chunks = chunk_count(p.n_k), size = min(p.n_k & -p.n_k, SL_ROTATION_MAX);
    const Row row = row_at(p.w, r, p.row_bytes);
    Item items[ITEMS];
    PAIR most = PAIR(0.0);
    [[unroll]] for (uint n = 0u; n < ITEMS; n++)
        if (n * WORKGROUP < chunks) { // the same for all
            const uint i = n * WORKGROUP + gl_LocalInvocationIndex;
            items[n] = mixed(chunk_load(row, min(i, chunks - 1u), p.n_k));
            [[unroll]] for (uint mask = 1u; mask < 16u / CHUNK_RUNS; mask *= 2u)
                if (32u * CHUNK_RUNS * mask <= size) { // the same for all
                    const PAIR sign = PAIR((gl_LocalInvocationIndex & mask) == 0u ? 1.0 : -1.0);
                    [[unroll]] for (uint j = 0u; j < PAIRS; j++)
                        items[n].v[j] = fma(items[n].v[j], sign, from_neighbour(items[n].v[j], mask));
                }
            if (i < chunks)
                [[unroll]] for (uint j = 0u; j < PAIRS; j++) most = max(most, abs(items[n].v[j]));
        }
    const float largest = workgroup_max(max(float(most.x), float(most.y)));
    // As a half, it must be finite: rows of next to nothing get a coarser step.
    const PAIR inverse = PAIR(largest > 0.0 ? min(127.0 / largest, 65504.0) : 0.0);
    [[unroll]] for (uint n = 0u; n < ITEMS; n++) {
        const uint i = n * WORKGROUP + gl_LocalInvocationIndex;
        if (i >= chunks) continue;
        [[unroll]] for (uint which = 0u; which < CHUNK_RUNS; which++) {
            uvec4 words;
            [[unroll]] for (uint j = 0u; j < 4u; j++)
                words[j] = bytes_of(items[n].v[8u * which + 2u * j], items[n].v[8u * which + 2u * j + 1u], inverse);
            U32x4(p.y).at[((p.first_row + r) * p.n_k + chunk_k(i, which)) / 16u] = words;
        }
    }
    if (gl_LocalInvocationIndex == 0u)
        F32(offset_mul(p.y, p.all_rows, p.n_k)).at[p.first_row + r] =
            inverse.x > 0.0 ? inversesqrt(float(size)) / float(inverse.x) : 0.0;
}
