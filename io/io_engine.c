/* io_engine.c - making an engine: options, choice of the carrier, ownership, information. */
#include "io/io_internal.h"

#include <stdio.h>
#include <string.h>

#include "hal/base/alloc.h"
#include "hal/base/checked.h"
#include "hal/base/clock.h"
#include "hal/base/log.h"

static sl_status options_take(const sl_io_options *given, sl_io_options *o, sl_diag *diag)
{
    *o = given ? *given : (sl_io_options){0};
    if (o->depth == 0) o->depth = 32;
    if (o->block_bytes == 0) o->block_bytes = 1u << 20;
    if (o->max_in_flight_bytes == 0) o->max_in_flight_bytes = 16u << 20;
    if (o->max_requests == 0) o->max_requests = 1024;
    if (o->depth > 4096) return sl_fail(diag, SL_ERR_ARGUMENT, "io: depth %u is above 4096", o->depth);
    if (o->threads == 0) o->threads = SL_MIN(o->depth, 16u);
    if ((int)o->kind < SL_IO_AUTO || o->kind > SL_IO_THREADS)
        return sl_fail(diag, SL_ERR_ARGUMENT, "io: kind %d is unknown", (int)o->kind);
    if (o->block_bytes < 4096 || o->block_bytes > (256u << 20) || (o->block_bytes & (o->block_bytes - 1)))
        return sl_fail(diag, SL_ERR_ARGUMENT, "io: block_bytes %u is no power of two of 4 KiB to 256 MiB",
                       o->block_bytes);
    if (o->max_requests > (1u << 20))
        return sl_fail(diag, SL_ERR_ARGUMENT, "io: max_requests %u is above %u", o->max_requests, 1u << 20);
    if (o->threads > 256) return sl_fail(diag, SL_ERR_ARGUMENT, "io: threads %u is above 256", o->threads);
    return SL_OK;
}

/* io_uring when it was asked for or is allowed; else threads, with the reason kept and, if the caller had
 * left the choice open, said. */
static sl_status carrier_open(sl_io_engine *e, sl_diag *diag)
{
    if (e->options.kind != SL_IO_THREADS) {
        sl_diag why = {0};
        e->carrier = &sl_io_carrier_uring;
        sl_status st = e->carrier->open(e, &why);
        if (st == SL_OK) return SL_OK;
        if (e->options.kind == SL_IO_URING || st != SL_ERR_UNSUPPORTED) {
            if (diag) *diag = why;
            return st;
        }
        snprintf(e->reason_uring, sizeof e->reason_uring, "%.*s", (int)sizeof e->reason_uring - 1,
                 why.message);
        sl_log(SL_LOG_WARN, "io: reading with %u threads (pread), because %s", e->options.threads,
               e->reason_uring);
    }
    e->carrier = &sl_io_carrier_threads;
    return e->carrier->open(e, diag);
}

sl_status sl_io_engine_create(const sl_io_options *options, sl_io_engine **out, sl_diag *diag)
{
    sl_status st = SL_OK;
    sl_io_engine *e = NULL;
    sl_io_options taken;
    *out = NULL;
    SL_TRY(options_take(options, &taken, diag));
    e = sl_calloc(1, sizeof *e);
    if (!e) SL_TRY(sl_fail(diag, SL_ERR_NO_MEMORY, "io: no memory for an engine"));
    e->options = taken;
    SL_TRY(sl_io_queue_create(e, diag));
    SL_TRY(carrier_open(e, diag));
    *out = e;
    e = NULL;
cleanup:
    if (e) {
        if (e->carrier) e->carrier->close(e);
        sl_io_queue_destroy(e);
        sl_free(e);
    }
    return st;
}

void sl_io_engine_destroy(sl_io_engine *engine)
{
    if (!engine) return;
    sl_diag why;
    if (engine->live_count && sl_io_drain(engine, NULL, &why) != SL_OK)
        sl_log(SL_LOG_ERROR, "io: an engine is destroyed while reads are in flight: %s", why.message);
    for (unsigned i = 0; i < SL_IO_MAX_FILES; i++)
        sl_io_file_close(engine->files[i]);
    engine->carrier->close(engine);
    sl_io_queue_destroy(engine);
    sl_free(engine);
}

sl_status sl_io_own(sl_io_engine *engine, bool bind, sl_diag *diag)
{
    if (!engine) return sl_fail(diag, SL_ERR_ARGUMENT, "io: engine is NULL");
    if (engine->bound) {
        if (pthread_equal(engine->owner, pthread_self())) return SL_OK;
        return sl_fail(diag, SL_ERR_ARGUMENT, "io: this engine is owned by another thread");
    }
    if (!bind) return SL_OK;
    sl_status st = engine->carrier->bind(engine, diag);
    if (st != SL_OK) return st;
    engine->owner = pthread_self();
    engine->bound = true;
    return SL_OK;
}

sl_status sl_io_engine_release_thread(sl_io_engine *engine, sl_diag *diag)
{
    sl_status st = sl_io_own(engine, false, diag);
    if (st != SL_OK || !engine->bound) return st;
    if (engine->live_count)
        return sl_fail(diag, SL_ERR_BUSY, "io: %zu reads are pending, the owner thread cannot change",
                       engine->live_count);
    /* The new ring first, so that a failure leaves the engine as it was; registrations only after the old
     * ring is gone, since both count against the same limit. */
    void *const old = engine->carrier_state;
    engine->carrier_state = NULL;
    st = engine->carrier->open(engine, diag);
    void *const fresh = engine->carrier_state;
    engine->carrier_state = old;
    if (st != SL_OK) return st;
    engine->carrier->close(engine);
    engine->carrier_state = fresh;
    engine->bound = false;
    for (unsigned i = 0; i < SL_IO_MAX_FILES; i++)
        if (engine->files[i]) engine->carrier->add_file(engine, engine->files[i]);
    for (unsigned i = 0; i < SL_IO_MAX_ARENAS; i++)
        if (engine->arenas[i].arena) engine->carrier->add_arena(engine, &engine->arenas[i]);
    return SL_OK;
}

static void reason_add(char *out, const char *reason)
{
    if (!reason[0]) return;
    const size_t used = strlen(out);
    snprintf(out + used, SL_IO_REASON_BYTES - used, "%s%s", used ? "; " : "", reason);
}

void sl_io_engine_get_info(const sl_io_engine *engine, sl_io_engine_info *out)
{
    bool any_file = false, any_arena = false, direct = true, files = true, arenas = true;
    uint32_t alignment = 0;
    for (unsigned i = 0; i < SL_IO_MAX_FILES; i++) {
        const sl_io_file *f = engine->files[i];
        if (!f) continue;
        any_file = true;
        direct = direct && f->direct;
        files = files && f->registered;
        alignment = SL_MAX(alignment, f->alignment);
    }
    for (unsigned i = 0; i < SL_IO_MAX_ARENAS; i++) {
        if (!engine->arenas[i].arena) continue;
        any_arena = true;
        arenas = arenas && engine->arenas[i].registered;
    }
    *out = (sl_io_engine_info){
        .name = engine->carrier->name,
        .direct = any_file ? direct : !engine->options.no_direct,
        .registered_buffers = any_arena && arenas,
        .registered_files = any_file && files,
        .alignment_bytes = any_file ? alignment : 4096,
        .depth = engine->options.depth,
        .block_bytes = engine->options.block_bytes,
        .threads = engine->carrier == &sl_io_carrier_threads ? engine->options.threads : 0,
        .max_in_flight_bytes = engine->options.max_in_flight_bytes,
    };
    reason_add(out->reason, engine->reason_uring);
    if (any_arena && !arenas) reason_add(out->reason, engine->reason_buffers);
    if (any_file && !files) reason_add(out->reason, engine->reason_files);
    if (!out->direct)
        reason_add(out->reason, engine->options.no_direct ? "direct reads were switched off"
                                                          : "the file system refuses O_DIRECT");
}

void sl_io_engine_get_counters(const sl_io_engine *engine, sl_io_counters *out)
{
    *out = engine->counters;
    if (engine->in_carrier) out->busy_ns += sl_now_ns() - engine->busy_since_ns;
}
