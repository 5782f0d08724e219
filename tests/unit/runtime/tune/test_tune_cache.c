/* The file of tuned choices: what is written comes back, and what is damaged or foreign is not taken. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "runtime/tune/tune_cache.h"

#include "hal/base/checked.h"
#include "hal/base/files.h"
#include "hal/base/log.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

typedef struct fixture {
    char dir[64];
    sl_device_info device;
    sl_tuning tuning;
} fixture;

static int warnings;

static void count_warning(void *user, sl_log_level level, const char *line)
{
    (void)user, (void)line;
    warnings += level <= SL_LOG_WARN;
}

static int set_up(void **state)
{
    static fixture f;
    f = (fixture){.dir = "/tmp/sluice-tuning-XXXXXX",
                  .device = {.name = "a device",
                             .uuid = {1, 2, 3},
                             .driver_version = 77,
                             .caps = {.features = SL_CAP_SPIRV | SL_CAP_STORAGE_16 | SL_CAP_SUBGROUP,
                                      .subgroup_size = 32,
                                      .max_workgroup_invocations = 256}}};
    if (!mkdtemp(f.dir)) return -1;
    sl_tuning_default(&f.tuning, &f.device);
    warnings = 0;
    sl_log_set(SL_LOG_WARN, count_warning, NULL);
    *state = &f;
    return 0;
}

static int tear_down(void **state)
{
    fixture *f = *state;
    char command[128];
    sl_log_set(SL_LOG_WARN, NULL, NULL);
    sl_tuning_clear(&f->tuning);
    snprintf(command, sizeof command, "rm -rf '%s'", f->dir);
    return system(command);
}

static sl_tune_cache cache_of(const fixture *f, const char *model)
{
    return (sl_tune_cache){.dir = f->dir, .device = &f->device, .model = model};
}

static sl_tuning_choice choice_of(uint32_t n_out, uint32_t number)
{
    const struct sl_push_matmul push = {.n_out = n_out, .n_k = 256, .n_tokens = 512};
    const sl_variant *v = sl_variants;
    while (v->kernel != SL_K_matmul || strcmp(v->name, "q4_k") != 0)
        v++;
    return (sl_tuning_choice){sl_shape_class_of(SL_K_matmul, SL_WEIGHT_Q4_K, &push, NULL), v, number};
}

static void choose(fixture *f, uint32_t n_out, uint32_t number)
{
    sl_diag diag;
    const sl_tuning_choice choice = choice_of(n_out, number);
    assert_int_equal(sl_tuning_set(&f->tuning, &choice, &diag), SL_OK);
}

/* A tuning as a new process has it: defaults and what the file holds. */
static sl_tuned load(const fixture *f, const char *model, sl_tuning *out)
{
    sl_tuned tuned;
    const sl_tune_cache cache = cache_of(f, model);
    sl_tuning_default(out, &f->device);
    sl_tune_cache_load(&cache, out, &tuned);
    return tuned;
}

static void store(const fixture *f, const char *model, sl_tuned tuned)
{
    const sl_tune_cache cache = cache_of(f, model);
    sl_tune_cache_store(&cache, &f->tuning, tuned);
}

/* The only file of the folder. */
static const char *only_file(const fixture *f)
{
    static char path[400];
    DIR *dir = opendir(f->dir);
    unsigned count = 0;
    assert_non_null(dir);
    for (const struct dirent *e; (e = readdir(dir));) {
        if (e->d_name[0] == '.') continue;
        snprintf(path, sizeof path, "%s/%s", f->dir, e->d_name);
        count++;
    }
    closedir(dir);
    assert_int_equal(count, 1);
    return path;
}

static void test_round_trip(void **state)
{
    fixture *f = *state;
    sl_tuning got;
    assert_int_equal(load(f, "a model", &got), SL_TUNED_NOT); /* no file: nothing, and no warning */
    assert_int_equal(got.choice_count, 0);
    choose(f, 4096, 0);
    choose(f, 8192, 6);
    f->tuning.columns[SL_WEIGHT_Q4_K][SL_RUNG_matvec] = 3;
    f->tuning.columns[SL_WEIGHT_Q4_K][SL_RUNG_matmul_skinny] = 96;
    f->tuning.experts_alone = 17;
    store(f, "a model", SL_TUNED_FULL);
    assert_int_equal(load(f, "a model", &got), SL_TUNED_FULL);
    assert_int_equal(got.choice_count, 2);
    const sl_tuning_choice wanted = choice_of(8192, 6), *found = sl_tuning_find(&got, &wanted.of);
    assert_non_null(found);
    assert_ptr_equal(found->variant, wanted.variant);
    assert_int_equal(found->number, 6);
    assert_int_equal(got.columns[SL_WEIGHT_Q4_K][SL_RUNG_matvec], 3);
    assert_int_equal(got.columns[SL_WEIGHT_F16][SL_RUNG_matvec], SL_MATVEC_COLUMNS_MAX);
    assert_int_equal(got.columns[SL_WEIGHT_Q4_K][SL_RUNG_matmul_skinny], 96);
    assert_int_equal(got.columns[SL_WEIGHT_Q4_K][SL_RUNG_matmul],
                     f->tuning.columns[SL_WEIGHT_Q4_K][SL_RUNG_matmul]);
    assert_int_equal(got.columns[SL_WEIGHT_Q4_K][SL_RUNG_gemm], UINT32_MAX);
    assert_int_equal(got.experts_alone, 17);
    sl_tuning_clear(&got);
    assert_int_equal(warnings, 0);
}

/* Another model has the choices of shapes, but not the switch points; both stay in the file. */
static void test_two_models(void **state)
{
    fixture *f = *state;
    sl_tuning got;
    choose(f, 4096, 2);
    f->tuning.columns[SL_WEIGHT_Q4_K][SL_RUNG_matvec] = 3;
    f->tuning.experts_alone = 17;
    store(f, "first", SL_TUNED_FULL);
    assert_int_equal(load(f, "second", &got), SL_TUNED_NOT);
    assert_int_equal(got.choice_count, 1);
    assert_int_equal(got.columns[SL_WEIGHT_Q4_K][SL_RUNG_matvec], SL_MATVEC_COLUMNS_MAX);
    assert_int_equal(got.experts_alone, SL_MATVEC_COLUMNS_MAX);
    sl_tuning_clear(&got);

    sl_tuning_clear(&f->tuning);
    sl_tuning_default(&f->tuning, &f->device);
    choose(f, 4096, 5); /* measured again */
    choose(f, 1024, 0);
    store(f, "second", SL_TUNED_QUICK);
    assert_int_equal(load(f, "second", &got), SL_TUNED_QUICK);
    assert_int_equal(got.choice_count, 2);
    const sl_tuning_choice again = choice_of(4096, 5);
    assert_int_equal(sl_tuning_find(&got, &again.of)->number, 5);
    sl_tuning_clear(&got);
    assert_int_equal(load(f, "first", &got), SL_TUNED_FULL);
    assert_int_equal(got.columns[SL_WEIGHT_Q4_K][SL_RUNG_matvec], 3);
    sl_tuning_clear(&got);
    assert_int_equal(warnings, 0);
}

static void overwrite(const char *path, const char *text)
{
    const sl_bytes part = {text, strlen(text)};
    assert_true(sl_replace_file(path, &part, 1));
}

/* Each is ignored with one warning, and the next results replace it. */
static void test_damaged(void **state)
{
    fixture *f = *state;
    sl_tuning got;
    static const char *const texts[] = {
        "",
        "{",
        "[]",
        "17",
        "{\"sluice_tuning\": 1}",
        "{\"sluice_tuning\": \"1\", \"device\": 1, \"build\": 2}",
        "{\"sluice_tuning\": 99, \"device\": \"x\", \"build\": \"y\"}",
        "{\"sluice_tuning\": 2, \"device\": \"x\", \"build\": \"y\", \"choices\": [], \"models\": {}}",
        "\xff\xfe\x00",
    };
    choose(f, 4096, 0);
    store(f, "a model", SL_TUNED_FULL);
    char path[400];
    snprintf(path, sizeof path, "%s", only_file(f));
    for (size_t i = 0; i < SL_COUNTOF(texts); i++) {
        overwrite(path, texts[i]);
        warnings = 0;
        assert_int_equal(load(f, "a model", &got), SL_TUNED_NOT);
        assert_int_equal(got.choice_count, 0);
        assert_int_equal(warnings, 1);
        sl_tuning_clear(&got);
        store(f, "a model", SL_TUNED_FULL);
        warnings = 0;
        assert_int_equal(load(f, "a model", &got), SL_TUNED_FULL);
        assert_int_equal(got.choice_count, 1);
        assert_int_equal(warnings, 0);
        sl_tuning_clear(&got);
    }
}

/* Replaces `from` by `to` in the file. */
static void edit(const char *path, const char *from, const char *to)
{
    static char text[1 << 16], out[1 << 16];
    FILE *file = fopen(path, "r");
    assert_non_null(file);
    text[fread(text, 1, sizeof text - 1, file)] = 0;
    fclose(file);
    const char *at = strstr(text, from);
    assert_non_null(at);
    snprintf(out, sizeof out, "%.*s%s%s", (int)(at - text), text, to, at + strlen(from));
    overwrite(path, out);
}

/* Entries that mean nothing here are left out; the others count. */
static void test_foreign_entries(void **state)
{
    fixture *f = *state;
    sl_tuning got;
    static const char *const edits[][2] = {
        {"\"matmul\"", "\"matmux\""},   {"\"q4_k\"", "\"q4_k_lanes\""},         {"\"q4_k\"", "\"nothing\""},
        {"\"key\": 12", "\"key\": 13"}, {"\"number\": 4", "\"number\": \"4\""},
    };
    for (size_t i = 0; i < SL_COUNTOF(edits); i++) {
        sl_tuning_clear(&f->tuning);
        sl_tuning_default(&f->tuning, &f->device);
        choose(f, 4096, 4);
        choose(f, 8192, 5);
        char command[128];
        snprintf(command, sizeof command, "rm -f '%s'/*", f->dir);
        assert_int_equal(system(command), 0);
        store(f, "a model", SL_TUNED_QUICK);
        edit(only_file(f), edits[i][0], edits[i][1]);
        warnings = 0;
        assert_int_equal(load(f, "a model", &got), SL_TUNED_QUICK);
        assert_int_equal(got.choice_count, 1);
        assert_int_equal(warnings, 1);
        sl_tuning_clear(&got);
    }
}

/* A file of an older version is no damage: nothing of it is taken, nobody is warned, and the next results
 * replace it. */
static void test_older(void **state)
{
    fixture *f = *state;
    sl_tuning got;
    choose(f, 4096, 4);
    store(f, "a model", SL_TUNED_FULL);
    edit(only_file(f), "\"sluice_tuning\": 2", "\"sluice_tuning\": 1");
    assert_int_equal(load(f, "a model", &got), SL_TUNED_NOT);
    assert_int_equal(got.choice_count, 0);
    sl_tuning_clear(&got);
    store(f, "a model", SL_TUNED_QUICK);
    assert_int_equal(load(f, "a model", &got), SL_TUNED_QUICK);
    assert_int_equal(got.choice_count, 1);
    assert_int_equal(warnings, 0);
    sl_tuning_clear(&got);
}

/* A number that no kernel takes is cut to what it takes. */
static void test_columns_are_bounded(void **state)
{
    fixture *f = *state;
    sl_tuning got;
    f->tuning.columns[SL_WEIGHT_Q4_K][SL_RUNG_matvec] = 3;
    store(f, "a model", SL_TUNED_FULL);
    edit(only_file(f), "3,", "3000,");
    assert_int_equal(load(f, "a model", &got), SL_TUNED_FULL);
    assert_int_equal(got.columns[SL_WEIGHT_Q4_K][SL_RUNG_matvec], SL_MATVEC_COLUMNS_MAX);
    sl_tuning_clear(&got);
}

/* A file of another device or driver has another name, and is not even looked at. */
static void test_other_device(void **state)
{
    fixture *f = *state;
    sl_tuning got;
    choose(f, 4096, 0);
    store(f, "a model", SL_TUNED_FULL);
    f->device.driver_version++;
    assert_int_equal(load(f, "a model", &got), SL_TUNED_NOT);
    assert_int_equal(got.choice_count, 0);
    f->device.driver_version--;
    f->device.uuid[0]++;
    assert_int_equal(load(f, "a model", &got), SL_TUNED_NOT);
    assert_int_equal(warnings, 0);
}

static void test_no_place(void **state)
{
    fixture *f = *state;
    sl_tuning got;
    sl_tuned tuned;
    choose(f, 4096, 0);
    sl_tune_cache cache = cache_of(f, "a model");
    cache.dir = "/proc/no-such-folder";
    sl_tune_cache_store(&cache, &f->tuning, SL_TUNED_FULL);
    assert_int_equal(warnings, 1);
    cache.dir = "";
    sl_tune_cache_store(&cache, &f->tuning, SL_TUNED_FULL);
    sl_tuning_default(&got, &f->device);
    sl_tune_cache_load(&cache, &got, &tuned);
    assert_int_equal(tuned, SL_TUNED_NOT);
    assert_int_equal(warnings, 1);
    sl_tuning_clear(&got);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_round_trip, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_two_models, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_damaged, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_foreign_entries, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_older, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_columns_are_bounded, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_other_device, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_no_place, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
