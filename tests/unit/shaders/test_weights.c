/* The formats against what the gguf package makes of the same bytes, and the sizes of their blocks. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <math.h>

#include "hal/base/half.h"
#include "tests/unit/shaders/weights_expected.h"

static void matches_gguf_package(void **state)
{
    (void)state;
    for (size_t i = 0; i < SL_COUNTOF(expected_weights); i++) {
        const struct expected_weights *e = &expected_weights[i];
        float out[512];
        assert_true(e->n <= SL_COUNTOF(out));
        sl_weights_to_f32(e->type, e->blocks, out, e->n);
        for (size_t k = 0; k < e->n; k++) {
            const float want = sl_bits_to_float(e->bits[k]);
            /* d * scale * q - dmin * minimum may be rounded once less where the compiler fuses. */
            if (!(fabsf(out[k] - want) <= 1e-6f * fabsf(want) + 4e-7f * (e->type == SL_WEIGHT_Q4_K)))
                fail_msg("%s[%zu]: %.9g, expected %.9g", e->name, k, (double)out[k], (double)want);
        }
    }
}

static void covers_every_type(void **state)
{
    (void)state;
    size_t types = 0;
#define X(NAME, name, number, weights, bytes) types++;
    SL_WEIGHT_TYPES(X)
#undef X
    assert_int_equal(types, SL_COUNTOF(expected_weights));
}

static void block_sizes(void **state)
{
    (void)state;
    for (size_t i = 0; i < SL_COUNTOF(expected_weights); i++) {
        const struct expected_weights *e = &expected_weights[i];
        uint32_t weights = 0, bytes = 0;
        assert_true(sl_weight_block(e->type, &weights, &bytes));
        assert_int_equal(e->n % weights, 0);
        assert_int_equal(e->n / weights * bytes, e->block_bytes);
    }
    uint32_t weights = 77, bytes = 78;
    assert_false(sl_weight_block(4, &weights, &bytes));
    assert_false(sl_weight_block(0xffffffffu, &weights, &bytes));
    assert_int_equal(weights, 77);
    assert_int_equal(bytes, 78);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(matches_gguf_package),
        cmocka_unit_test(covers_every_type),
        cmocka_unit_test(block_sizes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
