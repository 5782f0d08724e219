#include "tests/kernels/kernel_run.h"

#include "shaders/matmul/rotated.h"
#include "shaders/rows_out.h"

#include "hal/base/alloc.h"
#include "hal/base/checked.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ALIGNMENT 64

static _Noreturn void stop(const sl_kernel_case *c, const char *why)
{
    fprintf(stderr, "kernel case \"%s\": %s\n", c->name, why);
    exit(1);
}

static uint64_t hash_text(uint64_t hash, const char *text)
{
    for (; *text; text++)
        hash = (hash ^ (uint8_t)*text) * 0x100000001b3u; /* FNV-1a */
    return hash;
}

void sl_case_begin(sl_kernel_case *c, const sl_variant *variant, uint32_t index)
{
    memset(c, 0, sizeof *c);
    c->random = hash_text(0xcbf29ce484222325u, variant->module) + index;
}

void sl_case_end(sl_kernel_case *c)
{
    for (uint32_t i = 0; i < c->operand_count; i++)
        sl_free(c->operands[i].data);
    c->operand_count = 0;
}

void *sl_case_operand_add(sl_kernel_case *c, uint32_t push_offset, uint32_t flags, sl_case_type type,
                          uint64_t bytes)
{
    if (c->operand_count == SL_CASE_OPERANDS_MAX) stop(c, "too many operands");
    if (!bytes) stop(c, "an operand of no bytes");
    void *data = sl_aligned_alloc(ALIGNMENT, sl_align_up(bytes, ALIGNMENT));
    if (!data) stop(c, "out of memory");
    memset(data, 0, bytes);
    c->operands[c->operand_count++] = (sl_case_operand){
        .push_offset = push_offset, .flags = flags, .type = type, .bytes = bytes, .data = data};
    return data;
}

void *sl_case_rows_add(sl_kernel_case *c, uint32_t push_offset, uint32_t flags, uint32_t format,
                       uint32_t rows, uint32_t stride, uint32_t n)
{
    static const sl_case_type types[] = {[SL_ROWS_F32] = SL_CASE_F32,
                                         [SL_ROWS_F16] = SL_CASE_F16,
                                         [SL_ROWS_Q8] = SL_CASE_Q8,
                                         [SL_ROWS_F16_SCALED] = SL_CASE_F16_SCALED,
                                         [SL_ROWS_S8] = SL_CASE_S8};
    const bool gaps = format == SL_ROWS_F32 || format == SL_ROWS_F16;
    const uint64_t elements = gaps ? (uint64_t)(rows - 1) * stride + n : (uint64_t)rows * n;
    const uint64_t bytes = format == SL_ROWS_S8 ? sl_s8_bytes(rows, n) : sl_rows_bytes(format, elements);
    void *data = sl_case_operand_add(c, push_offset, flags, types[format], bytes);
    c->operands[c->operand_count - 1].row_elements = n;
    return data;
}

void *sl_case_cache_add(sl_kernel_case *c, uint32_t push_offset, uint32_t flags, uint32_t kv_type, bool bytes,
                        uint64_t groups, uint32_t head_dim)
{
    static const sl_case_type types[] = {
        [SL_KV_F16] = SL_CASE_F16, [SL_KV_Q8_0] = SL_CASE_KV_Q8_0, [SL_KV_Q4_0] = SL_CASE_KV_Q4_0};
    void *data = sl_case_operand_add(c, push_offset, flags, bytes ? SL_CASE_BYTES : types[kv_type],
                                     groups * SL_KV_GROUP_BYTES(kv_type, head_dim));
    c->operands[c->operand_count - 1].row_elements = head_dim;
    return data;
}

void sl_case_alias(sl_kernel_case *c, uint32_t push_offset, uint32_t same_as_push_offset)
{
    if (c->alias_count == SL_COUNTOF(c->aliases)) stop(c, "too many aliases");
    c->aliases[c->alias_count][0] = push_offset;
    c->aliases[c->alias_count++][1] = same_as_push_offset;
}

/* SplitMix64 (Steele, Lea, Flood 2014). */
static uint64_t next(sl_kernel_case *c)
{
    uint64_t z = c->random += 0x9e3779b97f4a7c15u;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

uint32_t sl_case_random(sl_kernel_case *c)
{
    return (uint32_t)(next(c) >> 32);
}

uint32_t sl_case_random_below(sl_kernel_case *c, uint32_t bound)
{
    return (uint32_t)((uint64_t)sl_case_random(c) * bound >> 32);
}

float sl_case_random_float(sl_kernel_case *c, float low, float high)
{
    return low + (high - low) * (float)(sl_case_random(c) >> 8) * 0x1p-24f;
}

void sl_case_fill_floats(sl_kernel_case *c, float *out, uint64_t n, float low, float high)
{
    for (uint64_t i = 0; i < n; i++)
        out[i] = sl_case_random_float(c, low, high);
}
