#include "runtime/engine/engine.h"
#include "runtime/profile/profiler.h"

#include "hal/base/alloc.h"
#include "hal/base/checked.h"

#include <string.h>

static uint32_t round_up_power(uint32_t n)
{
    uint32_t p = 1;
    while (p < n)
        p *= 2;
    return p;
}

#define TILE_TOKENS 128u /* of matrix kernels */

/* Powers of two up to 256, then multiples of a tile, then eighths of a power of two: the end of a long prompt
 * is padded by an eighth at most. */
static uint32_t round_up_batch(uint32_t n)
{
    const uint32_t power = round_up_power(n), step = SL_MAX(SL_MIN(power, TILE_TOKENS), power / 8);
    return (n + step - 1) / step * step;
}

/* Few recordings serve all batch sizes: up to SL_MATVEC_COLUMNS_MAX rows exactly, rounded up above. */
static sl_shape shape_for(const sl_engine *e, const sl_pass_input *in)
{
    sl_shape s = {
        .n_tokens = in->n_tokens, .n_outputs = in->n_outputs, .output = in->output, .prefill = in->prefill};
    s.gather = s.n_outputs != s.n_tokens;
    for (uint32_t i = 0; i < s.n_outputs; i++)
        s.gather |= in->out_index[i] != i;
    if (s.n_tokens > SL_MATVEC_COLUMNS_MAX) s.n_tokens = SL_MIN(round_up_batch(s.n_tokens), e->limits.tokens);
    if (s.n_outputs > SL_MATVEC_COLUMNS_MAX)
        s.n_outputs = SL_MIN(round_up_power(s.n_outputs), e->limits.outputs);
    if (s.n_tokens <= SL_MATVEC_COLUMNS_MAX) s.prefill = false; /* attention_decode takes tokens one by one */
    s.apart = !in->prefill || in->n_tokens == 1;
    return s;
}

static void program_destroy(sl_program *program)
{
    if (!program) return;
    sl_recording_clear(&program->recording);
    sl_step_clear(&program->step);
    sl_free(program);
}

void sl_programs_clear(sl_engine *engine)
{
    for (uint32_t i = 0; i < engine->program_count; i++)
        program_destroy(engine->programs[i]);
    engine->program_count = 0;
}

static bool same_shape(const sl_shape *a, const sl_shape *b)
{
    return a->n_tokens == b->n_tokens && a->n_outputs == b->n_outputs && a->output == b->output &&
           a->prefill == b->prefill && a->gather == b->gather && a->apart == b->apart &&
           a->chained == b->chained && a->slot == b->slot;
}

static sl_status record(sl_engine *e, const sl_shape *shape, sl_program **out, sl_diag *diag)
{
    sl_program *p = sl_calloc(1, sizeof *p);
    if (!p) return sl_fail(diag, SL_ERR_NO_MEMORY, "pass of %u tokens", shape->n_tokens);
    p->shape = *shape;
    p->timing = sl_profiler_timing(e->profiler);
    sl_result_copy result = {.target = e->readback};
    if (shape->output == SL_OUTPUT_LOGITS) {
        result.source = e->workspace;
        result.source_offset = e->layout.work.logits.begin - sl_buffer_address(e->workspace);
        result.size_bytes = (uint64_t)shape->n_outputs * e->model.h.n_vocab * sizeof(float);
    } else if (shape->output != SL_OUTPUT_NONE) {
        result.source = e->workspace;
        result.source_offset = e->layout.work.next.begin - sl_buffer_address(e->workspace);
        result.target_offset = shape->slot * (uint64_t)e->limits.outputs * sizeof(uint32_t);
        result.size_bytes = (uint64_t)shape->n_outputs * sizeof(uint32_t);
    }
    p->result_bytes = result.size_bytes;
    sl_status st;
    SL_TRY(sl_step_build(&e->layout, e->kernels, shape, &p->step, diag));
    SL_TRY(sl_record(e->device, &p->step, e->plan.stage_count, &result, p->timing, &p->recording, diag));
    /* The recording has its own copies of the push blocks. */
    if (p->timing == SL_TIMING_NONE) sl_step_clear(&p->step);
    *out = p;
cleanup:
    if (st != SL_OK) program_destroy(p);
    return st;
}

static sl_status program_for(sl_engine *e, const sl_shape *shape, sl_program **out, sl_diag *diag)
{
    uint32_t oldest = 0;
    for (uint32_t i = 0; i < e->program_count; i++) {
        if (same_shape(&e->programs[i]->shape, shape) &&
            e->programs[i]->timing == sl_profiler_timing(e->profiler)) {
            *out = e->programs[i];
            return SL_OK;
        }
        if (e->programs[i]->last_used < e->programs[oldest]->last_used) oldest = i;
    }
    sl_status st = record(e, shape, out, diag);
    if (st != SL_OK) return st;
    if (e->program_count < SL_PROGRAMS_MAX) {
        e->programs[e->program_count++] = *out;
    } else {
        program_destroy(e->programs[oldest]);
        e->programs[oldest] = *out;
    }
    return SL_OK;
}

/* ---- the batch ---- */

static uint32_t *words(sl_range host)
{
    return sl_host(host.begin);
}

static sl_status look_up_rows(sl_engine *e, const sl_pass_input *in, sl_diag *diag)
{
    const sl_model_tensor *t = sl_model_find(&e->model, SL_PART_EMBED, SL_NO_LAYER);
    float *rows = sl_host(e->batch_host.embeddings.begin);
    const uint32_t n = e->model.h.n_embd;
    for (uint32_t i = 0; i < in->n_tokens; i++) {
        float *row = rows + (uint64_t)i * n;
        const uint64_t offset = t->file->offset_bytes + (uint64_t)in->tokens[i] * t->row_bytes;
        sl_status st =
            sl_io_read_sync(e->files[t->file->file_index], offset, t->row_bytes, e->embedding_row, diag);
        if (st != SL_OK) return st;
        e->row_read_bytes += t->row_bytes;
        sl_weights_to_f32((uint32_t)t->file->type, e->embedding_row, row, n);
        for (uint32_t k = 0; k < n; k++)
            row[k] *= e->model.h.embedding_scale;
    }
    return SL_OK;
}

/* How the token of each output is chosen, as of the history that the pass leaves: its tokens are in the
 * session's, which is not yet as long. */
static void write_sampling(sl_engine *e, const sl_pass_input *in)
{
    for (uint32_t i = 0; i < in->n_outputs; i++) {
        sl_session *s = e->sessions[in->sequences[in->out_index[i]]];
        const uint32_t length = s->length;
        s->length = in->positions[in->out_index[i]] + 1;
        sl_session_write_sampling(s, i);
        s->length = length;
    }
}

static sl_status write_batch(sl_engine *e, const sl_pass_input *in, const sl_shape *shape, sl_diag *diag)
{
    const sl_batch *b = &e->batch_host;
    for (uint32_t i = 0; i < shape->n_tokens; i++) {
        const bool real = i < in->n_tokens;
        words(b->tokens)[i] = real ? in->tokens[i] : 0;
        words(b->positions)[i] = real ? in->positions[i] : SL_NO_POSITION;
        words(b->sequences)[i] = real ? in->sequences[i] : 0;
    }
    for (uint32_t i = 0; i < shape->n_outputs; i++)
        words(b->out_index)[i] = i < in->n_outputs ? in->out_index[i] : SL_NO_INDEX;
    for (uint32_t i = 0; i < e->limits.sessions; i++)
        if (e->sessions[i])
            memcpy(words(b->block_table) + (uint64_t)i * e->limits.pages_per_session,
                   e->sessions[i]->table.pages, e->sessions[i]->table.count * sizeof(uint32_t));
    if (in->output == SL_OUTPUT_GREEDY || in->output == SL_OUTPUT_SAMPLED) write_sampling(e, in);
    return e->host_embeddings ? look_up_rows(e, in, diag) : SL_OK;
}

/* ---- running ---- */

static sl_status submit_segment(sl_engine *e, const sl_segment *segment, uint64_t first_number, sl_diag *diag)
{
    sl_semaphore_point waits[2], signals[2];
    sl_submission s = {
        .waits = waits, .commands = &segment->commands, .command_count = 1, .signals = signals};
    waits[s.wait_count++] = (sl_semaphore_point){e->done, e->submitted};
    signals[s.signal_count++] = (sl_semaphore_point){e->done, e->submitted + 1};
    if (segment->stage) {
        const uint64_t number = first_number + segment->stage - 1, since = sl_profiler_now(e->profiler);
        sl_status st = sl_stream_await(e->stream, number, diag);
        if (st != SL_OK) return st;
        sl_profiler_lap(e->profiler, SL_PROFILE_HOST_STREAM, since);
        waits[s.wait_count++] = (sl_semaphore_point){sl_stream_copied(e->stream), number};
        signals[s.signal_count++] = (sl_semaphore_point){sl_stream_computed(e->stream), number};
    }
    const uint64_t since = sl_profiler_now(e->profiler);
    sl_status st = sl_queue_submit(e->device, SL_QUEUE_COMPUTE, &s, diag);
    if (st == SL_OK) e->submitted++;
    sl_profiler_lap(e->profiler, SL_PROFILE_HOST_SUBMIT, since);
    return st;
}

/* Queues the commands of a pass; they have finished when `done` is at e->submitted. */
static sl_status submit_pass(sl_engine *e, sl_program *program, sl_diag *diag)
{
    if (e->stream_stopped) {
        sl_status st = sl_stream_restart(e->stream, &e->next_stage, diag);
        if (st != SL_OK) return st;
        e->stream_stopped = false;
    }
    const uint64_t first_number = e->next_stage;
    e->next_stage += e->plan.stage_count;
    program->last_used = ++e->passes;
    for (uint32_t i = 0; i < program->recording.segment_count; i++) {
        sl_status st = submit_segment(e, &program->recording.segments[i], first_number, diag);
        if (st != SL_OK) return st;
    }
    return SL_OK;
}

static sl_status wait_pass(sl_engine *e, uint64_t done, sl_diag *diag)
{
    const uint64_t since = sl_profiler_now(e->profiler);
    sl_status st = sl_semaphore_wait(e->done, done, UINT64_MAX, diag);
    sl_profiler_lap(e->profiler, SL_PROFILE_HOST_WAIT, since);
    return st == SL_OK && e->stream ? sl_stream_check(e->stream, diag) : st;
}

/* A pass that stopped half way: let what was submitted finish; the stream begins anew with the next pass. */
static void recover(sl_engine *e)
{
    e->stream_stopped = e->stream != NULL;
    sl_settle(e->device);
    e->ahead.queued = false;
}

/* ---- working ahead ---- */

sl_status sl_ahead_drop(sl_engine *e, sl_diag *diag)
{
    if (!e->ahead.queued) return SL_OK;
    e->ahead.queued = false;
    return wait_pass(e, e->ahead.done, diag);
}

static bool ahead_matches(const sl_engine *e, const sl_pass_input *in, const sl_shape *shape)
{
    const sl_ahead *a = &e->ahead;
    if (!a->queued || a->stale || e->profiler || a->count != in->n_tokens || shape->gather ||
        a->shape.n_tokens != shape->n_tokens || a->shape.output != shape->output)
        return false;
    for (uint32_t i = 0; i < a->count; i++)
        if (a->tokens[i] != in->tokens[i] || a->positions[i] != in->positions[i] ||
            a->sequences[i] != in->sequences[i])
            return false;
    return true;
}

/* May the step after this one be queued now? Where the host is the device, it would only take time from
 * itself; streamed passes have their own order. */
static bool ahead_allowed(const sl_engine *e, const sl_pass_input *in, const sl_shape *shape)
{
    const bool software = sl_device_get_info(e->device)->type == SL_DEVICE_CPU;
    if ((software && !sl_engine_hooks.work_ahead) || e->profiler || e->stream || e->host_embeddings ||
        shape->gather || in->n_tokens > e->limits.outputs ||
        (shape->output != SL_OUTPUT_GREEDY && shape->output != SL_OUTPUT_SAMPLED))
        return false;
    for (uint32_t i = 0; i < in->n_tokens; i++) {
        const sl_session *s = e->sessions[in->sequences[i]];
        if (!sl_session_chains(s) || in->positions[i] + 2 > e->options.context_tokens) return false;
        for (uint32_t k = 0; k < i; k++)
            if (in->sequences[k] == in->sequences[i]) return false; /* several tokens of one session */
    }
    return true;
}

/* Queues the step that follows the one of `in`, which is under way. Not to be able to is no error. */
static void queue_ahead(sl_engine *e, const sl_pass_input *in, const sl_shape *shape, uint32_t slot)
{
    sl_ahead *a = &e->ahead;
    sl_shape next = *shape;
    sl_program *program = NULL;
    sl_diag unused;
    next.chained = true;
    next.slot = slot;
    if (program_for(e, &next, &program, &unused) != SL_OK) return;
    for (uint32_t i = 0; i < in->n_tokens; i++) {
        sl_session *s = e->sessions[in->sequences[i]];
        if (sl_kv_table_resize(&e->kv, &s->table, in->positions[i] + 2ull, &unused) != SL_OK) return;
        /* Entries that the step under way reads stay as they are. */
        memcpy(words(e->batch_host.block_table) + (uint64_t)in->sequences[i] * e->limits.pages_per_session,
               s->table.pages, s->table.count * sizeof(uint32_t));
        a->positions[i] = in->positions[i] + 1;
        a->sequences[i] = in->sequences[i];
    }
    if (submit_pass(e, program, &unused) != SL_OK) return; /* the next pass finds out why */
    a->queued = true;
    a->stale = false;
    a->shape = next;
    a->program = program;
    a->done = e->submitted;
    a->count = in->n_tokens;
}

/* ---- a pass ---- */

static sl_status start_pass(sl_engine *e, const sl_pass_input *in, const sl_shape *shape,
                            sl_program **out_program, sl_diag *diag)
{
    sl_status st = sl_ahead_drop(e, diag);
    uint64_t since = sl_profiler_begin(e->profiler);
    if (st == SL_OK) st = program_for(e, shape, out_program, diag);
    since = sl_profiler_lap(e->profiler, SL_PROFILE_HOST_RECORD, since);
    if (st == SL_OK) st = write_batch(e, in, shape, diag);
    sl_profiler_lap(e->profiler, SL_PROFILE_HOST_BATCH, since);
    if (st != SL_OK) return st;
    st = submit_pass(e, *out_program, diag);
    if (st != SL_OK) recover(e);
    return st;
}

sl_status sl_pass_run(sl_engine *e, const sl_pass_input *in, const uint32_t **out_next,
                      const float **out_logits, sl_diag *diag)
{
    const sl_shape shape = shape_for(e, in);
    const bool ready = ahead_matches(e, in, &shape);
    const uint32_t slot = ready ? e->ahead.shape.slot : 0;
    sl_program *program = ready ? e->ahead.program : NULL;
    sl_status st = ready ? SL_OK : start_pass(e, in, &shape, &program, diag);
    if (st != SL_OK) return st;
    const uint64_t done = ready ? e->ahead.done : e->submitted;
    e->ahead.queued = false;
    if (ahead_allowed(e, in, &shape)) queue_ahead(e, in, &shape, 1 - slot);
    st = wait_pass(e, done, diag);
    if (st == SL_OK) st = sl_profiler_end(e->profiler, program, in, diag);
    if (st != SL_OK) {
        recover(e);
        return st;
    }
    e->dispatches = program->recording.dispatches;
    e->barriers = program->recording.barriers;
    const uint32_t *results = (const uint32_t *)sl_buffer_map(e->readback) + (size_t)slot * e->limits.outputs;
    if (e->ahead.queued) memcpy(e->ahead.tokens, results, in->n_tokens * sizeof *results);
    if (out_next) *out_next = results;
    if (out_logits) *out_logits = sl_buffer_map(e->readback);
    return SL_OK;
}
