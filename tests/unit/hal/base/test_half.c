/* half.h against arithmetic on the definition of the formats, for all 65536 values. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "hal/base/half.h"

#include <math.h>

/* The value of a half by its definition. */
static double definition(uint16_t h)
{
    const int exponent = h >> 10 & 31, mantissa = h & 1023;
    const double sign = h & 0x8000 ? -1.0 : 1.0;
    if (exponent == 31) return mantissa ? NAN : sign * INFINITY;
    if (exponent == 0) return sign * ldexp(mantissa, -24);
    return sign * ldexp(1024 + mantissa, exponent - 25);
}

static void half_to_float_all(void **state)
{
    (void)state;
    for (uint32_t h = 0; h < 65536; h++) {
        const double wanted = definition((uint16_t)h);
        const float got = sl_half_to_float((uint16_t)h);
        if (isnan(wanted)) {
            assert_true(isnan(got));
        } else {
            assert_true((double)got == wanted);
            assert_int_equal(signbit(got) != 0, h >> 15);
        }
    }
}

static void half_round_trip_all(void **state)
{
    (void)state;
    for (uint32_t h = 0; h < 65536; h++) {
        const uint16_t back = sl_float_to_half(sl_half_to_float((uint16_t)h));
        if (isnan(definition((uint16_t)h)))
            assert_true((back & 0x7c00) == 0x7c00 && (back & 0x3ff) && back >> 15 == h >> 15);
        else
            assert_int_equal(back, h);
    }
}

/* Between two neighbours: below the middle down, above it up, in the middle to the even one. */
static void float_to_half_rounds_to_even(void **state)
{
    (void)state;
    for (uint32_t h = 0; h < 0x7bff; h++) {
        const double low = definition((uint16_t)h), high = definition((uint16_t)(h + 1));
        const float middle = (float)((low + high) / 2);
        assert_true((double)middle == (low + high) / 2); /* a float holds it exactly */
        const uint32_t even = h & 1 ? h + 1 : h;
        assert_int_equal(sl_float_to_half(middle), even);
        assert_int_equal(sl_float_to_half(-middle), even | 0x8000);
        assert_int_equal(sl_float_to_half(nextafterf(middle, 0.0f)), h);
        assert_int_equal(sl_float_to_half(nextafterf(middle, INFINITY)), h + 1);
    }
}

static void float_to_half_ends(void **state)
{
    (void)state;
    assert_int_equal(sl_float_to_half(65504.0f), 0x7bff);
    assert_int_equal(sl_float_to_half(nextafterf(65520.0f, 0.0f)), 0x7bff);
    assert_int_equal(sl_float_to_half(65520.0f), 0x7c00);
    assert_int_equal(sl_float_to_half(3.0e38f), 0x7c00);
    assert_int_equal(sl_float_to_half(-INFINITY), 0xfc00);
    assert_int_equal(sl_float_to_half(0x1.0p-25f), 0);
    assert_int_equal(sl_float_to_half(nextafterf(0x1.0p-25f, 1.0f)), 1);
    assert_int_equal(sl_float_to_half(0x1.0p-149f), 0);
    assert_int_equal(sl_float_to_half(-0.0f), 0x8000);
}

static void bf16_all(void **state)
{
    (void)state;
    for (uint32_t b = 0; b < 65536; b++) {
        const float f = sl_bf16_to_float((uint16_t)b);
        assert_int_equal(sl_float_to_bits(f), b << 16);
        const uint16_t back = sl_float_to_bf16(f);
        if (isnan(f)) {
            assert_true(isnan(sl_bf16_to_float(back)));
            continue;
        }
        assert_int_equal(back, b);
        if ((b & 0x7fff) >= 0x7f80) continue; /* infinity has no upper neighbour */
        const uint32_t even = b & 1 ? b + 1 : b;
        assert_int_equal(sl_float_to_bf16(sl_bits_to_float(b << 16 | 0x7fff)), b);
        assert_int_equal(sl_float_to_bf16(sl_bits_to_float(b << 16 | 0x8000)), even);
        assert_int_equal(sl_float_to_bf16(sl_bits_to_float(b << 16 | 0x8001)), b + 1);
    }
    assert_true(
        isnan(sl_bf16_to_float(sl_float_to_bf16(sl_bits_to_float(0x7f800001))))); /* NaN in the low bits */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(half_to_float_all),
        cmocka_unit_test(half_round_trip_all),
        cmocka_unit_test(float_to_half_rounds_to_even),
        cmocka_unit_test(float_to_half_ends),
        cmocka_unit_test(bf16_all),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
