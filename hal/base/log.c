#include "hal/base/log.h"

#include <stdarg.h>
#include <stdio.h>

static void to_stderr(void *user, sl_log_level level, const char *line)
{
    (void)user;
    static const char *const tags[] = {"error: ", "warning: ", "", ""};
    fprintf(stderr, "sluice: %s%s\n", tags[level], line);
}

static sl_log_level max_level = SL_LOG_WARN;
static sl_log_fn sink = to_stderr;
static void *sink_user;

void sl_log_set(sl_log_level level, sl_log_fn function, void *user)
{
    max_level = level;
    sink = function ? function : to_stderr;
    sink_user = function ? user : NULL;
}

void sl_log(sl_log_level level, const char *format, ...)
{
    if (level > max_level) return;
    char line[1024];
    va_list args;
    va_start(args, format);
    vsnprintf(line, sizeof line, format, args);
    va_end(args);
    sink(sink_user, level, line);
}
