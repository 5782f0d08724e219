/* test_io_fallback.c - what happens where io_uring, locked memory, direct reads or host memory cannot be had:
 * it goes on by other means and says so, or it fails with a typed error. */
#include "tests/unit/io/io_testing.h"

#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "hal/base/alloc.h"

enum { FILE_BYTES = 1 << 20 };
#define OK(call) assert_int_equal((call), SL_OK)

static test_log lines;
static char data[512];

static int setup(void **state)
{
    (void)state;
    lines = (test_log){0};
    sl_log_set(SL_LOG_INFO, test_log_take, &lines);
    snprintf(data, sizeof data, "%s", test_path("data"));
    test_file_make(data, FILE_BYTES);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    sl_log_set(SL_LOG_WARN, NULL, NULL);
    unlink(data);
    return 0;
}

static bool uring_works(void)
{
    sl_io_engine *e;
    sl_diag diag;
    const bool works = sl_io_engine_create(&(sl_io_options){.kind = SL_IO_URING}, &e, &diag) == SL_OK;
    sl_io_engine_destroy(e);
    return works;
}

/* Reads the whole file by requests and compares; returns what is wrong, or NULL. For children, too: no
 * cmocka. */
static const char *whole_file(sl_io_engine *e, uint8_t *memory)
{
    sl_diag diag;
    sl_io_file *f;
    sl_io_completion c;
    size_t n = 0;
    if (sl_io_file_open(e, data, &f, &diag) != SL_OK) return "open";
    if (sl_io_submit(e, &(sl_io_read){f, 0, FILE_BYTES, memory, 0}, 1, &diag) != SL_OK) return "submit";
    if (sl_io_reap(e, &c, 1, SL_IO_WAIT_FOREVER, &n, &diag) != SL_OK || n != 1) return "reap";
    if (c.status != SL_OK || c.bytes != FILE_BYTES) return "completion";
    for (uint64_t i = 0; i < FILE_BYTES; i++)
        if (memory[i] != test_byte(i)) return "contents";
    return NULL;
}

static uint8_t *base_of(const sl_io_arena *a)
{
    sl_io_arena_info info;
    sl_io_arena_get_info(a, &info);
    return info.base;
}

/* ---- no io_uring ---- */

static void test_simulated_block(void **state)
{
    (void)state;
    static const int errs[] = {EPERM, ENOSYS, ENOMEM, EINVAL};
    sl_io_engine *e;
    sl_io_arena *a;
    sl_diag diag;
    sl_io_engine_info info;
    OK(sl_io_arena_create(FILE_BYTES, 0, &a, &diag));
    for (size_t i = 0; i < SL_COUNTOF(errs); i++) {
        lines = (test_log){0};
        const sl_io_options o = {.simulate_uring_errno = errs[i]};
        OK(sl_io_engine_create(&o, &e, &diag));
        assert_int_equal(lines.warnings, 1);
        assert_non_null(strstr(lines.last_warning, strerror(errs[i])));
        sl_io_engine_get_info(e, &info);
        assert_string_equal(info.name, "threads");
        assert_int_equal(info.threads, 16);
        assert_non_null(strstr(info.reason, strerror(errs[i])));
        assert_null(whole_file(e, base_of(a)));
        sl_io_engine_destroy(e);
        const sl_io_options forced = {.kind = SL_IO_URING, .simulate_uring_errno = errs[i]};
        assert_int_equal(sl_io_engine_create(&forced, &e, &diag), SL_ERR_UNSUPPORTED);
        assert_null(e);
        assert_non_null(strstr(diag.message, strerror(errs[i])));
    }
    lines = (test_log){0};
    OK(sl_io_engine_create(&(sl_io_options){.kind = SL_IO_THREADS}, &e,
                           &diag)); /* asked for: nothing to warn of */
    assert_int_equal(lines.warnings, 0);
    sl_io_engine_destroy(e);
    sl_io_arena_destroy(a);
}

/* As a container's default profile does it: io_uring_setup gives EPERM. */
static bool block_uring(void)
{
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_io_uring_setup, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    const struct sock_fprog program = {.len = SL_COUNTOF(code), .filter = code};
    return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
           prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0;
}

enum { CHILD_RIGHT = 0, CHILD_WRONG = 1, CHILD_CANNOT = 77 };

/* Runs `body` in a child and returns how it ended. */
static int in_child(int (*body)(void))
{
    int status;
    fflush(NULL);
    const pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) _exit(body());
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    return WEXITSTATUS(status);
}

static int child_wrong(const char *what)
{
    fprintf(stderr, "child: %s\n", what);
    return CHILD_WRONG;
}

static int child_seccomp(void)
{
    sl_io_engine *e;
    sl_io_arena *a;
    sl_diag diag;
    sl_io_engine_info info;
    if (!block_uring()) return CHILD_CANNOT;
    if (sl_io_engine_create(&(sl_io_options){.kind = SL_IO_URING}, &e, &diag) != SL_ERR_UNSUPPORTED)
        return child_wrong("io_uring in spite of the filter");
    if (!strstr(diag.message, "seccomp")) return child_wrong(diag.message);
    if (sl_io_engine_create(NULL, &e, &diag) != SL_OK) return child_wrong(diag.message);
    sl_io_engine_get_info(e, &info);
    if (strcmp(info.name, "threads") != 0 || !strstr(info.reason, "seccomp")) return child_wrong(info.reason);
    if (lines.warnings != 1 || !strstr(lines.last_warning, "pread")) return child_wrong("no warning");
    if (sl_io_arena_create(FILE_BYTES, 0, &a, &diag) != SL_OK) return child_wrong(diag.message);
    const char *wrong = whole_file(e, base_of(a));
    if (wrong) return child_wrong(wrong);
    sl_io_engine_destroy(e);
    sl_io_arena_destroy(a);
    return CHILD_RIGHT;
}

static void test_seccomp_block(void **state)
{
    (void)state;
    const int r = in_child(child_seccomp);
    if (r == CHILD_CANNOT) skip();
    assert_int_equal(r, CHILD_RIGHT);
}

/* ---- no locked memory ---- */

static void test_simulated_memlock(void **state)
{
    (void)state;
    if (!uring_works()) skip();
    sl_io_engine *e;
    sl_io_arena *small, *large;
    sl_diag diag;
    sl_io_engine_info info;
    const sl_io_options o = {.kind = SL_IO_URING, .simulate_memlock_bytes = 8 << 20};
    OK(sl_io_engine_create(&o, &e, &diag));
    OK(sl_io_arena_create(4 << 20, 0, &small, &diag));
    OK(sl_io_arena_create(16 << 20, 0, &large, &diag));
    OK(sl_io_engine_add_arena(e, small, &diag));
    sl_io_engine_get_info(e, &info);
    assert_true(info.registered_buffers);
    assert_int_equal(lines.infos, 0);
    OK(sl_io_engine_add_arena(e, large, &diag));
    sl_io_engine_get_info(e, &info);
    assert_false(info.registered_buffers);
    assert_non_null(strstr(info.reason, "RLIMIT_MEMLOCK (8 MiB)"));
    assert_int_equal(lines.infos, 1);
    assert_non_null(strstr(lines.last_info, "ulimit -l 20480"));
    assert_null(whole_file(e, base_of(large)));
    assert_null(whole_file(e, base_of(small)));
    /* Room that an arena gives back is had by the next. */
    OK(sl_io_engine_remove_arena(e, large, &diag));
    OK(sl_io_engine_remove_arena(e, small, &diag));
    OK(sl_io_engine_add_arena(e, small, &diag));
    sl_io_engine_get_info(e, &info);
    assert_true(info.registered_buffers);
    assert_null(whole_file(e, base_of(small)));
    sl_io_engine_destroy(e);
    sl_io_arena_destroy(small);
    sl_io_arena_destroy(large);
}

/* As an ordinary user with the usual limit. */
static int child_memlock(void)
{
    sl_io_engine *e;
    sl_io_arena *a;
    sl_diag diag;
    sl_io_engine_info info;
    const struct rlimit limit = {1 << 20, 1 << 20};
    if (setrlimit(RLIMIT_MEMLOCK, &limit) != 0) return CHILD_CANNOT;
    if (geteuid() == 0 && (setgid(65534) != 0 || setuid(65534) != 0)) return CHILD_CANNOT;
    if (access(data, R_OK) != 0) return child_wrong("the file is not readable for others");
    if (sl_io_engine_create(&(sl_io_options){.kind = SL_IO_URING}, &e, &diag) != SL_OK)
        return child_wrong(diag.message);
    if (sl_io_arena_create(64 << 20, 0, &a, &diag) != SL_OK) return child_wrong(diag.message);
    if (sl_io_engine_add_arena(e, a, &diag) != SL_OK) return child_wrong(diag.message);
    sl_io_engine_get_info(e, &info);
    if (info.registered_buffers) return child_wrong("registered in spite of the limit");
    if (!strstr(info.reason, "RLIMIT_MEMLOCK (1 MiB)")) return child_wrong(info.reason);
    const char *wrong = whole_file(e, base_of(a));
    if (wrong) return child_wrong(wrong);
    sl_io_engine_destroy(e);
    sl_io_arena_destroy(a);
    return CHILD_RIGHT;
}

static void test_real_memlock(void **state)
{
    (void)state;
    if (!uring_works()) skip();
    assert_int_equal(chmod(test_folder, 0755), 0);
    assert_int_equal(chmod(data, 0644), 0);
    const int r = in_child(child_memlock);
    if (r == CHILD_CANNOT) skip();
    assert_int_equal(r, CHILD_RIGHT);
}

/* ---- no direct reads, no file ---- */

static void test_direct_refused(void **state)
{
    (void)state;
    static const char *const refuses = "/proc/version"; /* procfs knows no O_DIRECT */
    sl_io_engine *e;
    sl_io_file *f, *again;
    sl_diag diag;
    sl_io_file_info file;
    sl_io_engine_info info;
    if (access(refuses, R_OK) != 0) skip();
    OK(sl_io_engine_create(&(sl_io_options){.kind = SL_IO_THREADS}, &e, &diag));
    OK(sl_io_file_open(e, refuses, &f, &diag));
    OK(sl_io_file_open(e, refuses, &again, &diag));
    sl_io_file_get_info(f, &file);
    sl_io_engine_get_info(e, &info);
    assert_false(file.direct);
    assert_int_equal(file.alignment_bytes, 1);
    assert_false(info.direct);
    assert_non_null(strstr(info.reason, "O_DIRECT"));
    assert_int_equal(lines.warnings, 1);
    assert_non_null(strstr(lines.last_warning, refuses));
    sl_io_engine_destroy(e);
}

static void test_bad_paths(void **state)
{
    (void)state;
    sl_io_engine *e;
    sl_io_file *f;
    sl_diag diag;
    char path[600];
    OK(sl_io_engine_create(NULL, &e, &diag));
    assert_int_equal(sl_io_file_open(e, test_path("absent"), &f, &diag), SL_ERR_NOT_FOUND);
    assert_null(f);
    assert_int_equal(diag.sys_errno, ENOENT);
    assert_non_null(strstr(diag.message, "absent"));
    snprintf(path, sizeof path, "%s/below", data);
    assert_int_equal(sl_io_file_open(e, path, &f, &diag), SL_ERR_NOT_FOUND);
    assert_int_equal(sl_io_file_open(e, test_folder, &f, &diag), SL_ERR_FORMAT);
    assert_int_equal(sl_io_file_open(e, NULL, &f, &diag), SL_ERR_ARGUMENT);
    snprintf(path, sizeof path, "%s", test_path("pipe"));
    assert_int_equal(mkfifo(path, 0600), 0);
    assert_int_equal(sl_io_file_open(e, path, &f, &diag), SL_ERR_FORMAT); /* and does not wait for a writer */
    unlink(path);
    sl_io_engine_destroy(e);
}

static void test_too_many_files(void **state)
{
    (void)state;
    sl_io_engine *e;
    sl_io_file *f, *first = NULL;
    sl_diag diag;
    OK(sl_io_engine_create(NULL, &e, &diag));
    for (unsigned i = 0; i < 256; i++) {
        OK(sl_io_file_open(e, data, &f, &diag));
        if (!first) first = f;
    }
    assert_int_equal(sl_io_file_open(e, data, &f, &diag), SL_ERR_BUSY);
    sl_io_file_close(first);
    OK(sl_io_file_open(e, data, &f, &diag));
    uint8_t bytes[100];
    OK(sl_io_read_sync(f, 1000, sizeof bytes, bytes, &diag)); /* a place in the table that was used before */
    test_check(bytes, 1000, sizeof bytes);
    sl_io_engine_destroy(e);
}

/* ---- arguments, arenas, memory ---- */

static void test_options(void **state)
{
    (void)state;
    static const sl_io_options bad[] = {
        {.depth = 4097},           {.block_bytes = 2048},           {.block_bytes = 3 << 20},
        {.block_bytes = 1u << 29}, {.max_requests = (1 << 20) + 1}, {.threads = 257},
        {.kind = (sl_io_kind)9},
    };
    sl_io_engine *e;
    sl_diag diag;
    for (size_t i = 0; i < SL_COUNTOF(bad); i++) {
        assert_int_equal(sl_io_engine_create(&bad[i], &e, &diag), SL_ERR_ARGUMENT);
        assert_null(e);
    }
    sl_io_engine_destroy(NULL);
    sl_io_file_close(NULL);
    sl_io_arena_destroy(NULL);
}

static void test_superset(void **state)
{
    (void)state;
    sl_io_range r;
    sl_diag diag;
    OK(sl_io_superset(4097, 1, 4096, &r, &diag));
    assert_true(r.offset == 4096 && r.length == 4096 && r.lead == 1);
    OK(sl_io_superset(4095, 2, 4096, &r, &diag));
    assert_true(r.offset == 0 && r.length == 8192 && r.lead == 4095);
    OK(sl_io_superset(8192, 4096, 4096, &r, &diag));
    assert_true(r.offset == 8192 && r.length == 4096 && r.lead == 0);
    OK(sl_io_superset(33, 100, 1, &r, &diag));
    assert_true(r.offset == 33 && r.length == 100 && r.lead == 0);
    OK(sl_io_superset(33, 0, 512, &r, &diag));
    assert_true(r.length == 0);
    assert_int_equal(sl_io_superset(UINT64_MAX, 1, 512, &r, &diag), SL_ERR_OVERFLOW);
    assert_int_equal(sl_io_superset(UINT64_MAX - 5, 1, 512, &r, &diag), SL_ERR_OVERFLOW);
    assert_int_equal(sl_io_superset(0, 1, 0, &r, &diag), SL_ERR_ARGUMENT);
    assert_int_equal(sl_io_superset(0, 1, 3, &r, &diag), SL_ERR_ARGUMENT);
}

static void test_arenas(void **state)
{
    (void)state;
    static const uint64_t sizes[] = {1, 65536, 65537, (2 << 20) - 1, 2 << 20, (5 << 20) + 3};
    static const unsigned flags[] = {0, SL_IO_ARENA_POPULATE, SL_IO_ARENA_NO_HUGE,
                                     SL_IO_ARENA_POPULATE | SL_IO_ARENA_NO_HUGE};
    sl_io_arena *a;
    sl_io_arena_info info;
    sl_diag diag;
    for (size_t i = 0; i < SL_COUNTOF(sizes) * SL_COUNTOF(flags); i++) {
        const uint64_t size = sizes[i / SL_COUNTOF(flags)];
        OK(sl_io_arena_create(size, flags[i % SL_COUNTOF(flags)], &a, &diag));
        sl_io_arena_get_info(a, &info);
        assert_int_equal((uintptr_t)info.base % SL_IO_ARENA_ALIGNMENT_BYTES, 0);
        assert_int_equal(info.size_bytes, sl_align_up(size, SL_IO_ARENA_ALIGNMENT_BYTES));
        assert_non_null(info.pages);
        uint8_t *p = info.base;
        for (uint64_t at = 0; at < info.size_bytes; at++)
            assert_int_equal(p[at], 0);
        memset(p, 1, info.size_bytes);
        sl_io_arena_destroy(a);
    }
    assert_int_equal(sl_io_arena_create(0, 0, &a, &diag), SL_ERR_ARGUMENT);
    assert_int_equal(sl_io_arena_create(1, 64, &a, &diag), SL_ERR_ARGUMENT);
    assert_int_equal(sl_io_arena_create(UINT64_MAX, 0, &a, &diag), SL_ERR_OVERFLOW);
    assert_int_equal(sl_io_arena_create(UINT64_MAX - 65536 * 4, 0, &a, &diag), SL_ERR_OVERFLOW);
    assert_int_equal(sl_io_arena_create(1ull << 60, 0, &a, &diag), SL_ERR_NO_MEMORY);
    assert_null(a);
}

static void test_many_arenas(void **state)
{
    (void)state;
    sl_io_engine *e;
    sl_io_arena *a[33];
    sl_diag diag;
    OK(sl_io_engine_create(NULL, &e, &diag));
    for (unsigned i = 0; i < 33; i++)
        OK(sl_io_arena_create(FILE_BYTES, 0, &a[i], &diag));
    for (unsigned i = 0; i < 32; i++)
        OK(sl_io_engine_add_arena(e, a[i], &diag));
    assert_int_equal(sl_io_engine_add_arena(e, a[32], &diag), SL_ERR_BUSY);
    for (unsigned i = 0; i < 33; i++)
        assert_null(whole_file(e, base_of(a[i])));
    sl_io_engine_destroy(e);
    for (unsigned i = 0; i < 33; i++)
        sl_io_arena_destroy(a[i]);
}

/* Larger than one registered buffer may be: two, and a read that lies across the seam. */
static void test_arena_of_two_chunks(void **state)
{
    (void)state;
    if (!uring_works()) skip();
    sl_io_engine *e;
    sl_io_arena *a;
    sl_diag diag;
    sl_io_engine_info info;
    const uint64_t seam = 1ull << 30;
    const sl_status st = sl_io_arena_create(seam + (2 << 20), 0, &a, &diag);
    if (st == SL_ERR_NO_MEMORY) skip();
    OK(st);
    OK(sl_io_engine_create(&(sl_io_options){.kind = SL_IO_URING}, &e, &diag));
    OK(sl_io_engine_add_arena(e, a, &diag));
    sl_io_engine_get_info(e, &info);
    if (!info.registered_buffers) assert_non_null(strstr(info.reason, "RLIMIT_MEMLOCK"));
    assert_null(whole_file(e, base_of(a) + seam - FILE_BYTES / 2));
    assert_null(whole_file(e, base_of(a) + seam));
    assert_null(whole_file(e, base_of(a) + seam - FILE_BYTES));
    sl_io_engine_destroy(e);
    sl_io_arena_destroy(a);
}

/* Every allocation of a whole life fails once, in turn: a typed error, no leak, and the next attempt works.
 */
static void test_out_of_memory(void **state)
{
    (void)state;
    static const sl_io_kind kinds[] = {SL_IO_AUTO, SL_IO_THREADS};
    for (size_t k = 0; k < SL_COUNTOF(kinds); k++) {
        bool through = false;
        unsigned failures = 0;
        for (uint64_t n = 1; !through; n++) {
            sl_io_engine *e = NULL;
            sl_io_arena *a = NULL;
            sl_io_file *f = NULL;
            sl_diag diag = {0};
            uint8_t bytes[777];
            sl_status st;
            const uint64_t before = sl_alloc_count();
            sl_alloc_fail_at(n);
            SL_TRY(sl_io_engine_create(&(sl_io_options){.kind = kinds[k]}, &e, &diag));
            SL_TRY(sl_io_arena_create(65536, 0, &a, &diag));
            SL_TRY(sl_io_engine_add_arena(e, a, &diag));
            SL_TRY(sl_io_file_open(e, data, &f, &diag));
            SL_TRY(sl_io_read_sync(f, 5, sizeof bytes, bytes, &diag));
            test_check(bytes, 5, sizeof bytes);
            through = sl_alloc_count() - before < n;
        cleanup:
            sl_alloc_fail_at(0);
            sl_io_engine_destroy(e);
            sl_io_arena_destroy(a);
            if (st != SL_OK) {
                failures++;
                assert_int_equal(st, SL_ERR_NO_MEMORY);
                assert_int_equal(diag.code, SL_ERR_NO_MEMORY);
            }
            assert_true(n < 100);
        }
        assert_true(failures >= 6);
    }
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(test_simulated_block), T(test_seccomp_block),  T(test_simulated_memlock),
        T(test_real_memlock),    T(test_direct_refused), T(test_bad_paths),
        T(test_too_many_files),  T(test_options),        T(test_superset),
        T(test_arenas),          T(test_many_arenas),    T(test_arena_of_two_chunks),
        T(test_out_of_memory),
    };
    if (test_folder_make() != 0) return 1;
    const int failed = cmocka_run_group_tests_name("io_fallback", tests, NULL, NULL);
    test_folder_remove();
    return failed != 0;
}
