/* What the kernel set and the builder choose by: defaults, and what was measured. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "hal/base/checked.h"
#include "shaders/matmul/gemm.h"
#include "shaders/tuning.h"

#include <string.h>

static sl_device_info device_with(uint64_t features, uint32_t vendor)
{
    return (sl_device_info){
        .vendor_id = vendor,
        .caps = {.features = features, .subgroup_size = 32, .max_workgroup_invocations = 256}};
}

static const uint64_t base = SL_CAP_SPIRV | SL_CAP_STORAGE_16 | SL_CAP_SUBGROUP;

static sl_device_info matrix_device(sl_device_type type, uint64_t features)
{
    sl_device_info device = device_with(base | SL_CAP_MATRIX_F16 | SL_CAP_FLOAT_16 | features, 0);
    device.type = type;
    device.caps.matrix_shape_count = 1;
    device.caps.matrix_shapes[0] = (sl_matrix_shape){16, 16, 16, SL_MATRIX_F16, SL_MATRIX_F32};
    return device;
}

/* The kernel of the ladder for so many columns. */
static sl_kernel_id product(const sl_tuning *t, uint32_t type, uint32_t columns)
{
    return sl_products[sl_tuning_rung(t, type, columns, t->rungs[type])].kernel;
}

static void test_switch_of_products(void **state)
{
    (void)state;
    sl_tuning t;
    const sl_device_info device = device_with(base, 0x10de);
    sl_tuning_default(&t, &device);
    assert_int_equal(t.rungs[SL_WEIGHT_Q4_K],
                     SL_RUNG_BIT(SL_RUNG_matvec) | SL_RUNG_BIT(SL_RUNG_matmul) | SL_RUNG_BIT(SL_RUNG_gemm));
    assert_int_equal(product(&t, SL_WEIGHT_Q4_K, 1), SL_K_matvec);
    assert_int_equal(product(&t, SL_WEIGHT_Q4_K, SL_MATVEC_COLUMNS_MAX), SL_K_matvec);
    assert_int_equal(product(&t, SL_WEIGHT_Q4_K, SL_MATVEC_COLUMNS_MAX + 1), SL_K_matmul);
    assert_int_equal(product(&t, SL_WEIGHT_Q4_K, UINT32_MAX), SL_K_gemm);
    t.rungs[SL_WEIGHT_Q4_K] &= ~SL_RUNG_BIT(SL_RUNG_gemm); /* then the last one has all */
    assert_int_equal(product(&t, SL_WEIGHT_Q4_K, UINT32_MAX), SL_K_matmul);
    t.columns[SL_WEIGHT_Q4_K][SL_RUNG_matvec] = 2;
    assert_int_equal(product(&t, SL_WEIGHT_Q4_K, 2), SL_K_matvec);
    assert_int_equal(product(&t, SL_WEIGHT_Q4_K, 3), SL_K_matmul);
    assert_int_equal(product(&t, SL_WEIGHT_F16, 3), SL_K_matvec);
    t.columns[SL_WEIGHT_Q4_K][SL_RUNG_matvec] = 0;
    assert_int_equal(product(&t, SL_WEIGHT_Q4_K, 1), SL_K_matmul);
}

/* A GPU with matrix units has the whole ladder; a pass that lacks a rung has the others, the last one for the
 * rest. */
static void test_whole_ladder(void **state)
{
    (void)state;
    sl_tuning t;
    const sl_device_info device = matrix_device(SL_DEVICE_DISCRETE, SL_CAP_MATRIX_2);
    static const struct {
        uint32_t columns, without;
        sl_kernel_id kernel;
    } cases[] = {
        {1, 0, SL_K_matvec},
        {8, 0, SL_K_matvec},
        {9, 0, SL_K_matmul_skinny},
        {64, 0, SL_K_matmul_skinny},
        {65, 0, SL_K_gemm},
        {4096, 0, SL_K_gemm},
        {5, SL_RUNG_BIT(SL_RUNG_matvec), SL_K_matmul_skinny},
        {9, SL_RUNG_BIT(SL_RUNG_matmul_skinny), SL_K_matmul},
        {64, SL_RUNG_BIT(SL_RUNG_matmul_skinny), SL_K_matmul},
        {65, SL_RUNG_BIT(SL_RUNG_matmul_skinny), SL_K_gemm},
        {65, SL_RUNG_BIT(SL_RUNG_gemm), SL_K_matmul},
        {4096, SL_RUNG_BIT(SL_RUNG_gemm), SL_K_matmul},
    };
    sl_tuning_default(&t, &device);
    assert_int_equal(t.rungs[SL_WEIGHT_F16], (1u << SL_RUNG_COUNT) - 1);
    for (size_t i = 0; i < SL_COUNTOF(cases); i++) {
        const uint32_t allowed = t.rungs[SL_WEIGHT_F16] & ~cases[i].without;
        assert_int_equal(sl_products[sl_tuning_rung(&t, SL_WEIGHT_F16, cases[i].columns, allowed)].kernel,
                         cases[i].kernel);
    }
    /* matmul_decode has no columns before it is measured. */
    t.columns[SL_WEIGHT_F16][SL_RUNG_matmul_decode] = 512;
    assert_int_equal(product(&t, SL_WEIGHT_F16, 64), SL_K_matmul_skinny);
    assert_int_equal(product(&t, SL_WEIGHT_F16, 65), SL_K_matmul_decode);
    assert_int_equal(product(&t, SL_WEIGHT_F16, 512), SL_K_matmul_decode);
    assert_int_equal(product(&t, SL_WEIGHT_F16, 513), SL_K_gemm);
    /* Weights that go from memory into the matrices pay from four columns on, where the device can do that.
     */
    const sl_device_info known = matrix_device(SL_DEVICE_DISCRETE, SL_CAP_MATRIX_FRAGMENTS);
    sl_tuning_default(&t, &known);
    assert_int_equal(product(&t, SL_WEIGHT_Q4_K, 3), SL_K_matvec);
    assert_int_equal(product(&t, SL_WEIGHT_Q4_K, 4), SL_K_matmul_skinny);
    /* A CPU's driver has the kernels, and the plain ones are faster there. */
    const sl_device_info cpu = matrix_device(SL_DEVICE_CPU, 0);
    sl_tuning_default(&t, &cpu);
    assert_int_equal(product(&t, SL_WEIGHT_F16, 9), SL_K_matmul);
}

static void test_vendors(void **state)
{
    (void)state;
    sl_tuning t;
    const sl_device_info adreno = device_with(base, 0x5143);
    sl_tuning_default(&t, &adreno);
    assert_int_equal(product(&t, SL_WEIGHT_Q4_K, 4), SL_K_matvec);
    assert_int_equal(product(&t, SL_WEIGHT_Q4_K, 5), SL_K_matmul);
    assert_int_equal(product(&t, SL_WEIGHT_Q6_K, 2), SL_K_matvec);
    assert_int_equal(product(&t, SL_WEIGHT_Q6_K, 3), SL_K_matmul);
}

/* A kernel that the device cannot run has no columns. */
static void test_what_cannot_run(void **state)
{
    (void)state;
    sl_tuning t;
    const sl_device_info device = device_with(SL_CAP_SPIRV, 0);
    sl_tuning_default(&t, &device);
    assert_int_equal(t.columns[SL_WEIGHT_F16][SL_RUNG_matvec], 0);
    assert_int_equal(t.rungs[SL_WEIGHT_F16], 0);
    assert_int_equal(t.columns[5][SL_RUNG_matmul], 0); /* no weight type has this number */
}

static sl_shape_class matmul_class(uint32_t n_out, uint32_t n_tokens)
{
    const struct sl_push_matmul push = {
        .n_out = n_out, .n_k = 4096, .n_tokens = n_tokens, .x_stride = n_tokens};
    return sl_shape_class_of(SL_K_matmul, SL_WEIGHT_Q4_K, &push, NULL);
}

/* Sizes of weights are exact, numbers of tokens the next power of two, and nothing else counts. */
static void test_classes(void **state)
{
    (void)state;
    const sl_shape_class a = matmul_class(4096, 5), b = matmul_class(4096, 8), c = matmul_class(4096, 9),
                         d = matmul_class(4097, 8);
    assert_int_equal(a.dims[0], 4096);
    assert_int_equal(a.dims[2], 8);
    assert_true(sl_shape_class_equal(&a, &b));
    assert_false(sl_shape_class_equal(&a, &c));
    assert_false(sl_shape_class_equal(&b, &d));
    const struct sl_push_matvec_fused fused = {.n_out = 4096}; /* sizes among the constants */
    const uint32_t spec[SL_FUSED_COUNT] = {
        [SL_FUSED_COLUMNS] = 3, [SL_FUSED_N_K] = 512, [SL_FUSED_ROWS_GROUP] = 77};
    const sl_shape_class g = sl_shape_class_of(SL_K_matvec_fused, SL_WEIGHT_Q4_K, &fused, spec);
    assert_int_equal(g.dims[0], 4096);
    assert_int_equal(g.dims[1], 512);
    assert_int_equal(g.dims[2], 4);
    assert_int_equal(g.dims[3], SL_INPUT_ROWS);
    const struct sl_push_add one = {.n = 1}, two = {.n = 2}; /* a kernel without a choice */
    const sl_shape_class e = sl_shape_class_of(SL_K_add, 0, &one, NULL),
                         f = sl_shape_class_of(SL_K_add, 0, &two, NULL);
    assert_true(sl_shape_class_equal(&e, &f));
}

static const sl_variant *variant(sl_kernel_id kernel, const char *name)
{
    for (size_t i = 0; i < sl_variant_count; i++)
        if (sl_variants[i].kernel == kernel && !strcmp(sl_variants[i].name, name)) return &sl_variants[i];
    fail_msg("no variant %s", name);
    return NULL;
}

static void test_choices(void **state)
{
    (void)state;
    sl_diag diag;
    sl_tuning t;
    const sl_device_info device = device_with(base, 0);
    const struct sl_push_matmul push = {.n_out = 4096, .n_k = 4096, .n_tokens = 5},
                                other = {.n_out = 8, .n_k = 256};
    const sl_variant *plain = variant(SL_K_matmul, "q4_k"), *lanes = variant(SL_K_matmul, "q4_k_lanes");
    const sl_shape_class of = matmul_class(4096, 5), small = matmul_class(8, 5);
    sl_tuning_default(&t, &device);
    assert_ptr_equal(sl_tuning_variant(&t, &of, &device.caps), plain);
    assert_int_equal(sl_tuning_number(&t, SL_K_matmul, SL_WEIGHT_Q4_K, &push, NULL, 7), 7);
    sl_tuning_choice choice = {matmul_class(4096, 8), lanes, 3};
    assert_int_equal(sl_tuning_set(&t, &choice, &diag), SL_OK);
    assert_ptr_equal(sl_tuning_variant(&t, &of, &device.caps), lanes);
    assert_int_equal(sl_tuning_number(&t, SL_K_matmul, SL_WEIGHT_Q4_K, &push, NULL, 7), 3);
    assert_ptr_equal(sl_tuning_variant(&t, &small, &device.caps), plain);
    assert_int_equal(sl_tuning_number(&t, SL_K_matmul, SL_WEIGHT_Q4_K, &other, NULL, 7), 7);
    choice.number = 0; /* replaces: the caller's own number again */
    assert_int_equal(sl_tuning_set(&t, &choice, &diag), SL_OK);
    assert_int_equal(t.choice_count, 1);
    assert_int_equal(sl_tuning_number(&t, SL_K_matmul, SL_WEIGHT_Q4_K, &push, NULL, 7), 7);
    for (uint32_t n = 0; n < 100; n++) {
        const sl_tuning_choice many = {matmul_class(n + 1, 1), plain, n};
        assert_int_equal(sl_tuning_set(&t, &many, &diag), SL_OK);
    }
    assert_int_equal(t.choice_count, 101);
    sl_tuning_unset(&t, &choice.of);
    assert_int_equal(t.choice_count, 100);
    assert_null(sl_tuning_find(&t, &choice.of));
    const sl_shape_class last = matmul_class(100, 1);
    assert_int_equal(sl_tuning_find(&t, &last)->number, 99);
    sl_tuning_clear(&t);
    assert_int_equal(t.choice_count, 0);
}

/* The usable variants, the usual one first; then one variant with the caller's number and those worth trying.
 */
static void test_candidates(void **state)
{
    (void)state;
    sl_tuning_choice list[64];
    sl_device_info device = device_with(base, 0);
    const sl_shape_class matmul = matmul_class(4096, 512);
    assert_int_equal(sl_tuning_variants(&matmul, &device.caps, list, 64), 1);
    assert_ptr_equal(list[0].variant, variant(SL_K_matmul, "q4_k"));
    assert_int_equal(list[0].number, 0);
    assert_int_equal(sl_tuning_numbers(&matmul, list[0].variant, list, 64), 1);
    device.caps.features |= SL_CAP_SCALAR_LOADS | SL_CAP_INT_64;
    assert_true(sl_tuning_variants(&matmul, &device.caps, list, 64) >= 2);
    assert_ptr_equal(list[0].variant, sl_variant_select(SL_K_matmul, SL_WEIGHT_Q4_K, &device.caps));
    const struct sl_push_attention push = {.n_heads = 32, .n_kv_heads = 8, .n_tokens = 1};
    const sl_shape_class attention = sl_shape_class_of(SL_K_attention_decode, 128, &push, NULL);
    const sl_variant *v = sl_tuning_usual(&attention, &device.caps);
    const uint32_t count = sl_tuning_numbers(&attention, v, list, 64);
    assert_in_range(count, 5, 64);
    for (uint32_t i = 0; i < 2; i++) {
        assert_int_equal(list[i].number, i);
        assert_ptr_equal(list[i].variant, v);
    }
    assert_int_equal(sl_tuning_numbers(&attention, NULL, NULL, 0), count);
    device.caps.features = SL_CAP_HOST_FN; /* one C side for all variants */
    assert_int_equal(sl_tuning_variants(&matmul, &device.caps, list, 64), 1);
}

/* Of gemm and matmul_skinny the usual variant is what their own models prefer, whatever stands first. */
static void test_usual(void **state)
{
    (void)state;
    sl_tuning_choice list[64];
    sl_device_info device = matrix_device(SL_DEVICE_DISCRETE, SL_CAP_MATRIX_2);
    device.caps.compute_units = 132;
    const struct sl_push_gemm small = {.n_out = 1024, .n_k = 4096, .n_tokens = 512, .format = SL_ROWS_F16},
                              large = {.n_out = 4096, .n_k = 14336, .n_tokens = 4096, .format = SL_ROWS_F16};
    const sl_shape_class of_small = sl_shape_class_of(SL_K_gemm, SL_ROWS_F16, &small, NULL),
                         of_large = sl_shape_class_of(SL_K_gemm, SL_ROWS_F16, &large, NULL);
    assert_ptr_equal(sl_tuning_usual(&of_small, &device.caps),
                     sl_gemm_select(SL_K_gemm, &small, &device.caps));
    assert_ptr_not_equal(sl_tuning_usual(&of_small, &device.caps), sl_tuning_usual(&of_large, &device.caps));
    const uint32_t count = sl_tuning_variants(&of_large, &device.caps, list, 64);
    assert_in_range(count, 4, 64); /* three of a workgroup's matrices, one of a subgroup's */
    assert_ptr_equal(list[0].variant, sl_tuning_usual(&of_large, &device.caps));
    for (uint32_t i = 0; i < count; i++)
        for (uint32_t k = 0; k < i; k++)
            assert_ptr_not_equal(list[i].variant, list[k].variant);
    /* Products of 2 and of 16 columns take the same tile, and so are one class; those of 17 are another. */
    struct sl_push_matmul_skinny push = {.n_out = 4096, .n_k = 4096, .n_tokens = 2};
    const sl_shape_class two = sl_shape_class_of(SL_K_matmul_skinny, SL_WEIGHT_Q6_K, &push, NULL);
    push.n_tokens = 16;
    const sl_shape_class sixteen = sl_shape_class_of(SL_K_matmul_skinny, SL_WEIGHT_Q6_K, &push, NULL);
    push.n_tokens = 17;
    const sl_shape_class more = sl_shape_class_of(SL_K_matmul_skinny, SL_WEIGHT_Q6_K, &push, NULL);
    assert_true(sl_shape_class_equal(&two, &sixteen));
    assert_int_equal(sl_tuning_usual(&two, &device.caps)->tile_y, 16);
    assert_int_equal(sl_tuning_usual(&more, &device.caps)->tile_y, 32);
    assert_true(sl_tuning_numbers(&two, NULL, NULL, 0) > 4);
}

static void test_force(void **state)
{
    (void)state;
    sl_tuning t;
    const sl_device_info device = device_with(base, 0);
    sl_tuning_default(&t, &device);
    sl_tuning_force(&t, SL_WEIGHT_F16, 4, SL_RUNG_matmul);
    assert_int_equal(product(&t, SL_WEIGHT_F16, 4), SL_K_matmul);
    assert_int_equal(product(&t, SL_WEIGHT_F16, 1), SL_K_matvec); /* the output of one token, say */
    sl_tuning_force(&t, SL_WEIGHT_F16, 4, SL_RUNG_matvec);
    assert_int_equal(product(&t, SL_WEIGHT_F16, 4), SL_K_matvec);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_switch_of_products),
        cmocka_unit_test(test_whole_ladder),
        cmocka_unit_test(test_vendors),
        cmocka_unit_test(test_what_cannot_run),
        cmocka_unit_test(test_classes),
        cmocka_unit_test(test_choices),
        cmocka_unit_test(test_candidates),
        cmocka_unit_test(test_usual),
        cmocka_unit_test(test_force),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
