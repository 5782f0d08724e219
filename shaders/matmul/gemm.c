/* C sides and grids of gemm and gemm_gated. The cpu driver does not use them (matmul reads the blocks of the
 * file, which are smaller): they are the definition that the modules are tested against. */
#include "shaders/matmul/gemm.h"

#include "hal/base/checked.h"
#include "shaders/matmul/fused_host.h"
#include "shaders/matmul/rotated.h"
#include "shaders/rows_out.h"

#define DEPTH_MOST 128u /* weights a step of any variant takes */

static double dot_f16(const struct sl_push_gemm *p, sl_addr w, uint64_t r, uint64_t t)
{
    const uint64_t row_bytes = sl_rows_bytes(SL_ROWS_F16, p->n_k);
    const uint8_t *a = (const uint8_t *)sl_host(w) + r * row_bytes;
    const uint8_t *x = (const uint8_t *)sl_host(p->x) + t * row_bytes;
    double sum = 0;
    for (uint32_t k = 0; k < p->n_k; k++)
        sum +=
            (double)sl_rows_get(SL_ROWS_F16, a, p->n_k, k) * (double)sl_rows_get(SL_ROWS_F16, x, p->n_k, k);
    return sum;
}

static double dot_s8(const struct sl_push_gemm *p, sl_addr w, uint64_t r, uint64_t t)
{
    const int8_t *a = (const int8_t *)sl_host(w) + r * p->n_k,
                 *x = (const int8_t *)sl_host(p->x) + t * p->n_k;
    int32_t sum = 0;
    for (uint32_t k = 0; k < p->n_k; k++)
        sum += a[k] * x[k];
    return (double)sum * (double)sl_s8_scales(sl_host(w), p->n_out, p->n_k)[r] *
           (double)sl_s8_scales(sl_host(p->x), p->n_tokens, p->n_k)[t];
}

static double dot(const struct sl_push_gemm *p, sl_addr w, uint64_t r, uint64_t t)
{
    return p->format == SL_ROWS_S8 ? dot_s8(p, w, r, t) : dot_f16(p, w, r, t);
}

void sl_host_gemm(const sl_kernel_task *task)
{
    const struct sl_push_gemm *p = task->push;
    uint64_t begin, end;
    sl_task_share(task, p->n_tokens, &begin, &end);
    for (uint64_t t = begin; t < end; t++) {
        const float *add = p->add ? (const float *)sl_host(p->add) + t * p->y_stride : NULL;
        float *y = (float *)sl_host(p->y) + t * p->y_stride;
        for (uint32_t r = 0; r < p->n_out; r++)
            y[r] = (float)(dot(p, p->w, r, t) + (add ? (double)add[r] : 0));
    }
}

void sl_host_gemm_gated(const sl_kernel_task *task)
{
    const struct sl_push_gemm *p = task->push;
    uint64_t begin, end;
    sl_task_share(task, p->n_tokens, &begin, &end);
    for (uint64_t t = begin; t < end; t++) {
        uint8_t *y = (uint8_t *)sl_host(p->y) + t * sl_rows_bytes(SL_ROWS_F16, p->y_stride);
        for (uint32_t r = 0; r < p->n_out; r++) {
            const float v =
                sl_fused_activation(p->act, (float)dot(p, p->w, r, t), (float)dot(p, p->w2, r, t));
            sl_rows_put(SL_ROWS_F16, y, p->y_stride, r, 1, &v);
        }
    }
}

/* Tokens first: the workgroups that run at the same time share rows of w, which no cache holds as a whole. */
void sl_grid_gemm(const void *push, const sl_variant *variant, const uint32_t *spec, uint32_t groups[3])
{
    (void)spec;
    const struct sl_push_gemm *p = push;
    groups[0] = (uint32_t)sl_div_up(p->n_tokens, variant->tile_y);
    groups[1] = (uint32_t)sl_div_up(p->n_out, variant->tile_x);
}

SL_GRID_LIKE(gemm_gated, gemm)

/* Does no tile reach beyond the matrix? */
static bool is_whole(const struct sl_push_gemm *push, const sl_variant *v)
{
    return push->n_out % v->tile_x == 0 && push->n_tokens % v->tile_y == 0 && push->n_k % DEPTH_MOST == 0;
}

void sl_gemm_spec(const struct sl_push_gemm *push, const sl_variant *variant, uint32_t spec[SL_GEMM_SPECS])
{
    spec[0] = push->n_out;
    spec[1] = push->n_k;
    spec[2] = push->y_stride;
    spec[3] = is_whole(push, variant) ? 0 : 1;
    spec[4] = push->act;
}

bool sl_gemm_on_matrix_units(const sl_variant *variant)
{
    return variant->matrix || variant->needs & SL_CAP_MATRIX_2;
}

/* TFLOP/s of a device full of tiles of this size, measured on an H100 with 4096 tokens and 14336 x 4096
 * weights; of matrices of a subgroup there is one size only. Without matrix units, multiplications for each
 * vector that is read from shared memory, which is what bounds them: 8 x 8 of an invocation, or 8 x 4. */
static double rate_of(const sl_variant *v)
{
    if (!sl_gemm_on_matrix_units(v)) return v->tile_x > 64 ? 64.0 / 16 : 32.0 / 12;
    static const struct {
        sl_kernel_id kernel;
        uint32_t format, rows;
        double rate;
    } rates[] = {
        {SL_K_gemm, SL_ROWS_F16, 256, 300},       {SL_K_gemm, SL_ROWS_F16, 128, 262},
        {SL_K_gemm, SL_ROWS_F16, 64, 141},        {SL_K_gemm, SL_ROWS_S8, 256, 547},
        {SL_K_gemm, SL_ROWS_S8, 128, 527},        {SL_K_gemm, SL_ROWS_S8, 64, 233},
        {SL_K_gemm_gated, SL_ROWS_F16, 128, 310}, {SL_K_gemm_gated, SL_ROWS_S8, 128, 667},
    };
    for (size_t i = 0; i < SL_COUNTOF(rates); i++)
        if (v->kernel == rates[i].kernel && v->key == rates[i].format && v->tile_x == rates[i].rows)
            return rates[i].rate;
    return 1;
}

#define CLAMPED_COST 1.8 /* times that of a tile without clamps */

/* Tiles run in waves of one a compute unit. A large tile makes more of a multiplication, but the last wave
 * may be all but empty. */
static double cost_of(const struct sl_push_gemm *push, const sl_variant *v, uint32_t units)
{
    const uint64_t tiles = sl_div_up(push->n_out, v->tile_x) * sl_div_up(push->n_tokens, v->tile_y);
    const double tile = (double)v->tile_x * v->tile_y / rate_of(v);
    const bool clamped = v->needs & SL_CAP_MATRIX_2 && !is_whole(push, v);
    return (double)sl_div_up(tiles, units) * tile * (clamped ? CLAMPED_COST : 1);
}

const sl_variant *sl_gemm_select(sl_kernel_id kernel, const struct sl_push_gemm *push,
                                 const sl_device_caps *caps)
{
    const uint32_t units = caps->compute_units ? caps->compute_units : 32;
    const sl_variant *best = NULL, *first = sl_variant_select(kernel, push->format, caps);
    for (const sl_variant *v = first; v && v < sl_variants + sl_variant_count; v++) {
        const bool rival = v->kernel == kernel && v->key == push->format && v->needs == first->needs;
        if (!rival || !sl_variant_usable(v, caps, NULL)) continue;
        if (!best || cost_of(push, v, units) < cost_of(push, best, units)) best = v;
    }
    return best;
}
