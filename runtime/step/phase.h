/* phase.h - a forward pass as data: the list of kernel calls, before it is commands.
 *
 * A phase is one dispatch with its push block filled in: every address in it is final, because weights,
 * rings, activations and the KV cache have fixed places. What changes from step to step (token ids,
 * positions, block tables) is read by the kernels from the batch buffer. The builder (builder.h) makes the
 * list; the recorder (record.h) turns it into command buffers with the fewest barriers.
 */
#ifndef SL_RUNTIME_STEP_PHASE_H
#define SL_RUNTIME_STEP_PHASE_H

#include "shaders/registry.h"

typedef struct sl_range {
    uint64_t begin, end; /* device addresses; empty when begin == end */
} sl_range;

#define SL_PHASE_READS_MAX  6
#define SL_PHASE_WRITES_MAX 5

typedef struct sl_phase {
    const sl_bound_kernel *kernel;
    _Alignas(8) uint8_t push[SL_PUSH_BYTES_MAX];
    sl_range reads[SL_PHASE_READS_MAX]; /* of activations and KV cache; weights never change */
    sl_range writes[SL_PHASE_WRITES_MAX];
    uint8_t read_count, write_count;
    const char *label; /* "attn_q": static storage */
    uint32_t layer;    /* or SL_NO_LAYER */
    uint32_t stage;    /* stage of streamed weights that must have arrived, counted from 1; 0: none needed */
    uint64_t weight_bytes; /* read from the weights */
    uint64_t flops;
} sl_phase;

typedef struct sl_step {
    sl_phase *phases;
    uint32_t count, capacity;
} sl_step;

void sl_step_clear(sl_step *step);
/* Appends a zeroed phase; NULL when memory is out. */
sl_phase *sl_step_add(sl_step *step);

void sl_phase_reads(sl_phase *phase, sl_range range);
void sl_phase_writes(sl_phase *phase, sl_range range);

#endif
