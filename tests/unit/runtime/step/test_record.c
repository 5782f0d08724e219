/* Where barriers stand: recordings against the null driver, which counts. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "tests/support/test_device.h"

#include "hal/base/checked.h"
#include "hal/null/null.h"
#include "runtime/model/model.h"
#include "runtime/step/record.h"

#include <stdio.h>
#include <string.h>

typedef struct fixture {
    sl_device *device;
    sl_kernel_set *kernels;
    const sl_bound_kernel *add;
    sl_step step;
} fixture;

static int set_up(void **state)
{
    static fixture f;
    sl_diag diag;
    f = (fixture){0};
    EXPECT_OK(sl_device_create("null", 0, NULL, &f.device, &diag));
    EXPECT_OK(sl_kernel_set_create(f.device, &f.kernels, &diag));
    EXPECT_OK(sl_kernel_set_get(f.kernels, SL_K_add, 0, NULL, 0, &f.add, &diag));
    *state = &f;
    return 0;
}

static int tear_down(void **state)
{
    fixture *f = *state;
    sl_step_clear(&f->step);
    sl_kernel_set_destroy(f->kernels);
    sl_device_destroy(f->device);
    return 0;
}

static sl_phase *add_phase(fixture *f, uint32_t stage)
{
    sl_phase *phase = sl_step_add(&f->step);
    assert_non_null(phase);
    const struct sl_push_add push = {.n = 4};
    memcpy(phase->push, &push, sizeof push);
    phase->kernel = f->add;
    phase->layer = SL_NO_LAYER;
    phase->stage = stage;
    return phase;
}

static void reads(sl_phase *phase, uint64_t begin, uint64_t end)
{
    sl_phase_reads(phase, (sl_range){begin, end});
}

static void writes(sl_phase *phase, uint64_t begin, uint64_t end)
{
    sl_phase_writes(phase, (sl_range){begin, end});
}

/* Records what the step holds as one segment; the driver's counts agree with the recording's. */
static uint32_t barriers_of(fixture *f)
{
    sl_recording recording;
    sl_null_counts counts;
    sl_diag diag;
    EXPECT_OK(sl_record(f->device, &f->step, 0, NULL, SL_TIMING_NONE, &recording, &diag));
    assert_int_equal(recording.segment_count, 1);
    assert_int_equal(recording.dispatches, f->step.count);
    sl_null_recorded(recording.segments[0].commands, &counts);
    assert_int_equal(counts.dispatches, f->step.count);
    assert_int_equal(counts.barriers, recording.barriers + 1); /* and one at the end of the pass */
    const uint32_t barriers = recording.barriers;
    sl_recording_clear(&recording);
    sl_step_clear(&f->step);
    return barriers;
}

/* Two phases, each with one range read and one written; 0, 0: none. */
static uint32_t pair(fixture *f, sl_range read1, sl_range write1, sl_range read2, sl_range write2)
{
    sl_phase *a = add_phase(f, 0);
    reads(a, read1.begin, read1.end);
    writes(a, write1.begin, write1.end);
    sl_phase *b = add_phase(f, 0);
    reads(b, read2.begin, read2.end);
    writes(b, write2.begin, write2.end);
    return barriers_of(f);
}

#define R(b, e) ((sl_range){(b), (e)})

static void test_hazards(void **state)
{
    fixture *f = *state;
    const sl_range none = {0, 0};
    assert_int_equal(pair(f, R(100, 200), R(300, 400), R(500, 600), R(700, 800)), 0);  /* nothing in common */
    assert_int_equal(pair(f, R(100, 200), R(300, 400), R(300, 400), R(700, 800)), 1);  /* read after write */
    assert_int_equal(pair(f, R(100, 200), R(300, 400), R(500, 600), R(100, 200)), 1);  /* write after read */
    assert_int_equal(pair(f, R(100, 200), R(300, 400), R(500, 600), R(300, 400)), 1);  /* write after write */
    assert_int_equal(pair(f, R(100, 200), R(300, 400), R(100, 200), R(700, 800)), 0);  /* read after read */
    assert_int_equal(pair(f, R(100, 200), R(300, 400), R(399, 401), R(700, 800)), 1);  /* one byte */
    assert_int_equal(pair(f, R(100, 200), R(300, 400), R(200, 300), R(400, 500)), 0);  /* neighbours */
    assert_int_equal(pair(f, R(100, 200), R(300, 400), R(0, 1000), R(2000, 2001)), 1); /* around it */
    assert_int_equal(pair(f, none, R(300, 400), none, R(700, 800)), 0);
    assert_int_equal(pair(f, none, R(300, 400), R(350, 350), R(700, 800)),
                     0); /* an empty range touches nothing */
}

static void test_chains(void **state)
{
    fixture *f = *state;
    /* a -> b -> c: each waits. */
    for (uint32_t i = 0; i < 5; i++) {
        sl_phase *p = add_phase(f, 0);
        reads(p, 1000 + i * 100, 1100 + i * 100);
        writes(p, 1100 + i * 100, 1200 + i * 100);
    }
    assert_int_equal(barriers_of(f), 4);
    /* One norm feeds three products, and they one consumer: two barriers. */
    writes(add_phase(f, 0), 0, 100);
    for (uint32_t i = 0; i < 3; i++) {
        sl_phase *p = add_phase(f, 0);
        reads(p, 0, 100);
        writes(p, 1000 + i * 100, 1100 + i * 100);
    }
    reads(add_phase(f, 0), 1000, 1300);
    assert_int_equal(barriers_of(f), 2);
    /* A barrier settles everything before it: the second reader needs none. */
    writes(add_phase(f, 0), 0, 100);
    writes(add_phase(f, 0), 200, 300);
    reads(add_phase(f, 0), 0, 100);
    reads(add_phase(f, 0), 200, 300);
    assert_int_equal(barriers_of(f), 1);
}

/* The list of what is unfinished is bounded: independent phases without end get a barrier now and then. */
static void test_many_independent(void **state)
{
    fixture *f = *state;
    for (uint32_t i = 0; i < 200; i++)
        writes(add_phase(f, 0), 1000 + i * 100, 1100 + i * 100);
    const uint32_t barriers = barriers_of(f);
    assert_true(barriers >= 1 && barriers <= 200 / 32);
}

static void test_result_copy(void **state)
{
    fixture *f = *state;
    sl_diag diag;
    sl_null_counts counts;
    sl_recording recording;
    sl_buffer *a = sl_test_buffer(f->device, 4096, SL_MEMORY_DEVICE);
    sl_buffer *b = sl_test_buffer(f->device, 4096, SL_MEMORY_READBACK);
    writes(add_phase(f, 0), 0, 100);
    const sl_result_copy copy = {a, b, 256, 0, 1024};
    EXPECT_OK(sl_record(f->device, &f->step, 0, &copy, SL_TIMING_NONE, &recording, &diag));
    sl_null_recorded(recording.segments[0].commands, &counts);
    assert_int_equal(counts.copies, 1);
    assert_int_equal(counts.copied_bytes, 1024);
    assert_int_equal(counts.barriers, 2); /* before the copy, and at the end */
    sl_recording_clear(&recording);
    sl_buffer_destroy(a);
    sl_buffer_destroy(b);
}

/* Segments: one a stage, in order, also for stages without phases; one before them only where something needs
 * no stage. Barriers do not reach across: the semaphores order segments. */
static void test_segments(void **state)
{
    fixture *f = *state;
    sl_diag diag;
    sl_recording recording;
    sl_null_counts counts;
    static const uint32_t stages[] = {0, 0, 1, 1,
                                      3, 3, 0}; /* what needs none after stage 3 stays behind it */
    static const uint32_t dispatches[] = {2, 2, 0, 3};
    for (size_t i = 0; i < SL_COUNTOF(stages); i++) {
        sl_phase *p = add_phase(f, stages[i]);
        reads(p, 0, 100);
        writes(p, 0, 100);
    }
    EXPECT_OK(sl_record(f->device, &f->step, 3, NULL, SL_TIMING_NONE, &recording, &diag));
    assert_int_equal(recording.segment_count, 4);
    for (uint32_t i = 0; i < 4; i++) {
        assert_int_equal(recording.segments[i].stage, i);
        sl_null_recorded(recording.segments[i].commands, &counts);
        assert_int_equal(counts.dispatches, dispatches[i]);
        assert_int_equal(counts.barriers, (dispatches[i] ? dispatches[i] - 1 : 0) + (i == 3));
    }
    sl_recording_clear(&recording);
    sl_step_clear(&f->step);
    writes(add_phase(f, 1), 0, 100);
    EXPECT_OK(sl_record(f->device, &f->step, 2, NULL, SL_TIMING_NONE, &recording, &diag));
    assert_int_equal(recording.segment_count, 2);
    assert_int_equal(recording.segments[0].stage, 1);
    assert_int_equal(recording.segments[1].stage, 2);
    sl_recording_clear(&recording);
}

/* ---- timestamps ---- */

static sl_recording record_timed(fixture *f, uint32_t stages, const sl_result_copy *copy, sl_timing timing)
{
    sl_recording r;
    sl_diag diag;
    EXPECT_OK(sl_record(f->device, &f->step, stages, copy, timing, &r, &diag));
    return r;
}

/* Two layers, each one phase that three read, and one that joins them; a phase before, and one after. */
static void add_layers(fixture *f)
{
    writes(add_phase(f, 0), 0, 100);
    for (uint32_t layer = 0; layer < 2; layer++) {
        sl_phase *p = add_phase(f, 0);
        reads(p, 0, 100);
        writes(p, 200, 300);
        p->layer = layer;
        for (uint32_t i = 0; i < 3; i++) {
            p = add_phase(f, 0);
            reads(p, 200, 300);
            writes(p, 1000 + i * 100, 1100 + i * 100);
            p->layer = layer;
        }
        p = add_phase(f, 0);
        reads(p, 1000, 1300);
        writes(p, 0, 100);
        p->layer = layer;
    }
    reads(add_phase(f, 0), 0, 100);
}

/* Every phase is in one span, in order; spans use slots two by two; needed barriers are the same whatever the
 * timing. */
static void check_spans(const fixture *f, const sl_recording *r, uint32_t barriers)
{
    uint32_t phase = 0, counted = 0, slots = 0;
    for (uint32_t i = 0; i < r->span_count; i++) {
        const sl_span *s = &r->spans[i];
        if (i && s->segment != r->spans[i - 1].segment) slots = 0;
        assert_int_equal(s->slot, slots);
        slots += 2;
        assert_int_equal(s->phase, phase);
        phase += s->phase_count;
        counted += s->barriers;
        assert_true(slots <= r->segments[s->segment].timestamps);
    }
    assert_int_equal(phase, f->step.count);
    assert_int_equal(counted, barriers);
    assert_int_equal(r->barriers, barriers);
    assert_int_equal(r->dispatches, f->step.count);
}

static void expect_timing(fixture *f, sl_timing timing, uint32_t spans, uint64_t recorded_barriers)
{
    sl_null_counts counts;
    sl_recording r = record_timed(f, 0, NULL, timing);
    check_spans(f, &r, 7);
    sl_null_recorded(r.segments[0].commands, &counts);
    assert_int_equal(r.span_count, spans);
    assert_int_equal(counts.timestamps, 2 * spans);
    assert_int_equal(counts.dispatches, f->step.count);
    assert_int_equal(counts.barriers, recorded_barriers);
    sl_recording_clear(&r);
}

static void test_timing(void **state)
{
    fixture *f = *state;
    add_layers(f);
    /* Needed: before each layer's first and last phase, before its three, and before the last phase of all.
     */
    expect_timing(f, SL_TIMING_PHASES, 12, 11 + 1);
    expect_timing(f, SL_TIMING_BARRIERS, 8, 7 + 1);
    expect_timing(f, SL_TIMING_LAYERS, 4, 7 + 1);
    expect_timing(f, SL_TIMING_SEGMENTS, 1, 7 + 1);
    sl_recording r = record_timed(f, 0, NULL, SL_TIMING_NONE);
    assert_null(r.spans);
    assert_int_equal(r.segments[0].timestamps, 0);
    sl_recording_clear(&r);

    r = record_timed(f, 0, NULL, SL_TIMING_LAYERS);
    static const uint32_t phases[] = {1, 5, 5, 1};
    for (uint32_t i = 0; i < 4; i++)
        assert_int_equal(r.spans[i].phase_count, phases[i]);
    sl_recording_clear(&r);
    r = record_timed(f, 0, NULL, SL_TIMING_BARRIERS);
    static const uint32_t groups[] = {1, 1, 3, 1, 1, 3, 1, 1};
    for (uint32_t i = 0; i < 8; i++)
        assert_int_equal(r.spans[i].phase_count, groups[i]);
    sl_recording_clear(&r);
}

static void test_timing_of_results(void **state)
{
    fixture *f = *state;
    sl_buffer *a = sl_test_buffer(f->device, 4096, SL_MEMORY_DEVICE);
    sl_buffer *b = sl_test_buffer(f->device, 4096, SL_MEMORY_READBACK);
    const sl_result_copy copy = {a, b, 0, 0, 64};
    writes(add_phase(f, 0), 0, 100);
    for (int t = SL_TIMING_PHASES; t <= SL_TIMING_SEGMENTS; t++) {
        sl_recording r = record_timed(f, 0, &copy, (sl_timing)t);
        check_spans(f, &r, 1);
        assert_int_equal(r.span_count, t == SL_TIMING_SEGMENTS ? 1 : 2);
        assert_true(r.spans[r.span_count - 1].copies);
        sl_recording_clear(&r);
        /* The last segment has the copy alone. */
        r = record_timed(f, 1, &copy, (sl_timing)t);
        assert_int_equal(r.segment_count, 2);
        check_spans(f, &r, 1);
        assert_int_equal(r.span_count, 2);
        assert_int_equal(r.spans[1].phase_count, 0);
        assert_true(r.spans[1].copies && !r.spans[0].copies);
        sl_recording_clear(&r);
    }
    sl_buffer_destroy(a);
    sl_buffer_destroy(b);
}

/* Segments without phases have a span too, so that waits before them can be seen. */
static void test_timing_of_segments(void **state)
{
    fixture *f = *state;
    static const uint32_t stages[] = {0, 0, 1, 1, 3, 3};
    for (size_t i = 0; i < SL_COUNTOF(stages); i++)
        reads(add_phase(f, stages[i]), 0, 100);
    for (int t = SL_TIMING_PHASES; t <= SL_TIMING_SEGMENTS; t++) {
        sl_recording r = record_timed(f, 3, NULL, (sl_timing)t);
        check_spans(f, &r, 0);
        assert_int_equal(r.segment_count, 4);
        assert_int_equal(r.span_count, t == SL_TIMING_PHASES ? 7 : 4);
        for (uint32_t s = 0; s < 4; s++) {
            sl_null_counts counts;
            sl_null_recorded(r.segments[s].commands, &counts);
            assert_int_equal(counts.timestamps, r.segments[s].timestamps);
            assert_true(counts.timestamps >= 2);
        }
        sl_recording_clear(&r);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_hazards, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_chains, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_many_independent, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_result_copy, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_segments, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_timing, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_timing_of_results, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_timing_of_segments, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
