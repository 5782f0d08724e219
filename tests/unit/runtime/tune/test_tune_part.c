/* In which phases passes differ, and whole layers of them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "runtime/tune/tune_internal.h"
#include "tests/support/test_device.h"

#include <string.h>

static void add(sl_step *step, const char *label, uint32_t layer, uint8_t push)
{
    sl_phase *p = sl_step_add(step);
    assert_non_null(p);
    p->label = label;
    p->layer = layer;
    p->stage = 3;
    p->push[0] = push;
}

/* Three layers, the weights of each decoded in the one before, as far as there is one. */
static void fill(sl_step *step, uint8_t push)
{
    add(step, "embed", SL_NO_LAYER, 0);
    add(step, "decode", 0, push);
    for (uint32_t layer = 0; layer < 3; layer++) {
        add(step, "norm", layer, 0);
        add(step, "product", layer, push);
        if (layer < 2) add(step, "decode", layer + 1, push);
        if (layer > 0) add(step, "post_norm", layer, push);
        add(step, "attention", layer, 0);
    }
    add(step, "output", SL_NO_LAYER, push);
}

static bool holds(const sl_label_set *set, const char *label)
{
    for (uint32_t i = 0; i < set->count; i++)
        if (!strcmp(set->labels[i], label)) return true;
    return false;
}

static uint32_t count_of(const sl_step *step, const char *label, uint32_t layer)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < step->count; i++)
        count += step->phases[i].layer == layer && !strcmp(step->phases[i].label, label);
    return count;
}

static void test_differ(void **state)
{
    (void)state;
    sl_step a = {0}, b = {0};
    sl_label_set none = {0}, labels = {0};
    fill(&a, 1);
    fill(&b, 1);
    sl_steps_differ(&a, &b, &none);
    assert_int_equal(none.count, 0);
    sl_step_clear(&b);
    fill(&b, 2);
    add(&b, "sample", SL_NO_LAYER, 0); /* only one of them has it */
    sl_steps_differ(&a, &b, &labels);
    assert_int_equal(labels.count, 5);
    assert_true(holds(&labels, "decode") && holds(&labels, "product") && holds(&labels, "post_norm") &&
                holds(&labels, "output") && holds(&labels, "sample"));
    sl_step_clear(&a);
    sl_step_clear(&b);
}

/* Phases that stand among those of an earlier layer are cut with their own. */
static void test_layers(void **state)
{
    (void)state;
    sl_diag diag;
    sl_step step = {0};
    const sl_label_set labels = {.labels = {"decode", "product", "post_norm", "output"}, .count = 4};
    fill(&step, 1);
    for (uint32_t layers = 1; layers <= 4; layers++) {
        sl_step part = {0};
        EXPECT_OK(sl_step_part(&step, &labels, layers, &part, &diag));
        for (uint32_t layer = 0; layer < 3; layer++) {
            assert_int_equal(count_of(&part, "decode", layer), layer < layers);
            assert_int_equal(count_of(&part, "product", layer), layer < layers);
            assert_int_equal(count_of(&part, "post_norm", layer), layer > 0 && layer < layers);
            assert_int_equal(count_of(&part, "norm", layer), 0);
        }
        assert_int_equal(count_of(&part, "output", SL_NO_LAYER), 1);
        assert_int_equal(part.phases[0].stage, 0);
        sl_step_clear(&part);
    }
    /* Of labels that not every layer has, the first layers that have one. */
    const sl_label_set later = {.labels = {"post_norm"}, .count = 1};
    sl_step part = {0};
    EXPECT_OK(sl_step_part(&step, &later, 1, &part, &diag));
    assert_int_equal(part.count, 1);
    assert_int_equal(part.phases[0].layer, 1);
    sl_step_clear(&part);
    sl_step_clear(&step);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_differ),
        cmocka_unit_test(test_layers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
