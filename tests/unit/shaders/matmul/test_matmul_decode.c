/* How products by matmul_decode are cut, and what their kernels are told. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "hal/base/checked.h"
#include "shaders/matmul/matmul_decode.h"
#include "tests/unit/shaders/matrix_device.h"

/* As much of an H100 as the choice depends on; `units` compute units. */
static sl_device_caps device_of(uint32_t units)
{
    return sl_test_matrix_caps(SL_CAP_SPIRV | SL_CAP_STORAGE_16 | SL_CAP_SUBGROUP | SL_CAP_SUBGROUP_SIZE |
                                   SL_CAP_FLOAT_16 | SL_CAP_MATRIX_F16 | SL_CAP_MATRIX_2,
                               units);
}

/* The plan with the kernel's own variant. */
static void plan_own(const sl_device_caps *caps, uint32_t type, uint32_t n_out, uint32_t n_k, uint32_t tokens,
                     uint32_t splits_wanted, sl_skinny_plan *out)
{
    const sl_variant *v = sl_decode_select(caps, type, n_out, n_k, tokens);
    assert_non_null(v);
    sl_decode_plan_make(caps, v, splits_wanted, n_out, n_k, tokens, out);
}

static void test_without_the_kernel(void **state)
{
    (void)state;
    sl_device_caps caps = device_of(132);
    uint64_t bytes = 1;
    uint32_t tiles = 1;
    assert_true(sl_decode_can(&caps));
    caps.features &= ~SL_CAP_MATRIX_2;
    assert_false(sl_decode_can(&caps));
    assert_null(sl_decode_select(&caps, SL_WEIGHT_Q4_K, 4096, 4096, 128));
    sl_decode_room(&caps, &bytes, &tiles);
    assert_int_equal(bytes, 0);
    assert_int_equal(tiles, 0);
}

static void test_tiles(void **state)
{
    (void)state;
    static const struct {
        uint32_t n_out, n_k, tokens, tile_x, tile_y, splits;
    } cases[] = {
        {4096, 4096, 64, 128, 64, 4},    {4096, 4096, 65, 128, 128, 4},    {1024, 4096, 128, 128, 128, 8},
        {4096, 14336, 128, 128, 128, 4}, {4096, 4096, 512, 128, 128, 1},   {14336, 4096, 128, 128, 128, 1},
        {14336, 4096, 512, 256, 128, 1}, {128256, 4096, 128, 256, 128, 1}, {576, 512, 128, 128, 128, 1},
    };
    const sl_device_caps caps = device_of(132);
    for (size_t i = 0; i < SL_COUNTOF(cases); i++) {
        sl_skinny_plan plan;
        plan_own(&caps, SL_WEIGHT_Q6_K, cases[i].n_out, cases[i].n_k, cases[i].tokens, 0, &plan);
        assert_int_equal(plan.variant->tile_x, cases[i].tile_x);
        assert_int_equal(plan.variant->tile_y, cases[i].tile_y);
        assert_int_equal(plan.n_splits, cases[i].splits);
    }
}

/* Parts of k are of one length and not short; all fits the room, whichever variant and number is chosen. */
static void check_room(const sl_device_caps *caps, const sl_variant *v, uint32_t n_out, uint32_t n_k,
                       uint32_t n_tokens)
{
    static const uint32_t wanted[] = {0, 1, 2, 3, 4, 8, 100};
    uint64_t bytes;
    uint32_t tiles;
    sl_decode_room(caps, &bytes, &tiles);
    for (size_t i = 0; i < SL_COUNTOF(wanted); i++) {
        sl_skinny_plan plan;
        sl_decode_plan_make(caps, v, wanted[i], n_out, n_k, n_tokens, &plan);
        assert_true(plan.n_splits >= 1);
        if (wanted[i]) assert_true(plan.n_splits <= wanted[i]);
        assert_true(plan.partial_bytes <= bytes);
        assert_true(plan.tiles <= tiles);
        assert_int_equal(plan.n_splits > 1, plan.tiles > 0);
        assert_int_equal(n_k / 256 % plan.n_splits, 0);
        assert_true(plan.n_splits == 1 || n_k / plan.n_splits >= 512);
    }
}

static void test_room(void **state)
{
    (void)state;
    static const uint32_t units[] = {0, 1, 8, 46, 132}, n_outs[] = {1, 128, 1024, 4096, 28672, 128256};
    static const uint32_t n_ks[] = {256, 768, 4096, 14336}, tokens[] = {9, 64, 65, 128, 300, 512};
    for (size_t i = 0; i < SL_COUNTOF(units) * SL_COUNTOF(n_outs) * SL_COUNTOF(n_ks) * SL_COUNTOF(tokens);
         i++) {
        const sl_device_caps caps = device_of(units[i % 5]);
        for (size_t k = 0; k < sl_variant_count; k++)
            if (sl_variants[k].kernel == SL_K_matmul_decode && sl_variants[k].key == SL_WEIGHT_Q4_K)
                check_room(&caps, &sl_variants[k], n_outs[i / 5 % 6], n_ks[i / 30 % 4], tokens[i / 120]);
    }
}

/* A number that was measured is taken as far as it divides k. */
static void test_wanted_splits(void **state)
{
    (void)state;
    const sl_device_caps caps = device_of(132);
    sl_skinny_plan plan;
    plan_own(&caps, SL_WEIGHT_Q4_K, 4096, 4096, 128, 2, &plan);
    assert_int_equal(plan.n_splits, 2);
    plan_own(&caps, SL_WEIGHT_Q4_K, 4096, 4096, 128, 3, &plan);
    assert_int_equal(plan.n_splits, 2);
    plan_own(&caps, SL_WEIGHT_Q4_K, 4096, 4096, 128, 1, &plan);
    assert_int_equal(plan.n_splits, 1);
}

/* x is promised to have rows for every tile. */
static void test_tile_tokens(void **state)
{
    (void)state;
    for (size_t i = 0; i < sl_variant_count; i++)
        if (sl_variants[i].kernel == SL_K_matmul_decode)
            assert_int_equal(SL_DECODE_TILE_TOKENS % sl_variants[i].tile_y, 0);
}

static void test_constants(void **state)
{
    (void)state;
    static const struct {
        uint32_t type, n_out, n_k, n_tokens, n_splits, x, w, y;
    } cases[] = {
        {SL_WEIGHT_Q4_K, 256, 1024, 128, 1, 0, 0, 0}, {SL_WEIGHT_Q4_K, 256, 1024, 128, 2, 0, 0, 0},
        {SL_WEIGHT_Q4_K, 256, 1024, 100, 1, 0, 0, 1}, {SL_WEIGHT_Q4_K, 200, 1024, 128, 1, 0, 1, 1},
        {SL_WEIGHT_Q4_K, 256, 1024, 128, 3, 1, 1, 0}, {SL_WEIGHT_Q8_0, 256, 576, 128, 1, 0, 0, 0},
        {SL_WEIGHT_Q8_0, 256, 544, 128, 1, 1, 1, 0},  {SL_WEIGHT_F16, 256, 1096, 130, 1, 1, 1, 1},
    };
    const sl_variant variant = {.kernel = SL_K_matmul_decode, .tile_x = 128, .tile_y = 128};
    for (size_t i = 0; i < SL_COUNTOF(cases); i++) {
        const struct sl_push_matmul_skinny push = {.n_out = cases[i].n_out,
                                                   .n_k = cases[i].n_k,
                                                   .n_tokens = cases[i].n_tokens,
                                                   .x_stride = cases[i].n_k + 8,
                                                   .y_stride = cases[i].n_out + 5,
                                                   .weight_type = cases[i].type,
                                                   .n_splits = cases[i].n_splits};
        const uint32_t wanted[SL_DECODE_SPECS] = {push.n_out,    push.n_k,   push.x_stride, push.y_stride,
                                                  push.n_splits, cases[i].x, cases[i].w,    cases[i].y};
        uint32_t spec[SL_DECODE_SPECS];
        sl_decode_spec(&push, &variant, spec);
        assert_memory_equal(spec, wanted, sizeof spec);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_without_the_kernel),
        cmocka_unit_test(test_tiles),
        cmocka_unit_test(test_room),
        cmocka_unit_test(test_wanted_splits),
        cmocka_unit_test(test_tile_tokens),
        cmocka_unit_test(test_constants),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
