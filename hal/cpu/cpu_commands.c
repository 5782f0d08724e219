/* cpu_commands.c - recording into a flat list, and running the list. */
#include "hal/cpu/cpu.h"

#include "hal/base/alloc.h"
#include "hal/base/checked.h"
#include "hal/base/clock.h"

#include <string.h>

/* Parts a thread: more than one, so that a thread that was held up leaves work to the others. */
#define PARTS_A_THREAD 4u

sl_status sl_cpu_commands_create(sl_device *device, sl_queue queue, uint32_t flags, uint32_t timestamps,
                                 const char *name, sl_commands **out, sl_diag *diag)
{
    (void)queue;
    uint64_t bytes;
    if (!sl_checked_mul(timestamps, sizeof(uint64_t), &bytes) ||
        !sl_checked_add(bytes, sizeof(sl_cpu_commands), &bytes))
        return sl_fail(diag, SL_ERR_OVERFLOW, "commands '%s': %u timestamps", name ? name : "", timestamps);
    sl_cpu_commands *c = sl_calloc(1, bytes);
    if (!c) return sl_fail(diag, SL_ERR_NO_MEMORY, "commands '%s'", name ? name : "");
    c->device = (sl_cpu_device *)device;
    c->flags = flags;
    *out = &c->base;
    return SL_OK;
}

void sl_cpu_commands_destroy(sl_commands *commands)
{
    sl_cpu_commands *c = (sl_cpu_commands *)commands;
    sl_free(c->ops);
    sl_free(c->push);
    sl_free(c);
}

sl_status sl_cpu_commands_begin(sl_commands *commands, sl_diag *diag)
{
    sl_cpu_commands *c = (sl_cpu_commands *)commands;
    pthread_mutex_lock(&c->device->lock);
    const uint32_t pending = c->pending;
    pthread_mutex_unlock(&c->device->lock);
    if (pending)
        return sl_fail(diag, SL_ERR_ARGUMENT, "begin: the earlier recording is still being executed");
    c->op_count = 0;
    c->push_bytes = 0;
    return SL_OK;
}

sl_status sl_cpu_commands_end(sl_commands *commands, sl_diag *diag)
{
    (void)commands;
    (void)diag;
    return SL_OK;
}

/* Makes room for `more` elements; keeps the failure in the recording. */
static bool grow(sl_cpu_commands *c, void **array, size_t *capacity, size_t count, size_t more,
                 size_t element_bytes)
{
    if (more <= *capacity - count) return true;
    const size_t next = SL_MAX(*capacity * 2, SL_MAX(count + more, (size_t)64));
    void *moved = sl_realloc(*array, next, element_bytes);
    if (!moved) {
        c->base.failed =
            sl_fail(&c->base.failed_diag, SL_ERR_NO_MEMORY, "recording of %zu commands", c->op_count);
        return false;
    }
    *array = moved;
    *capacity = next;
    return true;
}

static sl_cpu_op *append(sl_cpu_commands *c, sl_cpu_op_kind kind)
{
    if (!grow(c, (void **)&c->ops, &c->op_capacity, c->op_count, 1, sizeof *c->ops)) return NULL;
    sl_cpu_op *op = &c->ops[c->op_count++];
    op->kind = kind;
    return op;
}

void sl_cpu_commands_dispatch(sl_commands *commands, sl_kernel *kernel, const void *push,
                              const uint32_t groups[3])
{
    sl_cpu_commands *c = (sl_cpu_commands *)commands;
    const size_t room = sl_align_up(kernel->push_bytes, 16);
    if (c->push_bytes + room > UINT32_MAX) {
        c->base.failed = sl_fail(&c->base.failed_diag, SL_ERR_OVERFLOW, "recording: too many push blocks");
        return;
    }
    if (room && !grow(c, (void **)&c->push, &c->push_capacity, c->push_bytes, room, 1)) return;
    sl_cpu_op *op = append(c, SL_CPU_DISPATCH);
    if (!op) return;
    op->dispatch.kernel = (const sl_cpu_kernel *)kernel;
    memcpy(op->dispatch.groups, groups, sizeof op->dispatch.groups);
    op->dispatch.push = (uint32_t)c->push_bytes;
    if (room) memcpy(c->push + c->push_bytes, push, kernel->push_bytes);
    c->push_bytes += room;
}

void sl_cpu_commands_copy(sl_commands *commands, sl_buffer *source, uint64_t source_offset, sl_buffer *target,
                          uint64_t target_offset, uint64_t size_bytes)
{
    sl_cpu_op *op = append((sl_cpu_commands *)commands, SL_CPU_COPY);
    if (!op) return;
    op->copy.source = (const uint8_t *)sl_host(source->address) + source_offset;
    op->copy.target = (uint8_t *)sl_host(target->address) + target_offset;
    op->copy.size_bytes = size_bytes;
}

void sl_cpu_commands_fill(sl_commands *commands, sl_buffer *target, uint64_t offset, uint64_t size_bytes,
                          uint32_t value)
{
    sl_cpu_op *op = append((sl_cpu_commands *)commands, SL_CPU_FILL);
    if (!op) return;
    op->fill.target = (uint32_t *)sl_host(target->address + offset);
    op->fill.words = size_bytes / 4;
    op->fill.value = value;
}

void sl_cpu_commands_barrier(sl_commands *commands, sl_barrier barrier)
{
    (void)commands;
    (void)barrier;
}

void sl_cpu_commands_timestamp(sl_commands *commands, uint32_t slot)
{
    sl_cpu_op *op = append((sl_cpu_commands *)commands, SL_CPU_TIMESTAMP);
    if (op) op->slot = slot;
}

sl_status sl_cpu_commands_read_timestamps(sl_commands *commands, uint32_t first, uint32_t count,
                                          uint64_t *out_ns, sl_diag *diag)
{
    sl_cpu_commands *c = (sl_cpu_commands *)commands;
    pthread_mutex_lock(&c->device->lock);
    const uint32_t pending = c->pending;
    if (!pending) memcpy(out_ns, c->times_ns + first, count * sizeof *out_ns);
    pthread_mutex_unlock(&c->device->lock);
    if (pending) return sl_fail(diag, SL_ERR_ARGUMENT, "timestamps: the recording is still being executed");
    return SL_OK;
}

void sl_cpu_commands_label(sl_commands *commands, const char *name)
{
    (void)commands;
    (void)name;
}

/* A dispatch is cut into at most as many parts as it has groups: one group is one thread's work on a GPU too,
 * and then no other thread need be told. */
static void run_dispatch(const sl_cpu_commands *c, const sl_cpu_op *op, sl_cpu_pool *pool)
{
    const sl_cpu_kernel *kernel = op->dispatch.kernel;
    const uint32_t *g = op->dispatch.groups;
    const uint32_t threads = sl_cpu_pool_threads(pool);
    uint64_t parts = threads == 1 ? 1 : (uint64_t)threads * PARTS_A_THREAD, groups;
    if (sl_checked_mul((uint64_t)g[0] * g[1], g[2], &groups)) parts = SL_MIN(parts, groups);
    const sl_kernel_task task = {
        .push = c->push ? c->push + op->dispatch.push : NULL,
        .spec = kernel->spec,
        .groups = {g[0], g[1], g[2]},
    };
    sl_cpu_pool_run(pool, kernel->fn, &task, (uint32_t)SL_MIN(parts, (uint64_t)SL_CPU_PARTS_MAX));
}

void sl_cpu_commands_run(sl_cpu_commands *c, sl_cpu_pool *pool)
{
    for (size_t i = 0; i < c->op_count; i++) {
        const sl_cpu_op *op = &c->ops[i];
        switch (op->kind) {
        case SL_CPU_DISPATCH:
            run_dispatch(c, op, pool);
            break;
        case SL_CPU_COPY:
            memcpy(op->copy.target, op->copy.source, op->copy.size_bytes);
            break;
        case SL_CPU_FILL:
            for (uint64_t w = 0; w < op->fill.words; w++)
                op->fill.target[w] = op->fill.value;
            break;
        case SL_CPU_TIMESTAMP:
            c->times_ns[op->slot] = sl_now_ns();
            break;
        }
    }
}
