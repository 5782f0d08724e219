/* Rows of the KV cache against the formulas of their types, written out for one element at a time. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "hal/base/half.h"
#include "shaders/attention/kv_rows.h"

#include <math.h>
#include <stdbool.h>
#include <string.h>

enum { HEAD_MAX = 256, BLOCK = SL_KV_BLOCK };

static const uint32_t head_sizes[] = {64, 80, 96, 128, 192, 256};

typedef struct group {
    _Alignas(16) uint8_t bytes[SL_KV_GROUP_BYTES(SL_KV_F16, HEAD_MAX)];
} group;

static float random_float(uint32_t *state)
{
    *state = *state * 1664525u + 1013904223u;
    return (float)(*state >> 8) / 8388608.0f - 1.0f;
}

/* A row alone in a group of zeros, read back; what is not its own must be as before. */
static void round_trip(uint32_t type, uint32_t head_dim, uint32_t row, const float *x, float *out)
{
    group g;
    float other[HEAD_MAX];
    memset(&g, 0, sizeof g);
    sl_kv_put(type, &g, head_dim, row, x);
    sl_kv_get(type, &g, head_dim, row, 1, out);
    for (uint32_t r = 0; r < SL_KV_PAGE_TOKENS; r++) {
        if (r == row) continue;
        sl_kv_get(type, &g, head_dim, r, 1, other);
        for (uint32_t i = 0; i < head_dim; i++)
            assert_true(other[i] == 0); /* bytes of zeros: with q4_0 too, as the scale is 0 */
    }
    for (size_t i = SL_KV_GROUP_BYTES(type, head_dim); i < sizeof g.bytes; i++)
        assert_int_equal(g.bytes[i], 0);
}

/* What element x of a block whose element of largest magnitude is `peak` becomes. */
static float expected(uint32_t type, float x, float peak)
{
    if (type == SL_KV_F16) return sl_half_to_float(sl_float_to_half(x));
    const bool q8 = type == SL_KV_Q8_0;
    const float d = sl_half_to_float(sl_float_to_half(q8 ? fabsf(peak) * SL_KV_127TH : peak / -8));
    if (d == 0) return 0;
    const double q =
        round(q8 ? (double)x * 127 / (double)fabsf(peak) : fmin((double)x * -8 / (double)peak, 7.0));
    return d * (float)fmin(q, q8 ? 127 : 7);
}

static void random_rows(void **state)
{
    (void)state;
    uint32_t random = 1;
    for (uint32_t type = 0; type < SL_KV_TYPE_COUNT; type++)
        for (uint32_t n = 0; n < 6 * SL_KV_PAGE_TOKENS; n++) {
            const uint32_t head_dim = head_sizes[n / SL_KV_PAGE_TOKENS];
            float x[HEAD_MAX], out[HEAD_MAX];
            for (uint32_t i = 0; i < head_dim; i++)
                x[i] = random_float(&random) * (i / BLOCK % 2 ? 0.01f : 5);
            round_trip(type, head_dim, n % SL_KV_PAGE_TOKENS, x, out);
            for (uint32_t i = 0; i < head_dim; i++) {
                float peak = 0;
                for (uint32_t j = i / BLOCK * BLOCK; j < head_dim && j / BLOCK == i / BLOCK; j++)
                    if (fabsf(x[j]) > fabsf(peak)) peak = x[j];
                assert_true(out[i] == expected(type, x[i], peak));
            }
        }
}

/* Several rows at once are what they are one by one. */
static void rows_together(void **state)
{
    (void)state;
    uint32_t random = 2;
    group g;
    float x[HEAD_MAX], one[HEAD_MAX], all[SL_KV_PAGE_TOKENS * HEAD_MAX];
    for (uint32_t type = 0; type < SL_KV_TYPE_COUNT; type++) {
        for (uint32_t r = 0; r < SL_KV_PAGE_TOKENS; r++) {
            for (uint32_t i = 0; i < 80; i++)
                x[i] = random_float(&random);
            sl_kv_put(type, &g, 80, r, x);
        }
        sl_kv_get(type, &g, 80, 5, 20, all);
        for (uint32_t r = 5; r < 25; r++) {
            sl_kv_get(type, &g, 80, r, 1, one);
            assert_memory_equal(one, all + (r - 5) * 80, 80 * sizeof *one);
        }
    }
}

/* Where the numbers stand: a format is a promise to kernels that are compiled apart from this. */
static void places(void **state)
{
    (void)state;
    float x[64] = {0};
    group g;
    memset(&g, 0, sizeof g);
    for (int i = 0; i < 32; i++)
        x[i] = (float)(i == 0 ? 127 : i);
    x[32] = -16; /* d = 2, q = 0 */
    x[33] = 2;   /* q = 9 */
    x[36] = 16;  /* q = 16, of which 15 is left */
    sl_kv_put(SL_KV_Q8_0, &g, 64, 3, x);
    for (int i = 0; i < 32; i++)
        assert_int_equal(g.bytes[3 * 64 + i], i == 0 ? 127 : i);
    uint16_t scale;
    memcpy(&scale, g.bytes + 32 * 64 + (3 * 2 + 0) * 2, sizeof scale);
    assert_int_equal(scale, sl_float_to_half(1));
    sl_kv_put(SL_KV_Q4_0, &g, 64, 3, x);
    memcpy(&scale, g.bytes + 32 * 32 + (3 * 2 + 1) * 2, sizeof scale);
    assert_int_equal(scale, sl_float_to_half(2));
    assert_int_equal(g.bytes[3 * 32 + 16], 0 | 15 << 4); /* elements 32 and 36 */
    assert_int_equal(g.bytes[3 * 32 + 17], 9 | 8 << 4);  /* 33 and 37 */
}

/* Halves of a step go away from zero; the first of two largest magnitudes gives q4_0's scale its sign. */
static void ties(void **state)
{
    (void)state;
    float x[64] = {127, 0.5f, -0.5f, 1.5f, -2.5f}, out[64];
    round_trip(SL_KV_Q8_0, 64, 0, x, out);
    const float eights[] = {127, 1, -1, 2, -3};
    assert_memory_equal(out, eights, sizeof eights);
    memcpy(x, (float[]){8, -8, 0.5f, -0.5f, -1.5f}, 5 * sizeof *x);
    round_trip(SL_KV_Q4_0, 64, 0, x, out);
    const float fours[] = {8, -7, 1, -1, -2};
    assert_memory_equal(out, fours, sizeof fours);
}

/* A block that is not finite becomes NaNs, its neighbours do not; zeros, and what f16 has no scale for,
 * zeros. */
static void odd_blocks(void **state)
{
    (void)state;
    static const float odd[] = {NAN, INFINITY, -INFINITY, 3e38f, 0, -0.0f, 1e-30f, 1e-42f};
    for (uint32_t type = SL_KV_Q8_0; type < SL_KV_TYPE_COUNT; type++)
        for (size_t n = 0; n < sizeof odd / sizeof *odd; n++) {
            float x[80], out[80];
            for (uint32_t i = 0; i < 80; i++)
                x[i] = n < 4 ? 1 : 0;
            for (uint32_t i = 64; i < 80; i++)
                x[i] = -1;
            x[40] = odd[n];
            round_trip(type, 80, 31, x, out);
            for (uint32_t i = 32; i < 64; i++)
                assert_true(n < 4 ? isnan(out[i]) : out[i] == 0);
            for (uint32_t i = 64; i < 80; i++)
                assert_true(fabsf(out[i] + 1) < 1e-3f);
        }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(random_rows), cmocka_unit_test(rows_together), cmocka_unit_test(places),
        cmocka_unit_test(ties),        cmocka_unit_test(odd_blocks),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
