/* tune_cache.h - what was measured, in a file: <dir>/<device uuid>-<driver version>-<build of the
 * shaders>.tuning.json.
 *
 * Choices belong to shapes, so that models share them; switch points, and how much was tuned, to one model. A
 * file that is damaged or of another device or build is ignored with a warning, and written anew with the
 * next results.
 *
 * Threads: as sl_tuning. Several processes may write: the last one's file stays, whole. */
#ifndef SL_RUNTIME_TUNE_TUNE_CACHE_H
#define SL_RUNTIME_TUNE_TUNE_CACHE_H

#include "shaders/tuning.h"

typedef struct sl_tune_cache {
    const char *dir; /* "": none, nothing is read or written */
    const sl_device_info *device;
    const char *model; /* what stands for its shapes; no two models of other shapes share it */
} sl_tune_cache;

typedef enum sl_tuned {
    SL_TUNED_NOT,
    SL_TUNED_QUICK, /* passes of one token and of a whole batch */
    SL_TUNED_FULL,  /* and those between, and the switch points */
} sl_tuned;

/* Puts the file's choices that this device can run, and the model's switch points, into `tuning`. */
void sl_tune_cache_load(const sl_tune_cache *cache, sl_tuning *tuning, sl_tuned *out_tuned);
/* Adds to the file what `tuning` holds. Trouble is a warning. */
void sl_tune_cache_store(const sl_tune_cache *cache, const sl_tuning *tuning, sl_tuned tuned);

#endif
