#include "runtime/plan/plan.h"

#include "hal/base/alloc.h"
#include "hal/base/checked.h"

#include <string.h>

/* Stage sizes tried, largest first. A ring holds RING_STAGES of them: one computed from, one being copied,
 * one on its way. Large stages amortise submissions, small ones leave room for resident weights. */
static const uint64_t stage_targets[] = {64ull << 20,  32ull << 20,  16ull << 20, 8ull << 20,
                                         4ull << 20,   2ull << 20,   1ull << 20,  512ull << 10,
                                         256ull << 10, 128ull << 10, 64ull << 10};
enum { RING_STAGES = 3, ROW_GRANULE = 32 };
/* A ring takes at most 1/RING_SHARE of the room for weights, while there is a choice. */
#define RING_SHARE 4

/* Matrices in the order in which whole kinds are made resident. */
static const sl_part pin_order[] = {SL_PART_K,          SL_PART_V,
                                    SL_PART_Q,          SL_PART_O,
                                    SL_PART_DOWN,       SL_PART_UP,
                                    SL_PART_GATE,       SL_PART_DOWN_EXPERTS,
                                    SL_PART_UP_EXPERTS, SL_PART_GATE_EXPERTS,
                                    SL_PART_OUTPUT,     SL_PART_EMBED};

static uint64_t tensor_room(const sl_model_tensor *t)
{
    return sl_align_up(t->file->size_bytes, SL_PLAN_ALIGNMENT_BYTES);
}

/* May this tensor be streamed? Small things never are: they would cost a read each and save nothing. */
static bool streamable(const sl_model_tensor *t)
{
    return sl_part_is_matrix(t->part) && t->part != SL_PART_ROUTER;
}

/* Bytes of the largest piece that the stage size `target` leads to: a few rows, or a whole expert tensor. */
static uint64_t largest_piece(const sl_model *m, uint64_t target)
{
    uint64_t largest = 0;
    for (uint32_t i = 0; i < m->tensor_count; i++) {
        const sl_model_tensor *t = &m->tensors[i];
        if (!streamable(t) || (t->part == SL_PART_EMBED && !m->tied_output)) continue;
        const uint64_t rows = (uint64_t)t->row_bytes * ROW_GRANULE;
        const uint64_t size = sl_part_is_experts(t->part) ? t->file->size_bytes
                                                          : SL_MIN(t->file->size_bytes, SL_MAX(target, rows));
        largest = SL_MAX(largest, sl_align_up(size, SL_PLAN_ALIGNMENT_BYTES));
    }
    return largest;
}

static uint64_t ring_for(const sl_model *m, uint64_t target)
{
    return RING_STAGES * SL_MAX(sl_align_up(target, SL_PLAN_ALIGNMENT_BYTES), largest_piece(m, target));
}

/* Gives homes: everything on the device, or `room` bytes of matrices there and the rest in the file. */
static void choose_homes(sl_plan *plan, uint64_t room)
{
    const sl_model *m = plan->model;
    for (uint32_t i = 0; i < m->tensor_count; i++) {
        const sl_model_tensor *t = &m->tensors[i];
        plan->places[i].home = !streamable(t)                                ? SL_HOME_DEVICE
                               : t->part == SL_PART_EMBED && !m->tied_output ? SL_HOME_ROWS
                                                                             : SL_HOME_FILE;
    }
    for (size_t k = 0; k < SL_COUNTOF(pin_order); k++) {
        uint64_t count = 0, largest = 0;
        for (uint32_t i = 0; i < m->tensor_count; i++) {
            if (m->tensors[i].part != pin_order[k]) continue;
            count++;
            largest = SL_MAX(largest, tensor_room(&m->tensors[i]));
        }
        if (!count || (pin_order[k] == SL_PART_EMBED && !m->tied_output)) continue;
        /* Evenly spread: the n-th of `count` is taken when fit * n / count steps up. */
        const uint64_t fit = SL_MIN(count, room / largest);
        uint64_t n = 0;
        for (uint32_t i = 0; i < m->tensor_count; i++) {
            if (m->tensors[i].part != pin_order[k]) continue;
            if (fit * (n + 1) / count > fit * n / count) {
                plan->places[i].home = SL_HOME_DEVICE;
                room -= tensor_room(&m->tensors[i]);
            }
            n++;
        }
    }
}

/* Packs the resident tensors into blocks that the device can allocate. */
static sl_status place_residents(sl_plan *plan, uint64_t max_block_bytes, sl_diag *diag)
{
    const sl_model *m = plan->model;
    for (int pass = 0; pass < 2; pass++) { /* first count the blocks, then fill them in */
        uint32_t block = 0;
        uint64_t offset = 0;
        for (uint32_t i = 0; i < m->tensor_count; i++) {
            sl_place *p = &plan->places[i];
            if (p->home != SL_HOME_DEVICE) continue;
            const uint64_t room = tensor_room(&m->tensors[i]);
            if (room > max_block_bytes)
                return sl_fail(diag, SL_ERR_UNSUPPORTED,
                               "%s: tensor %s has %llu bytes; one allocation of this device at most %llu",
                               sl_gguf_path(m->gguf), m->tensors[i].file->name, (unsigned long long)room,
                               (unsigned long long)max_block_bytes);
            if (offset + room > max_block_bytes) {
                block++;
                offset = 0;
            }
            p->block = block;
            p->offset = offset;
            offset += room;
            if (pass) {
                plan->block_bytes[block] = offset;
                plan->resident_bytes += m->tensors[i].file->size_bytes;
            }
        }
        if (pass) break;
        plan->block_count = offset ? block + 1 : 0;
        plan->block_bytes = sl_calloc(plan->block_count, sizeof *plan->block_bytes);
        if (!plan->block_bytes) return sl_fail(diag, SL_ERR_NO_MEMORY, "plan: blocks");
    }
    return SL_OK;
}

static uint32_t rows_in_piece(const sl_model_tensor *t, uint64_t limit)
{
    if (sl_part_is_experts(t->part)) return (uint32_t)t->n_out;
    const uint64_t granules = SL_MAX(limit / ((uint64_t)t->row_bytes * ROW_GRANULE), 1);
    return (uint32_t)SL_MIN(granules * ROW_GRANULE, t->n_out);
}

/* Order of use: as in the model, but a tied embedding is used last. */
static uint32_t use_order(const sl_model *m, uint32_t n)
{
    if (!m->tied_output) return n;
    return n + 1 < m->tensor_count ? n + 1 : 0;
}

static sl_status cut_pieces(sl_plan *plan, uint64_t limit, uint32_t read_alignment, sl_diag *diag)
{
    const sl_model *m = plan->model;
    uint64_t count = 0;
    for (uint32_t i = 0; i < m->tensor_count; i++)
        if (plan->places[i].home == SL_HOME_FILE)
            count += sl_div_up(m->tensors[i].n_out, rows_in_piece(&m->tensors[i], limit));
    plan->pieces = sl_calloc(count, sizeof *plan->pieces);
    plan->stages = sl_calloc(count, sizeof *plan->stages);
    if (!plan->pieces || !plan->stages) return sl_fail(diag, SL_ERR_NO_MEMORY, "plan: pieces");
    for (uint32_t n = 0; n < m->tensor_count; n++) {
        const uint32_t i = use_order(m, n);
        const sl_model_tensor *t = &m->tensors[i];
        sl_place *place = &plan->places[i];
        if (place->home != SL_HOME_FILE) continue;
        place->piece = plan->piece_count;
        const uint32_t rows = rows_in_piece(t, limit);
        for (uint32_t row = 0; row < t->n_out; row += rows) {
            sl_piece *p = &plan->pieces[plan->piece_count++];
            p->tensor = i;
            p->row = row;
            p->row_count = (uint32_t)SL_MIN(rows, t->n_out - row);
            p->file_offset = t->file->offset_bytes + (uint64_t)row * t->row_bytes;
            p->size_bytes = (uint64_t)p->row_count * t->row_bytes * t->n_experts;
            p->read_offset = sl_align_down(p->file_offset, read_alignment);
            p->read_bytes = sl_align_up(p->file_offset + p->size_bytes, read_alignment) - p->read_offset;
            plan->streamed_bytes += p->size_bytes;
            plan->read_bytes += p->read_bytes;
        }
        place->piece_count = plan->piece_count - place->piece;
    }
    return SL_OK;
}

/* One ring: `size(piece)` bytes each, laid out stage after stage from 0, wrapping when the end is reached. */
typedef struct span {
    uint64_t begin, end;
} span;

static uint32_t reuse_distance(const span *spans, uint32_t count, uint32_t stage)
{
    for (uint32_t back = 1; back < count; back++) {
        const span *other = &spans[(stage + count - back) % count];
        if (other->begin < spans[stage].end && spans[stage].begin < other->end) return back;
    }
    return count; /* only with itself, one pass ago */
}

static sl_status lay_out(sl_plan *plan, bool host, uint32_t alignment, uint64_t *out_ring_bytes,
                         sl_diag *diag)
{
    uint64_t largest = 0, total = 0;
    span *spans = sl_calloc(plan->stage_count, sizeof *spans);
    if (!spans) return sl_fail(diag, SL_ERR_NO_MEMORY, "plan: ring");
    for (uint32_t s = 0; s < plan->stage_count; s++) {
        const sl_stage *stage = &plan->stages[s];
        uint64_t size = 0;
        for (uint32_t p = stage->piece; p < stage->piece + stage->piece_count; p++)
            size += sl_align_up(host ? plan->pieces[p].read_bytes : plan->pieces[p].size_bytes, alignment);
        spans[s].end = size;
        largest = SL_MAX(largest, size);
        total += size;
    }
    const uint64_t ring = SL_MIN(RING_STAGES * largest, SL_MAX(total, 2 * largest));
    uint64_t at = 0;
    for (uint32_t s = 0; s < plan->stage_count; s++) {
        const uint64_t size = spans[s].end;
        if (at + size > ring) at = 0;
        spans[s] = (span){at, at + size};
        for (uint32_t p = plan->stages[s].piece; p < plan->stages[s].piece + plan->stages[s].piece_count;
             p++) {
            sl_piece *piece = &plan->pieces[p];
            *(host ? &piece->host_offset : &piece->device_offset) = at;
            at += sl_align_up(host ? piece->read_bytes : piece->size_bytes, alignment);
        }
    }
    for (uint32_t s = 0; s < plan->stage_count; s++)
        *(host ? &plan->stages[s].host_reuse : &plan->stages[s].device_reuse) =
            reuse_distance(spans, plan->stage_count, s);
    *out_ring_bytes = ring;
    sl_free(spans);
    return SL_OK;
}

static void group_stages(sl_plan *plan, uint64_t limit)
{
    for (uint32_t p = 0; p < plan->piece_count; p++) {
        const uint64_t room = sl_align_up(plan->pieces[p].size_bytes, SL_PLAN_ALIGNMENT_BYTES);
        sl_stage *last = plan->stage_count ? &plan->stages[plan->stage_count - 1] : NULL;
        if (!last || last->size_bytes + room > limit) {
            last = &plan->stages[plan->stage_count++];
            *last = (sl_stage){.piece = p};
        }
        last->piece_count++;
        last->size_bytes += room;
    }
}

/* `all`: room for every tensor. A model smaller than the smallest ring works without one. */
static sl_status plan_streaming(sl_plan *plan, const sl_plan_options *o, uint64_t always, uint64_t all,
                                uint64_t weights_room, sl_diag *diag)
{
    const sl_model *m = plan->model;
    uint64_t target = 0;
    for (size_t i = 0; i < SL_COUNTOF(stage_targets) && !target; i++)
        if (ring_for(m, stage_targets[i]) <= weights_room / RING_SHARE) target = stage_targets[i];
    if (!target) target = stage_targets[SL_COUNTOF(stage_targets) - 1];
    const uint64_t ring = ring_for(m, target);
    if (ring > weights_room) {
        const uint64_t smallest = sl_align_up(o->fixed_bytes + SL_MIN(always + ring, all), 1u << 20);
        return sl_fail(
            diag, SL_ERR_BUDGET,
            "%s: a budget of %llu MiB is too small to run this model even by streaming; the "
            "smallest that works is %llu MiB (%llu MiB are not weights: a smaller context or batch "
            "needs less)",
            sl_gguf_path(m->gguf), (unsigned long long)(o->budget_bytes >> 20),
            (unsigned long long)(smallest >> 20), (unsigned long long)(o->fixed_bytes >> 20));
    }
    choose_homes(plan, weights_room - ring);
    sl_status st = cut_pieces(plan, target, o->read_alignment_bytes, diag);
    if (st != SL_OK) return st;
    group_stages(plan, ring / RING_STAGES);
    if (!plan->stage_count) return SL_OK;
    if ((st = lay_out(plan, false, SL_PLAN_ALIGNMENT_BYTES, &plan->device_ring_bytes, diag)) != SL_OK)
        return st;
    return lay_out(plan, true, SL_MAX(o->read_alignment_bytes, SL_PLAN_ALIGNMENT_BYTES),
                   &plan->host_ring_bytes, diag);
}

sl_status sl_plan_make(const sl_model *model, const sl_plan_options *o, sl_plan *out, sl_diag *diag)
{
    *out = (sl_plan){.model = model};
    sl_status st = SL_OK;
    out->places = sl_calloc(model->tensor_count, sizeof *out->places);
    if (!out->places) return sl_fail(diag, SL_ERR_NO_MEMORY, "plan: places");
    uint64_t all = 0, always = 0;
    for (uint32_t i = 0; i < model->tensor_count; i++) {
        all += tensor_room(&model->tensors[i]);
        if (!streamable(&model->tensors[i])) always += tensor_room(&model->tensors[i]);
    }
    uint64_t spoken_for = 0;
    if (!sl_checked_add(o->fixed_bytes, always, &spoken_for)) {
        st = sl_fail(diag, SL_ERR_OVERFLOW, "plan: %llu fixed bytes", (unsigned long long)o->fixed_bytes);
    } else if (!o->budget_bytes ||
               (o->budget_bytes >= o->fixed_bytes && o->budget_bytes - o->fixed_bytes >= all)) {
        for (uint32_t i = 0; i < model->tensor_count; i++)
            out->places[i].home = SL_HOME_DEVICE;
    } else {
        st = plan_streaming(out, o, always, all,
                            o->budget_bytes > spoken_for ? o->budget_bytes - spoken_for : 0, diag);
    }
    if (st == SL_OK) st = place_residents(out, o->max_block_bytes, diag);
    if (st != SL_OK) sl_plan_clear(out);
    return st;
}

void sl_plan_clear(sl_plan *plan)
{
    sl_free(plan->places);
    sl_free(plan->block_bytes);
    sl_free(plan->pieces);
    sl_free(plan->stages);
    *plan = (sl_plan){0};
}
