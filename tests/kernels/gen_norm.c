/* gen_norm.c - cases of normalisation and elementwise kernels: every tail of vectors and tiles, rows at odd
 * addresses, operands in place, rows of real models. */
#include "tests/kernels/kernel_case.h"

#include "hal/base/checked.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* Floats from the first element of the first row to the last of the last. */
static uint64_t span(uint32_t rows, uint32_t stride, uint32_t n)
{
    return (uint64_t)(rows - 1) * stride + n;
}

static float *add_floats(sl_kernel_case *c, size_t at, uint32_t flags, uint64_t n, float low, float high)
{
    float *data = sl_case_operand_add(c, (uint32_t)at, flags, SL_CASE_F32, n * sizeof *data);
    if (flags & SL_CASE_IN) sl_case_fill_floats(c, data, n, low, high);
    return data;
}

#define AT(field) offsetof(struct sl_push_rms_norm, field)

enum {
    WEIGHT = 1,
    BEFORE = 2,
    AFTER = 4,
    SUM = 8,
    Y_IS_X = 16,
    SUM_IS_X = 32,
    SUM_IS_BEFORE = 64,
    ZEROS = 128,
    AFTER_IS_Y = 256
};

bool sl_gen_rms_norm(sl_kernel_case *c, uint32_t index, const sl_variant *variant)
{
    static const struct {
        uint32_t n, rows, x_pad, y_pad, what;
        float range, eps;
    } cases[] = {
        {1, 1, 0, 0, 0, 1, 1e-5f},
        {2, 3, 1, 0, WEIGHT, 1, 1e-5f},
        {3, 2, 0, 2, WEIGHT | BEFORE | SUM, 1, 1e-5f},
        {7, 70, 0, 0, WEIGHT | Y_IS_X, 1, 1e-6f},
        {64, 9, 0, 0, WEIGHT | Y_IS_X, 4, 1e-6f},
        {64, 150, 64, 64, WEIGHT, 4, 1e-6f},
        {128, 40, 0, 0, WEIGHT | Y_IS_X, 10, 1e-6f},
        {256, 4, 0, 0, WEIGHT, 1, 1e-6f},
        {511, 5, 0, 0, WEIGHT | AFTER, 1, 1e-5f},
        {512, 5, 0, 4, WEIGHT | BEFORE | AFTER, 1, 1e-5f},
        {513, 3, 3, 0, WEIGHT | BEFORE | SUM | SUM_IS_X, 1, 1e-5f},
        {576, 1, 0, 0, WEIGHT, 1, 1e-5f},
        {576, 17, 0, 0, WEIGHT | BEFORE | SUM | SUM_IS_BEFORE, 30, 1e-5f},
        {640, 2, 0, 0, WEIGHT | BEFORE | SUM | SUM_IS_X, 200, 1e-6f},
        {1001, 2, 0, 1, AFTER, 1, 1e-5f},
        {2048, 3, 0, 0, WEIGHT | BEFORE | SUM, 1, 1e-6f},
        {4096, 2, 4, 8, WEIGHT | BEFORE | SUM | SUM_IS_X | AFTER, 1, 1e-5f},
        {4099, 1, 0, 0, WEIGHT, 1e4f, 1e-5f},
        {576, 2, 0, 0, WEIGHT | ZEROS, 0, 1e-5f},
        {100, 6, 0, 0, WEIGHT | AFTER | AFTER_IS_Y, 1, 1e-5f},
        {900, 2, 0, 0, WEIGHT, 1e-4f, 1e-5f}, /* eps is larger than the mean */
    };
    const uint32_t format = variant->key, in_place = Y_IS_X | AFTER_IS_Y;
    for (uint32_t i = 0; i < SL_COUNTOF(cases) && format != SL_ROWS_F32;
         i++) { /* the cases this format takes */
        const uint32_t padded = cases[i].x_pad | cases[i].y_pad;
        const bool taken = format == SL_ROWS_F16
                               ? !(cases[i].what & in_place)
                               : !(cases[i].what & in_place) && cases[i].n % 32 == 0 && !padded;
        if (!taken) index += i <= index;
    }
    if (index >= SL_COUNTOF(cases)) return false;
    const uint32_t n = cases[index].n, rows = cases[index].rows, what = cases[index].what;
    const float range = cases[index].range;
    struct sl_push_rms_norm *p = (struct sl_push_rms_norm *)c->push;
    *p = (struct sl_push_rms_norm){
        .n = n,
        .rows = rows,
        .x_stride = n + cases[index].x_pad,
        .y_stride = n + (what & Y_IS_X ? cases[index].x_pad : cases[index].y_pad),
        .eps = cases[index].eps,
        .format = format,
    };
    snprintf(c->name, sizeof c->name, "n=%u rows=%u what=%u", n, rows, what);
    const uint64_t xs = span(rows, p->x_stride, n), ys = span(rows, p->y_stride, n);
    const bool x_changes = what & (Y_IS_X | SUM_IS_X);
    add_floats(c, AT(x), SL_CASE_IN | (x_changes ? SL_CASE_OUT : 0), xs, -range, range);
    if (what & WEIGHT) add_floats(c, AT(weight), SL_CASE_IN, n, -0.5f, 2);
    if (what & BEFORE)
        add_floats(c, AT(before), SL_CASE_IN | (what & SUM_IS_BEFORE ? SL_CASE_OUT : 0), xs, -range, range);
    if (what & AFTER && !(what & AFTER_IS_Y)) add_floats(c, AT(after), SL_CASE_IN, ys, -3, 3);
    if (what & SUM_IS_X)
        sl_case_alias(c, AT(sum), AT(x));
    else if (what & SUM_IS_BEFORE)
        sl_case_alias(c, AT(sum), AT(before));
    else if (what & SUM)
        add_floats(c, AT(sum), SL_CASE_OUT, xs, 0, 0);
    if (what & Y_IS_X)
        sl_case_alias(c, AT(y), AT(x));
    else if (format != SL_ROWS_F32)
        sl_case_rows_add(c, AT(y), SL_CASE_OUT, format, rows, p->y_stride, n);
    else
        add_floats(c, AT(y), SL_CASE_OUT | (what & AFTER_IS_Y ? SL_CASE_IN : 0), ys, -3, 3);
    if (what & AFTER_IS_Y) sl_case_alias(c, AT(after), AT(y));
    return true;
}

#undef AT
#define AT(field) offsetof(struct sl_push_convert_rows, field)

bool sl_gen_convert_rows(sl_kernel_case *c, uint32_t index, const sl_variant *variant)
{
    static const struct {
        uint32_t n, rows, x_pad;
        float range;
    } cases[] = {{32, 1, 0, 1}, {4096, 3, 4, 30}, {14336, 2, 0, 1e-3f}, {576, 70, 0, 1e4f}, {2080, 1, 8, 0}};
    if (index >= SL_COUNTOF(cases)) return false;
    const uint32_t n = cases[index].n, rows = cases[index].rows;
    struct sl_push_convert_rows *p = (struct sl_push_convert_rows *)c->push;
    *p = (struct sl_push_convert_rows){
        .n = n, .rows = rows, .x_stride = n + cases[index].x_pad, .y_stride = n, .format = variant->key};
    snprintf(c->name, sizeof c->name, "n=%u rows=%u", n, rows);
    add_floats(c, AT(x), SL_CASE_IN, span(rows, p->x_stride, n), -cases[index].range, cases[index].range);
    sl_case_rows_add(c, AT(y), SL_CASE_OUT, variant->key, rows, n, n);
    return true;
}

#undef AT
#define AT(field) offsetof(struct sl_push_act_mul, field)

bool sl_gen_act_mul(sl_kernel_case *c, uint32_t index, const sl_variant *variant)
{
    static const struct {
        uint32_t n, rows, gate_pad, up_pad, y_pad, in_place; /* in_place: 1 gate, 2 up */
        float range;
    } shapes[] = {
        {1, 1, 0, 0, 0, 0, 1},     {3, 5, 1, 0, 2, 0, 10},         {512, 2, 0, 0, 0, 1, 4},
        {513, 2, 0, 3, 0, 2, 4},   {1536, 9, 1536, 1536, 0, 0, 8}, {2048, 1, 0, 0, 0, 1, 120},
        {14336, 2, 0, 0, 4, 0, 3}, {767, 33, 1, 1, 1, 0, 2},
    };
    const uint32_t format = variant->key;
    for (uint32_t k = 0; k < SL_COUNTOF(shapes) && format != SL_ROWS_F32;
         k++) { /* the cases this format takes */
        const uint32_t padded = shapes[k].gate_pad | shapes[k].up_pad | shapes[k].y_pad;
        const bool aligned = shapes[k].n % 32 == 0 && padded % 4 == 0 && !shapes[k].y_pad;
        if (shapes[k].in_place || (format == SL_ROWS_Q8 && !aligned)) index += k <= index / 2 ? 2 : 0;
    }
    if (index >= 2 * SL_COUNTOF(shapes)) return false;
    const uint32_t i = index / 2, n = shapes[i].n, rows = shapes[i].rows, in_place = shapes[i].in_place;
    struct sl_push_act_mul *p = (struct sl_push_act_mul *)c->push;
    *p = (struct sl_push_act_mul){
        .n = n,
        .rows = rows,
        .gate_stride = n + shapes[i].gate_pad,
        .up_stride = n + shapes[i].up_pad,
        .act = index % 2 ? SL_ACT_GELU : SL_ACT_SILU,
        .format = format,
    };
    p->y_stride = in_place == 1 ? p->gate_stride : in_place == 2 ? p->up_stride : n + shapes[i].y_pad;
    snprintf(c->name, sizeof c->name, "%s n=%u rows=%u in_place=%u", index % 2 ? "gelu" : "silu", n, rows,
             in_place);
    const float range = shapes[i].range;
    float *gate = add_floats(c, AT(gate), SL_CASE_IN | (in_place == 1 ? SL_CASE_OUT : 0),
                             span(rows, p->gate_stride, n), -range, range);
    add_floats(c, AT(up), SL_CASE_IN | (in_place == 2 ? SL_CASE_OUT : 0), span(rows, p->up_stride, n), -2, 2);
    if (in_place)
        sl_case_alias(c, AT(y), in_place == 1 ? AT(gate) : AT(up));
    else if (format != SL_ROWS_F32)
        sl_case_rows_add(c, AT(y), SL_CASE_OUT, format, rows, p->y_stride, n);
    else
        add_floats(c, AT(y), SL_CASE_OUT, span(rows, p->y_stride, n), 0, 0);
    if (n > 4) { /* where exponentials leave the range of floats */
        gate[0] = -200;
        gate[1] = 200;
        gate[2] = -1e6f;
        gate[3] = 0;
    }
    return true;
}

#undef AT
#define AT(field) offsetof(struct sl_push_add, field)

bool sl_gen_add(sl_kernel_case *c, uint32_t index, const sl_variant *variant)
{
    static const struct {
        uint32_t n, in_place; /* 1: y is a, 2: y is b */
        float scale;
    } shapes[] = {{1, 0, 1},   {2, 1, -1},   {511, 0, 0.5f}, {512, 2, 2},       {513, 0, 1},
                  {576, 1, 1}, {4096, 0, 0}, {70001, 1, 3},  {576 * 512, 0, 1}, {3, 2, 1e-3f}};
    (void)variant;
    if (index >= SL_COUNTOF(shapes)) return false;
    struct sl_push_add *p = (struct sl_push_add *)c->push;
    const uint32_t in_place = shapes[index].in_place;
    *p = (struct sl_push_add){.n = shapes[index].n, .scale = shapes[index].scale};
    snprintf(c->name, sizeof c->name, "n=%u scale=%g in_place=%u", p->n, (double)p->scale, in_place);
    add_floats(c, AT(a), SL_CASE_IN | (in_place == 1 ? SL_CASE_OUT : 0), p->n, -5, 5);
    add_floats(c, AT(b), SL_CASE_IN | (in_place == 2 ? SL_CASE_OUT : 0), p->n, -5, 5);
    if (in_place)
        sl_case_alias(c, AT(y), in_place == 1 ? AT(a) : AT(b));
    else
        add_floats(c, AT(y), SL_CASE_OUT, p->n, 0, 0);
    return true;
}

#undef AT
#define AT(field) offsetof(struct sl_push_copy_rows, field)

bool sl_gen_copy_rows(sl_kernel_case *c, uint32_t index, const sl_variant *variant)
{
    static const struct {
        uint32_t n, rows, sources, x_pad, y_pad;
    } shapes[] = {{1, 1, 1, 0, 0},    {3, 9, 4, 1, 0},     {64, 2, 5, 0, 0},
                  {512, 3, 2, 0, 0},  {513, 3, 2, 0, 1},   {576, 8, 40, 0, 0},
                  {2048, 4, 3, 4, 8}, {4096, 1, 17, 0, 0}, {1030, 65, 6, 2, 0}};
    (void)variant;
    if (index >= SL_COUNTOF(shapes)) return false;
    const uint32_t n = shapes[index].n, rows = shapes[index].rows, sources = shapes[index].sources;
    struct sl_push_copy_rows *p = (struct sl_push_copy_rows *)c->push;
    *p = (struct sl_push_copy_rows){
        .n = n, .rows = rows, .x_stride = n + shapes[index].x_pad, .y_stride = n + shapes[index].y_pad};
    snprintf(c->name, sizeof c->name, "n=%u rows=%u of %u", n, rows, sources);
    const uint64_t xs = span(sources, p->x_stride, n);
    uint32_t *x = sl_case_operand_add(c, AT(x), SL_CASE_IN, SL_CASE_BYTES, xs * sizeof *x);
    for (uint64_t i = 0; i < xs; i++) /* any bits: NaNs and subnormals arrive unchanged */
        x[i] = sl_case_random(c);
    uint32_t *order = sl_case_operand_add(c, AT(index), SL_CASE_IN, SL_CASE_U32, rows * sizeof *order);
    for (uint32_t r = 0; r < rows; r++)
        order[r] = r % 3 == 1 ? SL_NO_INDEX : sl_case_random_below(c, sources);
    order[rows - 1] = sources - 1;
    sl_case_operand_add(c, AT(y), SL_CASE_OUT, SL_CASE_BYTES, span(rows, p->y_stride, n) * sizeof(float));
    return true;
}

#undef AT
#define AT(field) offsetof(struct sl_push_softmax, field)

bool sl_gen_softmax(sl_kernel_case *c, uint32_t index, const sl_variant *variant)
{
    static const struct {
        uint32_t n, rows, pad;
        bool in_place;
        float range, scale;
    } shapes[] = {{1, 1, 0, false, 1, 1},      {2, 9, 1, true, 3, 1},      {255, 3, 0, false, 4, 0.5f},
                  {256, 2, 0, true, 20, 1},    {257, 300, 0, false, 1, 1}, {576, 2, 3, false, 0, 1},
                  {4096, 2, 0, false, 100, 1}, {49152, 1, 0, true, 10, 1}, {33, 4, 0, false, 1e30f, 1},
                  {128, 5, 0, false, 8, -2}};
    (void)variant;
    if (index >= SL_COUNTOF(shapes)) return false;
    const uint32_t n = shapes[index].n, rows = shapes[index].rows;
    struct sl_push_softmax *p = (struct sl_push_softmax *)c->push;
    *p = (struct sl_push_softmax){.n = n,
                                  .rows = rows,
                                  .x_stride = n + shapes[index].pad,
                                  .y_stride = n + shapes[index].pad,
                                  .scale = shapes[index].scale};
    snprintf(c->name, sizeof c->name, "n=%u rows=%u range=%g scale=%g", n, rows, (double)shapes[index].range,
             (double)p->scale);
    const uint64_t xs = span(rows, p->x_stride, n);
    float *x = add_floats(c, AT(x), SL_CASE_IN | (shapes[index].in_place ? SL_CASE_OUT : 0), xs,
                          -shapes[index].range, shapes[index].range);
    if (n > 100 && p->scale > 0) /* masked entries */
        for (uint32_t i = 0; i < n; i += 5)
            x[i] = -INFINITY;
    if (shapes[index].in_place)
        sl_case_alias(c, AT(y), AT(x));
    else
        add_floats(c, AT(y), SL_CASE_OUT, xs, 0, 0);
    return true;
}
