#include "runtime/engine/engine.h"

#include "hal/base/alloc.h"
#include "hal/base/checked.h"
#include "hal/base/clock.h"
#include "hal/base/log.h"
#include "shaders/matmul/gemm.h"
#include "shaders/tuning.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DEFAULT_CONTEXT_TOKENS 4096u
#define DEFAULT_BATCH_TOKENS   512u
#define LARGE_BATCH_TOKENS     2048u
#define SMALL_CONTEXT_TOKENS   512u
#define SMALL_BATCH_TOKENS     32u
#define SESSIONS_MAX           4096u
#define OUTPUTS_MAX            4096u
#define BATCH_TOKENS_MAX       SL_GROUPS_OF_ALL_DEVICES /* some kernels have a workgroup for each token */
#define LOAD_BYTES_MIN         (8ull << 20)
#define LOAD_BYTES_MAX         (64ull << 20)

/* ---- options ---- */

static sl_status default_cache_dir(char **out, sl_diag *diag)
{
    const char *xdg = getenv("XDG_CACHE_HOME"), *home = getenv("HOME");
    char path[1024] = "";
    if (xdg && *xdg)
        snprintf(path, sizeof path, "%s/sluice", xdg);
    else if (home && *home)
        snprintf(path, sizeof path, "%s/.cache/sluice", home);
    *out = sl_strdup(path);
    return *out ? SL_OK : sl_fail(diag, SL_ERR_NO_MEMORY, "cache directory");
}

static sl_status take_options(sl_engine *e, const sl_engine_options *options, sl_diag *diag)
{
    e->options = *options;
    sl_engine_options *o = &e->options;
    if (!o->model_path || !*o->model_path) return sl_fail(diag, SL_ERR_ARGUMENT, "no model file was named");
    if (!o->max_sessions) o->max_sessions = 1;
    if (!o->max_outputs) o->max_outputs = o->max_sessions;
    if (o->max_sessions > SESSIONS_MAX || o->batch_tokens > BATCH_TOKENS_MAX || o->max_outputs > OUTPUTS_MAX)
        return sl_fail(
            diag, SL_ERR_ARGUMENT, "max_sessions %u, batch_tokens %u, max_outputs %u: at most %u, %u, %u",
            o->max_sessions, o->batch_tokens, o->max_outputs, SESSIONS_MAX, BATCH_TOKENS_MAX, OUTPUTS_MAX);
    if (!o->io_engine || !strcmp(o->io_engine, "auto"))
        e->io_options.kind = SL_IO_AUTO;
    else if (!strcmp(o->io_engine, "io_uring"))
        e->io_options.kind = SL_IO_URING;
    else if (!strcmp(o->io_engine, "threads"))
        e->io_options.kind = SL_IO_THREADS;
    else
        return sl_fail(diag, SL_ERR_ARGUMENT, "io_engine \"%s\": there are auto, io_uring, threads",
                       o->io_engine);
    if (o->kv_type && !sl_kv_type_find(o->kv_type, &e->kv_type))
        return sl_fail(diag, SL_ERR_ARGUMENT, "kv_type \"%s\": there are f16, q8_0, q4_0", o->kv_type);
    e->model_path = sl_strdup(o->model_path);
    if (!e->model_path) return sl_fail(diag, SL_ERR_NO_MEMORY, "options");
    if (!o->cache_dir) return default_cache_dir(&e->cache_dir, diag);
    e->cache_dir = sl_strdup(o->cache_dir);
    return e->cache_dir ? SL_OK : sl_fail(diag, SL_ERR_NO_MEMORY, "options");
}

/* ---- model ---- */

/* The type that most bytes of matrices have. */
static const char *common_type(const sl_model *m)
{
    uint64_t bytes[64] = {0};
    uint32_t best = 0;
    for (uint32_t i = 0; i < m->tensor_count; i++) {
        const uint32_t type = (uint32_t)m->tensors[i].file->type;
        if (!sl_part_is_matrix(m->tensors[i].part) || type >= SL_COUNTOF(bytes)) continue;
        bytes[type] += m->tensors[i].file->size_bytes;
        if (bytes[type] > bytes[best]) best = type;
    }
    return sl_ggml_type_name(best);
}

static sl_status open_model(sl_engine *e, sl_diag *diag)
{
    sl_status st;
    SL_TRY(sl_gguf_open(e->model_path, &e->gguf, diag));
    SL_TRY(sl_model_read(e->gguf, &e->model, diag));
    SL_TRY(sl_tokenizer_open(e->gguf, &e->tokenizer, diag));
    sl_gguf_string name;
    SL_TRY(sl_gguf_get_string_or(e->gguf, "general.name", e->model.arch->name, &name, diag));
    snprintf(e->name, sizeof e->name, "%.*s", (int)SL_MIN(name.length, sizeof e->name - 1), name.data);
    snprintf(e->quantization, sizeof e->quantization, "%s", common_type(&e->model));
cleanup:
    return st;
}

/* ---- device ---- */

static sl_status open_device(sl_engine *e, sl_diag *diag)
{
    sl_device_choice choice;
    sl_status st = sl_device_choose(e->options.device, &choice, diag);
    if (st != SL_OK) return st;
    e->selector = sl_strdup(choice.selector);
    e->reason = sl_strdup(choice.reason);
    if (!e->selector || !e->reason) return sl_fail(diag, SL_ERR_NO_MEMORY, "device");
    const sl_device_options options = {
        .device_memory_limit_bytes = e->options.vram_bytes,
        .cache_dir = *e->cache_dir ? e->cache_dir : NULL,
        .validation = e->options.validation,
    };
    sl_device *device = NULL;
    if ((st = sl_device_create(choice.driver, choice.index, &options, &device, diag)) != SL_OK) return st;
    if ((st = sl_engine_hooks.wrap_device ? sl_engine_hooks.wrap_device(device, &e->device, diag) : SL_OK) !=
        SL_OK) {
        sl_device_destroy(device);
        return st;
    }
    if (!e->device) e->device = device;
    if ((st = sl_kernel_set_create(e->device, &e->kernels, diag)) != SL_OK) return st;
    return sl_semaphore_create(e->device, 0, &e->done, diag);
}

/* Rows that products of decode steps can read, by their names. */
static const struct {
    const char *name;
    uint32_t rows;
    sl_kernel_id kernel; /* that multiplies with them */
} activations[] = {
    {"f32", SL_ROWS_F32, SL_K_matvec},
    {"q8", SL_ROWS_Q8, SL_K_matvec_fused},
    {"f16", SL_ROWS_F16_SCALED, SL_K_matvec_fused_f16},
};

static const char *activations_name(uint32_t rows)
{
    for (size_t i = 1; i < SL_COUNTOF(activations); i++)
        if (activations[i].rows == rows) return activations[i].name;
    return activations[0].name;
}

/* What is fastest: int8 where the device accelerates its products, else f16 where it has that. A CPU is
 * faster with f32. */
static uint32_t best_activations(const sl_device_caps *caps)
{
    if (sl_caps_have(caps, SL_CAP_HOST_FN) || sl_caps_have(caps, SL_CAP_SCALAR_LOADS)) return SL_ROWS_F32;
    if (sl_caps_have(caps, SL_CAP_DOT_8_FAST)) return SL_ROWS_Q8;
    return sl_variant_select(SL_K_matvec_fused_f16, SL_WEIGHT_Q4_K, caps) ? SL_ROWS_F16_SCALED : SL_ROWS_F32;
}

static sl_status choose_activations(sl_engine *e, sl_diag *diag)
{
    const char *wanted = e->options.activations ? e->options.activations : "auto";
    const sl_device_caps *caps = &sl_device_get_info(e->device)->caps;
    e->decode_rows = best_activations(caps);
    if (!strcmp(wanted, "auto")) return SL_OK;
    for (size_t i = 0; i < SL_COUNTOF(activations); i++) {
        if (strcmp(wanted, activations[i].name) != 0) continue;
        const bool fused = activations[i].rows != SL_ROWS_F32;
        if (fused && (sl_caps_have(caps, SL_CAP_HOST_FN) ||
                      !sl_variant_select(activations[i].kernel, SL_WEIGHT_Q4_K, caps)))
            return sl_fail(diag, SL_ERR_UNSUPPORTED, "activations \"%s\": %s has no kernels for them", wanted,
                           e->selector);
        e->decode_rows = activations[i].rows;
        return SL_OK;
    }
    return sl_fail(diag, SL_ERR_ARGUMENT, "activations \"%s\": there are auto, q8, f16, f32", wanted);
}

static uint64_t available_host_bytes(void)
{
    FILE *f = fopen("/proc/meminfo", "r");
    if (!f) return 0;
    char line[128];
    unsigned long long kib = 0;
    while (fgets(line, sizeof line, f))
        if (sscanf(line, "MemAvailable: %llu kB", &kib) == 1) break;
    fclose(f);
    return kib << 10;
}

/* What may be put on the device: the budget asked for; else what its driver says is free, less a reserve; and
 * where device memory is host memory, no more than the host has available. */
static uint64_t device_budget(const sl_engine *e)
{
    if (e->options.vram_bytes) return e->options.vram_bytes;
    const sl_device_info *info = sl_device_get_info(e->device);
    sl_memory_report report;
    sl_device_memory(e->device, &report);
    uint64_t free_bytes = info->caps.device_bytes;
    if (report.driver_budget_bytes) /* 1: a full device, as 0 would mean one without a limit */
        free_bytes = report.driver_budget_bytes > report.driver_used_bytes
                         ? report.driver_budget_bytes - report.driver_used_bytes
                         : 1;
    const uint64_t host = available_host_bytes();
    if (host && (info->type == SL_DEVICE_CPU || sl_caps_have(&info->caps, SL_CAP_UNIFIED_MEMORY)))
        free_bytes = SL_MIN(free_bytes, host);
    return free_bytes - free_bytes / 16;
}

/* ---- memory ---- */

/* Bytes of activations for batches of so many tokens. */
static uint64_t workspace_bytes(const sl_engine *e, uint32_t batch_tokens)
{
    sl_workspace unused;
    const sl_limits limits = {.tokens = batch_tokens, .outputs = e->options.max_outputs, .splits = 1};
    return sl_workspace_lay_out(&e->model, &limits, 0, &unused);
}

/* Context and batch that nobody asked for: smaller than usual where the budget is small, so that most of it
 * is left to weights. A context of 512 tokens and batches of 32 are asked of any budget. */
static void choose_defaults(sl_engine *e)
{
    sl_engine_options *o = &e->options;
    const uint64_t budget = device_budget(e);
    if (!o->context_tokens) {
        const uint32_t usual = SL_MIN(DEFAULT_CONTEXT_TOKENS, e->model.h.trained_context_tokens);
        o->context_tokens = usual;
        while (o->context_tokens > SMALL_CONTEXT_TOKENS &&
               sl_kv_bytes(&e->model.h, e->kv_type, o->max_sessions, o->context_tokens) > budget / 4)
            o->context_tokens = SL_MAX(o->context_tokens / 2, SMALL_CONTEXT_TOKENS);
        if (o->context_tokens < usual)
            sl_log(SL_LOG_WARN, "a context of %u tokens instead of %u, to leave the memory budget to weights",
                   o->context_tokens, usual);
    }
    if (!o->batch_tokens) {
        /* Decoding weights for a large product is paid once a batch. */
        const sl_device_caps *caps = &sl_device_get_info(e->device)->caps;
        o->batch_tokens = sl_caps_have(caps, SL_CAP_MATRIX_2) ? LARGE_BATCH_TOKENS : DEFAULT_BATCH_TOKENS;
        while (o->batch_tokens > DEFAULT_BATCH_TOKENS && workspace_bytes(e, o->batch_tokens) > budget / 64)
            o->batch_tokens /= 2;
        while (o->batch_tokens > SMALL_BATCH_TOKENS && workspace_bytes(e, o->batch_tokens) > budget / 8)
            o->batch_tokens /= 2;
    }
}

/* Decoded weights take memory. They get it only where all weights stay on the device beside it: streaming
 * would cost every token more than a faster prompt gains. */
static void choose_gemm(sl_engine *e)
{
    const sl_device_caps *caps = &sl_device_get_info(e->device)->caps;
    sl_limits with = e->limits;
    sl_workspace unused;
    if (sl_engine_hooks.gemm_format != SL_ROWS_F32) {
        sl_gemm_set(&e->model, caps, sl_engine_hooks.gemm_format, &e->limits);
        return;
    }
    sl_gemm_choose(&e->model, caps, e->decode_rows == SL_ROWS_Q8, &with);
    const uint64_t budget = device_budget(e);
    const uint64_t bytes = e->model.bytes + sl_workspace_lay_out(&e->model, &with, 0, &unused) +
                           sl_kv_bytes(&e->model.h, e->kv_type, with.sessions, e->options.context_tokens);
    if (!budget || bytes <= budget - budget / 16) e->limits = with;
}

/* For tests: of all products that are no mat-vec's. */
static void use_rung(sl_tuning *tuning, uint32_t rung)
{
    for (uint32_t type = 0; type < SL_WEIGHT_NUMBERS; type++) {
        for (uint32_t i = SL_RUNG_matvec + 1; i < rung; i++)
            tuning->columns[type][i] = 0;
        tuning->columns[type][rung] = sl_products[rung].columns_max;
    }
}

static sl_status set_limits(sl_engine *e, sl_diag *diag)
{
    sl_engine_options *o = &e->options;
    const sl_hparams *h = &e->model.h;
    choose_defaults(e);
    if (o->context_tokens > 1u << 24)
        return sl_fail(diag, SL_ERR_ARGUMENT, "context_tokens %u: at most %u", o->context_tokens, 1u << 24);
    if (o->context_tokens > h->trained_context_tokens)
        sl_log(SL_LOG_WARN, "a context of %u tokens; the model was trained for %u", o->context_tokens,
               h->trained_context_tokens);
    o->batch_tokens =
        SL_MAX(SL_MIN(o->batch_tokens, o->context_tokens), SL_MIN(o->max_sessions, o->max_outputs));
    const sl_device_info *info = sl_device_get_info(e->device);
    /* Two workgroups a compute unit, so that one hides the other's latency. A CPU runs them one after
     * another. */
    const uint32_t units = info->caps.compute_units ? info->caps.compute_units : 16;
    const uint32_t splits = info->type == SL_DEVICE_CPU ? 1 : sl_div_up(2ull * units, h->n_kv_heads);
    e->limits = (sl_limits){
        .tokens = o->batch_tokens,
        .outputs = o->max_outputs,
        .sessions = o->max_sessions,
        .pages_per_session = (uint32_t)sl_div_up(o->context_tokens, SL_KV_PAGE_TOKENS),
        .splits = SL_MIN(SL_MAX(splits, 1), SL_SPLITS_MAX),
    };
    choose_gemm(e);
    const uint32_t half_rung = sl_engine_hooks.half_rung;
    sl_limits_few_columns(&e->limits, &e->model, &info->caps, half_rung != 0);
    if (half_rung) use_rung(sl_kernel_set_tuning(e->kernels), half_rung);
    return SL_OK;
}

static sl_memory batch_memory(const sl_engine *e)
{
    const sl_device_caps *caps = &sl_device_get_info(e->device)->caps;
    return sl_caps_have(caps, SL_CAP_DEVICE_MAPPED) ? SL_MEMORY_DEVICE_MAPPED : SL_MEMORY_UPLOAD;
}

static sl_status open_files(sl_engine *e, uint32_t *out_alignment, sl_diag *diag)
{
    sl_status st;
    e->file_count = sl_gguf_file_count(e->gguf);
    e->files = sl_calloc(e->file_count, sizeof(sl_io_file *));
    e->paths = sl_calloc(e->file_count, sizeof(char *));
    if (!e->files || !e->paths) return sl_fail(diag, SL_ERR_NO_MEMORY, "list of files");
    if (sl_engine_hooks.io_options) sl_engine_hooks.io_options(&e->io_options);
    SL_TRY(sl_io_engine_create(&e->io_options, &e->io, diag));
    *out_alignment = SL_PLAN_ALIGNMENT_BYTES;
    for (uint32_t i = 0; i < e->file_count; i++) {
        const sl_gguf_file *header = sl_gguf_file_at(e->gguf, i);
        sl_io_file_info info;
        e->paths[i] = header->path;
        SL_TRY(sl_io_file_open(e->io, header->path, &e->files[i], diag));
        SL_TRY(sl_file_is_models(e->files[i], header, diag));
        sl_io_file_get_info(e->files[i], &info);
        *out_alignment = SL_MAX(*out_alignment, info.alignment_bytes);
    }
cleanup:
    return st;
}

static sl_status make_plan(sl_engine *e, uint32_t read_alignment, sl_diag *diag)
{
    sl_workspace w;
    sl_batch b;
    const sl_device_caps *caps = &sl_device_get_info(e->device)->caps;
    e->workspace_bytes = sl_workspace_lay_out(&e->model, &e->limits, 0, &w);
    /* Sized for embeddings looked up by the host, whether the plan wants that or not: known before the plan.
     */
    e->batch_bytes = sl_batch_lay_out(&e->model, &e->limits, true, 0, &b);
    const bool batch_on_device = batch_memory(e) == SL_MEMORY_DEVICE_MAPPED;
    uint64_t fixed;
    if (!sl_checked_add(sl_kv_bytes(&e->model.h, e->kv_type, e->limits.sessions, e->options.context_tokens),
                        e->workspace_bytes + (batch_on_device ? e->batch_bytes : 0), &fixed))
        return sl_fail(diag, SL_ERR_OVERFLOW, "%s: a KV cache for %u sessions of %u tokens", e->model_path,
                       e->limits.sessions, e->options.context_tokens);
    const sl_plan_options options = {
        .budget_bytes = device_budget(e),
        .fixed_bytes = fixed,
        .max_block_bytes = caps->max_buffer_bytes,
        .read_alignment_bytes = read_alignment,
    };
    return sl_plan_make(&e->model, &options, &e->plan, diag);
}

static sl_status allocate_blocks(sl_engine *e, sl_diag *diag)
{
    e->blocks = sl_calloc(e->plan.block_count, sizeof(sl_buffer *));
    e->block_addresses = sl_calloc(e->plan.block_count, sizeof *e->block_addresses);
    if (!e->blocks || !e->block_addresses) return sl_fail(diag, SL_ERR_NO_MEMORY, "weight blocks");
    for (uint32_t i = 0; i < e->plan.block_count; i++) {
        sl_status st = sl_buffer_create(e->device, e->plan.block_bytes[i], SL_MEMORY_DEVICE, "weights",
                                        &e->blocks[i], diag);
        if (st != SL_OK) return st;
        e->block_addresses[i] = sl_buffer_address(e->blocks[i]);
    }
    if (!e->plan.stage_count) return SL_OK;
    return sl_buffer_create(e->device, e->plan.device_ring_bytes, SL_MEMORY_DEVICE, "ring", &e->ring, diag);
}

static sl_status allocate(sl_engine *e, sl_diag *diag)
{
    const sl_model_tensor *embed = sl_model_find(&e->model, SL_PART_EMBED, SL_NO_LAYER);
    e->host_embeddings = e->plan.places[sl_model_index(&e->model, embed)].home != SL_HOME_DEVICE;
    e->readback_bytes = (uint64_t)e->limits.outputs * e->model.h.n_vocab * sizeof(float);
    const uint64_t load =
        SL_MIN(SL_MAX(sl_align_up(e->plan.resident_bytes, LOAD_BYTES_MIN), LOAD_BYTES_MIN), LOAD_BYTES_MAX);
    sl_status st;
    SL_TRY(
        sl_buffer_create(e->device, e->workspace_bytes, SL_MEMORY_DEVICE, "workspace", &e->workspace, diag));
    SL_TRY(sl_buffer_create(e->device, e->batch_bytes, batch_memory(e), "batch", &e->batch, diag));
    SL_TRY(
        sl_buffer_create(e->device, e->readback_bytes, SL_MEMORY_READBACK, "readback", &e->readback, diag));
    SL_TRY(sl_kv_create(e->device, &e->model.h, e->kv_type, e->limits.sessions, e->options.context_tokens,
                        &e->kv, diag));
    SL_TRY(allocate_blocks(e, diag));
    SL_TRY(sl_staging_create(e->device, SL_MAX(load, e->plan.host_ring_bytes), &e->staging, diag));
    SL_TRY(sl_io_engine_add_arena(e->io, e->staging.arena, diag));
    e->sessions = sl_calloc(e->limits.sessions, sizeof(sl_session *));
    e->ahead.tokens = sl_calloc(3 * (size_t)e->limits.outputs, sizeof(uint32_t));
    if (!e->ahead.tokens) return sl_fail(diag, SL_ERR_NO_MEMORY, "sessions");
    e->ahead.positions = e->ahead.tokens + e->limits.outputs;
    e->ahead.sequences = e->ahead.positions + e->limits.outputs;
    e->embedding_row = sl_malloc(embed->row_bytes);
    if (!e->sessions || !e->embedding_row) st = sl_fail(diag, SL_ERR_NO_MEMORY, "sessions");
cleanup:
    return st;
}

static void lay_out(sl_engine *e)
{
    sl_layout *l = &e->layout;
    *l = (sl_layout){
        .model = &e->model,
        .plan = &e->plan,
        .limits = e->limits,
        .decode_rows = e->decode_rows,
        .block_addresses = e->block_addresses,
        .ring_address = e->ring ? sl_buffer_address(e->ring) : 0,
        .k_cache = e->kv.k,
        .v_cache = e->kv.v,
        .kv_type = e->kv_type,
        .attention_step = sl_kernel_set_tuning(e->kernels)->attention_step || sl_engine_hooks.attention_step,
    };
    sl_workspace_lay_out(&e->model, &e->limits, sl_buffer_address(e->workspace), &l->work);
    sl_batch_lay_out(&e->model, &e->limits, true, sl_buffer_address(e->batch), &l->batch);
    sl_batch_lay_out(&e->model, &e->limits, true, (uintptr_t)sl_buffer_map(e->batch), &e->batch_host);
}

/* Activations of padding rows must be finite, and the KV cache may be read beyond what was written. */
sl_status sl_engine_clear_memory(sl_engine *e, sl_diag *diag)
{
    sl_commands *c = NULL;
    sl_status st;
    memset(sl_buffer_map(e->batch), 0, e->batch_bytes);
    uint32_t *rows = sl_host(e->batch_host.rows.begin);
    for (uint32_t i = 0; i < e->limits.tokens; i++)
        rows[i] = i;
    SL_TRY(sl_commands_create(e->device, SL_QUEUE_COMPUTE, 0, 0, "clear", &c, diag));
    SL_TRY(sl_commands_begin(c, diag));
    sl_commands_fill(c, e->workspace, 0, sl_buffer_size(e->workspace), 0);
    for (uint32_t i = 0; i < e->kv.n_layers; i++)
        sl_commands_fill(c, e->kv.buffers[i], 0, sl_buffer_size(e->kv.buffers[i]), 0);
    sl_commands_barrier(c, SL_BARRIER_ALL);
    SL_TRY(sl_commands_end(c, diag));
    SL_TRY(sl_queue_submit(e->device, SL_QUEUE_COMPUTE, &(sl_submission){.commands = &c, .command_count = 1},
                           diag));
    SL_TRY(sl_device_wait_idle(e->device, diag));
cleanup:
    if (st != SL_OK) sl_settle(e->device);
    sl_commands_destroy(c);
    return st;
}

static sl_status start_stream(sl_engine *e, sl_diag *diag)
{
    if (!e->plan.stage_count) return SL_OK;
    const sl_stream_options options = {
        .device = e->device,
        .plan = &e->plan,
        .io_options = &e->io_options,
        .paths = e->paths,
        .path_count = e->file_count,
        .arena = e->staging.arena,
        .arena_buffer = e->staging.imported,
        .staging = e->staging.copy,
        .ring = e->ring,
    };
    e->next_stage = 1;
    return sl_stream_create(&options, &e->stream, diag);
}

/* What multiplies rows with rows. */
static const char *unit_of(const sl_variant *gemm)
{
    if (sl_gemm_on_matrix_units(gemm))
        return gemm->matrix ? "cooperative matrix" : "cooperative matrix of a workgroup";
    return gemm->needs & SL_CAP_DOT_8 ? "integer dot product" : "f32 arithmetic";
}

/* The variant that large products run with, for people. */
static void name_matmul_path(sl_engine *e)
{
    const sl_device_info *info = sl_device_get_info(e->device);
    const sl_model_tensor *q = sl_model_find(&e->model, SL_PART_Q, 0);
    const struct sl_push_matmul push = {
        .n_out = (uint32_t)q->n_out, .n_k = q->n_k, .n_tokens = e->limits.tokens};
    const sl_shape_class of = sl_shape_class_of(SL_K_matmul, (uint32_t)q->file->type, &push, NULL);
    const sl_variant *v = sl_tuning_variant(sl_kernel_set_tuning(e->kernels), &of, &info->caps);
    const sl_variant *gemm = sl_variant_select(SL_K_gemm, e->limits.gemm_format, &info->caps);
    if (gemm)
        snprintf(e->matmul_path, sizeof e->matmul_path, "%s rows, %s",
                 e->limits.gemm_format == SL_ROWS_S8 ? "int8" : "f16", unit_of(gemm));
    else if (sl_caps_have(&info->caps, SL_CAP_HOST_FN))
        snprintf(e->matmul_path, sizeof e->matmul_path, "host");
    else if (v && v->matrix)
        snprintf(e->matmul_path, sizeof e->matmul_path, "cooperative matrix %ux%ux%u", v->matrix >> 16,
                 v->matrix >> 8 & 255u, v->matrix & 255u);
    else
        snprintf(e->matmul_path, sizeof e->matmul_path, "%s",
                 v && v->needs & SL_CAP_SCALAR_LOADS ? "plain, a row a lane" : "plain");
}

/* ---- open and close ---- */

sl_engine_test_hooks sl_engine_hooks;

sl_status sl_engine_open(const sl_engine_options *options, sl_engine **out, sl_diag *diag)
{
    const uint64_t begin = sl_now_ns();
    sl_engine *e = sl_calloc(1, sizeof *e);
    if (!e) return sl_fail(diag, SL_ERR_NO_MEMORY, "engine");
    uint32_t read_alignment = 0;
    sl_status st;
    SL_TRY(take_options(e, options, diag));
    SL_TRY(open_model(e, diag));
    SL_TRY(open_device(e, diag));
    SL_TRY(choose_activations(e, diag));
    SL_TRY(set_limits(e, diag));
    SL_TRY(open_files(e, &read_alignment, diag));
    SL_TRY(make_plan(e, read_alignment, diag));
    SL_TRY(allocate(e, diag));
    lay_out(e);
    sl_engine_load_tuning(e);
    SL_TRY(sl_engine_clear_memory(e, diag));
    SL_TRY(sl_weights_load(e, diag));
    sl_io_engine_get_info(e->io, &e->io_info);
    SL_TRY(start_stream(e, diag));
    name_matmul_path(e);
    e->load_ms = (double)(sl_now_ns() - begin) / 1e6;
    *out = e;
    return SL_OK;
cleanup:
    sl_engine_close(e);
    return st;
}

void sl_engine_close(sl_engine *e)
{
    if (!e) return;
    sl_stream_destroy(e->stream);
    if (e->device) sl_settle(e->device);
    sl_programs_clear(e);
    sl_kv_clear(&e->kv);
    for (uint32_t i = 0; e->blocks && i < e->plan.block_count; i++)
        sl_buffer_destroy(e->blocks[i]);
    sl_buffer_destroy(e->ring);
    sl_buffer_destroy(e->workspace);
    sl_buffer_destroy(e->batch);
    sl_buffer_destroy(e->readback);
    sl_semaphore_destroy(e->done);
    sl_kernel_set_destroy(e->kernels);
    sl_io_engine_destroy(e->io);
    sl_staging_clear(&e->staging);
    sl_device_destroy(e->device);
    sl_plan_clear(&e->plan);
    sl_tokenizer_destroy(e->tokenizer);
    sl_model_clear(&e->model);
    sl_gguf_close(e->gguf);
    sl_free(e->blocks);
    sl_free(e->block_addresses);
    sl_free(e->sessions);
    sl_free(e->ahead.tokens);
    sl_free(e->embedding_row);
    sl_free(e->files);
    sl_free(e->paths);
    sl_free(e->model_path);
    sl_free(e->selector);
    sl_free(e->reason);
    sl_free(e->cache_dir);
    sl_free(e);
}

/* ---- facts ---- */

void sl_engine_get_info(const sl_engine *e, sl_engine_info *out)
{
    const sl_device_info *d = sl_device_get_info(e->device);
    const sl_hparams *h = &e->model.h;
    *out = (sl_engine_info){
        .model_path = e->model_path,
        .architecture = e->model.arch->name,
        .name = e->name,
        .quantization = e->quantization,
        .parameters = e->model.parameters,
        .active_parameters = e->model.active_parameters,
        .model_bytes = e->model.bytes,
        .token_bytes = e->model.token_bytes,
        .layers = h->n_layers,
        .embedding = h->n_embd,
        .vocabulary = h->n_vocab,
        .heads = h->n_heads,
        .kv_heads = h->n_kv_heads,
        .head_size = h->head_dim,
        .trained_context = h->trained_context_tokens,
        .context_tokens = e->options.context_tokens,
        .max_sessions = e->limits.sessions,
        .batch_tokens = e->limits.tokens,
        .device = e->selector,
        .device_name = d->name,
        .device_version = d->version,
        .device_reason = e->reason,
        .device_is_cpu = d->type == SL_DEVICE_CPU,
        .vram_budget_bytes = e->options.vram_bytes,
        .resident_bytes = e->plan.resident_bytes,
        .streamed_bytes = e->plan.streamed_bytes,
        .kv_type = sl_kv_type_name(e->kv_type),
        .kv_token_bytes = sl_kv_token_bytes(h, e->kv_type),
        .kv_bytes = sl_kv_bytes(h, e->kv_type, e->limits.sessions, e->options.context_tokens),
        .scratch_bytes = e->workspace_bytes + e->batch_bytes,
        .ring_bytes = e->plan.device_ring_bytes,
        .weights_path = e->stream ? "streamed" : "resident",
        .matmul_path = e->matmul_path,
        .activations = activations_name(e->decode_rows),
        .tuned = e->tuned == SL_TUNED_FULL    ? "full"
                 : e->tuned == SL_TUNED_QUICK ? "quick"
                                              : "no",
        .tuned_choices = sl_kernel_set_tuning(e->kernels)->choice_count,
        .switch_points = e->switch_points,
        .load_ms = e->load_ms,
        .io_engine = e->io_info.name,
        .io_note = e->io_info.reason,
        .io_direct = e->io_info.direct,
        .io_registered = e->io_info.registered_buffers,
    };
}

void sl_engine_get_stats(sl_engine *engine, sl_engine_stats *out)
{
    sl_memory_report memory;
    sl_device_memory(engine->device, &memory);
    sl_stream_stats stream = {0};
    if (engine->stream) sl_stream_get_stats(engine->stream, &stream);
    *out = (sl_engine_stats){
        .vram_used_bytes = memory.device_used_bytes,
        .vram_peak_bytes = memory.device_peak_bytes,
        .load_read_bytes = engine->load_read_bytes,
        .stream_read_bytes = stream.read_bytes + engine->row_read_bytes,
        .pass_read_bytes = stream.used_bytes + engine->row_read_bytes,
        .passes = engine->passes,
        .dispatches = engine->dispatches,
        .barriers = engine->barriers,
        .stall_ns = stream.stall_ns,
    };
}

static void (*log_function)(void *user, int level, const char *line);

static void forward_log(void *user, sl_log_level level, const char *line)
{
    log_function(user, (int)level, line);
}

void sl_set_log(int level, void (*function)(void *user, int level, const char *line), void *user)
{
    log_function = function;
    sl_log_set((sl_log_level)SL_MIN(SL_MAX(level, 0), (int)SL_LOG_DEBUG), function ? forward_log : NULL,
               user);
}

sl_status sl_engine_wait(sl_engine *engine, sl_diag *diag)
{
    return sl_ahead_drop(engine, diag);
}
