/* fused_host.h - what the C sides of the fused products share. */
#ifndef SL_MATMUL_FUSED_HOST_H
#define SL_MATMUL_FUSED_HOST_H

#include <stdint.h>

typedef struct sl_fused_input_desc {
    const void
        *x; /* a row: of `blocks` where input is SL_INPUT_ROWS and the weights are quantized, else F32 */
    const float *norm;                      /* of SL_INPUT_NORM */
    uint32_t n, input, weight_type, blocks; /* SL_ROWS_Q8, SL_ROWS_F16_SCALED: what quantized weights take */
    float eps;
} sl_fused_input_desc;

/* Format (SL_ROWS_*) of x in memory. */
uint32_t sl_fused_format(uint32_t input, uint32_t weight_type, uint32_t blocks);

/* x as the product sees it: normed, and rounded to what its form in blocks stands for. */
void sl_fused_input(const sl_fused_input_desc *in, float *out);

/* act(gate) * up; act: SL_ACT_*. */
float sl_fused_activation(uint32_t act, float gate, float up);

/* A row of n weights times x. */
double sl_fused_dot(uint32_t type, const void *row, const float *x, uint32_t n);

#endif
