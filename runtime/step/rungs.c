/* Which kernel of the ladder (shaders/tuning.h) multiplies a matrix: what the pass has of it, and what its
 * neighbours take. */
#include "runtime/step/builder_internal.h"

#include "hal/base/checked.h"
#include "shaders/tuning.h"

#define HALF_PARTS 4u

static const struct {
    uint32_t count;
    sl_part parts[HALF_PARTS];
} halves[] = {
    [SL_HALF_ATTENTION] = {4, {SL_PART_Q, SL_PART_K, SL_PART_V, SL_PART_O}},
    [SL_HALF_FFN] = {3, {SL_PART_GATE, SL_PART_UP, SL_PART_DOWN}},
};

static uint32_t half_of(sl_part part)
{
    for (uint32_t half = 0; half < SL_COUNTOF(halves); half++)
        for (uint32_t i = 0; i < halves[half].count; i++)
            if (halves[half].parts[i] == part) return half;
    return SL_COUNTOF(halves);
}

uint32_t sl_step_rungs(const sl_limits *limits, const sl_tuning *tuning, uint32_t weight_type)
{
    uint32_t rungs = tuning->rungs[weight_type];
    for (uint32_t rung = 0; rung < SL_RUNG_COUNT; rung++)
        if (sl_products[rung].rows == SL_ROWS_F16 && !limits->half_columns) rungs &= ~SL_RUNG_BIT(rung);
    if (!limits->few_arrived)
        rungs &= ~(SL_RUNG_BIT(SL_RUNG_matmul_skinny) | SL_RUNG_BIT(SL_RUNG_matmul_decode));
    if (limits->half_tile < SL_DECODE_TILE_TOKENS) rungs &= ~SL_RUNG_BIT(SL_RUNG_matmul_decode);
    if (limits->gemm_format == SL_ROWS_F32) rungs &= ~SL_RUNG_BIT(SL_RUNG_gemm);
    return rungs;
}

/* The rung that was measured, whatever the other matrices of the half take. */
static sl_product_rung own_rung(const sl_builder *b, const sl_model_tensor *t, uint32_t columns,
                                uint32_t without)
{
    const sl_tuning *tuning = sl_kernel_set_tuning(b->kernels);
    const uint32_t type = (uint32_t)t->file->type;
    uint32_t rungs = sl_step_rungs(&b->l->limits, tuning, type) & ~without;
    if (half_of(t->part) == SL_COUNTOF(halves)) rungs &= ~SL_RUNG_BIT(SL_RUNG_gemm); /* has no decoded rows */
    return sl_tuning_rung(tuning, type, columns, rungs);
}

/* Are all matrices of the half the mat-vec's in this pass? */
static bool half_is_matvec(const sl_builder *b, uint32_t half, uint32_t layer)
{
    for (uint32_t i = 0; i < halves[half].count; i++) {
        const sl_model_tensor *t = sl_model_find(b->m, halves[half].parts[i], layer);
        if (t && own_rung(b, t, b->shape->n_tokens, 0) != SL_RUNG_matvec) return false;
    }
    return true;
}

bool sl_decode_fused(const sl_builder *b, sl_half half)
{
    if (b->l->decode_rows == SL_ROWS_F32 || !half_is_matvec(b, half, b->layer)) return false;
    for (uint32_t i = 0; i < halves[half].count; i++) {
        const sl_model_tensor *t = sl_build_tensor(b, halves[half].parts[i]);
        if (t && !sl_decode_fits(b, t, b->shape->n_tokens)) return false;
    }
    return true;
}

/* Where mat-vecs are fused with what surrounds them, a half of a layer is fused as a whole: when one of its
 * matrices takes another kernel, those that are still the mat-vec's take the next one, too. */
sl_product_rung sl_build_rung(const sl_builder *b, const sl_model_tensor *t, uint32_t columns)
{
    const uint32_t half = half_of(t->part);
    const sl_product_rung own = own_rung(b, t, columns, 0);
    const bool fuses = b->l->decode_rows != SL_ROWS_F32 && half != SL_COUNTOF(halves);
    if (own != SL_RUNG_matvec || !fuses) return own;
    if (half_is_matvec(b, half, t->layer)) return own;
    return own_rung(b, t, columns, SL_RUNG_BIT(SL_RUNG_matvec));
}

uint32_t sl_build_rows_of_rung(const sl_builder *b, sl_product_rung rung)
{
    return rung != SL_RUNG_gemm                      ? sl_products[rung].rows
           : b->l->limits.gemm_format == SL_ROWS_F16 ? SL_ROWS_F16
                                                     : SL_ROWS_F32;
}

uint32_t sl_build_rows_format(const sl_builder *b, const sl_product *products, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        const sl_product_rung rung = sl_build_rung(b, products[i].w, products[i].n_tokens);
        if (sl_build_rows_of_rung(b, rung) != SL_ROWS_F16) return SL_ROWS_F32;
    }
    return SL_ROWS_F16;
}
