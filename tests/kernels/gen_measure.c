/* gen_measure.c - cases of the kernels that measure a device. */
#include "tests/kernels/kernel_case.h"

#include "hal/base/checked.h"
#include "hal/base/half.h"

#include <stdio.h>
#include <string.h>

static void *add(sl_kernel_case *c, size_t at, uint32_t flags, sl_case_type type, uint64_t bytes)
{
    uint32_t *words = sl_case_operand_add(c, (uint32_t)at, flags, type, bytes);
    if (flags & SL_CASE_IN)
        for (uint64_t i = 0; i < bytes / 4; i++)
            words[i] = sl_case_random(c);
    return words;
}

bool sl_gen_measure_read(sl_kernel_case *c, uint32_t index, const sl_variant *variant)
{
    /* Less than an invocation each, an unrolled round exactly, one and a rest, more than one dimension's
     * groups. */
    static const uint32_t cases[][2] = {{1, 1}, {3, 7}, {2, 2048}, {5, 2049}, {4, 4096 + 300}, {70000, 1}};
    (void)variant;
    if (index >= SL_COUNTOF(cases)) return false;
    const struct sl_push_measure_read push = {.n_chunks = cases[index][0], .chunk_vectors = cases[index][1]};
    snprintf(c->name, sizeof c->name, "chunks=%u vectors=%u", push.n_chunks, push.chunk_vectors);
    memcpy(c->push, &push, sizeof push);
    add(c, offsetof(struct sl_push_measure_read, x), SL_CASE_IN, SL_CASE_BYTES,
        16ull * push.n_chunks * push.chunk_vectors);
    add(c, offsetof(struct sl_push_measure_read, y), SL_CASE_OUT, SL_CASE_U32, 4ull * push.n_chunks);
    return true;
}

bool sl_gen_measure_copy(sl_kernel_case *c, uint32_t index, const sl_variant *variant)
{
    static const uint32_t cases[] = {1, 255, 1024, 1025, 3000, 70001};
    (void)variant;
    if (index >= SL_COUNTOF(cases)) return false;
    const struct sl_push_measure_copy push = {.n_vectors = cases[index]};
    snprintf(c->name, sizeof c->name, "vectors=%u", push.n_vectors);
    memcpy(c->push, &push, sizeof push);
    add(c, offsetof(struct sl_push_measure_copy, x), SL_CASE_IN, SL_CASE_BYTES, 16ull * push.n_vectors);
    add(c, offsetof(struct sl_push_measure_copy, y), SL_CASE_OUT, SL_CASE_BYTES, 16ull * push.n_vectors);
    return true;
}

/* Small integers, so that sums are exact in either type. */
static void add_tiles(sl_kernel_case *c, size_t at, bool integers, uint32_t count)
{
    void *data = sl_case_operand_add(c, (uint32_t)at, SL_CASE_IN, SL_CASE_BYTES,
                                     (uint64_t)count * (integers ? sizeof(int8_t) : sizeof(uint16_t)));
    for (uint32_t i = 0; i < count; i++) {
        const int value = (int)sl_case_random_below(c, 15) - 7;
        if (integers)
            ((int8_t *)data)[i] = (int8_t)value;
        else
            ((uint16_t *)data)[i] = sl_float_to_half((float)value);
    }
}

bool sl_gen_measure_matrix(sl_kernel_case *c, uint32_t index, const sl_variant *variant)
{
    static const uint32_t cases[][2] = {{1, 1}, {3, 2}, {16, 5}}; /* rounds, groups */
    if (index >= SL_COUNTOF(cases)) return false;
    const bool integers = variant->key == SL_MEASURE_I8;
    const struct sl_push_measure_matrix push = {
        .rounds = cases[index][0],
        .groups = cases[index][1],
        .subgroups = (uint32_t)-variant->workgroup,
        .tiles = variant->tile_x,
        .m = variant->matrix >> 16,
        .n = variant->matrix >> 8 & 255,
        .k = variant->matrix & 255,
        .type = variant->key,
    };
    snprintf(c->name, sizeof c->name, "rounds=%u groups=%u", push.rounds, push.groups);
    memcpy(c->push, &push, sizeof push);
    add_tiles(c, offsetof(struct sl_push_measure_matrix, a), integers, push.tiles * push.m * push.k);
    add_tiles(c, offsetof(struct sl_push_measure_matrix, b), integers, push.tiles * push.k * push.n);
    sl_case_operand_add(c, offsetof(struct sl_push_measure_matrix, y), SL_CASE_OUT,
                        integers ? SL_CASE_U32 : SL_CASE_F32,
                        4ull * push.groups * push.subgroups * push.m * push.n);
    return true;
}
