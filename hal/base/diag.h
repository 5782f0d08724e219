/* diag.h - filling an sl_diag, and the attribute that makes the compiler insist on looking at a status. */
#ifndef SL_BASE_DIAG_H
#define SL_BASE_DIAG_H

#include "hal/base/status.h"

#if defined(__GNUC__)
#define SL_NODISCARD    __attribute__((warn_unused_result))
#define SL_PRINTF(f, a) __attribute__((format(printf, f, a)))
#else
#define SL_NODISCARD
#define SL_PRINTF(f, a)
#endif

/* Fills *diag (may be NULL) and returns `code`, so that `return sl_fail(...)` and `st = sl_fail(...)` work.
 */
sl_status sl_fail_at(sl_diag *diag, sl_status code, int sys_errno, const char *file, int line,
                     const char *format, ...) SL_PRINTF(6, 7);

/* Macros, so that the compiler and analysers see that the result is not SL_OK. `code` is evaluated twice. */
#define sl_fail(diag, code, ...)                                                                             \
    ((void)sl_fail_at((diag), (code), 0, __FILE__, __LINE__, __VA_ARGS__), (code))
/* The same, with errno's value: the text of the errno is appended to the message. */
#define sl_fail_errno(diag, code, err, ...)                                                                  \
    ((void)sl_fail_at((diag), (code), (err), __FILE__, __LINE__, __VA_ARGS__), (code))

/* Puts "prefix: " before the message that *diag already has (a NULL diag is left alone). Cuts at the end. */
void sl_diag_prefix(sl_diag *diag, const char *format, ...) SL_PRINTF(2, 3);

/* `if ((st = call) != SL_OK) goto cleanup`, the one control-flow macro of the code base. */
#define SL_TRY(call)                                                                                         \
    do {                                                                                                     \
        if ((st = (call)) != SL_OK) goto cleanup;                                                            \
    } while (0)

#endif
