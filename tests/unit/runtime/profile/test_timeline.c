/* Gaps and their causes, and device times on the host's clock: made-up passes, known answers. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "tests/support/test_device.h"

#include "hal/base/alloc.h"
#include "hal/base/checked.h"
#include "runtime/profile/profiler.h"

#include <string.h>

static sl_profile *new_profile(void)
{
    sl_profile *p = sl_calloc(1, sizeof *p);
    assert_non_null(p);
    p->calibrated = true; /* clocks[]: the same moment, the same rate */
    return p;
}

static void add_pass(sl_profile *p, uint64_t begin_ns, uint64_t end_ns)
{
    sl_profile_pass *pass = sl_profile_add(&p->passes, sizeof *pass);
    assert_non_null(pass);
    *pass = (sl_profile_pass){.begin_ns = begin_ns,
                              .end_ns = end_ns,
                              .kernel = p->kernels.count,
                              .event = p->events.count,
                              .timed = true};
}

static sl_profile_pass *last(sl_profile *p)
{
    return &SL_PROFILE_ITEMS(p->passes, sl_profile_pass)[p->passes.count - 1];
}

static void add_kernel(sl_profile *p, uint32_t submission, uint64_t begin_ns, uint64_t end_ns)
{
    sl_profile_kernel *k = sl_profile_add(&p->kernels, sizeof *k);
    assert_non_null(k);
    *k = (sl_profile_kernel){.submission = submission, .begin_ns = begin_ns, .end_ns = end_ns};
    last(p)->kernel_count++;
}

static void add_event(sl_profile *p, sl_profile_activity activity, uint64_t begin_ns, uint64_t end_ns)
{
    sl_profile_event *e = sl_profile_add(&p->events, sizeof *e);
    assert_non_null(e);
    *e = (sl_profile_event){.activity = activity, .begin_ns = begin_ns, .end_ns = end_ns};
    if (activity == SL_PROFILE_READ || activity == SL_PROFILE_COPY)
        e->pass = SL_PROFILE_NO_PASS;
    else
        last(p)->event_count++;
}

/* Gaps do not overlap, lie between the kernels, and add up to what is not busy. Returns the sum of one cause.
 */
static uint64_t idle_by(const sl_profile *p, sl_profile_cause cause)
{
    sl_profile_view v;
    sl_profile_get(p, &v);
    uint64_t of_cause = 0;
    for (size_t i = 0; i < v.pass_count; i++) {
        const sl_profile_pass *pass = &v.passes[i];
        uint64_t idle = 0, at = pass->begin_ns;
        for (size_t n = pass->gap; n < pass->gap + pass->gap_count; n++) {
            assert_true(v.gaps[n].begin_ns >= at && v.gaps[n].end_ns > v.gaps[n].begin_ns);
            at = v.gaps[n].end_ns;
            idle += v.gaps[n].end_ns - v.gaps[n].begin_ns;
            if (v.gaps[n].cause == cause) of_cause += v.gaps[n].end_ns - v.gaps[n].begin_ns;
            for (size_t k = pass->kernel; k < pass->kernel + pass->kernel_count; k++)
                assert_true(v.gaps[n].end_ns <= v.kernels[k].begin_ns ||
                            v.gaps[n].begin_ns >= v.kernels[k].end_ns);
        }
        assert_true(at <= pass->end_ns);
        assert_int_equal(pass->busy_ns + idle, pass->end_ns - pass->begin_ns);
    }
    return of_cause;
}

static void expect_idle(const sl_profile *p, const uint64_t wanted[SL_PROFILE_CAUSES])
{
    for (int i = 0; i < SL_PROFILE_CAUSES; i++)
        if (idle_by(p, (sl_profile_cause)i) != wanted[i])
            fail_msg("%s: %llu ns, wanted %llu", sl_profile_cause_name((sl_profile_cause)i),
                     (unsigned long long)idle_by(p, (sl_profile_cause)i), (unsigned long long)wanted[i]);
}

static void test_one_submission(void **state)
{
    (void)state;
    sl_diag diag;
    sl_profile *p = new_profile();
    add_pass(p, 1000, 2000);
    add_event(p, SL_PROFILE_HOST_PREPARE, 1000, 1010);
    add_event(p, SL_PROFILE_HOST_SUBMIT, 1050, 1080);
    add_event(p, SL_PROFILE_HOST_WAIT, 1080, 1900);
    add_kernel(p, 0, 1100, 1200);
    add_kernel(p, 0, 1205, 1400);
    add_kernel(p, 0, 1400, 1700);
    EXPECT_OK(sl_profile_make_timeline(p, &diag));
    assert_int_equal(last(p)->busy_ns, 100 + 195 + 300);
    assert_int_equal(last(p)->device_begin_ns, 1100);
    assert_int_equal(last(p)->device_end_ns, 1700);
    expect_idle(p, (uint64_t[]){[SL_PROFILE_EMPTY] = 50 + 100,
                                [SL_PROFILE_SUBMIT] = 30,
                                [SL_PROFILE_START] = 20,
                                [SL_PROFILE_BARRIER] = 5,
                                [SL_PROFILE_RESULT] = 200,
                                [SL_PROFILE_STREAM] = 0});
    sl_profile_destroy(p);
}

/* The device begins while the host still submits, and one pass's clock is a little early. */
static void test_overlaps(void **state)
{
    (void)state;
    sl_diag diag;
    sl_profile *p = new_profile();
    add_pass(p, 1000, 1300);
    add_event(p, SL_PROFILE_HOST_SUBMIT, 1010, 1100);
    add_event(p, SL_PROFILE_HOST_WAIT, 1100, 1290);
    add_kernel(p, 0, 1040, 1250);
    add_kernel(p, 0, 1250, 1295); /* ends after the host was told */
    add_pass(p, 1300, 1400);
    add_event(p, SL_PROFILE_HOST_SUBMIT, 1310, 1320);
    add_event(p, SL_PROFILE_HOST_WAIT, 1320, 1390);
    add_kernel(p, 0, 1290, 1380); /* begins before its submit */
    EXPECT_OK(sl_profile_make_timeline(p, &diag));
    expect_idle(p, (uint64_t[]){[SL_PROFILE_EMPTY] = 10 + 5 + 10,
                                [SL_PROFILE_SUBMIT] = 30,
                                [SL_PROFILE_RESULT] = 10,
                                [SL_PROFILE_START] = 0,
                                [SL_PROFILE_BARRIER] = 0,
                                [SL_PROFILE_STREAM] = 0});
    sl_profile_destroy(p);
}

/* Two submissions; the second waits for weights: the host until their copy was submitted, the device until it
 * had ended. */
static void test_stream(void **state)
{
    (void)state;
    sl_diag diag;
    sl_profile *p = new_profile();
    add_pass(p, 1000, 2000);
    add_event(p, SL_PROFILE_HOST_SUBMIT, 1000, 1010);
    add_event(p, SL_PROFILE_HOST_STREAM, 1020, 1400);
    add_event(p, SL_PROFILE_HOST_SUBMIT, 1400, 1410);
    add_event(p, SL_PROFILE_HOST_WAIT, 1410, 2000);
    add_kernel(p, 0, 1010, 1100);
    add_kernel(p, 1, 1560, 2000);
    add_event(p, SL_PROFILE_COPY, 1390, 1550);
    add_event(p, SL_PROFILE_COPY, 1600, 1700);
    add_event(p, SL_PROFILE_READ, 1050, 1380);
    EXPECT_OK(sl_profile_make_timeline(p, &diag));
    expect_idle(p, (uint64_t[]){[SL_PROFILE_SUBMIT] = 10 + 10,
                                [SL_PROFILE_STREAM] = (1400 - 1100) + (1550 - 1410),
                                [SL_PROFILE_START] = 10,
                                [SL_PROFILE_EMPTY] = 0,
                                [SL_PROFILE_RESULT] = 0,
                                [SL_PROFILE_BARRIER] = 0});
    sl_profile_view v;
    sl_profile_get(p, &v);
    for (size_t i = last(p)->event_count + 1; i < v.event_count; i++) /* reads and copies by time */
        assert_true(v.events[i].begin_ns >= v.events[i - 1].begin_ns);
    sl_profile_destroy(p);
}

static void test_clocks(void **state)
{
    (void)state;
    sl_diag diag;
    /* The device's clock is 1 % slow and began elsewhere. */
    sl_profile *p = new_profile();
    p->clocks[0] = (sl_clock_point){.device_ns = 5000, .host_ns = 1000000};
    p->clocks[1] = (sl_clock_point){.device_ns = 5000 + 99000000, .host_ns = 1000000 + 100000000};
    add_pass(p, 1000000, 1000000 + 100000000);
    add_kernel(p, 0, 5000 + 9900000, 5000 + 19800000);
    EXPECT_OK(sl_profile_make_timeline(p, &diag));
    assert_in_range(last(p)->device_begin_ns, 1000000 + 9999990, 1000000 + 10000010);
    assert_in_range(last(p)->device_end_ns, 1000000 + 19999990, 1000000 + 20000010);
    sl_profile_destroy(p);

    /* Without calibration the last kernel ends when the host learns of it; durations are the device's. */
    p = new_profile();
    p->calibrated = false;
    add_pass(p, 1000, 2000);
    add_event(p, SL_PROFILE_HOST_WAIT, 1100, 1900);
    add_kernel(p, 0, 70, 170);
    add_kernel(p, 0, 180, 580);
    EXPECT_OK(sl_profile_make_timeline(p, &diag));
    assert_int_equal(last(p)->device_end_ns, 1900);
    assert_int_equal(last(p)->device_begin_ns, 1900 - 510);
    sl_profile_view v;
    sl_profile_get(p, &v);
    assert_string_equal(v.clock, "aligned");
    assert_int_equal(v.kernels[1].begin_ns, 1500);
    sl_profile_destroy(p);
}

static void test_names(void **state)
{
    (void)state;
    for (int i = 0; i < SL_PROFILE_CAUSES; i++)
        for (int k = 0; k < i; k++)
            assert_string_not_equal(sl_profile_cause_name((sl_profile_cause)i),
                                    sl_profile_cause_name((sl_profile_cause)k));
    for (int i = 0; i < SL_PROFILE_ACTIVITIES; i++)
        for (int k = 0; k < i; k++)
            assert_string_not_equal(sl_profile_activity_name((sl_profile_activity)i),
                                    sl_profile_activity_name((sl_profile_activity)k));
    assert_string_equal(sl_profile_cause_name((sl_profile_cause)SL_PROFILE_CAUSES), "unknown");
    assert_string_equal(sl_profile_activity_name((sl_profile_activity)SL_PROFILE_ACTIVITIES), "unknown");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_one_submission), cmocka_unit_test(test_overlaps), cmocka_unit_test(test_stream),
        cmocka_unit_test(test_clocks),         cmocka_unit_test(test_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
