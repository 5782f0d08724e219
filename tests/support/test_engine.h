/* test_engine.h - engines and sessions for tests that run a whole model: on the device under test, pipeline
 * caches kept in the test's own folder, so that programs of one test compile once.
 *
 * Include after cmocka.h. Functions end the test (fail, skip) when something is not as it should be. */
#ifndef SL_TESTS_SUPPORT_ENGINE_H
#define SL_TESTS_SUPPORT_ENGINE_H

#include "runtime/include/sluice.h"

/* Device under test as sl_engine_options.device takes it: SLUICE_TEST_DEVICE, else "cpu". */
const char *sl_test_device_selector(void);
bool sl_test_device_is_cpu(void);

/* A path below tests/golden/data. Static storage, valid until the next call. */
const char *sl_test_golden_path(const char *name);

/* The real models: what the variable names, else the file in the user's cache. NULL when it is not there.
 * Static storage. */
const char *sl_test_model_smollm2(void);
const char *sl_test_model_gemma3(void);

/* Copy of `path` in the folder of the test, under `name`. Static storage, valid until the next call. */
const char *sl_test_copy_file(const char *path, const char *name);
/* A path in the folder of the test. Static storage, valid until the next call. */
const char *sl_test_path(const char *name);

/* Opens `path` with `options` (may be NULL; model_path, device and cache_dir are filled in). */
sl_engine *sl_test_engine_open(const char *path, const sl_engine_options *options);
/* The same, and the status is the caller's to judge. */
sl_status sl_test_engine_try(const char *path, const sl_engine_options *options, sl_engine **out,
                             sl_diag *diag);

sl_session *sl_test_session(sl_engine *engine, const sl_sampling *sampling);

/* `count` tokens after `prompt`, end tokens included, in a new session. */
void sl_test_generate(sl_engine *engine, const sl_sampling *sampling, const uint32_t *prompt,
                      size_t prompt_count, uint32_t *out, uint32_t count);
/* The same, and the status is the caller's to judge; *out_count tokens came before a failure. */
sl_status sl_test_generate_try(sl_engine *engine, const uint32_t *prompt, size_t prompt_count, uint32_t *out,
                               uint32_t count, uint32_t *out_count, sl_diag *diag);

#endif
