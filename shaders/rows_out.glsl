// rows_out.glsl - writing activation rows in the formats of push.h (SL_ROWS_*).
#ifndef SL_ROWS_OUT_GLSL
#define SL_ROWS_OUT_GLSL

layout(buffer_reference, std430, buffer_reference_align = 8) buffer U32x2Out { uvec2 at[]; };
layout(buffer_reference, std430, buffer_reference_align = 8) buffer F32x2Out { vec2 at[]; };

// Bytes of `elements` of a format.
uint bytes_of_row(uint format, uint elements)
{
    return format == SL_ROWS_F16 ? elements * 2u : format == SL_ROWS_Q8 ? elements + elements / 4u : elements * 4u;
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

// 32 values as 8 words of int8 and (d, d * sum).
vec2 quantize_block(vec4 v[8], out uint words[8])
{
    vec4 most = vec4(0.0);
    [[unroll]] for (uint j = 0u; j < 8u; j++) most = max(most, abs(v[j]));
    const float d = max(max(most.x, most.y), max(most.z, most.w)) / 127.0;
    const float inverse = d > 0.0 ? 1.0 / d : 0.0;
    ivec4 sum = ivec4(0);
    [[unroll]] for (uint j = 0u; j < 8u; j++) {
        const ivec4 q = clamp(ivec4(round(v[j] * inverse)), ivec4(-127), ivec4(127));
        sum += q;
        words[j] = bytes_of(q);
    }
    return vec2(d, d * float(sum.x + sum.y + sum.z + sum.w));
}

// Elements 32 block .. 32 block + 31 of a Q8 row of n.
void put_q8_block(uvec2 row, uint n, uint block, vec4 v[8])
{
    uint words[8];
    const vec2 scale = quantize_block(v, words);
    U32x4(row).at[block * 2u] = uvec4(words[0], words[1], words[2], words[3]);
    U32x4(row).at[block * 2u + 1u] = uvec4(words[4], words[5], words[6], words[7]);
    F32x2Out(offset(row, n)).at[block] = scale;
}
#endif
