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
/* An invocation of Adreno has 192 registers: with more than five columns the sums of a product spill, and
 * with four of Q6_K, whose weights take most registers, in f16. */
static uint32_t adreno_matvec_columns(uint32_t weight_type)
{
    return weight_type == SL_WEIGHT_Q6_K ? 2 : 4;
}

void sl_tuning_default(sl_tuning *tuning, const sl_device_info *device)
{
    /* A CPU has variants of the single kernels that suit it better; on Adreno the one kernel spills. */
    *tuning =
        (sl_tuning){.attention_step = device->type != SL_DEVICE_CPU && device->vendor_id != VENDOR_QUALCOMM};
    for (uint32_t type = 0; type < SL_WEIGHT_NUMBERS; type++) {
        uint32_t *columns = tuning->columns[type];
        for (uint32_t i = 0; i < SL_RUNG_COUNT; i++)
            columns[i] = sl_variant_select(rungs[i].kernel, type, &device->caps) ? rungs[i].columns_max : 0;
        if (device->vendor_id == VENDOR_QUALCOMM)
            columns[SL_RUNG_matvec] = SL_MIN(columns[SL_RUNG_matvec], adreno_matvec_columns(type));
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

/* Where a size of the operands stands: at an offset of the push block, or among the kernel's own constants.
 */
#define PUSH(push, field) ((uint16_t)(1 + offsetof(struct sl_push_##push, field)))
#define SPEC(constant)    ((uint16_t)(SPEC_FIRST + (constant)))
enum { NUMBERS_MAX = 8, SPEC_FIRST = 1 + SL_PUSH_BYTES_MAX };

/* What choices of a kernel depend on, and the numbers worth trying. A kernel without a line has one choice
 * for all shapes. */
static const struct {
    uint16_t fields[SL_SHAPE_DIMS]; /* 0: none */
    uint16_t tokens;                /* which of them counts tokens */
    uint32_t numbers[NUMBERS_MAX];  /* ends with 0 */
} shapes[SL_KERNEL_COUNT] = {
    [SL_K_matvec] = {{PUSH(matmul, n_out), PUSH(matmul, n_k), PUSH(matmul, n_tokens)}, 2, {0}},
    [SL_K_matmul] = {{PUSH(matmul, n_out), PUSH(matmul, n_k), PUSH(matmul, n_tokens)}, 2, {0}},
    [SL_K_moe_matvec] = {{PUSH(moe_matvec, n_out), PUSH(moe_matvec, n_k), PUSH(moe_matvec, n_tokens)},
                         2,
                         {0}},
#define FUSED                                                                                                \
    {                                                                                                        \
        PUSH(matvec_fused, n_out), SPEC(SL_FUSED_N_K), SPEC(SL_FUSED_COLUMNS), SPEC(SL_FUSED_INPUT)          \
    }
    /* The number: rows that a workgroup makes. */
    [SL_K_matvec_fused] = {FUSED, 2, {4, 8, 16, 32, 64}},
    [SL_K_matvec_gated] = {FUSED, 2, {4, 8, 16, 32, 64}},
    [SL_K_matvec_fused_f16] = {FUSED, 2, {4, 8, 16, 32, 64}},
    [SL_K_matvec_gated_f16] = {FUSED, 2, {4, 8, 16, 32, 64}},
#undef FUSED
#define EXPERTS                                                                                              \
    {                                                                                                        \
        PUSH(moe_fused, n_out), SPEC(SL_FUSED_N_K), PUSH(moe_fused, n_tokens), SPEC(SL_FUSED_INPUT)          \
    }
    [SL_K_moe_gated] = {EXPERTS, 2, {4, 8, 16, 32, 64}},
    [SL_K_moe_down] = {EXPERTS, 2, {4, 8, 16, 32, 64}},
    [SL_K_moe_gated_f16] = {EXPERTS, 2, {4, 8, 16, 32, 64}},
    [SL_K_moe_down_f16] = {EXPERTS, 2, {4, 8, 16, 32, 64}},
#undef EXPERTS
    [SL_K_rms_norm] = {{PUSH(rms_norm, n), PUSH(rms_norm, rows)}, 1, {0}},
    [SL_K_act_mul] = {{PUSH(act_mul, n), PUSH(act_mul, rows)}, 1, {0}},
    /* The number: key splits. */
    [SL_K_attention_decode] = {{PUSH(attention, n_heads), PUSH(attention, n_kv_heads),
                                PUSH(attention, n_tokens)},
                               2,
                               {1, 2, 4, 8, 16, 32, 64}},
    [SL_K_attention_step] = {{SPEC(SL_STEP_GROUP - SL_SPEC_FIRST), SPEC(SL_STEP_KV_HEADS - SL_SPEC_FIRST),
                              PUSH(attention_step, n_tokens)},
                             2,
                             {1, 2, 4, 8, 16, 32, 64}},
    [SL_K_attention_prefill] =
        {{PUSH(attention, n_heads), PUSH(attention, n_kv_heads), PUSH(attention, n_tokens)}, 2, {0}},
};

static uint32_t round_up_power(uint32_t n)
{
    uint32_t p = 1;
    while (p < n && p < 1u << 31)
        p *= 2;
    return p;
}

sl_shape_class sl_shape_class_of(sl_kernel_id kernel, uint32_t key, const void *push, const uint32_t *spec)
{
    sl_shape_class of = {.kernel = kernel, .key = key};
    for (uint32_t i = 0; i < SL_SHAPE_DIMS; i++) {
        const uint16_t field = shapes[kernel].fields[i];
        if (!field) continue;
        if (field >= SPEC_FIRST)
            of.dims[i] = spec[field - SPEC_FIRST];
        else
            memcpy(&of.dims[i], (const uint8_t *)push + field - 1, sizeof of.dims[i]);
        if (i == shapes[kernel].tokens) of.dims[i] = round_up_power(of.dims[i]);
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

const sl_variant *sl_tuning_variant(const sl_tuning *tuning, const sl_shape_class *of,
                                    const sl_device_caps *caps)
{
    const sl_tuning_choice *choice = sl_tuning_find(tuning, of);
    return choice && choice->variant ? choice->variant : sl_variant_select(of->kernel, of->key, caps);
}

uint32_t sl_tuning_number(const sl_tuning *tuning, sl_kernel_id kernel, uint32_t key, const void *push,
                          const uint32_t *spec, uint32_t fallback)
{
    const sl_shape_class of = sl_shape_class_of(kernel, key, push, spec);
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
