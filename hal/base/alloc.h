/* alloc.h - all host memory of Sluice is had here, so that tests can make the Nth allocation fail and can
 * count.
 *
 * Owns: the caller owns what it gets and returns it to sl_free. Errors: NULL when memory is out or the size
 * overflows. Threads: any. */
#ifndef SL_BASE_ALLOC_H
#define SL_BASE_ALLOC_H

#include <stddef.h>
#include <stdint.h>

void *sl_malloc(size_t size);
void *sl_calloc(size_t count, size_t size);             /* zeroed; checks count * size */
void *sl_realloc(void *old, size_t count, size_t size); /* checks count * size; NULL leaves `old` alive */
void *sl_aligned_alloc(size_t alignment, size_t size);  /* alignment: power of two; free with sl_free */
char *sl_strdup(const char *text);
char *sl_strndup(const char *text, size_t length); /* copies exactly `length` bytes and a NUL */
void sl_free(void *pointer);                       /* NULL is fine */

/* Test hooks. sl_alloc_fail_at(n): the n-th allocation from now on (1 = the next) fails, once; 0 switches
 * off. */
void sl_alloc_fail_at(uint64_t n);
uint64_t sl_alloc_count(void); /* allocations since the program began: steady state must not move it */

#endif
