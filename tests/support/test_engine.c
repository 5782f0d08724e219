#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "tests/support/test_engine.h"

#include "hal/base/diag.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define PATH_BYTES 1024

const char *sl_test_device_selector(void)
{
    const char *text = getenv("SLUICE_TEST_DEVICE");
    return text && *text ? text : "cpu";
}

bool sl_test_device_is_cpu(void)
{
    return strcmp(sl_test_device_selector(), "cpu") == 0;
}

const char *sl_test_golden_path(const char *name)
{
    static char path[PATH_BYTES];
    snprintf(path, sizeof path, "tests/golden/data/%s", name);
    return path;
}

static const char *cached_model(const char *variable, const char *name, char *path)
{
    const char *given = getenv(variable), *xdg = getenv("XDG_CACHE_HOME"), *home = getenv("HOME");
    if (given && *given)
        snprintf(path, PATH_BYTES, "%s", given);
    else if (xdg && *xdg)
        snprintf(path, PATH_BYTES, "%s/sluice/models/%s", xdg, name);
    else
        snprintf(path, PATH_BYTES, "%s/.cache/sluice/models/%s", home ? home : "", name);
    return access(path, R_OK) == 0 ? path : NULL;
}

const char *sl_test_model_smollm2(void)
{
    static char path[PATH_BYTES];
    return cached_model("SLUICE_MODEL_SMOLLM2", "SmolLM2-135M-Instruct.Q4_1.gguf", path);
}

const char *sl_test_model_gemma3(void)
{
    static char path[PATH_BYTES];
    return cached_model("SLUICE_MODEL_GEMMA3", "gemma-3-270m.Q4_K_M.gguf", path);
}

/* The test's folder: of the runner, or one of this process's own that goes with it. */
static char own_folder[64];

static void remove_own_folder(void)
{
    char command[128];
    snprintf(command, sizeof command, "rm -rf '%s'", own_folder);
    if (system(command) != 0) print_error("%s could not be removed\n", own_folder);
}

static const char *test_folder(void)
{
    const char *given = getenv("SLUICE_TEST_TMP");
    if (given && *given) return given;
    if (!*own_folder) {
        snprintf(own_folder, sizeof own_folder, "/tmp/sluice-test-XXXXXX");
        if (!mkdtemp(own_folder)) fail_msg("no temporary folder");
        atexit(remove_own_folder);
    }
    return own_folder;
}

const char *sl_test_path(const char *name)
{
    static char path[PATH_BYTES];
    snprintf(path, sizeof path, "%s/%s", test_folder(), name);
    return path;
}

const char *sl_test_copy_file(const char *path, const char *name)
{
    const char *target = sl_test_path(name);
    FILE *in = fopen(path, "rb"), *out = fopen(target, "wb");
    if (!in || !out) fail_msg("cannot copy %s to %s", path, target);
    static char block[1 << 16];
    size_t n;
    while ((n = fread(block, 1, sizeof block, in)) > 0)
        assert_int_equal(fwrite(block, 1, n, out), n);
    fclose(in);
    assert_int_equal(fclose(out), 0);
    return target;
}

sl_status sl_test_engine_try(const char *path, const sl_engine_options *options, sl_engine **out,
                             sl_diag *diag)
{
    static char cache[PATH_BYTES];
    snprintf(cache, sizeof cache, "%s", sl_test_path("pipelines"));
    sl_engine_options o = options ? *options : (sl_engine_options){0};
    o.model_path = path;
    o.device = sl_test_device_selector();
    if (!o.cache_dir) o.cache_dir = cache;
    return sl_engine_open(&o, out, diag);
}

sl_engine *sl_test_engine_open(const char *path, const sl_engine_options *options)
{
    sl_engine *engine = NULL;
    sl_diag diag = {0};
    const sl_status st = sl_test_engine_try(path, options, &engine, &diag);
    if (st != SL_OK) fail_msg("%s: %s: %s", path, sl_status_name(st), diag.message);
    return engine;
}

sl_session *sl_test_session(sl_engine *engine, const sl_sampling *sampling)
{
    sl_session *session = NULL;
    sl_diag diag = {0};
    const sl_status st = sl_session_create(engine, sampling, &session, &diag);
    if (st != SL_OK) fail_msg("session: %s: %s", sl_status_name(st), diag.message);
    return session;
}

static sl_status generate(sl_engine *engine, const sl_sampling *sampling, const uint32_t *prompt,
                          size_t prompt_count, uint32_t *out, uint32_t count, uint32_t *out_count,
                          sl_diag *diag)
{
    sl_session *session = NULL;
    sl_generation generation = {0};
    const sl_generate_options options = {.max_tokens = count, .ignore_end = true};
    sl_status st;
    *out_count = 0;
    SL_TRY(sl_session_create(engine, sampling, &session, diag));
    SL_TRY(sl_session_generate(session, prompt, prompt_count, &options, &generation, diag));
cleanup:
    assert_true(generation.token_count <= count);
    if (generation.token_count) memcpy(out, generation.tokens, generation.token_count * sizeof *out);
    *out_count = (uint32_t)generation.token_count;
    sl_generation_clear(&generation);
    sl_session_destroy(session);
    return st;
}

void sl_test_generate(sl_engine *engine, const sl_sampling *sampling, const uint32_t *prompt,
                      size_t prompt_count, uint32_t *out, uint32_t count)
{
    sl_diag diag = {0};
    uint32_t got;
    const sl_status st = generate(engine, sampling, prompt, prompt_count, out, count, &got, &diag);
    if (st != SL_OK) fail_msg("generation: %s: %s", sl_status_name(st), diag.message);
    assert_int_equal(got, count);
}

sl_status sl_test_generate_try(sl_engine *engine, const uint32_t *prompt, size_t prompt_count, uint32_t *out,
                               uint32_t count, uint32_t *out_count, sl_diag *diag)
{
    return generate(engine, NULL, prompt, prompt_count, out, count, out_count, diag);
}
