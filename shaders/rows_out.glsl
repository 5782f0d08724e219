// rows_out.glsl - writing activation rows in the formats of push.h (SL_ROWS_*).
#ifndef SL_ROWS_OUT_GLSL
#define SL_ROWS_OUT_GLSL
#ifdef HALVES
#extension GL_EXT_shader_explicit_arithmetic_types_float16 : require
#endif

layout(buffer_reference, std430, buffer_reference_align = 8) buffer U32x2Out { uvec2 at[]; };
layout(buffer_reference, std430, buffer_reference_align = 8) buffer F32x2Out { vec2 at[]; };

// Bytes of `elements` of a format.
uint bytes_of_row(uint format, uint elements)
{
    return format == SL_ROWS_F16          ? elements * 2u
           : format == SL_ROWS_Q8         ? elements + elements / 4u
           : format == SL_ROWS_F16_SCALED ? elements * 2u + elements / 4u
                                          : elements * 4u;
}

const float HALF_MAX = 65504.0;

void put_half(uvec2 row, uint i, float v) { F16(row).at[i] = float16_t(clamp(v, -HALF_MAX, HALF_MAX)); }

// Elements 4 i .. 4 i + 3.
void put_halves(uvec2 row, uint i, vec4 v)
{
    v = clamp(v, vec4(-HALF_MAX), vec4(HALF_MAX));
    U32x2Out(row).at[i] = uvec2(packHalf2x16(v.xy), packHalf2x16(v.zw));
}

// Four small integers as bytes.
uint bytes_of(ivec4 v)
{
    const uvec4 b = uvec4(v) & 255u;
    return b.x | (b.y << 8) | (b.z << 16) | (b.w << 24);
}

// Blocks of 32 elements with a scale: BLOCK_FORMAT is SL_ROWS_Q8 or, with -DHALVES, SL_ROWS_F16_SCALED. The elements of one
// are BLOCK_VECTORS vectors; block_of returns their scale and their sum times it.
#ifdef HALVES
#define BLOCK_FORMAT  SL_ROWS_F16_SCALED
#define BLOCK_VECTORS 4

// Four elements as two words.
uvec2 halves_of(vec4 v) { return uvec2(packFloat2x16(f16vec2(v.xz)), packFloat2x16(f16vec2(v.yw))); }

// The sum of the halves of two words.
float sum_of(uvec2 words)
{
    const vec2 a = vec2(unpackFloat2x16(words.x)), b = vec2(unpackFloat2x16(words.y));
    return (a.x + a.y) + (b.x + b.y);
}
#else
#define BLOCK_FORMAT  SL_ROWS_Q8
#define BLOCK_VECTORS 2
#endif

vec2 block_of(vec4 v[8], out uvec4 words[BLOCK_VECTORS])
{
    vec4 most = vec4(0.0);
    [[unroll]] for (uint j = 0u; j < 8u; j++) most = max(most, abs(v[j]));
    const float largest = max(max(most.x, most.y), max(most.z, most.w));
#ifdef HALVES
    const float d = largest, inverse = d > 0.0 ? 1.0 / d : 0.0;
    float sum = 0.0;
    [[unroll]] for (uint j = 0u; j < 8u; j++) {
        const uvec2 pair = halves_of(v[j] * inverse);
        sum += sum_of(pair);
        words[j / 2u][2u * (j & 1u)] = pair.x;
        words[j / 2u][2u * (j & 1u) + 1u] = pair.y;
    }
    return vec2(d, d * sum);
#else
    const float d = largest / 127.0, inverse = d > 0.0 ? 1.0 / d : 0.0;
    ivec4 sum = ivec4(0);
    [[unroll]] for (uint j = 0u; j < 8u; j++) {
        const ivec4 q = clamp(ivec4(round(v[j] * inverse)), ivec4(-127), ivec4(127));
        sum += q;
        words[j / 4u][j & 3u] = bytes_of(q);
    }
    return vec2(d, d * float(sum.x + sum.y + sum.z + sum.w));
#endif
}

// The scales of a row of n stand behind its elements.
uvec2 block_scales(uvec2 row, uint n) { return offset(row, n / 2u * BLOCK_VECTORS); }

// Elements 32 block .. 32 block + 31 of a row of n.
void put_block(uvec2 row, uint n, uint block, vec4 v[8])
{
    uvec4 words[BLOCK_VECTORS];
    const vec2 scale = block_of(v, words);
    [[unroll]] for (uint j = 0u; j < BLOCK_VECTORS; j++) U32x4(row).at[block * BLOCK_VECTORS + j] = words[j];
    F32x2Out(block_scales(row, n)).at[block] = scale;
}
#endif
