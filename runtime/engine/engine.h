/* engine.h - inside sl_engine and sl_session: what the files of this folder share.
 *
 *   device_choice.c  which device
 *   engine.c         open, close, facts
 *   load.c           reading resident weights into device memory
 *   pass.c           programs (recorded passes by shape) and running them
 *   session.c        timelines: eval, step
 *   generate.c       sampling loop, stop strings, text
 *   engine_tune.c    choices by measurement
 *   inspect.c, text.c, ceilings.c
 */
#ifndef SL_RUNTIME_ENGINE_ENGINE_H
#define SL_RUNTIME_ENGINE_ENGINE_H

#include "hal/hal.h"
#include "io/io.h"
#include "runtime/include/sluice.h"
#include "runtime/kv/kv.h"
#include "runtime/model/model.h"
#include "runtime/plan/plan.h"
#include "runtime/step/builder.h"
#include "runtime/step/gemm_phases.h"
#include "runtime/step/layout.h"
#include "runtime/step/record.h"
#include "runtime/stream/stream.h"
#include "runtime/tokenizer/tokenizer.h"
#include "runtime/tune/tune_cache.h"

/* ---- For tests: zeroed in use ---- */

typedef struct sl_engine_test_hooks {
    /* Puts a wrapper (hal/fault) around each device that an engine opens. On failure `inner` stays the
     * engine's. */
    sl_status (*wrap_device)(sl_device *inner, sl_device **out, sl_diag *diag);
    void (*io_options)(sl_io_options *options); /* changes the options of each i/o engine: fault hooks */
    bool work_ahead;                            /* queue decode steps ahead on software devices too */
    uint32_t gemm_format; /* SL_ROWS_*: products of many tokens in two phases where the device can, whether it
                             is faster or not; SL_ROWS_F32: what is best */
    bool attention_step; /* decode attends in one dispatch on devices too for which that is not the faster way
                          */
    uint32_t half_rung; /* SL_RUNG_*: a rung that reads rows of F16 gets all products that no mat-vec does, as
                           far as it can, also where a CPU has faster ways; 0: what is best */
} sl_engine_test_hooks;

extern sl_engine_test_hooks sl_engine_hooks;

/* ---- Choice of the device ---- */

typedef struct sl_device_choice {
    char driver[16];
    uint32_t index;
    char selector[32]; /* "vulkan:0" */
    char reason[160];  /* why this one, for people */
} sl_device_choice;

/* `wanted` as sl_engine_options.device; NULL: the best. SL_ERR_NOT_FOUND, SL_ERR_UNSUPPORTED (refused, with
 * why). */
SL_NODISCARD sl_status sl_device_choose(const char *wanted, sl_device_choice *out, sl_diag *diag);

/* ---- Host memory that files are read into and the device copies from ---- */

typedef struct sl_staging {
    sl_io_arena *arena;
    uint8_t *base;
    uint64_t size_bytes;
    sl_buffer *imported; /* the arena as the device sees it; or NULL, and then */
    sl_buffer *copy;     /* mapped memory of the device's driver, filled by memcpy */
} sl_staging;

SL_NODISCARD sl_status sl_staging_create(sl_device *device, uint64_t size_bytes, sl_staging *out,
                                         sl_diag *diag);
void sl_staging_clear(sl_staging *staging);
/* The buffer to copy `size_bytes` at `offset` from, once they have been read. */
sl_buffer *sl_staging_ready(sl_staging *staging, uint64_t offset, uint64_t size_bytes);

/* ---- Programs: a pass of one shape, recorded ---- */

typedef struct sl_program {
    sl_shape shape;
    sl_timing timing; /* NONE but while the engine profiles */
    sl_recording recording;
    sl_step step; /* what was recorded; kept with timing only */
    uint64_t result_bytes, last_used;
} sl_program;

#define SL_PROGRAMS_MAX 48

/* What the host decides before a pass. Arrays of n_tokens and n_outputs. */
typedef struct sl_pass_input {
    uint32_t n_tokens;
    const uint32_t *tokens, *positions,
        *sequences; /* with GREEDY and SAMPLED the tokens are in the sessions' already */
    uint32_t n_outputs;
    const uint32_t *out_index; /* which token each output belongs to */
    sl_output output;
    bool prefill; /* runs of consecutive tokens; else each token is of a sequence of its own */
} sl_pass_input;

/* A decode step that was queued before anyone asked for it: the one that follows if every session goes on
 * with the token that the last step gave it. Whoever asks for exactly that step finds it under way or done;
 * any other pass waits for it and forgets it: its entries in the KV cache are beyond the sessions' lengths.
 */
typedef struct sl_ahead {
    bool queued, stale; /* stale: matches nothing any more */
    sl_shape shape;
    sl_program *program;
    uint64_t done;                            /* value of the semaphore when it has finished */
    uint32_t count;                           /* sessions */
    uint32_t *tokens, *positions, *sequences; /* of its batch; max_outputs each */
} sl_ahead;

struct sl_engine {
    sl_engine_options options;
    char *model_path, *selector, *reason, *cache_dir;
    sl_gguf *gguf;
    sl_model model;
    sl_tokenizer *tokenizer; /* NULL: the file has no vocabulary */
    char name[128], quantization[16], matmul_path[48];
    uint64_t trained_context;

    sl_device *device;
    sl_kernel_set *kernels;
    sl_tuned tuned;
    char switch_points[512]; /* for people */
    sl_io_options io_options;
    sl_io_engine *io; /* the engine's own: loading, embedding rows */
    sl_io_file **files;
    uint32_t file_count;
    const char **paths;
    sl_staging staging;

    sl_limits limits;
    sl_plan plan;
    sl_buffer **blocks; /* resident weights */
    uint64_t *block_addresses;
    sl_buffer *ring, *workspace, *batch, *readback;
    uint64_t readback_bytes, workspace_bytes, batch_bytes;
    sl_batch batch_host; /* the batch buffer's ranges as host addresses */
    uint32_t kv_type;    /* SL_KV_* */
    sl_kv kv;
    sl_layout layout;
    sl_stream *stream;   /* NULL: everything is resident */
    bool stream_stopped; /* a pass failed: restart the stream before the next */
    uint64_t next_stage; /* number of the first stage of the next pass */
    bool host_embeddings;
    uint32_t decode_rows;   /* as in sl_layout */
    uint8_t *embedding_row; /* one row as in the file */

    sl_semaphore *done; /* raised by each submission of a pass, in order */
    uint64_t submitted; /* its last value */
    uint64_t passes;
    sl_program *programs[SL_PROGRAMS_MAX];
    uint32_t program_count;
    sl_ahead ahead;
    uint64_t dispatches, barriers; /* of the last pass */

    struct sl_profiler *profiler; /* NULL but while sl_engine_profile runs */

    sl_session **sessions; /* by slot; NULL: free */
    double load_ms;
    uint64_t load_read_bytes, row_read_bytes;
    sl_io_engine_info io_info;
};

/* Zeroes the workspace, the batch buffer and the KV cache. */
SL_NODISCARD sl_status sl_engine_clear_memory(sl_engine *engine, sl_diag *diag);

/* Takes what is in the cache of tuned choices for this device and model. */
void sl_engine_load_tuning(sl_engine *engine);

/* The file's tokenizer; NULL and SL_OK for a file without a vocabulary. */
SL_NODISCARD sl_status sl_tokenizer_open(const sl_gguf *gguf, sl_tokenizer **out, sl_diag *diag);

/* Reads every resident tensor into the blocks. */
SL_NODISCARD sl_status sl_weights_load(sl_engine *engine, sl_diag *diag);

/* Runs one pass and waits for it. For GREEDY and SAMPLED *out_next (n_outputs of them) points at the tokens,
 * for LOGITS *out_logits at [n_outputs][n_vocab], until the next pass. On failure nothing that counts has
 * changed: the KV cache beyond the sessions' lengths is undefined, and the next pass starts anew. */
SL_NODISCARD sl_status sl_pass_run(sl_engine *engine, const sl_pass_input *input, const uint32_t **out_next,
                                   const float **out_logits, sl_diag *diag);
void sl_programs_clear(sl_engine *engine);
/* Waits for a step that was queued ahead, and forgets it. */
SL_NODISCARD sl_status sl_ahead_drop(sl_engine *engine, sl_diag *diag);

/* ---- Sessions ---- */

struct sl_session {
    sl_engine *engine;
    uint32_t slot; /* row of the block table */
    sl_sampling sampling;
    uint32_t *tokens; /* history, as long as the KV cache */
    uint32_t length;
    sl_kv_table table;
    uint32_t draws; /* counter of the random numbers */
};

/* How a token of this session is chosen: on the device, or (SL_OUTPUT_LOGITS) by sl_session_pick. */
sl_output sl_session_output(const sl_session *session);
/* Does the next token depend on nothing but the logits and the number of the draw? */
bool sl_session_chains(const sl_session *session);
/* Fills the batch's sampling parameters of output `row`. */
void sl_session_write_sampling(const sl_session *session, uint32_t row);
/* Draws from logits [n_vocab], which it changes. */
SL_NODISCARD sl_status sl_session_pick(sl_session *session, float *logits, uint32_t *out_token,
                                       sl_diag *diag);

/* Appends `count` >= 1 tokens and gives the token sampled after the last. */
SL_NODISCARD sl_status sl_session_advance(sl_session *session, const uint32_t *tokens, size_t count,
                                          uint32_t *out_next, sl_diag *diag);

#endif
