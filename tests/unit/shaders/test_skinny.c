/* How products of few columns are cut. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "hal/base/checked.h"
#include "shaders/matmul/skinny.h"
#include "tests/unit/shaders/matrix_device.h"

static const uint64_t matrix = SL_CAP_SPIRV | SL_CAP_STORAGE_16 | SL_CAP_SUBGROUP | SL_CAP_SUBGROUP_SIZE |
                               SL_CAP_MATRIX_F16 | SL_CAP_FLOAT_16;

/* The plan with the kernel's own variant and parts. */
static void plan_own(const sl_device_caps *caps, sl_kernel_id kernel, uint32_t type, uint32_t n_out,
                     uint32_t n_k, uint32_t tokens, sl_skinny_plan *out)
{
    const sl_variant *v = sl_skinny_variant(caps, kernel, type, n_k, tokens);
    assert_non_null(v);
    sl_skinny_plan_make(caps, v, 0, n_out, n_k, tokens, out);
}

static void test_without_matrix_units(void **state)
{
    (void)state;
    const sl_device_caps caps = sl_test_matrix_caps(matrix & ~SL_CAP_MATRIX_F16, 132);
    uint64_t bytes = 1;
    uint32_t tiles = 1;
    assert_null(sl_skinny_variant(&caps, SL_K_matmul_skinny, SL_WEIGHT_Q4_K, 4096, 16));
    sl_skinny_room(&caps, &bytes, &tiles);
    assert_int_equal(bytes, 0);
    assert_int_equal(tiles, 0);
}

/* The smallest tile that holds the tokens, and that of registers where matrices are known. */
static void test_variant(void **state)
{
    (void)state;
    static const struct {
        uint32_t tokens, tile;
    } cases[] = {{1, 16}, {9, 16}, {16, 16}, {17, 32}, {32, 32}, {33, 64}, {64, 64}, {65, 64}};
    const sl_device_caps plain = sl_test_matrix_caps(matrix, 132),
                         known = sl_test_matrix_caps(matrix | SL_CAP_MATRIX_FRAGMENTS, 132);
    sl_skinny_plan plan;
    for (size_t i = 0; i < SL_COUNTOF(cases); i++) {
        plan_own(&plain, SL_K_matmul_skinny, SL_WEIGHT_Q6_K, 4096, 4096, cases[i].tokens, &plan);
        assert_non_null(plan.variant);
        assert_int_equal(plan.variant->tile_y, cases[i].tile);
        plan_own(&known, SL_K_matmul_skinny, SL_WEIGHT_Q4_K, 4096, 4096, cases[i].tokens, &plan);
        assert_int_equal(plan.variant->tile_y, cases[i].tile);
        assert_true(plan.variant->needs & SL_CAP_MATRIX_FRAGMENTS);
        plan_own(&plain, SL_K_matmul_skinny, SL_WEIGHT_Q4_K, 4096, 4096, cases[i].tokens, &plan);
        assert_false(plan.variant->needs & SL_CAP_MATRIX_FRAGMENTS);
        /* Registers take 256 weights of a row at a time. */
        plan_own(&known, SL_K_matmul_skinny, SL_WEIGHT_Q8_0, 576, 1536, cases[i].tokens, &plan);
        assert_true(plan.variant->needs & SL_CAP_MATRIX_FRAGMENTS);
        plan_own(&known, SL_K_matmul_skinny, SL_WEIGHT_Q8_0, 1536, 576, cases[i].tokens, &plan);
        assert_int_equal(plan.variant->tile_y, cases[i].tile);
        assert_false(plan.variant->needs & SL_CAP_MATRIX_FRAGMENTS);
        plan_own(&known, SL_K_matmul_skinny_gated, SL_WEIGHT_Q4_K, 14336, 4096, cases[i].tokens, &plan);
        assert_int_equal(plan.variant->tile_y, cases[i].tile);
        assert_true(plan.variant->needs & SL_CAP_MATRIX_FRAGMENTS);
    }
}

/* With many columns a matrix is cut into fewer parts: they are written and read. */
static void test_splits_of_columns(void **state)
{
    (void)state;
    const sl_device_caps caps = sl_test_matrix_caps(matrix | SL_CAP_MATRIX_FRAGMENTS, 132);
    sl_skinny_plan plan;
    for (uint32_t tokens = 16; tokens <= 64; tokens *= 2) {
        plan_own(&caps, SL_K_matmul_skinny, SL_WEIGHT_Q4_K, 4096, 4096, tokens, &plan);
        assert_true(plan.n_splits > 1);
        assert_true(8ull * tokens * plan.n_splits <= 4096 / 256 * 144);
    }
}

/* Few tiles are cut along k, but no part is left without weights; many are not. All fits the room that is
 * promised. */
static void test_splits(void **state)
{
    (void)state;
    static const uint32_t units[] = {0, 1, 8, 46, 132}, n_outs[] = {1, 64, 1024, 4096, 28672, 128256};
    static const uint32_t n_ks[] = {32, 256, 576, 4096, 14336}, tokens[] = {9, 16, 33, 64, 200};
    sl_skinny_plan plan;
    for (size_t u = 0; u < SL_COUNTOF(units); u++) {
        const sl_device_caps caps = sl_test_matrix_caps(matrix, units[u]);
        uint64_t bytes;
        uint32_t tiles;
        sl_skinny_room(&caps, &bytes, &tiles);
        assert_true(bytes > 0 && tiles > 0);
        for (size_t i = 0; i < SL_COUNTOF(n_outs) * SL_COUNTOF(n_ks) * SL_COUNTOF(tokens); i++) {
            const uint32_t n_out = n_outs[i % 6], n_k = n_ks[i / 6 % 5], t = tokens[i / 30];
            plan_own(&caps, SL_K_matmul_skinny, SL_WEIGHT_F16, n_out, n_k, t, &plan);
            assert_true(plan.n_splits >= 1);
            assert_true(plan.n_splits == 1 || plan.n_splits * 256 <= n_k);
            assert_true(plan.partial_bytes <= bytes);
            assert_true(plan.tiles <= tiles);
            assert_int_equal(plan.n_splits > 1, plan.tiles > 0);
            /* As many parts as asked for, if there are so many. */
            const uint32_t own = plan.n_splits;
            sl_skinny_plan_make(&caps, plan.variant, 2, n_out, n_k, t, &plan);
            assert_int_equal(plan.n_splits, SL_MIN(own, 2));
            sl_skinny_plan_make(&caps, plan.variant, 1000, n_out, n_k, t, &plan);
            assert_int_equal(plan.n_splits, own);
        }
    }
    const sl_device_caps caps = sl_test_matrix_caps(matrix, 132);
    plan_own(&caps, SL_K_matmul_skinny, SL_WEIGHT_F16, 4096, 4096, 16, &plan);
    assert_int_equal(plan.n_splits, 8); /* 64 tiles on 132 units */
    plan_own(&caps, SL_K_matmul_skinny, SL_WEIGHT_F16, 128256, 4096, 16, &plan);
    assert_int_equal(plan.n_splits, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_without_matrix_units),
        cmocka_unit_test(test_variant),
        cmocka_unit_test(test_splits),
        cmocka_unit_test(test_splits_of_columns),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
