/* gen_moe.c - cases of moe_route, moe_combine and moe_group (products: gen_matmul.c). */
#include "tests/kernels/kernel_case.h"

#include "hal/base/checked.h"

#include <math.h>
#include <stdio.h>

bool sl_gen_moe_route(sl_kernel_case *c, uint32_t index, const sl_variant *variant)
{
    static const struct {
        uint32_t n_experts, n_used, n_tokens, pad, normalize;
        uint32_t ties; /* logits take so many values; 0: any */
        float range, scale;
    } shapes[] = {
        {1, 1, 1, 0, 1, 0, 1, 1},    {8, 2, 1, 0, 1, 0, 4, 1},      {8, 2, 33, 3, 0, 0, 4, 1},
        {128, 8, 9, 0, 1, 0, 8, 1},  {128, 8, 3, 0, 0, 0, 8, 2.5f}, {60, 4, 5, 0, 0, 3, 2, 1},
        {64, 6, 70, 0, 1, 1, 0, 1},  {1024, 32, 2, 0, 1, 0, 6, 1},  {100, 32, 4, 1, 1, 7, 5, 1},
        {32, 32, 3, 0, 0, 0, 30, 1}, {65, 3, 2, 0, 1, 0, 150, 1},   {3, 2, 100, 0, 1, 2, 1, 1},
    };
    (void)variant;
    if (index >= SL_COUNTOF(shapes)) return false;
    struct sl_push_moe_route *p = (struct sl_push_moe_route *)c->push;
    const uint32_t n = shapes[index].n_experts, tokens = shapes[index].n_tokens;
    *p = (struct sl_push_moe_route){.n_experts = n,
                                    .n_used = shapes[index].n_used,
                                    .n_tokens = tokens,
                                    .logits_stride = n + shapes[index].pad,
                                    .normalize = shapes[index].normalize,
                                    .scale = shapes[index].scale};
    snprintf(c->name, sizeof c->name, "experts=%u used=%u tokens=%u normalize=%u values=%u", n, p->n_used,
             tokens, p->normalize, shapes[index].ties);
    const uint64_t floats = (uint64_t)(tokens - 1) * p->logits_stride + n;
    float *logits = sl_case_operand_add(c, offsetof(struct sl_push_moe_route, logits), SL_CASE_IN,
                                        SL_CASE_F32, floats * sizeof *logits);
    sl_case_fill_floats(c, logits, floats, -shapes[index].range, shapes[index].range);
    for (uint64_t i = 0; shapes[index].ties && i < floats; i++)
        logits[i] = (float)sl_case_random_below(c, shapes[index].ties) - 1;
    if (n > 16) logits[n - 1] = -INFINITY;
    const uint64_t results = (uint64_t)tokens * p->n_used;
    sl_case_operand_add(c, offsetof(struct sl_push_moe_route, ids), SL_CASE_OUT, SL_CASE_U32, results * 4);
    sl_case_operand_add(c, offsetof(struct sl_push_moe_route, weights), SL_CASE_OUT, SL_CASE_F32,
                        results * 4);
    return true;
}

bool sl_gen_moe_combine(sl_kernel_case *c, uint32_t index, const sl_variant *variant)
{
    static const struct {
        uint32_t n, n_used, n_tokens, pad, add; /* add: 1 given, 2 in place */
    } shapes[] = {{1, 1, 1, 0, 0},    {3, 2, 5, 1, 1},     {512, 8, 2, 0, 0},  {513, 4, 3, 3, 2},
                  {2048, 8, 3, 0, 2}, {2048, 8, 17, 4, 1}, {4096, 2, 1, 0, 2}, {577, 32, 2, 0, 0}};
    (void)variant;
    if (index >= SL_COUNTOF(shapes)) return false;
    struct sl_push_moe_combine *p = (struct sl_push_moe_combine *)c->push;
    const uint32_t n = shapes[index].n, used = shapes[index].n_used, tokens = shapes[index].n_tokens;
    const uint32_t add = shapes[index].add;
    *p = (struct sl_push_moe_combine){
        .n = n, .n_used = used, .n_tokens = tokens, .y_stride = n + shapes[index].pad};
    snprintf(c->name, sizeof c->name, "n=%u used=%u tokens=%u add=%u", n, used, tokens, add);
    const uint64_t xs = (uint64_t)tokens * used * n, ys = (uint64_t)(tokens - 1) * p->y_stride + n;
    float *x =
        sl_case_operand_add(c, offsetof(struct sl_push_moe_combine, x), SL_CASE_IN, SL_CASE_F32, xs * 4);
    sl_case_fill_floats(c, x, xs, -3, 3);
    float *weights = sl_case_operand_add(c, offsetof(struct sl_push_moe_combine, weights), SL_CASE_IN,
                                         SL_CASE_F32, (uint64_t)tokens * used * 4);
    sl_case_fill_floats(c, weights, (uint64_t)tokens * used, 0, 1);
    float *y = sl_case_operand_add(c, offsetof(struct sl_push_moe_combine, y),
                                   SL_CASE_OUT | (add == 2 ? SL_CASE_IN : 0), SL_CASE_F32, ys * 4);
    sl_case_fill_floats(c, y, ys, -3, 3);
    if (add == 2)
        sl_case_alias(c, offsetof(struct sl_push_moe_combine, add), offsetof(struct sl_push_moe_combine, y));
    if (add == 1) {
        float *other = sl_case_operand_add(c, offsetof(struct sl_push_moe_combine, add), SL_CASE_IN,
                                           SL_CASE_F32, ys * 4);
        sl_case_fill_floats(c, other, ys, -3, 3);
    }
    return true;
}

bool sl_gen_moe_group(sl_kernel_case *c, uint32_t index, const sl_variant *variant)
{
    static const struct {
        uint32_t n_experts, n_items, tile,
            one_of; /* one_of: so many of the ids are the same expert; 0: any */
    } shapes[] = {{1, 1, 64, 0},      {8, 18, 16, 0},  {128, 8, 64, 0},     {128, 4096, 64, 0},
                  {128, 1000, 64, 2}, {60, 37, 16, 0}, {1024, 5000, 64, 0}, {3, 130, 64, 1},
                  {1000, 64, 32, 0},  {16, 0, 64, 0},  {5, 2048, 32, 3},    {700, 4097, 48, 2}};
    (void)variant;
    if (index >= SL_COUNTOF(shapes)) return false;
    struct sl_push_moe_group *p = (struct sl_push_moe_group *)c->push;
    *p = (struct sl_push_moe_group){
        .n_experts = shapes[index].n_experts, .n_items = shapes[index].n_items, .tile = shapes[index].tile};
    snprintf(c->name, sizeof c->name, "experts=%u items=%u tile=%u one_of=%u", p->n_experts, p->n_items,
             p->tile, shapes[index].one_of);
    const uint32_t favourite = p->n_experts / 2;
    uint32_t *ids = sl_case_operand_add(c, offsetof(struct sl_push_moe_group, ids), SL_CASE_IN, SL_CASE_U32,
                                        SL_MAX(p->n_items, 1u) * 4ull);
    for (uint32_t i = 0; i < p->n_items; i++)
        ids[i] = shapes[index].one_of && i % shapes[index].one_of == 0
                     ? favourite
                     : sl_case_random_below(c, p->n_experts);
    if (p->n_items > 100) ids[7] = p->n_experts; /* does not exist */
    const uint32_t tiles = SL_MOE_TILES(p->n_experts, p->n_items, p->tile);
    sl_case_operand_add(c, offsetof(struct sl_push_moe_group, items), SL_CASE_OUT, SL_CASE_U32,
                        SL_MAX(p->n_items, 1u) * 4ull);
    sl_case_operand_add(c, offsetof(struct sl_push_moe_group, tiles), SL_CASE_OUT, SL_CASE_U32,
                        tiles * (uint64_t)sizeof(struct sl_moe_tile));
    return true;
}
