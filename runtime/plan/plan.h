/* plan.h - where each tensor lives: resident on the device, or read anew from the file in every forward pass.
 *
 * A pure function of the model and a few sizes: no device, no file is touched, so that it can be tested and
 * shown without either.
 *
 * Resident tensors get an offset in one of the weight blocks. The streamed ones are cut into pieces (whole
 * tensors, or runs of rows of a matrix), and the pieces, in order of use, are grouped into stages. A stage is
 * read, copied and waited for as one. Stages have fixed places in two rings, the device's and the host's,
 * laid out afresh from offset 0 in every pass, so that recorded commands can name addresses. A stage may be
 * filled once the stage that had its bytes before, `device_reuse` (`host_reuse`) stages earlier in the
 * endless sequence of passes, is done.
 *
 * Which tensors stay: those that no product reads by rows (norms) always; then whole kinds (all layers' K,
 * then V, ...) as long as they fit, the last kind for evenly spread layers, so that every layer streams about
 * as much and reads interleave with computing. An untied embedding is never streamed: its rows are read one
 * by one.
 *
 * Threads: immutable once made.
 */
#ifndef SL_RUNTIME_PLAN_PLAN_H
#define SL_RUNTIME_PLAN_PLAN_H

#include "runtime/model/model.h"

typedef enum sl_home {
    SL_HOME_DEVICE, /* resident: block and offset */
    SL_HOME_FILE,   /* streamed: pieces */
    SL_HOME_ROWS,   /* embedding of which only the rows asked for are read, by the host */
} sl_home;

#define SL_PLAN_ALIGNMENT_BYTES 256u

typedef struct sl_piece {
    uint32_t tensor;                  /* index in model->tensors */
    uint32_t row, row_count;          /* matrix rows; all of them for tensors that are not cut */
    uint64_t file_offset, size_bytes; /* in the tensor's file */
    uint64_t device_offset;           /* in the device ring, aligned to SL_PLAN_ALIGNMENT_BYTES */
    uint64_t host_offset;             /* in the host ring, of the aligned superset */
    uint64_t read_offset, read_bytes; /* the superset in the file */
} sl_piece;

typedef struct sl_stage {
    uint32_t piece, piece_count;       /* a run of plan->pieces */
    uint32_t device_reuse, host_reuse; /* 1 .. stage_count */
    uint64_t size_bytes;
} sl_stage;

typedef struct sl_place {
    sl_home home;
    uint32_t block;              /* DEVICE: which weight block */
    uint64_t offset;             /* DEVICE: in it */
    uint32_t piece, piece_count; /* FILE: a run of plan->pieces */
} sl_place;

typedef struct sl_plan {
    const sl_model *model;
    sl_place *places; /* one a tensor of the model */
    uint64_t *block_bytes;
    uint32_t block_count;
    sl_piece *pieces;
    uint32_t piece_count;
    sl_stage *stages;
    uint32_t stage_count;
    uint64_t device_ring_bytes, host_ring_bytes;
    uint64_t resident_bytes; /* tensors at home on the device */
    uint64_t streamed_bytes; /* of one pass */
    uint64_t read_bytes;     /* of one pass, with alignment */
} sl_plan;

typedef struct sl_plan_options {
    uint64_t budget_bytes;         /* for everything on the device; 0: no limit */
    uint64_t fixed_bytes;          /* of it, already spoken for: KV cache, activations */
    uint64_t max_block_bytes;      /* largest allocation of the device */
    uint32_t read_alignment_bytes; /* of file reads; a power of two */
} sl_plan_options;

/* SL_ERR_BUDGET when not even the smallest ring fits: the message names the smallest budget that works. */
SL_NODISCARD sl_status sl_plan_make(const sl_model *model, const sl_plan_options *options, sl_plan *out,
                                    sl_diag *diag);
void sl_plan_clear(sl_plan *plan);

#endif
