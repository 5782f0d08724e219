/* checked.h - arithmetic on sizes that come from outside. Nothing else in Sluice may add, multiply or align
 * such sizes: overflow in tensor sizes is the most repeated bug of this field (CVE-2025-53630,
 * CVE-2026-27940, ...). Each returns false, and leaves *out alone, when the true result does not fit. */
#ifndef SL_BASE_CHECKED_H
#define SL_BASE_CHECKED_H

#include <stdbool.h>
#include <stdint.h>

static inline bool sl_checked_add(uint64_t a, uint64_t b, uint64_t *out)
{
    uint64_t r;
    if (__builtin_add_overflow(a, b, &r)) return false;
    *out = r;
    return true;
}

static inline bool sl_checked_mul(uint64_t a, uint64_t b, uint64_t *out)
{
    uint64_t r;
    if (__builtin_mul_overflow(a, b, &r)) return false;
    *out = r;
    return true;
}

/* Rounds up to a multiple of `alignment`, a power of two (else false). */
static inline bool sl_checked_align(uint64_t a, uint64_t alignment, uint64_t *out)
{
    if (alignment == 0 || (alignment & (alignment - 1))) return false;
    uint64_t r;
    if (!sl_checked_add(a, alignment - 1, &r)) return false;
    *out = r & ~(alignment - 1);
    return true;
}

/* For sizes that were checked before: plain rounding. `alignment` is a power of two. */
static inline uint64_t sl_align_up(uint64_t a, uint64_t alignment)
{
    return (a + alignment - 1) & ~(alignment - 1);
}

static inline uint64_t sl_align_down(uint64_t a, uint64_t alignment)
{
    return a & ~(alignment - 1);
}

static inline uint64_t sl_div_up(uint64_t a, uint64_t b)
{
    return a / b + (a % b != 0);
}

#define SL_MIN(a, b)    ((a) < (b) ? (a) : (b))
#define SL_MAX(a, b)    ((a) > (b) ? (a) : (b))
#define SL_COUNTOF(arr) (sizeof(arr) / sizeof((arr)[0]))

#endif
