// decode_blocks.glsl - one weight at a time out of a block in memory: what a cooperative matrix asks for when it decodes
// while it loads. SL_KEY is the weight type.
//   Block            reference to a block as the file stores it
//   BLOCK_WEIGHTS    weights of one
//   BLOCK_BYTES      its size, which is that of Block too
//   block_weight(block, i)  weight i as f16; floats beyond the range of f16 become the largest there is
//
// Neighbouring weights read the same words, and differ in shifts by constants once the driver has unrolled its loop over
// them: it loads each word once. Words are 16 bits wide, which every block is aligned to, and hold two bytes; arithmetic is
// that of half_blocks.glsl.
#ifndef SL_DECODE_BLOCKS_GLSL
#define SL_DECODE_BLOCKS_GLSL

// q + 1024 less `base`, exact: q < 1024 below the exponent of 1024.
float16_t quant(uint q, float16_t base) { return unpackFloat2x16(q | 0x6400u).x - base; }

// Of 16 bits with two bytes, that of a weight at an odd or even place.
uint byte_of(uint two, uint i) { return (two >> (8u * (i & 1u))) & 0xffu; }

#if SL_KEY == 12 // Q4_K: d, dmin, 12 bytes of 6-bit scales and minima, 128 bytes of nibbles

#define BLOCK_WEIGHTS 256
#define BLOCK_BYTES 144u
layout(buffer_reference, std430, buffer_reference_align = 16) buffer Block {
    uvec4 head;
    uint16_t q[64];
};

// Of the 32 weights `part` of a block: what a quant is multiplied with, and what is then added.
f16vec2 part_scales(uvec4 head, uint part)
{
    const uint shift = 8u * (part & 3u);
    const bool second = part >= 4u;
    const uint low = head.y >> shift, middle = head.z >> shift, high = head.w >> shift;
    const uint scale = second ? (high & 15u) | ((low >> 2) & 48u) : low & 63u;
    const uint minimum = second ? ((high >> 4) & 15u) | ((middle >> 2) & 48u) : middle & 63u;
    const f16vec2 sixes = unpackFloat2x16(scale | (minimum << 16) | 0x64006400u) - f16vec2(1024.0hf);
    return sixes * unpackFloat2x16(head.x) * f16vec2(1.0hf, -1.0hf);
}

float16_t part_weight(Block block, uint i, f16vec2 scales)
{
    const uint two = uint(block.q[(i >> 6) * 16u + ((i & 31u) >> 1)]) >> (4u * ((i >> 5) & 1u));
    return fma(quant(byte_of(two, i) & 15u, 1024.0hf), scales.x, scales.y);
}

float16_t block_weight(Block block, uint i) { return part_weight(block, i, part_scales(block.head, i >> 5)); }

#elif SL_KEY == 14 // Q6_K: 128 bytes of low nibbles, 64 of high pairs of bits, 16 signed scales, d

#define BLOCK_WEIGHTS 256
#define BLOCK_BYTES 210u
layout(buffer_reference, std430, buffer_reference_align = 2) buffer Block {
    uint16_t low[64], high[32], scales[8];
    float16_t d;
};

float16_t block_weight(Block block, uint i)
{
    const uint part = i >> 7, quarter = (i >> 5) & 3u, at = (i & 31u) >> 1;
    const uint low = uint(block.low[part * 32u + (quarter & 1u) * 16u + at]) >> (4u * (quarter >> 1));
    const uint high = uint(block.high[part * 16u + at]) >> (2u * quarter);
    const uint q = (low & 0x0f0fu) | ((high & 0x0303u) << 4);
    const uint scale = byte_of(uint(block.scales[i >> 5]), i >> 4) ^ 0x80u;
    const float16_t d = quant(scale, 1152.0hf) * block.d;
    return quant(byte_of(q, i), 1056.0hf) * d;
}

#elif SL_KEY == 2 || SL_KEY == 3 || SL_KEY == 6 // Q4_0, Q4_1, Q5_0: low nibbles 0 .. 15, high nibbles 16 .. 31

#define BLOCK_WEIGHTS 32
#if SL_KEY == 2
#define BLOCK_BYTES 18u
layout(buffer_reference, std430, buffer_reference_align = 2) buffer Block {
    float16_t d;
    uint16_t q[8];
};
#elif SL_KEY == 3
#define BLOCK_BYTES 20u
layout(buffer_reference, std430, buffer_reference_align = 4) buffer Block {
    uint dm;
    uint16_t q[8];
};
#else
#define BLOCK_BYTES 22u
layout(buffer_reference, std430, buffer_reference_align = 2) buffer Block {
    float16_t d;
    uint16_t high[2], q[8];
};
#endif

float16_t block_weight(Block block, uint i)
{
    const uint q = byte_of(uint(block.q[(i & 15u) >> 1]) >> (4u * (i >> 4)), i) & 15u;
#if SL_KEY == 2
    return quant(q, 1032.0hf) * block.d;
#elif SL_KEY == 3
    const f16vec2 dm = unpackFloat2x16(block.dm);
    return fma(quant(q, 1024.0hf), dm.x, dm.y);
#else
    const uint high = (uint(block.high[i >> 4]) >> (i & 15u)) & 1u;
    return quant(q | (high << 4), 1040.0hf) * block.d;
#endif
}

#elif SL_KEY == 8 // Q8_0: d, 32 signed bytes

#define BLOCK_WEIGHTS 32
#define BLOCK_BYTES 34u
layout(buffer_reference, std430, buffer_reference_align = 2) buffer Block {
    float16_t d;
    uint16_t q[16];
};

float16_t block_weight(Block block, uint i)
{
    return quant(byte_of(uint(block.q[i >> 1]), i) ^ 0x80u, 1152.0hf) * block.d;
}

#elif SL_KEY == 0 || SL_KEY == 30 // F32, BF16: four make a block here, so that one load serves them

#define BLOCK_WEIGHTS 4
#if SL_KEY == 0
#define BLOCK_BYTES 16u
layout(buffer_reference, std430, buffer_reference_align = 16) buffer Block {
    vec4 v;
};
#else
#define BLOCK_BYTES 8u
layout(buffer_reference, std430, buffer_reference_align = 8) buffer Block {
    uvec2 v;
};
#endif

float16_t block_weight(Block block, uint i)
{
#if SL_KEY == 0
    const float v = block.v[i];
#else
    const uint two = (i & 2u) != 0u ? block.v.y : block.v.x;
    const float v = uintBitsToFloat((i & 1u) != 0u ? two & 0xffff0000u : two << 16);
#endif
    return float16_t(clamp(v, -65504.0, 65504.0));
}

#else // F16: nothing to decode, but to be asked like the others

#define BLOCK_WEIGHTS 1
#define BLOCK_BYTES 2u
layout(buffer_reference, std430, buffer_reference_align = 2) buffer Block {
    float16_t v;
};

float16_t block_weight(Block block, uint i) { return block.v; }

#endif
#endif
