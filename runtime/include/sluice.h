/* sluice.h - the public interface of libsluice: large language models on any Vulkan device, also larger than
 * it.
 *
 *   sl_engine   a model loaded on a device
 *   sl_session  one timeline of tokens on an engine: append, sample, generate
 *
 * A zeroed options struct is a good default everywhere. Functions that fail return an sl_status other than
 * SL_OK and fill the sl_diag given to them (NULL allowed).
 *
 * Threads: an engine and all its sessions belong to one thread at a time; different engines are independent.
 * Strings handed out live as long as the object they came from. Text is bytes; what is not valid UTF-8 is
 * kept as it is on input and shown as U+FFFD on streamed output.
 */
#ifndef SLUICE_H
#define SLUICE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "hal/base/status.h"

#ifdef __cplusplus
extern "C" {
#endif

#define SLUICE_VERSION "0.1.0"

/* ---- Messages ---- */

/* Lines for people, level 0 errors, 1 warnings, 2 information, 3 everything. Default: warnings to standard
 * error. Prompts and generated text are never in them. Call before other threads use Sluice. */
void sl_set_log(int level, void (*function)(void *user, int level, const char *line), void *user);

/* ---- Devices ---- */

typedef struct sl_device_summary {
    char selector[32]; /* "vulkan:0", "cpu": what sl_engine_options.device takes */
    char name[256];    /* of the hardware */
    char version[256]; /* driver and API version */
    const char *type;  /* "discrete GPU", "integrated GPU", "virtual GPU", "CPU" */
    bool usable;
    char refused[192]; /* why not */
    uint64_t memory_bytes;
    uint32_t compute_units; /* 0: unknown */
    uint32_t subgroup_size, subgroup_min, subgroup_max;
    uint32_t shared_bytes;
    uint64_t max_buffer_bytes;
    char features[512]; /* capability names, separated by spaces */
    char matrix[512];   /* cooperative matrix shapes "16x16x16 f16->f32", separated by ", " */
} sl_device_summary;

/* Lists devices of all drivers, best first: the first usable one is what an engine takes by default. Writes
 * at most `capacity`, and the true number to *out_count. `notes` (may be NULL) receives why a driver has no
 * devices. */
sl_status sl_list_devices(sl_device_summary *out, size_t capacity, size_t *out_count, sl_diag *notes);

/* ---- Engine ---- */

typedef struct sl_engine sl_engine;

/* `done` of `total` bytes of weights are on the device. Called on the engine's thread, many times a second
 * while sl_engine_open runs. */
typedef void (*sl_progress_fn)(void *user, uint64_t done_bytes, uint64_t total_bytes);

typedef struct sl_engine_options {
    const char *model_path;
    const char *device;  /* "cpu", "vulkan", "vulkan:N", part of a device's name; NULL: the best there is */
    uint64_t vram_bytes; /* hard limit for everything on the device; 0: what is free there */
    uint32_t context_tokens; /* of each session; 0: the model's own, at most 4096, less on a small budget */
    uint32_t max_sessions;   /* that can exist at once; 0: 1; at most 4096 */
    uint32_t batch_tokens; /* most tokens computed at once in prefill; 0: 512, or up to 2048 where the device
                              is fast and its memory large; at most 65535 */
    uint32_t max_outputs;  /* most rows of logits computed at once; 0: max_sessions; at most 4096 */
    const char *io_engine; /* "auto" (NULL), "io_uring", "threads" */
    const char *activations; /* of decode steps: "q8" (8-bit integers, where the device accelerates their
                                products; in large products the weights, too), "f16" (with a scale for each 32
                                of them), "f32", "auto" (NULL): what is fastest on the device */
    const char *kv_type; /* of keys and values in the cache: "f16" (NULL), "q8_0", "q4_0": half and a quarter
                            of the memory, at some loss of accuracy */
    const char *cache_dir;   /* pipeline caches; NULL: the user's cache directory; "": none */
    bool validation;         /* Vulkan validation layer; messages go to the log as errors */
    bool no_tuning;          /* the device's defaults, whatever the cache of tuned choices holds */
    sl_progress_fn progress; /* may be NULL */
    void *progress_user;
} sl_engine_options;

/* Loads a model. On success *out is the caller's, to be closed after its sessions. */
sl_status sl_engine_open(const sl_engine_options *options, sl_engine **out, sl_diag *diag);
void sl_engine_close(sl_engine *engine); /* NULL is fine */

typedef struct sl_engine_info {
    const char *model_path, *architecture, *name, *quantization; /* "llama", "SmolLM2 135M", "Q4_1" */
    uint64_t parameters, active_parameters; /* weights in all, and those that one token uses */
    uint64_t model_bytes;                   /* of all tensors */
    uint64_t token_bytes;                   /* of the tensors that a decode step of one token reads */
    uint32_t layers, embedding, vocabulary, heads, kv_heads, head_size, trained_context;
    uint32_t context_tokens, max_sessions, batch_tokens;
    const char *device, *device_name, *device_version, *device_reason; /* reason: why it was taken */
    bool device_is_cpu;                                                /* a CPU, behind Vulkan or not */
    uint64_t vram_budget_bytes;                                        /* in force; 0: none */
    uint64_t resident_bytes, streamed_bytes; /* weights on the device; weights read anew in every pass */
    const char *kv_type;                     /* "f16", "q8_0", "q4_0" */
    uint64_t kv_token_bytes;                 /* of the KV cache, that one token takes */
    uint64_t kv_bytes, scratch_bytes, ring_bytes;
    const char *weights_path; /* "resident" or "streamed" */
    const char *matmul_path;  /* large products: "int8 rows, cooperative matrix of a workgroup", "int8 rows,
                                 integer dot product", "plain", "host", ... */
    const char *activations;  /* "q8", "f16" or "f32": what products of a decode step read */
    const char *tuned;      /* "full", "quick" (steps of one token, whole batches), "no": defaults are used */
    uint32_t tuned_choices; /* kernels and shapes whose variant was measured here or comes from the cache */
    const char *switch_points; /* "Q4_K: matvec up to 8 columns, then matmul" */
    double load_ms;
    const char *io_engine; /* "io_uring", "threads" */
    const char *io_note;   /* what is missing of direct or registered i/o, and why; "" when nothing */
    bool io_direct, io_registered;
} sl_engine_info;

void sl_engine_get_info(const sl_engine *engine, sl_engine_info *out);

typedef struct sl_engine_stats {
    uint64_t vram_used_bytes, vram_peak_bytes;
    uint64_t load_read_bytes;      /* read from the drive while loading */
    uint64_t stream_read_bytes;    /* and for streaming since then, read ahead included */
    uint64_t pass_read_bytes;      /* of these, what passes have used */
    uint64_t passes;               /* forward passes since loading */
    uint64_t dispatches, barriers; /* of the last pass */
    uint64_t stall_ns;             /* time in which compute waited for streamed weights to be submitted */
} sl_engine_stats;

void sl_engine_get_stats(sl_engine *engine, sl_engine_stats *out);

/* ---- Tokens ---- */

#define SL_TOKENIZE_ADD_BOS 1u /* begin with the model's begin token where it wants one */
#define SL_TOKENIZE_SPECIAL 2u /* text like <|im_start|> becomes its control token */

/* Ids of `text`. Writes at most `capacity` and the true number to *out_count: call again with room for that
 * many if it is larger. Broken UTF-8 is not an error. */
sl_status sl_engine_tokenize(sl_engine *engine, const char *text, size_t length, unsigned flags,
                             uint32_t *out, size_t capacity, size_t *out_count, sl_diag *diag);
/* The bytes of one token (not NUL-terminated; control tokens: their name when `special`, else nothing). */
const char *sl_engine_piece(const sl_engine *engine, uint32_t token, bool special, size_t *out_length);
bool sl_engine_is_end(const sl_engine *engine, uint32_t token); /* does it end a generation? */

/* A tokenizer without loading the weights: for `sluice tokenize`. */
typedef struct sl_vocabulary sl_vocabulary;
sl_status sl_vocabulary_open(const char *model_path, sl_vocabulary **out, sl_diag *diag);
void sl_vocabulary_close(sl_vocabulary *vocabulary);
sl_status sl_vocabulary_tokenize(sl_vocabulary *vocabulary, const char *text, size_t length, unsigned flags,
                                 uint32_t *out, size_t capacity, size_t *out_count, sl_diag *diag);
const char *sl_vocabulary_piece(const sl_vocabulary *vocabulary, uint32_t token, bool special,
                                size_t *out_length);

/* ---- Model files ---- */

/* What a model file holds, without loading it. Strings live until the next callback. */
typedef struct sl_model_visitor {
    void *user;
    void (*file)(void *user, const char *path, uint64_t bytes, uint32_t version);
    void (*metadata)(void *user, const char *key, const char *type, const char *value);
    void (*tensor)(void *user, const char *name, const char *type, uint32_t n_dims, const uint64_t *dims,
                   uint64_t bytes, uint64_t offset);
    /* `status` SL_OK: Sluice can run it, and `reason` says as what; else `reason` says what is missing. */
    void (*verdict)(void *user, sl_status status, const char *reason);
} sl_model_visitor;

sl_status sl_model_inspect(const char *path, const sl_model_visitor *visitor, sl_diag *diag);

/* ---- Sessions ---- */

typedef struct sl_session sl_session;

/* Order: penalties, top_k, top_p, min_p, temperature, draw. Zeroed: greedy. */
typedef struct sl_sampling {
    float temperature;                                         /* <= 0: greedy */
    uint32_t top_k;                                            /* 0: all */
    float top_p;                                               /* 0 or >= 1: off */
    float min_p;                                               /* 0: off */
    float repeat_penalty, frequency_penalty, presence_penalty; /* repeat: 0 or 1 off */
    uint64_t seed;
} sl_sampling;

sl_status sl_session_create(sl_engine *engine, const sl_sampling *sampling, sl_session **out, sl_diag *diag);
void sl_session_destroy(sl_session *session);
uint32_t sl_session_length(const sl_session *session);          /* tokens in its KV cache */
void sl_session_truncate(sl_session *session, uint32_t length); /* forgets the tokens from `length` on */

/* Computes `count` tokens after those it has. logits (may be NULL): [count][vocabulary] f32, one row each
 * token; the engine's max_outputs bounds nothing here, rows are computed in turns. On failure the session is
 * as before. */
sl_status sl_session_eval(sl_session *session, const uint32_t *tokens, size_t count, float *logits,
                          sl_diag *diag);

/* Decode steps are queued on the device before they are asked for, in the expectation that each session goes
 * on with the token it was given; what comes otherwise waits for a step that is then in vain. This waits for
 * it now: before measuring, before giving the device to others. */
sl_status sl_engine_wait(sl_engine *engine, sl_diag *diag);

/* One decode step of several sessions at once: appends tokens[i] to sessions[i] and gives the token that each
 * samples next. All sessions of one engine, each at most once. On failure all are as before. */
sl_status sl_engine_step(sl_engine *engine, sl_session *const *sessions, const uint32_t *tokens, size_t count,
                         uint32_t *out_next, sl_diag *diag);

typedef enum sl_finish {
    SL_FINISH_LENGTH,
    SL_FINISH_END_TOKEN,
    SL_FINISH_STOP_STRING,
    SL_FINISH_CONTEXT,
    SL_FINISH_CANCELLED
} sl_finish;
const char *sl_finish_name(sl_finish finish); /* "length", "end", "stop", "context", "cancelled" */

typedef struct sl_generate_options {
    uint32_t max_tokens;      /* 0: until the context is full */
    const char *const *stops; /* text that ends the generation and is not part of it */
    size_t stop_count;
    bool ignore_end; /* go on after an end token */
    /* Whole UTF-8 characters as they become certain (a possible beginning of a stop string is held back);
     * `length` may be 0. Return false to stop. May be NULL. */
    bool (*text)(void *user, const char *bytes, size_t length);
    void *user;
} sl_generate_options;

typedef struct sl_generation {
    uint32_t *tokens; /* sampled ids, the end token included; freed by sl_generation_clear */
    size_t token_count;
    char *text; /* NUL-terminated, whole UTF-8 */
    size_t text_length;
    sl_finish finish;
    double ttft_ms; /* from the call to the first token */
    double tpot_ms; /* mean time of each further token; 0 with fewer than two */
    double prompt_tokens_per_s, tokens_per_s;
    uint64_t stream_read_bytes; /* what its decode steps used */
    uint32_t decode_steps;
} sl_generation;

/* Appends the prompt, then samples token after token. Errors: SL_ERR_ARGUMENT when the prompt is empty (there
 * is no token to continue from, even where the session has some), SL_ERR_CONTEXT_FULL when it does not fit.
 * On failure *out holds what was generated before it; give it to sl_generation_clear in any case. */
sl_status sl_session_generate(sl_session *session, const uint32_t *prompt, size_t count,
                              const sl_generate_options *options, sl_generation *out, sl_diag *diag);
void sl_generation_clear(sl_generation *generation);

/* ---- Tuning ---- */

/* One choice, as it was measured: which variant of a kernel runs for operands of a shape; or, of "products"
 * and "experts", which kernel runs for a number of columns or tokens. */
typedef struct sl_tuned_choice {
    const char *kernel;             /* "matmul", "products", "experts" */
    char shape[48];                 /* "4096x14336x512", "Q4_K, 16 columns", "64 tokens" */
    const char *variant, *fallback; /* what was chosen, and what runs without tuning */
    uint32_t number;                /* key splits and the like; 0: as without tuning */
    uint32_t candidates;
    double us, fallback_us; /* of the same piece of work with either */
} sl_tuned_choice;

typedef struct sl_tune_options {
    bool quick;              /* only steps of one token and batches of engine.batch_tokens: seconds */
    bool force;              /* measure again what is in the cache */
    double seconds_max;      /* no measurement begins later; the rest keeps its defaults; 0: no limit */
    sl_progress_fn progress; /* parts done; may be NULL */
    void (*choice)(void *user, const sl_tuned_choice *choice); /* may be NULL */
    void *user;
} sl_tune_options;

typedef struct sl_tune_report {
    uint32_t measured, known,
        left; /* choices measured now; that the cache had; that seconds_max kept from both */
    double seconds;
} sl_tune_report;

/* Measures what is not in the cache of tuned choices, on this device with this model's shapes, uses the
 * results and keeps them in the cache (sl_engine_options.cache_dir). The engine must have no sessions:
 * SL_ERR_BUSY. Results of passes may change in their last bits, as another variant sums in another order. */
sl_status sl_engine_tune(sl_engine *engine, const sl_tune_options *options, sl_tune_report *report,
                         sl_diag *diag);

/* ---- Measurement ---- */

/* Ceilings of the engine's device, all measured, best of several runs with the device's clock up; 0: it has
 * no such path. */
typedef struct sl_ceilings {
    double read_bytes_per_s;            /* of a kernel that only reads, 16 bytes a load */
    double copy_bytes_per_s;            /* read and written, of a kernel or the copy command, the better */
    double matrix_f16_flops_per_s;      /* of matrix units alone, f16 x f16 + f32, operands in registers */
    double matrix_i8_flops_per_s;       /* and s8 x s8 + s32 */
    double product_flops_per_s;         /* of the matrix kernels that prefill has, the best: `product` */
    char matrix_f16[24], matrix_i8[24]; /* shapes: "16x16x16" */
    char copy[24];                      /* "kernel" or "copy command" */
    char product[64];                   /* "q8_0_m16, 4096 x 4096 by 512" */

    /* What MBU and MFU are shares of: the better of read and copy; the best of the three rates of products.
     */
    double memory_bytes_per_s, matmul_flops_per_s;
} sl_ceilings;

/* Takes seconds. Errors: SL_ERR_BUDGET, SL_ERR_DEVICE_MEMORY when the model leaves too little of the device's
 * memory to measure in. */
sl_status sl_engine_measure_ceilings(sl_engine *engine, sl_ceilings *out, sl_diag *diag);

/* ---- Profile ---- */

typedef enum sl_profile_mode {
    SL_PROFILE_SERIAL,     /* every kernel alone between two timestamps: exact times, but nothing overlaps */
    SL_PROFILE_CONCURRENT, /* timestamps where passes have barriers: kernels between two of them overlap as
                              they always do, and are timed together */
    SL_PROFILE_LAYERS,     /* timestamps between layers only: disturbs least */
} sl_profile_mode;

typedef struct sl_profile_options {
    sl_profile_mode mode;
    uint32_t prompt_tokens; /* of each measured prefill, which computes no logits; 0: none is measured */
    uint32_t prefills;      /* measured; 0: 1 */
    uint32_t decode_steps;  /* measured, greedy; 0: none */
    uint32_t depth_tokens;  /* in the KV cache before each prefill, and before the first step */
    uint32_t sequences;     /* decoded together; 0: 1 */
    uint32_t warm_ms; /* work before what is measured: a GPU that idled takes most of a second to its clock */
} sl_profile_options;

/* A forward pass. Times are ns of CLOCK_MONOTONIC, those of the device too (sl_profile_view.clock). Of each
 * kind, passes without the mode's timestamps come first, for comparison: they have timestamps around their
 * submissions only. */
typedef struct sl_profile_pass {
    bool prefill, timed;
    uint32_t tokens;       /* computed */
    uint32_t depth_tokens; /* in the KV cache before */
    uint32_t dispatches, barriers;
    uint32_t layer_dispatches, layer_barriers; /* of the layer that has most; 0 unless timed */
    uint64_t begin_ns, end_ns;                 /* on the host, from call to result */
    uint64_t device_begin_ns, device_end_ns;   /* from the first to the last kernel */
    uint64_t busy_ns;                          /* of the device; the gaps are the rest of begin .. end */
    size_t kernel, kernel_count, gap, gap_count, event, event_count; /* its share of the view's arrays */
} sl_profile_pass;

#define SL_PROFILE_NO_LAYER 0xffffffffu
#define SL_PROFILE_NO_PASS  0xffffffffu

/* Kernels between two timestamps: one with SL_PROFILE_SERIAL. Times are measured; bytes and operations are
 * modelled from shapes: each operand moved once, floating point operations of products and attention. */
typedef struct sl_profile_kernel {
    const char *label; /* "attn_q"; of several "attn_q + attn_k + attn_v"; of many "attn_norm .. ffn_down" */
    const char *kernel, *variant; /* "matvec", "q4_k"; joined likewise; "copy", "" for the results' copy */
    uint32_t pass;                /* index */
    uint32_t layer;               /* of the first kernel; or SL_PROFILE_NO_LAYER */
    uint32_t kernels;
    uint32_t submission; /* of the pass, counted from 0: more than one when weights are streamed */
    uint64_t begin_ns, end_ns;
    uint64_t weight_bytes, activation_bytes, kv_bytes, flops;
} sl_profile_kernel;

/* Why the device had nothing to do. */
typedef enum sl_profile_cause {
    SL_PROFILE_BARRIER, /* between kernels of one submission */
    SL_PROFILE_STREAM,  /* streamed weights had not arrived */
    SL_PROFILE_SUBMIT,  /* the host was submitting */
    SL_PROFILE_START,   /* submitted, not begun yet */
    SL_PROFILE_EMPTY,   /* nothing was submitted: the host prepared the pass or dealt with its result */
    SL_PROFILE_RESULT,  /* done, but the host did not know yet */
} sl_profile_cause;
#define SL_PROFILE_CAUSES 6
const char *sl_profile_cause_name(sl_profile_cause cause);

typedef struct sl_profile_gap {
    sl_profile_cause cause;
    uint32_t pass;
    uint64_t begin_ns, end_ns;
} sl_profile_gap;

typedef enum sl_profile_activity {
    SL_PROFILE_HOST_PREPARE, /* arguments, pages of the KV cache, sampling parameters */
    SL_PROFILE_HOST_RECORD,  /* finding the recorded pass, or recording it */
    SL_PROFILE_HOST_BATCH,   /* writing token ids, positions, block tables */
    SL_PROFILE_HOST_STREAM,  /* waiting until copies of streamed weights are submitted */
    SL_PROFILE_HOST_SUBMIT,
    SL_PROFILE_HOST_WAIT,   /* for the device */
    SL_PROFILE_HOST_RESULT, /* reading it, bookkeeping */
    SL_PROFILE_READ,        /* a stage of streamed weights, from the drive to host memory */
    SL_PROFILE_COPY,        /* and from there to the device */
} sl_profile_activity;
#define SL_PROFILE_ACTIVITIES 9
const char *sl_profile_activity_name(sl_profile_activity activity);

/* Measured. Reads and copies belong to no pass, as they run ahead. */
typedef struct sl_profile_event {
    sl_profile_activity activity;
    uint32_t pass;
    uint64_t begin_ns, end_ns;
    uint64_t bytes; /* of reads and copies */
} sl_profile_event;

typedef struct sl_profile_view {
    sl_profile_mode mode;
    const char *model, *device;
    const char *clock; /* how device times came to the host's clock: "calibrated"; "aligned": by the ends of
                          passes, so that gaps around submissions are estimates */
    const sl_profile_pass *passes;
    const sl_profile_kernel *kernels;
    const sl_profile_gap *gaps;
    const sl_profile_event *events; /* of passes, in order, then reads and copies, by begin_ns */
    size_t pass_count, kernel_count, gap_count, event_count;
} sl_profile_view;

typedef struct sl_profile sl_profile;

/* Measures passes. Needs as many free sessions as sequences, which it gives back. On success *out is the
 * caller's, and outlives the engine. Errors: SL_ERR_UNSUPPORTED (no timestamps), SL_ERR_CONTEXT_FULL,
 * SL_ERR_BUSY (sessions), those of passes. */
sl_status sl_engine_profile(sl_engine *engine, const sl_profile_options *options, sl_profile **out,
                            sl_diag *diag);
void sl_profile_destroy(sl_profile *profile); /* NULL is fine */
void sl_profile_get(const sl_profile *profile, sl_profile_view *out);

/* A trace that the Perfetto UI (ui.perfetto.dev) opens: tracks for the device, its idle time, the host,
 * streamed weights; counters of rates. Errors: SL_ERR_IO. */
sl_status sl_profile_write_trace(const sl_profile *profile, const char *path, sl_diag *diag);

#ifdef __cplusplus
}
#endif
#endif
