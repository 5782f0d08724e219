/* The plan, by brute force: for many budgets, what is resident fits, pieces cover each streamed tensor
 * exactly, no two live pieces share bytes of a ring, and a reuse distance names exactly the last stage that
 * had the bytes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "tests/support/test_engine.h"
#include "tests/support/tiny_model.h"

#include "hal/base/checked.h"
#include "runtime/plan/plan.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { FIXED = 1234567, PASSES = 3, STAGES_MAX = 4096 };

typedef struct fixture {
    sl_gguf *gguf;
    sl_model model;
} fixture;

static fixture open_model(const tiny_model *m)
{
    fixture f = {0};
    sl_diag diag = {0};
    const char *path = sl_test_path("plan.gguf");
    tiny_model_write(m, path);
    if (sl_gguf_open(path, &f.gguf, &diag) != SL_OK || sl_model_read(f.gguf, &f.model, &diag) != SL_OK)
        fail_msg("%s", diag.message);
    return f;
}

static void close_model(fixture *f)
{
    sl_model_clear(&f->model);
    sl_gguf_close(f->gguf);
}

/* Large enough for several stages of several pieces. */
static tiny_model large_model(const char *arch, bool tied)
{
    tiny_model m = tiny_model_default();
    m.arch = arch;
    m.layers = 5;
    m.embd = 256;
    m.ff = 700;
    m.vocab = 1000;
    m.experts = 8;
    m.expert_ff = 96;
    m.tied = tied;
    return m;
}

static uint64_t room(const sl_model_tensor *t)
{
    return sl_align_up(t->file->size_bytes, SL_PLAN_ALIGNMENT_BYTES);
}

static void check_residents(const sl_plan *plan, const sl_plan_options *o)
{
    const sl_model *m = plan->model;
    uint64_t blocks = 0, resident = 0;
    for (uint32_t b = 0; b < plan->block_count; b++) {
        assert_true(plan->block_bytes[b] > 0 && plan->block_bytes[b] <= o->max_block_bytes);
        blocks += plan->block_bytes[b];
    }
    if (o->budget_bytes) assert_true(o->fixed_bytes + blocks + plan->device_ring_bytes <= o->budget_bytes);
    for (uint32_t i = 0; i < m->tensor_count; i++) {
        const sl_place *p = &plan->places[i];
        const sl_model_tensor *t = &m->tensors[i];
        if (!sl_part_is_matrix(t->part) || t->part == SL_PART_ROUTER)
            assert_int_equal(p->home, SL_HOME_DEVICE);
        if (p->home == SL_HOME_ROWS) assert_true(t->part == SL_PART_EMBED && !m->tied_output);
        if (p->home != SL_HOME_DEVICE) continue;
        resident += t->file->size_bytes;
        assert_true(p->block < plan->block_count);
        assert_int_equal(p->offset % SL_PLAN_ALIGNMENT_BYTES, 0);
        assert_true(p->offset + t->file->size_bytes <= plan->block_bytes[p->block]);
        for (uint32_t k = 0; k < i; k++) {
            const sl_place *q = &plan->places[k];
            if (q->home != SL_HOME_DEVICE || q->block != p->block) continue;
            assert_true(q->offset + room(&m->tensors[k]) <= p->offset || p->offset + room(t) <= q->offset);
        }
    }
    assert_int_equal(resident, plan->resident_bytes);
}

/* Each streamed tensor is covered by its pieces, row after row; reads cover pieces. */
static void check_pieces(const sl_plan *plan, const sl_plan_options *o)
{
    const sl_model *m = plan->model;
    uint64_t streamed = 0, reads = 0;
    uint32_t pieces = 0, next = 0;
    for (uint32_t i = 0; i < m->tensor_count; i++) {
        const sl_place *place = &plan->places[i];
        const sl_model_tensor *t = &m->tensors[i];
        if (place->home != SL_HOME_FILE) continue;
        uint32_t row = 0;
        uint64_t at = t->file->offset_bytes;
        for (uint32_t k = place->piece; k < place->piece + place->piece_count; k++) {
            const sl_piece *p = &plan->pieces[k];
            assert_int_equal(p->tensor, i);
            assert_int_equal(p->row, row);
            assert_int_equal(p->file_offset, at);
            assert_true(p->row_count > 0 && p->size_bytes > 0);
            assert_int_equal(p->read_offset % o->read_alignment_bytes, 0);
            assert_int_equal(p->read_bytes % o->read_alignment_bytes, 0);
            assert_true(p->read_offset <= p->file_offset);
            assert_true(p->file_offset + p->size_bytes <= p->read_offset + p->read_bytes);
            assert_true(p->read_bytes < p->size_bytes + 2ull * o->read_alignment_bytes);
            row += p->row_count;
            at += p->size_bytes;
            streamed += p->size_bytes;
            reads += p->read_bytes;
        }
        assert_int_equal(row, t->n_out);
        assert_int_equal(at, t->file->offset_bytes + t->file->size_bytes);
        pieces += place->piece_count;
    }
    assert_int_equal(pieces, plan->piece_count);
    assert_int_equal(streamed, plan->streamed_bytes);
    assert_int_equal(reads, plan->read_bytes);
    for (uint32_t s = 0; s < plan->stage_count; s++) { /* stages are runs that cover all pieces in order */
        assert_int_equal(plan->stages[s].piece, next);
        assert_true(plan->stages[s].piece_count > 0);
        next += plan->stages[s].piece_count;
    }
    assert_int_equal(next, plan->piece_count);
}

static uint64_t begin_of(const sl_piece *p, bool host)
{
    return host ? p->host_offset : p->device_offset;
}

static uint64_t end_of(const sl_piece *p, bool host)
{
    return begin_of(p, host) + (host ? p->read_bytes : p->size_bytes);
}

static bool overlap(const sl_plan *plan, uint32_t a, uint32_t b, bool host)
{
    const sl_stage *x = &plan->stages[a], *y = &plan->stages[b];
    for (uint32_t i = x->piece; i < x->piece + x->piece_count; i++)
        for (uint32_t k = y->piece; k < y->piece + y->piece_count; k++)
            if (begin_of(&plan->pieces[i], host) < end_of(&plan->pieces[k], host) &&
                begin_of(&plan->pieces[k], host) < end_of(&plan->pieces[i], host))
                return true;
    return false;
}

static void check_ring(const sl_plan *plan, const sl_plan_options *o, bool host)
{
    const uint64_t ring = host ? plan->host_ring_bytes : plan->device_ring_bytes;
    const uint32_t alignment = host ? o->read_alignment_bytes : SL_PLAN_ALIGNMENT_BYTES;
    for (uint32_t i = 0; i < plan->piece_count; i++) {
        assert_int_equal(begin_of(&plan->pieces[i], host) % alignment, 0);
        assert_true(end_of(&plan->pieces[i], host) <= ring);
    }
    for (uint32_t s = 0; s < plan->stage_count; s++) {
        const sl_stage *stage = &plan->stages[s];
        for (uint32_t i = stage->piece; i < stage->piece + stage->piece_count; i++)
            for (uint32_t k = stage->piece; k < i; k++)
                assert_true(end_of(&plan->pieces[k], host) <= begin_of(&plan->pieces[i], host));
        /* Walk back through the endless sequence until a stage that had some of these bytes. */
        uint32_t back = 1;
        while (!overlap(plan, s, (s + plan->stage_count * 2 - back) % plan->stage_count, host))
            back++;
        assert_int_equal(host ? stage->host_reuse : stage->device_reuse, back);
    }
    /* Two stages are in the ring at once where there are two: reading and computing overlap. */
    if (plan->stage_count > 1)
        for (uint32_t s = 0; s + 1 < plan->stage_count; s++)
            assert_false(overlap(plan, s, s + 1, host));
}

/* The ring in use: a stage is filled as early as its distance allows, with all older ones still unread. Bytes
 * of a stage that was filled and not used yet are never written. */
static void simulate(const sl_plan *plan)
{
    const uint32_t total = plan->stage_count * PASSES;
    assert_true(total < STAGES_MAX);
    for (uint32_t used = 0; used < total; used++) { /* stages 0 .. used - 1 have been computed */
        uint32_t filled = used;
        while (filled < total) {
            const uint32_t distance = plan->stages[filled % plan->stage_count].device_reuse;
            if (filled >= distance && filled - distance >= used)
                break; /* must wait for stage filled - distance */
            for (uint32_t live = used; live < filled; live++)
                assert_false(overlap(plan, live % plan->stage_count, filled % plan->stage_count, false));
            filled++;
        }
        assert_true(filled > used); /* never stuck: what is needed next may always be filled */
    }
}

static void check_plan(const sl_plan *plan, const sl_plan_options *o)
{
    check_residents(plan, o);
    check_pieces(plan, o);
    if (!plan->stage_count) return;
    check_ring(plan, o, false);
    check_ring(plan, o, true);
    simulate(plan);
}

static sl_plan_options options_with(uint64_t budget)
{
    return (sl_plan_options){.budget_bytes = budget,
                             .fixed_bytes = FIXED,
                             .max_block_bytes = 1ull << 30,
                             .read_alignment_bytes = 4096};
}

static uint64_t smallest_budget(const sl_model *m)
{
    sl_plan plan;
    sl_diag diag = {0};
    const sl_plan_options o = options_with(1);
    assert_int_equal(sl_plan_make(m, &o, &plan, &diag), SL_ERR_BUDGET);
    assert_null(plan.places);
    const char *at = strstr(diag.message, "smallest that works is ");
    assert_non_null(at);
    return strtoull(at + strlen("smallest that works is "), NULL, 10) << 20;
}

static void check_budgets(const tiny_model *tiny)
{
    fixture f = open_model(tiny);
    const uint64_t smallest = smallest_budget(&f.model);
    sl_diag diag = {0};
    sl_plan plan;
    uint64_t streamed_before = UINT64_MAX;
    uint32_t streaming = 0;
    for (uint64_t budget = smallest; budget < FIXED + f.model.bytes + (2u << 20); budget += 77777) {
        const sl_plan_options o = options_with(budget);
        if (sl_plan_make(&f.model, &o, &plan, &diag) != SL_OK)
            fail_msg("%llu bytes: %s", (unsigned long long)budget, diag.message);
        check_plan(&plan, &o);
        streaming += plan.stage_count > 0;
        if (budget >= FIXED + f.model.bytes + 256ull * f.model.tensor_count) {
            assert_int_equal(plan.stage_count, 0);
            assert_int_equal(plan.resident_bytes, f.model.bytes);
        }
        streamed_before = SL_MIN(streamed_before, plan.streamed_bytes);
        sl_plan_clear(&plan);
    }
    assert_int_equal(streamed_before, 0);
    assert_true(streaming > 5);
    const sl_plan_options less = options_with(smallest - (1u << 20));
    assert_int_equal(sl_plan_make(&f.model, &less, &plan, &diag), SL_ERR_BUDGET);
    close_model(&f);
}

static void test_budgets(void **state)
{
    (void)state;
    static const char *const archs[] = {"llama", "gemma3", "qwen3", "qwen3moe"};
    for (size_t i = 0; i < SL_COUNTOF(archs); i++)
        for (int tied = 0; tied < 2; tied++) {
            const tiny_model m = large_model(archs[i], tied);
            check_budgets(&m);
        }
}

static void test_blocks(void **state)
{
    (void)state;
    const tiny_model m = large_model("llama", false);
    fixture f = open_model(&m);
    sl_diag diag = {0};
    sl_plan plan;
    uint64_t largest = 0;
    for (uint32_t i = 0; i < f.model.tensor_count; i++)
        largest = SL_MAX(largest, room(&f.model.tensors[i]));
    sl_plan_options o = options_with(0);
    for (uint64_t block = largest; block < 4 * largest; block += 65536) {
        o.max_block_bytes = block;
        if (sl_plan_make(&f.model, &o, &plan, &diag) != SL_OK) fail_msg("%s", diag.message);
        check_plan(&plan, &o);
        assert_true(plan.block_count >= (f.model.bytes + block - 1) / block);
        sl_plan_clear(&plan);
    }
    o.max_block_bytes = largest - 256;
    assert_int_equal(sl_plan_make(&f.model, &o, &plan, &diag), SL_ERR_UNSUPPORTED);
    assert_non_null(strstr(diag.message, "plan.gguf"));
    assert_non_null(strstr(diag.message, "tensor "));
    o = options_with(1000);
    o.fixed_bytes = UINT64_MAX - 5;
    assert_int_equal(sl_plan_make(&f.model, &o, &plan, &diag), SL_ERR_OVERFLOW);
    close_model(&f);
}

/* A model that is smaller than any ring: the smallest budget is one with which all of it is resident. */
static void test_model_smaller_than_a_ring(void **state)
{
    (void)state;
    tiny_model m = tiny_model_default();
    m.layers = 1;
    m.heads = m.kv_heads = 1;
    fixture f = open_model(&m);
    const uint64_t smallest = smallest_budget(&f.model);
    const sl_plan_options o = options_with(smallest);
    sl_plan plan;
    sl_diag diag = {0};
    assert_int_equal(smallest, 2u << 20);
    assert_int_equal(sl_plan_make(&f.model, &o, &plan, &diag), SL_OK);
    assert_int_equal(plan.resident_bytes, f.model.bytes);
    sl_plan_clear(&plan);
    close_model(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_budgets),
        cmocka_unit_test(test_blocks),
        cmocka_unit_test(test_model_smaller_than_a_ring),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
