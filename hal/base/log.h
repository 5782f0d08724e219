/* log.h - one line of text at a time to whoever runs Sluice. Prompts and generated text are never logged.
 * Threads: sl_log from any; sl_log_set before other threads start. */
#ifndef SL_BASE_LOG_H
#define SL_BASE_LOG_H

#include "hal/base/diag.h"

typedef enum sl_log_level { SL_LOG_ERROR, SL_LOG_WARN, SL_LOG_INFO, SL_LOG_DEBUG } sl_log_level;

typedef void (*sl_log_fn)(void *user, sl_log_level level, const char *line);

/* Lines above `level` are dropped; a NULL function restores the default (standard error, "sluice: " before
 * it). Until set: SL_LOG_WARN. */
void sl_log_set(sl_log_level level, sl_log_fn function, void *user);

void sl_log(sl_log_level level, const char *format, ...) SL_PRINTF(2, 3);

#endif
