/* io_testing.h - what the tests of io/ share: a folder of their own, files whose every byte tells its offset,
 * and a hook that spoils chosen block completions. */
#ifndef SL_TESTS_IO_TESTING_H
#define SL_TESTS_IO_TESTING_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "hal/base/checked.h"
#include "hal/base/log.h"
#include "io/io.h"

static char test_folder[256];

static inline const char *test_path(const char *name)
{
    static char path[512];
    snprintf(path, sizeof path, "%s/%s", test_folder, name);
    return path;
}

static inline int test_folder_make(void)
{
    const char *base = getenv("TMPDIR");
    snprintf(test_folder, sizeof test_folder, "%s/sluice-io-XXXXXX", base && base[0] ? base : P_tmpdir);
    return mkdtemp(test_folder) ? 0 : -1;
}

static inline void test_folder_remove(void)
{
    if (test_folder[0]) (void)rmdir(test_folder);
}

/* The byte at `offset` of every test file. */
static inline uint8_t test_byte(uint64_t offset)
{
    uint64_t x = offset / 8 * 0x9e3779b97f4a7c15u;
    x ^= x >> 29;
    return (uint8_t)(x >> (offset % 8 * 8));
}

static inline void test_file_make(const char *path, uint64_t size)
{
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    uint8_t chunk[65536];
    for (uint64_t at = 0; at < size; at += sizeof chunk) {
        const size_t n = SL_MIN(sizeof chunk, size - at);
        for (size_t i = 0; i < n; i++)
            chunk[i] = test_byte(at + i);
        assert_int_equal(fwrite(chunk, 1, n, f), n);
    }
    assert_int_equal(fflush(f), 0);
    assert_int_equal(fclose(f), 0);
}

/* Do `size` bytes at `data` come from `offset` of a test file? */
static inline void test_check(const void *data, uint64_t offset, uint64_t size)
{
    const uint8_t *p = data;
    for (uint64_t i = 0; i < size; i++)
        if (p[i] != test_byte(offset + i))
            fail_msg("byte %llu of the read at offset %llu is wrong", (unsigned long long)i,
                     (unsigned long long)offset);
}

/* Whether the folder's file system takes O_DIRECT, found without the code under test. */
static inline bool test_direct_works(void)
{
    const char *path = test_path("probe");
    test_file_make(path, 4096);
    const int fd = open(path, O_RDONLY | O_DIRECT);
    void *p = aligned_alloc(4096, 4096);
    const bool works = fd >= 0 && p && pread(fd, p, 4096, 0) == 4096;
    free(p);
    if (fd >= 0) close(fd);
    unlink(path);
    return works;
}

/* ---- log lines ---- */

typedef struct test_log {
    unsigned warnings, infos;
    char last_warning[512], last_info[512];
} test_log;

static inline void test_log_take(void *user, sl_log_level level, const char *line)
{
    test_log *l = user;
    if (level == SL_LOG_WARN) {
        l->warnings++;
        snprintf(l->last_warning, sizeof l->last_warning, "%s", line);
    } else if (level == SL_LOG_INFO) {
        l->infos++;
        snprintf(l->last_info, sizeof l->last_info, "%s", line);
    }
}

/* ---- faults ---- */

enum {
    FAULT_NONE,
    FAULT_EIO,
    FAULT_EAGAIN,
    FAULT_EINTR,
    FAULT_SHORT,
    FAULT_TINY,
    FAULT_EMPTY,
    FAULT_HOLD,
    FAULT_LATE,
    FAULT_KINDS
};

typedef struct test_fault {
    int kind;
    uint64_t at;   /* the at-th completion from the arming on; 0: every one */
    uint64_t seen; /* completions since the arming */
    uint64_t hits;
    uint64_t delay_ns; /* FAULT_LATE */
    uint64_t offset;   /* in the file, of the last hit */
    uint64_t random;   /* not 0: a kind chosen for each completion */
} test_fault;

static inline uint64_t test_random(uint64_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return *state;
}

static inline void test_fault_hook(void *user, const sl_io_fault_event *event, sl_io_fault *fault)
{
    test_fault *t = user;
    int kind = t->kind;
    t->seen++;
    if (t->random) {
        static const int kinds[] = {FAULT_NONE,  FAULT_NONE, FAULT_EAGAIN, FAULT_EINTR,
                                    FAULT_SHORT, FAULT_TINY, FAULT_HOLD,   FAULT_LATE};
        kind = kinds[test_random(&t->random) % SL_COUNTOF(kinds)];
    } else if (kind == FAULT_NONE || (t->at && t->seen != t->at)) {
        return;
    }
    t->hits++;
    t->offset = event->offset;
    uint64_t keep = event->length;
    if (kind == FAULT_EIO) fault->result = -EIO, keep = 0;
    if (kind == FAULT_EAGAIN) fault->result = -EAGAIN, keep = 0;
    if (kind == FAULT_EINTR) fault->result = -EINTR, keep = 0;
    if (kind == FAULT_EMPTY) fault->result = 0, keep = 0;
    if (kind == FAULT_SHORT && fault->result > 0) keep = (uint64_t)(fault->result = (fault->result + 1) / 2);
    if (kind == FAULT_TINY && fault->result > 0) keep = (uint64_t)(fault->result = 1);
    if (kind == FAULT_HOLD) fault->hold = 3;
    if (kind == FAULT_LATE) fault->delay_ns = t->delay_ns ? t->delay_ns : 200000;
    /* What was not delivered is not there. */
    if (keep < event->length) memset((char *)event->dest + keep, 0x5a, event->length - keep);
}

#endif
