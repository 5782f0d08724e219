#version 450
#extension GL_GOOGLE_include_directive : require
#extension GL_KHR_shader_subgroup_shuffle : require
#extension GL_EXT_shader_explicit_arithmetic_types_float16 : require
#include "common.glsl"
#include "reduce.glsl"
// rotate: a workgroup makes a row, an invocation up to ITEMS runs of 16 weights, which stay in registers between the
// rotation and the row's largest element being known. A rotation of 256 is 4 stages within a run and 4 between runs,
// which neighbouring invocations hold. Weights that come from halves or quants are rotated as pairs of halves, in half as
// many instructions; what may be beyond the range of halves, as floats.
SL_PUSH(sl_push_dequant);
#include "matmul/blocks.glsl"

#define ITEMS 4u // keep in step with SL_ROTATE_N_K_MAX

#if SL_KEY == 0 || SL_KEY == 30
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

struct Pairs {
    PAIR v[8]; // weights 2 i, 2 i + 1
};

// Blocks of `size` weights, a multiple of 2 that divides the row.
Pairs rotated(Run run, uint size)
{
    Pairs p;
    const float scale = inversesqrt(float(size));
    [[unroll]] for (uint i = 0u; i < 4u; i++) {
        const vec4 v = run.v[i] * scale;
        p.v[2u * i] = PAIR(v.xy);
        p.v[2u * i + 1u] = PAIR(v.zw);
    }
    [[unroll]] for (uint i = 0u; i < 8u; i++) p.v[i] = PAIR(p.v[i].x + p.v[i].y, p.v[i].x - p.v[i].y);
    [[unroll]] for (uint step = 1u; step < 8u; step *= 2u)
        if (2u * step < size)
            [[unroll]] for (uint i = 0u; i < 8u; i++)
                if ((i & step) == 0u) {
                    const PAIR a = p.v[i], b = p.v[i + step];
                    p.v[i] = a + b;
                    p.v[i + step] = a - b;
                }
    [[unroll]] for (uint mask = 1u; mask < 16u; mask *= 2u)
        if (16u * mask < size) { // the same for all
            const PAIR sign = (gl_LocalInvocationIndex & mask) == 0u ? PAIR(1.0) : PAIR(-1.0);
            [[unroll]] for (uint i = 0u; i < 8u; i++) p.v[i] = fma(p.v[i], sign, from_neighbour(p.v[i], mask));
        }
    return p;
}

float largest(Pairs p)
{
    PAIR most = PAIR(0.0);
    [[unroll]] for (uint i = 0u; i < 8u; i++) most = max(most, abs(p.v[i]));
    return max(float(most.x), float(most.y));
}

// round(v * inverse) as bytes. Adding 1.5 * 2^23 leaves the integer in the low bits.
uint bytes_of(PAIR a, PAIR b, float inverse)
{
    const vec4 v = vec4(vec2(a), vec2(b));
    const uvec4 q = floatBitsToUint(fma(v, vec4(inverse), vec4(12582912.0))) & 255u;
    return q.x | (q.y << 8) | (q.z << 16) | (q.w << 24);
}

void main()
{
    const uint r = gl_WorkGroupID.y * gl_NumWorkGroups.x + gl_WorkGroupID.x;
    if (r >= p.n_rows) return; // a workgroup
    const uint runs = p.n_k / 16u, size = min(p.n_k & -p.n_k, SL_ROTATION_MAX);
    const Row row = row_at(p.w, r, p.row_bytes);
    Pairs mine[ITEMS];
    float most = 0.0;
    [[unroll]] for (uint n = 0u; n < ITEMS; n++) {
        if (n * WORKGROUP >= runs) continue; // the same for all
        const uint j = n * WORKGROUP + gl_LocalInvocationIndex, some = min(j, runs - 1u);
        mine[n] = rotated(chunk_run(chunk_load(row, run_chunk(some), p.n_k), run_which(some)), size);
        if (j < runs) most = max(most, largest(mine[n]));
    }
    most = workgroup_max(most);
    const float d = most / 127.0, inverse = d > 0.0 ? 1.0 / d : 0.0;
    [[unroll]] for (uint n = 0u; n < ITEMS; n++) {
        const uint j = n * WORKGROUP + gl_LocalInvocationIndex;
        if (j >= runs) continue;
        uvec4 words;
        [[unroll]] for (uint i = 0u; i < 4u; i++)
            words[i] = bytes_of(mine[n].v[2u * i], mine[n].v[2u * i + 1u], inverse);
        U32x4(p.y).at[(p.first_row + r) * runs + j] = words;
    }
    if (gl_LocalInvocationIndex == 0u) F32(offset_mul(p.y, p.all_rows, p.n_k)).at[p.first_row + r] = d;
}
