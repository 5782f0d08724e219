/* gen_moe.c - cases of moe_route and moe_combine (moe_matvec: gen_matmul.c). */
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
