/* status.h - the error type of every Sluice function, and the diagnostic that goes with it.
 *
 * Included by the public header sluice.h; `make install` inlines it there, so it may include nothing of
 * Sluice.
 *
 * A function that can fail returns sl_status and takes a trailing `sl_diag *diag` (may be NULL). On failure
 * it fills *diag once, at the place where the failure was first seen; callers pass it on unchanged. errno and
 * VkResult are converted where they arise and never travel further.
 */
#ifndef SL_BASE_STATUS_H
#define SL_BASE_STATUS_H

#ifdef __cplusplus
extern "C" {
#endif

typedef enum sl_status {
    SL_OK = 0,
    SL_ERR_ARGUMENT,      /* a caller's argument is out of range: a usage error */
    SL_ERR_NO_MEMORY,     /* host memory */
    SL_ERR_DEVICE_MEMORY, /* device memory */
    SL_ERR_DEVICE_LOST,   /* the device stopped; every object of it is dead except for release */
    SL_ERR_UNSUPPORTED,   /* understood, but this build, device or version has no way to do it */
    SL_ERR_NOT_FOUND,     /* no such file, device, key, tensor */
    SL_ERR_FORMAT,        /* malformed file or text */
    SL_ERR_IO,            /* a read or write failed; diag.sys_errno says how */
    SL_ERR_TRUNCATED,     /* a file ended before its contents did, or changed while in use */
    SL_ERR_OVERFLOW,      /* arithmetic on sizes would exceed its type */
    SL_ERR_BUDGET,        /* the memory budget asked for is too small; the message names one that works */
    SL_ERR_CONTEXT_FULL,  /* no room for more tokens in the KV cache */
    SL_ERR_CANCELLED,     /* the caller asked to stop */
    SL_ERR_TIMEOUT,       /* a bounded wait ran out */
    SL_ERR_BUSY,          /* a queue is full: try again after completions were taken */
    SL_ERR_INTERNAL,      /* a bug in Sluice */
    SL_STATUS_COUNT
} sl_status;

#define SL_DIAG_MESSAGE_BYTES 512

/* What went wrong, for people. Owned by the caller; plain data, may be copied. */
typedef struct sl_diag {
    sl_status code;
    int sys_errno;    /* errno behind it, or 0 */
    const char *file; /* source file and line that saw the failure first; static storage */
    int line;
    char message[SL_DIAG_MESSAGE_BYTES]; /* one line, no newline, names file, field and value */
} sl_diag;

/* Short lower-case name of a status ("out of device memory"). Never NULL; static storage. */
const char *sl_status_name(sl_status status);

#ifdef __cplusplus
}
#endif
#endif
