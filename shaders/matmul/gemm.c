/* C side and grid of gemm. The cpu driver does not use it (matmul reads the blocks of the file, which are smaller):
 * it is the definition that the modules are tested against. */
#include "hal/base/checked.h"
#include "shaders/matmul/gemm.h"
#include "shaders/rows_out.h"

/* Weights a step of any variant takes. */
enum { DEPTH_MOST = 64 };

static void gemm_token(const struct sl_push_gemm *p, uint64_t t)
{
    const uint64_t row_bytes = sl_rows_bytes(SL_ROWS_F16, p->n_k);
    const uint8_t *w = sl_host(p->w), *x = (const uint8_t *)sl_host(p->x) + t * row_bytes;
    const float *add = p->add ? (const float *)sl_host(p->add) + t * p->y_stride : NULL;
    float *y = (float *)sl_host(p->y) + t * p->y_stride;
    for (uint32_t r = 0; r < p->n_out; r++) {
        double sum = add ? (double)add[r] : 0;
        for (uint32_t k = 0; k < p->n_k; k++)
            sum += (double)sl_rows_get(SL_ROWS_F16, w + r * row_bytes, p->n_k, k) *
                   (double)sl_rows_get(SL_ROWS_F16, x, p->n_k, k);
        y[r] = (float)sum;
    }
}

void sl_host_gemm(const sl_kernel_task *task)
{
    const struct sl_push_gemm *p = task->push;
    uint64_t begin, end;
    sl_task_share(task, p->n_tokens, &begin, &end);
    for (; begin < end; begin++)
        gemm_token(p, begin);
}

/* Tokens first: the workgroups that run at the same time share rows of w, which no cache holds as a whole. */
void sl_grid_gemm(const void *push, const sl_variant *variant, const uint32_t *spec, uint32_t groups[3])
{
    (void)spec;
    const struct sl_push_gemm *p = push;
    groups[0] = (uint32_t)sl_div_up(p->n_tokens, variant->tile_y);
    groups[1] = (uint32_t)sl_div_up(p->n_out, variant->tile_x);
}

void sl_gemm_spec(const struct sl_push_gemm *push, const sl_variant *variant, uint32_t spec[SL_GEMM_SPECS])
{
    const bool whole =
        push->n_out % variant->tile_x == 0 && push->n_tokens % variant->tile_y == 0 && push->n_k % DEPTH_MOST == 0;
    spec[0] = push->n_out;
    spec[1] = push->n_k;
    spec[2] = push->y_stride;
    spec[3] = whole ? 0 : 1;
}
