#include "hal/base/diag.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

const char *sl_status_name(sl_status status)
{
    static const char *const names[SL_STATUS_COUNT] = {
        [SL_OK] = "ok",
        [SL_ERR_ARGUMENT] = "invalid argument",
        [SL_ERR_NO_MEMORY] = "out of host memory",
        [SL_ERR_DEVICE_MEMORY] = "out of device memory",
        [SL_ERR_DEVICE_LOST] = "device lost",
        [SL_ERR_UNSUPPORTED] = "unsupported",
        [SL_ERR_NOT_FOUND] = "not found",
        [SL_ERR_FORMAT] = "malformed input",
        [SL_ERR_IO] = "i/o error",
        [SL_ERR_TRUNCATED] = "truncated file",
        [SL_ERR_OVERFLOW] = "size overflow",
        [SL_ERR_BUDGET] = "memory budget too small",
        [SL_ERR_CONTEXT_FULL] = "context full",
        [SL_ERR_CANCELLED] = "cancelled",
        [SL_ERR_TIMEOUT] = "timeout",
        [SL_ERR_BUSY] = "busy",
        [SL_ERR_INTERNAL] = "internal error",
    };
    if ((unsigned)status >= SL_STATUS_COUNT || !names[status]) return "unknown status";
    return names[status];
}

sl_status sl_fail_at(sl_diag *diag, sl_status code, int sys_errno, const char *file, int line,
                     const char *format, ...)
{
    if (!diag) return code;
    diag->code = code;
    diag->sys_errno = sys_errno;
    diag->file = file;
    diag->line = line;
    va_list args;
    va_start(args, format);
    int n = vsnprintf(diag->message, sizeof diag->message, format, args);
    va_end(args);
    if (n < 0) n = 0;
    if (sys_errno && (size_t)n < sizeof diag->message)
        snprintf(diag->message + n, sizeof diag->message - (size_t)n, ": %s", strerror(sys_errno));
    return code;
}

void sl_diag_prefix(sl_diag *diag, const char *format, ...)
{
    if (!diag) return;
    char head[SL_DIAG_MESSAGE_BYTES], whole[2 * SL_DIAG_MESSAGE_BYTES + 2];
    va_list args;
    va_start(args, format);
    vsnprintf(head, sizeof head, format, args);
    va_end(args);
    snprintf(whole, sizeof whole, "%s: %s", head, diag->message);
    memcpy(diag->message, whole, sizeof diag->message - 1);
    diag->message[sizeof diag->message - 1] = '\0';
}
