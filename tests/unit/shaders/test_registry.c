/* The tables of the registry, the choice of variants, and kernel sets on the cpu device. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "shaders/registry.h"
#include "shaders/spirv.h"

#include <string.h>

static void test_rows(void **state)
{
    (void)state;
    for (uint32_t k = 0; k < SL_KERNEL_COUNT; k++) {
        const sl_kernel_row *row = &sl_kernel_rows[k];
        bool has_variant = false;
        assert_non_null(row->host);
        assert_non_null(row->grid);
        assert_true(row->push_bytes % 4 == 0 && row->push_bytes <= SL_PUSH_BYTES_MAX);
        assert_true(row->tolerance >= 0 && row->tolerance <= 5e-4);
        for (size_t i = 0; i < sl_variant_count; i++)
            has_variant |= sl_variants[i].kernel == k;
        if (!has_variant) fail_msg("%s has no variant", row->name);
        for (uint32_t other = 0; other < k; other++)
            assert_string_not_equal(row->name, sl_kernel_rows[other].name);
    }
}

static void test_variants(void **state)
{
    (void)state;
    for (size_t i = 0; i < sl_variant_count; i++) {
        const sl_variant *v = &sl_variants[i];
        assert_true(sl_caps_have(&(sl_device_caps){.features = v->needs}, SL_CAP_SPIRV));
        assert_true(v->workgroup != 0 && v->workgroup <= 1024 && v->workgroup >= -32);
        assert_true(v->tile_x > 0 && v->tile_y > 0);
        for (size_t j = 0; j < i; j++)
            assert_string_not_equal(v->module, sl_variants[j].module);
    }
}

/* Kernels with another way around them for devices that lack what they need. */
static bool is_optional(sl_kernel_id kernel)
{
    return kernel == SL_K_measure_matrix || /* measures what not every device has */
           kernel == SL_K_matvec_fused || kernel == SL_K_matvec_gated || kernel == SL_K_moe_gated ||
           kernel == SL_K_moe_down || kernel == SL_K_matvec_fused_f16 || kernel == SL_K_matvec_gated_f16 ||
           kernel == SL_K_moe_gated_f16 || kernel == SL_K_moe_down_f16 ||               /* then matvec */
           kernel == SL_K_rotate || kernel == SL_K_gemm || kernel == SL_K_gemm_gated || /* then matmul */
           kernel == SL_K_matmul_skinny || kernel == SL_K_matmul_skinny_gated ||
           kernel == SL_K_matmul_decode || kernel == SL_K_moe_matmul; /* then matmul, moe_matvec */
}

/* Rows that only such a kernel reads. */
static bool is_for_optional(const sl_variant *v)
{
    return (v->kernel == SL_K_rms_norm || v->kernel == SL_K_convert_rows) && v->key == SL_ROWS_F16_SCALED;
}

/* The portable contract: every (kernel, key) has a variant that needs the base alone and at most 256
 * invocations. */
static void test_every_key_has_a_base_variant(void **state)
{
    (void)state;
    sl_device_caps base = {.features = SL_CAP_SPIRV | SL_CAP_STORAGE_16 | SL_CAP_SUBGROUP,
                           .subgroup_size = 64,
                           .max_workgroup_invocations = 256};
    for (size_t i = 0; i < sl_variant_count; i++)
        if (!is_optional(sl_variants[i].kernel) && !is_for_optional(&sl_variants[i]) &&
            !sl_variant_select(sl_variants[i].kernel, sl_variants[i].key, &base))
            fail_msg("%s: nothing runs key %u everywhere", sl_variants[i].module, sl_variants[i].key);
}

static void test_usable(void **state)
{
    (void)state;
    const sl_variant *v = sl_variants; /* one whose workgroup does not depend on the subgroup size */
    while (v->kernel != SL_K_rms_norm || v->workgroup < 0)
        v++;
    assert_int_equal(v->workgroup, 256);
    sl_device_caps caps = {.features = v->needs, .subgroup_size = 32, .max_workgroup_invocations = 256};
    const char *why = "";
    assert_true(sl_variant_usable(v, &caps, &why));
    assert_null(why);
    caps.features &= ~SL_CAP_STORAGE_16;
    assert_false(sl_variant_usable(v, &caps, &why));
    assert_string_equal(why, sl_cap_name(SL_CAP_STORAGE_16));
    caps.features = v->needs;
    caps.max_workgroup_invocations = 128;
    assert_false(sl_variant_usable(v, &caps, &why));
    assert_string_equal(why, "workgroup size");
    caps.max_workgroup_invocations = 256;
    sl_variant other = *v;
    other.module = "rms_norm__absent";
    assert_false(sl_variant_usable(&other, &caps, &why));
    assert_string_equal(why, "left out of this build");
    other = *v;
    other.matrix = SL_MATRIX(16, 16, 16);
    assert_false(sl_variant_usable(&other, &caps, &why));
    assert_string_equal(why, "matrix shape");
    caps.matrix_shapes[0] = (sl_matrix_shape){16, 16, 16, SL_MATRIX_F16, SL_MATRIX_F32};
    caps.matrix_shape_count = 1;
    assert_true(sl_variant_usable(&other, &caps, NULL));
    caps.subgroup_size = 64; /* a matrix 16 high is for subgroups of 32 */
    assert_false(sl_variant_usable(&other, &caps, &why));
    assert_string_equal(why, "subgroup size");
    caps.features |= SL_CAP_SUBGROUP_SIZE;
    caps.subgroup_min = 32;
    caps.subgroup_max = 64;
    assert_true(sl_variant_usable(&other, &caps, NULL));
    assert_null(sl_variant_select(SL_K_rms_norm, 12345, &caps));
}

static void test_table_is_sorted(void **state)
{
    (void)state;
    for (size_t i = 0; i < sl_spirv_count; i++) {
        assert_int_equal(sl_spirv_table[i].words[0], 0x07230203);
        if (i) assert_true(strcmp(sl_spirv_table[i - 1].name, sl_spirv_table[i].name) < 0);
    }
}

static void test_share(void **state)
{
    (void)state;
    for (uint64_t items = 0; items < 40; items++)
        for (uint32_t count = 1; count < 12; count++) {
            uint64_t next = 0, begin, end;
            for (uint32_t i = 0; i < count; i++, next = end) {
                sl_task_share(&(sl_kernel_task){.index = i, .count = count}, items, &begin, &end);
                assert_true(begin == next && end >= begin);
            }
            assert_true(next == items);
        }
    assert_int_equal(sl_grid_clamp(65536), 65535);
    assert_int_equal(sl_grid_clamp(7), 7);
    for (uint64_t rows = 1; rows < 200000; rows += 4093) {
        uint32_t groups[3] = {0, 0, 1};
        sl_grid_of_rows(rows, groups);
        assert_true((uint64_t)groups[0] * groups[1] >= rows && groups[0] <= 65535 && groups[1] <= 4);
    }
}

static void test_kernel_set(void **state)
{
    (void)state;
    sl_diag diag = {0};
    sl_device *device = NULL;
    sl_kernel_set *set = NULL;
    assert_int_equal(sl_device_create("cpu", 0, NULL, &device, &diag), SL_OK);
    assert_int_equal(sl_kernel_set_create(device, &set, &diag), SL_OK);
    const sl_bound_kernel *one, *again, *other;
    const uint32_t two = 2, three = 3;
    assert_int_equal(sl_kernel_set_get(set, SL_K_matvec, SL_WEIGHT_Q4_K, &two, 1, &one, &diag), SL_OK);
    assert_int_equal(sl_kernel_set_get(set, SL_K_matvec, SL_WEIGHT_Q4_K, &two, 1, &again, &diag), SL_OK);
    assert_int_equal(sl_kernel_set_get(set, SL_K_matvec, SL_WEIGHT_Q4_K, &three, 1, &other, &diag), SL_OK);
    assert_ptr_equal(one, again);
    assert_ptr_not_equal(one, other);
    assert_int_equal(one->spec[SL_SPEC_COLUMNS], 2);
    assert_int_equal(one->variant->key, SL_WEIGHT_Q4_K);

    const uint32_t many[SL_SPEC_MAX] = {0};
    assert_int_equal(sl_kernel_set_get_variant(set, one->variant, many, SL_SPEC_MAX, &other, &diag),
                     SL_ERR_ARGUMENT);
    diag = (sl_diag){0};
    assert_int_equal(sl_kernel_set_get(set, SL_K_matvec, 999, &two, 1, &other, &diag), SL_ERR_UNSUPPORTED);
    assert_non_null(strstr(diag.message, "matvec"));
    assert_non_null(strstr(diag.message, "999"));

    uint32_t groups[3];
    const struct sl_push_matmul push = {.n_out = 1000, .n_k = 256, .n_tokens = 2};
    sl_bound_kernel_grid(one, &push, groups);
    assert_true(groups[0] * one->variant->tile_x >= 1000 && groups[2] == 1);
    sl_kernel_set_destroy(set);
    sl_kernel_set_destroy(NULL);
    sl_device_destroy(device);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rows),
        cmocka_unit_test(test_variants),
        cmocka_unit_test(test_every_key_has_a_base_variant),
        cmocka_unit_test(test_usable),
        cmocka_unit_test(test_table_is_sorted),
        cmocka_unit_test(test_share),
        cmocka_unit_test(test_kernel_set),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
