#include "shaders/tuning.h"

#include "hal/base/alloc.h"
#include "hal/base/checked.h"
#include "shaders/matmul/gemm.h"
#include "shaders/matmul/matmul_decode.h"

#include <string.h>

#define X(NAME, name, number, weights, bytes) _Static_assert((number) < SL_WEIGHT_NUMBERS, #name);
SL_WEIGHT_TYPES(X)
#undef X

/* ---- products ---- */

const sl_product_kernel sl_products[SL_RUNG_COUNT] = {
#define X(kernel, least, most, usual, rows) [SL_RUNG_##kernel] = {SL_K_##kernel, least, most, usual, rows},
    SL_PRODUCTS(X)
#undef X
};

#define VENDOR_QUALCOMM 0x5143u
/* Measured on an H200 with Llama-3-8B Q4_K_M: 4.0 ms a step of 3 columns by mat-vecs and 4.8 of 4, and 3.9 of
 * 4 to 8 by matrix units where these take weights from registers. */
#define REGISTERS_MATVEC_COLUMNS 3u
/* Of more columns decoding the weights first pays, where it can be done: the plain kernel has none beyond. */
#define MATMUL_COLUMNS_BESIDE_GEMM 64u

/* An invocation of Adreno has 192 registers: with more than five columns the sums of a product spill, and
 * with four of Q6_K, whose weights take most registers, in f16. */
static uint32_t adreno_matvec_columns(uint32_t weight_type)
{
    return weight_type == SL_WEIGHT_Q6_K ? 2 : 4;
}

static bool has_rung(const sl_device_caps *caps, sl_product_rung rung, uint32_t type)
{
    const sl_kernel_id kernel = sl_products[rung].kernel;
    if (rung != SL_RUNG_gemm) return sl_variant_select(kernel, type, caps);
    return (sl_variant_select(kernel, SL_ROWS_F16, caps) && sl_variant_select(SL_K_dequant, type, caps)) ||
           (sl_variant_select(kernel, SL_ROWS_S8, caps) && sl_variant_select(SL_K_rotate, type, caps));
}

static uint32_t usual_columns(const sl_device_info *device, sl_product_rung rung, uint32_t type,
                              uint32_t rungs)
{
    const sl_variant *skinny = sl_variant_select(SL_K_matmul_skinny, type, &device->caps);
    if (!(rungs & SL_RUNG_BIT(rung))) return 0;
    if (rung == SL_RUNG_matvec) {
        const bool registers =
            skinny && skinny->needs & SL_CAP_MATRIX_FRAGMENTS && !sl_caps_have(&device->caps, SL_CAP_HOST_FN);
        if (device->vendor_id == VENDOR_QUALCOMM) return adreno_matvec_columns(type);
        return registers ? REGISTERS_MATVEC_COLUMNS : sl_products[rung].columns_usual;
    }
    /* A CPU has faster ways than its driver's matrices. */
    if (sl_products[rung].rows == SL_ROWS_F16 && device->type == SL_DEVICE_CPU) return 0;
    if (rung == SL_RUNG_matmul && rungs & SL_RUNG_BIT(SL_RUNG_gemm)) return MATMUL_COLUMNS_BESIDE_GEMM;
    return sl_products[rung].columns_usual;
}

void sl_tuning_default(sl_tuning *tuning, const sl_device_info *device)
{
    /* A CPU has variants of the single kernels that suit it better; on Adreno the one kernel spills. */
    *tuning =
        (sl_tuning){.attention_step = device->type != SL_DEVICE_CPU && device->vendor_id != VENDOR_QUALCOMM,
                    .experts_alone = SL_MATVEC_COLUMNS_MAX};
    for (uint32_t type = 0; type < SL_WEIGHT_NUMBERS; type++) {
        for (uint32_t i = 0; i < SL_RUNG_COUNT; i++)
            if (has_rung(&device->caps, (sl_product_rung)i, type)) tuning->rungs[type] |= SL_RUNG_BIT(i);
        for (uint32_t i = 0; i < SL_RUNG_COUNT; i++)
            tuning->columns[type][i] = usual_columns(device, (sl_product_rung)i, type, tuning->rungs[type]);
    }
}

void sl_tuning_clear(sl_tuning *tuning)
{
    sl_free(tuning->choices);
    *tuning = (sl_tuning){0};
}

sl_product_rung sl_tuning_rung(const sl_tuning *tuning, uint32_t weight_type, uint32_t columns,
                               uint32_t allowed)
{
    sl_product_rung last = SL_RUNG_matvec;
    for (uint32_t rung = 0; rung < SL_RUNG_COUNT; rung++) {
        if (!(allowed & SL_RUNG_BIT(rung))) continue;
        last = (sl_product_rung)rung;
        if (columns <= tuning->columns[weight_type][rung]) break;
    }
    return last;
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

/* Fewer tokens count as so many: the smallest tile. */
static const uint32_t tokens_min[SL_KERNEL_COUNT] = {
    [SL_K_matmul_skinny] = 16, [SL_K_matmul_skinny_gated] = 16, [SL_K_matmul_decode] = 64};

/* What choices of a kernel depend on, and the numbers worth trying. A kernel without a line has one choice
 * for all shapes. */
static const struct {
    uint16_t fields[SL_SHAPE_DIMS]; /* 0: none */
    uint16_t tokens;                /* which of them counts tokens */
    uint32_t numbers[NUMBERS_MAX];  /* ends with 0 */
} shapes[SL_KERNEL_COUNT] = {
    [SL_K_matvec] = {{PUSH(matmul, n_out), PUSH(matmul, n_k), PUSH(matmul, n_tokens)}, 2, {0}},
    [SL_K_matmul] = {{PUSH(matmul, n_out), PUSH(matmul, n_k), PUSH(matmul, n_tokens)}, 2, {0}},
    /* The number: parts of k. */
    [SL_K_matmul_skinny] = {{PUSH(matmul_skinny, n_out), PUSH(matmul_skinny, n_k),
                             PUSH(matmul_skinny, n_tokens)},
                            2,
                            {1, 2, 3, 4, 6, 8, 12}},
    [SL_K_matmul_skinny_gated] = {{PUSH(matmul_skinny, n_out), PUSH(matmul_skinny, n_k),
                                   PUSH(matmul_skinny, n_tokens)},
                                  2,
                                  {1, 2, 3, 4, 6, 8, 12}},
    [SL_K_matmul_decode] = {{PUSH(matmul_skinny, n_out), PUSH(matmul_skinny, n_k),
                             PUSH(matmul_skinny, n_tokens)},
                            2,
                            {1, 2, 4, 8}},
    [SL_K_gemm] = {{PUSH(gemm, n_out), PUSH(gemm, n_k), PUSH(gemm, n_tokens)}, 2, {0}},
    [SL_K_gemm_gated] = {{PUSH(gemm, n_out), PUSH(gemm, n_k), PUSH(gemm, n_tokens)}, 2, {0}},
    /* The number: items of a tile of moe_matmul. */
    [SL_K_moe_group] = {{PUSH(moe_group, n_experts), PUSH(moe_group, n_items)}, 1, {16, 32, 64, 128}},
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
        if (i == shapes[kernel].tokens) of.dims[i] = SL_MAX(round_up_power(of.dims[i]), tokens_min[kernel]);
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

const sl_variant *sl_tuning_usual(const sl_shape_class *of, const sl_device_caps *caps)
{
    const struct sl_push_gemm push = {
        .n_out = of->dims[0], .n_k = of->dims[1], .n_tokens = of->dims[2], .format = of->key};
    switch (of->kernel) {
    case SL_K_gemm:
    case SL_K_gemm_gated:
        return sl_gemm_select(of->kernel, &push, caps);
    case SL_K_matmul_skinny:
    case SL_K_matmul_skinny_gated:
        return sl_skinny_variant(caps, of->kernel, of->key, of->dims[1], of->dims[2]);
    case SL_K_matmul_decode:
        return sl_decode_select(caps, of->key, of->dims[0], of->dims[1], of->dims[2]);
    default:
        return sl_variant_select(of->kernel, of->key, caps);
    }
}

const sl_variant *sl_tuning_variant(const sl_tuning *tuning, const sl_shape_class *of,
                                    const sl_device_caps *caps)
{
    const sl_tuning_choice *choice = sl_tuning_find(tuning, of);
    return choice && choice->variant ? choice->variant : sl_tuning_usual(of, caps);
}

uint32_t sl_tuning_number(const sl_tuning *tuning, sl_kernel_id kernel, uint32_t key, const void *push,
                          const uint32_t *spec, uint32_t fallback)
{
    const sl_shape_class of = sl_shape_class_of(kernel, key, push, spec);
    const sl_tuning_choice *choice = sl_tuning_find(tuning, &of);
    return choice && choice->number ? choice->number : fallback;
}

static bool takes(const sl_variant *variant, const sl_shape_class *of)
{
    const bool skinny = of->kernel == SL_K_matmul_skinny || of->kernel == SL_K_matmul_skinny_gated;
    return !skinny || sl_skinny_takes(variant, of->dims[1]);
}

uint32_t sl_tuning_variants(const sl_shape_class *of, const sl_device_caps *caps, sl_tuning_choice *out,
                            uint32_t capacity)
{
    const sl_variant *usual = sl_tuning_usual(of, caps);
    uint32_t count = usual ? 1 : 0;
    if (usual && capacity) out[0] = (sl_tuning_choice){*of, usual, 0};
    /* A device that runs C sides has one for all variants. */
    if (sl_caps_have(caps, SL_CAP_HOST_FN)) return count;
    for (size_t i = 0; i < sl_variant_count; i++) {
        const sl_variant *v = &sl_variants[i];
        if (v == usual || v->kernel != of->kernel || v->key != of->key || !takes(v, of) ||
            !sl_variant_usable(v, caps, NULL))
            continue;
        if (count++ < capacity) out[count - 1] = (sl_tuning_choice){*of, v, 0};
    }
    return count;
}

uint32_t sl_tuning_numbers(const sl_shape_class *of, const sl_variant *variant, sl_tuning_choice *out,
                           uint32_t capacity)
{
    uint32_t count = 1;
    if (capacity) out[0] = (sl_tuning_choice){*of, variant, 0};
    for (uint32_t i = 0; i < NUMBERS_MAX && shapes[of->kernel].numbers[i]; i++)
        if (count++ < capacity)
            out[count - 1] = (sl_tuning_choice){*of, variant, shapes[of->kernel].numbers[i]};
    return count;
}
