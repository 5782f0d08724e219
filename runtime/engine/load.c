/* Loading: resident tensors, in the order of the file, cut into chunks; each chunk is read into a slot of the
 * staging arena and copied from there to its place by the transfer queue, while the next ones are being read.
 */
#include "runtime/engine/engine.h"

#include "hal/base/alloc.h"
#include "hal/base/checked.h"
#include "hal/base/log.h"

#include <stdlib.h>
#include <string.h>

#define SLOTS 8u

typedef struct slot {
    sl_commands *commands;
    sl_semaphore *copied;
    uint64_t uses; /* copies submitted: the value that frees it */
    bool reading;
    sl_buffer *target;
    uint64_t target_offset, size_bytes, lead; /* what of the slot goes where */
} slot;

typedef struct loader {
    sl_engine *e;
    slot slots[SLOTS];
    uint64_t slot_bytes;
    const sl_model_tensor **order; /* resident tensors by file and offset */
    uint32_t order_count;
    uint32_t next_tensor; /* position in `order` and in that tensor of what is read next */
    uint64_t next_byte;
    uint64_t done_bytes;
} loader;

static int by_offset(const void *a, const void *b)
{
    const sl_gguf_tensor *x = (*(const sl_model_tensor *const *)a)->file,
                         *y = (*(const sl_model_tensor *const *)b)->file;
    if (x->file_index != y->file_index) return x->file_index < y->file_index ? -1 : 1;
    return (x->offset_bytes > y->offset_bytes) - (x->offset_bytes < y->offset_bytes);
}

static sl_status start(loader *l, sl_diag *diag)
{
    sl_engine *e = l->e;
    l->slot_bytes = sl_align_down(l->e->staging.size_bytes / SLOTS, SL_IO_ARENA_ALIGNMENT_BYTES);
    l->order = sl_calloc(e->model.tensor_count, sizeof(sl_model_tensor *));
    if (!l->order) return sl_fail(diag, SL_ERR_NO_MEMORY, "loading: order of tensors");
    for (uint32_t i = 0; i < e->model.tensor_count; i++)
        if (e->plan.places[i].home == SL_HOME_DEVICE) l->order[l->order_count++] = &e->model.tensors[i];
    qsort(l->order, l->order_count, sizeof *l->order, by_offset);
    for (uint32_t i = 0; i < SLOTS; i++) {
        sl_status st =
            sl_commands_create(e->device, SL_QUEUE_TRANSFER, 0, 0, "load", &l->slots[i].commands, diag);
        if (st == SL_OK) st = sl_semaphore_create(e->device, 0, &l->slots[i].copied, diag);
        if (st != SL_OK) return st;
    }
    return SL_OK;
}

static void stop(loader *l)
{
    sl_diag why;
    if (sl_io_drain(l->e->io, NULL, &why) != SL_OK)
        sl_log(SL_LOG_ERROR, "loading: reads in flight cannot be waited for: %s", why.message);
    sl_settle(l->e->device);
    for (uint32_t i = 0; i < SLOTS; i++) {
        sl_commands_destroy(l->slots[i].commands);
        sl_semaphore_destroy(l->slots[i].copied);
    }
    sl_free(l->order);
}

/* Reads the next chunk into slot i. */
static sl_status read_into(loader *l, uint32_t i, sl_diag *diag)
{
    sl_engine *e = l->e;
    const sl_model_tensor *t = l->order[l->next_tensor];
    const sl_place *place = &e->plan.places[sl_model_index(&e->model, t)];
    sl_io_file *file = e->files[t->file->file_index];
    sl_io_file_info info;
    sl_io_file_get_info(file, &info);
    slot *s = &l->slots[i];
    sl_status st = sl_semaphore_wait(s->copied, s->uses, UINT64_MAX, diag);
    if (st != SL_OK) return st;
    const uint64_t room = l->slot_bytes - 2ull * info.alignment_bytes;
    const uint64_t size = SL_MIN(room, t->file->size_bytes - l->next_byte);
    sl_io_range range;
    if ((st = sl_io_superset(t->file->offset_bytes + l->next_byte, size, info.alignment_bytes, &range,
                             diag)) != SL_OK)
        return st;
    s->target = e->blocks[place->block];
    s->target_offset = place->offset + l->next_byte;
    s->size_bytes = size;
    s->lead = range.lead;
    const sl_io_read read = {file, range.offset, range.length, e->staging.base + i * l->slot_bytes, i};
    if ((st = sl_io_submit(e->io, &read, 1, diag)) != SL_OK) return st;
    s->reading = true;
    l->next_byte += size;
    if (l->next_byte == t->file->size_bytes) {
        l->next_tensor++;
        l->next_byte = 0;
    }
    return SL_OK;
}

static sl_status copy_from(loader *l, uint32_t i, sl_diag *diag)
{
    slot *s = &l->slots[i];
    const uint64_t offset = i * l->slot_bytes + s->lead;
    sl_buffer *source = sl_staging_ready(&l->e->staging, offset, s->size_bytes);
    sl_status st = sl_commands_begin(s->commands, diag);
    if (st != SL_OK) return st;
    sl_commands_copy(s->commands, source, offset, s->target, s->target_offset, s->size_bytes);
    if ((st = sl_commands_end(s->commands, diag)) != SL_OK) return st;
    const sl_semaphore_point signal = {s->copied, s->uses + 1};
    const sl_submission submission = {
        .commands = &s->commands, .command_count = 1, .signals = &signal, .signal_count = 1};
    if ((st = sl_queue_submit(l->e->device, SL_QUEUE_TRANSFER, &submission, diag)) != SL_OK) return st;
    s->uses++;
    s->reading = false;
    return SL_OK;
}

static sl_status take(loader *l, sl_diag *diag)
{
    sl_io_completion done[SLOTS];
    size_t n;
    sl_status st = sl_io_reap(l->e->io, done, SLOTS, SL_IO_WAIT_FOREVER, &n, diag);
    if (st != SL_OK) return st;
    for (size_t k = 0; k < n; k++) {
        if (done[k].status != SL_OK) return sl_io_completion_fail(&done[k], diag);
        const uint32_t i = (uint32_t)done[k].user;
        if ((st = copy_from(l, i, diag)) != SL_OK) return st;
        l->done_bytes += l->slots[i].size_bytes;
        l->e->load_read_bytes += done[k].bytes;
        if (l->e->options.progress)
            l->e->options.progress(l->e->options.progress_user, l->done_bytes, l->e->plan.resident_bytes);
    }
    return SL_OK;
}

sl_status sl_weights_load(sl_engine *engine, sl_diag *diag)
{
    loader l = {.e = engine};
    sl_status st;
    SL_TRY(start(&l, diag));
    while (l.next_tensor < l.order_count || sl_io_pending(engine->io)) {
        for (uint32_t i = 0; i < SLOTS && l.next_tensor < l.order_count; i++)
            if (!l.slots[i].reading) SL_TRY(read_into(&l, i, diag));
        SL_TRY(take(&l, diag));
    }
    SL_TRY(sl_device_wait_idle(engine->device, diag));
cleanup:
    stop(&l);
    return st;
}
