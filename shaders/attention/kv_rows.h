/* kv_rows.h - rows of the KV cache in its types (SL_KV_*, push.h), on the host: what the C sides of the
 * kernels store and read, and the definition of both.
 *
 * Threads: any. */
#ifndef SL_KV_ROWS_H
#define SL_KV_ROWS_H

#include "shaders/push.h"

#include <stdint.h>

/* Row `row` of the group becomes x[head_dim], rounded as the type says. */
void sl_kv_put(uint32_t type, void *group, uint32_t head_dim, uint32_t row, const float *x);
/* out[count][head_dim] = rows row .. row + count - 1 of the group. */
void sl_kv_get(uint32_t type, const void *group, uint32_t head_dim, uint32_t row, uint32_t count, float *out);

#endif
