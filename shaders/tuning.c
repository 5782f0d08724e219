#include "shaders/tuning.h"

#include "hal/base/alloc.h"
#include "hal/base/checked.h"

#include <string.h>

#define X(NAME, name, number, weights, bytes) _Static_assert((number) < SL_WEIGHT_NUMBERS, #name);
SL_WEIGHT_TYPES(X)
#undef X

/* ---- products ---- */

static const struct {
    sl_kernel_id kernel;
    uint32_t columns_max;
} rungs[SL_RUNG_COUNT] = {
#define X(kernel, columns) [SL_RUNG_##kernel] = {SL_K_##kernel, columns},
    SL_PRODUCTS(X)
#undef X
};

#define VENDOR_QUALCOMM 0x5143u
/* An invocation of Adreno has 192 registers: with more than five columns the sums of a product spill. */
#define ADRENO_MATVEC_COLUMNS 4u

void sl_tuning_default(sl_tuning *tuning, const sl_device_info *device)
{
    *tuning = (sl_tuning){0};
    for (uint32_t type = 0; type < SL_WEIGHT_NUMBERS; type++) {
        uint32_t *columns = tuning->columns[type];
        for (uint32_t i = 0; i < SL_RUNG_COUNT; i++)
            columns[i] = sl_variant_select(rungs[i].kernel, type, &device->caps) ? rungs[i].columns_max : 0;
        if (device->vendor_id == VENDOR_QUALCOMM)
            columns[SL_RUNG_matvec] = SL_MIN(columns[SL_RUNG_matvec], ADRENO_MATVEC_COLUMNS);
    }
}

void sl_tuning_clear(sl_tuning *tuning)
{
    sl_free(tuning->choices);
    *tuning = (sl_tuning){0};
}

sl_kernel_id sl_tuning_product(const sl_tuning *tuning, uint32_t weight_type, uint32_t columns)
{
    uint32_t rung = 0;
    while (rung + 1 < SL_RUNG_COUNT && columns > tuning->columns[weight_type][rung])
        rung++;
    return rungs[rung].kernel;
}

uint32_t sl_product_columns_max(sl_product_rung rung)
{
    return rungs[rung].columns_max;
}

void sl_tuning_force(sl_tuning *tuning, uint32_t weight_type, uint32_t columns, sl_product_rung rung)
{
    for (uint32_t i = 0; i < SL_RUNG_COUNT; i++)
        tuning->columns[weight_type][i] = i < (uint32_t)rung ? columns - 1 : columns;
}

/* ---- shapes ---- */

#define NO_FIELD UINT16_MAX
enum { NUMBERS_MAX = 8 };

/* What choices of a kernel depend on, and the numbers worth trying. A kernel without a line has one choice
 * for all shapes. */
static const struct {
    bool known;
    uint16_t fields[SL_SHAPE_DIMS]; /* offsets in its push block */
    uint16_t tokens;                /* one of them that counts tokens */
    uint32_t numbers[NUMBERS_MAX];  /* ends with 0 */
} shapes[SL_KERNEL_COUNT] = {
#define PRODUCT(push, count)                                                                                 \
    {                                                                                                        \
        true, {offsetof(struct push, n_out), offsetof(struct push, n_k), offsetof(struct push, count)},      \
            offsetof(struct push, count),                                                                    \
        {                                                                                                    \
            0                                                                                                \
        }                                                                                                    \
    }
    [SL_K_matvec] = PRODUCT(sl_push_matmul, n_tokens),
    [SL_K_matmul] = PRODUCT(sl_push_matmul, n_tokens),
    [SL_K_moe_matvec] = PRODUCT(sl_push_moe_matvec, n_tokens),
#undef PRODUCT
    [SL_K_rms_norm] = {true,
                       {offsetof(struct sl_push_rms_norm, n), offsetof(struct sl_push_rms_norm, rows),
                        NO_FIELD},
                       offsetof(struct sl_push_rms_norm, rows),
                       {0}},
    [SL_K_act_mul] = {true,
                      {offsetof(struct sl_push_act_mul, n), offsetof(struct sl_push_act_mul, rows), NO_FIELD},
                      offsetof(struct sl_push_act_mul, rows),
                      {0}},
    /* The number: key splits. */
    [SL_K_attention_decode] = {true,
                               {offsetof(struct sl_push_attention, n_heads),
                                offsetof(struct sl_push_attention, n_kv_heads),
                                offsetof(struct sl_push_attention, n_tokens)},
                               offsetof(struct sl_push_attention, n_tokens),
                               {1, 2, 4, 8, 16, 32, 64}},
    [SL_K_attention_prefill] = {true,
                                {offsetof(struct sl_push_attention, n_heads),
                                 offsetof(struct sl_push_attention, n_kv_heads),
                                 offsetof(struct sl_push_attention, n_tokens)},
                                offsetof(struct sl_push_attention, n_tokens),
                                {0}},
};

static uint32_t round_up_power(uint32_t n)
{
    uint32_t p = 1;
    while (p < n && p < 1u << 31)
        p *= 2;
    return p;
}

sl_shape_class sl_shape_class_of(sl_kernel_id kernel, uint32_t key, const void *push)
{
    sl_shape_class of = {.kernel = kernel, .key = key};
    if (!shapes[kernel].known) return of;
    for (uint32_t i = 0; i < SL_SHAPE_DIMS; i++) {
        const uint16_t field = shapes[kernel].fields[i];
        if (field == NO_FIELD) continue;
        memcpy(&of.dims[i], (const uint8_t *)push + field, sizeof of.dims[i]);
        if (field == shapes[kernel].tokens) of.dims[i] = round_up_power(of.dims[i]);
    }
    return of;
}

bool sl_shape_class_equal(const sl_shape_class *a, const sl_shape_class *b)
{
    return a->kernel == b->kernel && a->key == b->key && !memcmp(a->dims, b->dims, sizeof a->dims);
}

/* ---- choices ---- */

const sl_tuning_choice *sl_tuning_find(const sl_tuning *tuning, const sl_shape_class *of)
{
    for (uint32_t i = 0; i < tuning->choice_count; i++)
        if (sl_shape_class_equal(&tuning->choices[i].of, of)) return &tuning->choices[i];
    return NULL;
}

sl_status sl_tuning_set(sl_tuning *tuning, const sl_tuning_choice *choice, sl_diag *diag)
{
    for (uint32_t i = 0; i < tuning->choice_count; i++) {
        if (!sl_shape_class_equal(&tuning->choices[i].of, &choice->of)) continue;
        tuning->choices[i] = *choice;
        return SL_OK;
    }
    if (tuning->choice_count == tuning->choice_capacity) {
        const uint32_t capacity = 2 * tuning->choice_capacity + 32;
        sl_tuning_choice *grown = sl_realloc(tuning->choices, capacity, sizeof *grown);
        if (!grown) return sl_fail(diag, SL_ERR_NO_MEMORY, "list of tuned choices");
        tuning->choices = grown;
        tuning->choice_capacity = capacity;
    }
    tuning->choices[tuning->choice_count++] = *choice;
    return SL_OK;
}

void sl_tuning_unset(sl_tuning *tuning, const sl_shape_class *of)
{
    for (uint32_t i = 0; i < tuning->choice_count; i++) {
        if (!sl_shape_class_equal(&tuning->choices[i].of, of)) continue;
        tuning->choices[i] = tuning->choices[--tuning->choice_count];
        return;
    }
}

const sl_variant *sl_tuning_variant(const sl_tuning *tuning, sl_kernel_id kernel, uint32_t key,
                                    const void *push, const sl_device_caps *caps)
{
    if (tuning->choice_count) {
        const sl_shape_class of = sl_shape_class_of(kernel, key, push);
        const sl_tuning_choice *choice = sl_tuning_find(tuning, &of);
        if (choice && choice->variant) return choice->variant;
    }
    return sl_variant_select(kernel, key, caps);
}

uint32_t sl_tuning_number(const sl_tuning *tuning, sl_kernel_id kernel, uint32_t key, const void *push,
                          uint32_t fallback)
{
    const sl_shape_class of = sl_shape_class_of(kernel, key, push);
    const sl_tuning_choice *choice = sl_tuning_find(tuning, &of);
    return choice && choice->number ? choice->number : fallback;
}

uint32_t sl_tuning_candidates(const sl_shape_class *of, const sl_device_caps *caps, sl_tuning_choice *out,
                              uint32_t capacity)
{
    uint32_t count = 0;
    /* A device that runs C sides has one for all variants. */
    const bool one_variant = sl_caps_have(caps, SL_CAP_HOST_FN);
    for (size_t i = 0; i < sl_variant_count; i++) {
        const sl_variant *v = &sl_variants[i];
        if (v->kernel != of->kernel || v->key != of->key || !sl_variant_usable(v, caps, NULL)) continue;
        for (uint32_t k = 0; k <= NUMBERS_MAX; k++) {
            const uint32_t number = k ? shapes[of->kernel].numbers[k - 1] : 0;
            if (k && !number) break;
            if (count++ < capacity) out[count - 1] = (sl_tuning_choice){*of, v, number};
        }
        if (one_variant) break;
    }
    return count;
}
