/* test_io_engine.c - one suite over both engines, direct and buffered, registered and not. */
#include "tests/unit/io/io_testing.h"

#include <pthread.h>
#include <sys/stat.h>

#include "hal/base/alloc.h"
#include "hal/base/clock.h"

enum { BLOCK = 64 << 10, FILE_BYTES = (4 << 20) + 1234, ARENA_BYTES = 8 << 20 };

typedef struct config {
    const char *name;
    sl_io_kind kind;
    bool direct, buffers, files;
} config;

static const config configs[] = {
    {"io_uring direct registered", SL_IO_URING, true, true, true},
    {"io_uring direct files only", SL_IO_URING, true, false, true},
    {"io_uring direct plain", SL_IO_URING, true, false, false},
    {"io_uring buffered registered", SL_IO_URING, false, true, true},
    {"io_uring buffered plain", SL_IO_URING, false, false, false},
    {"threads direct", SL_IO_THREADS, true, false, false},
    {"threads buffered", SL_IO_THREADS, false, false, false},
};

static bool have_uring, have_direct;

typedef struct fixture {
    const config *config;
    sl_io_options options;
    sl_io_engine *engine;
    sl_io_file *file;
    sl_io_arena *arena;
    uint8_t *memory;
    uint64_t align;
    test_fault fault;
    char path[512];
    sl_diag diag;
} fixture;

#define OK(call) assert_int_equal((call), SL_OK)

/* Opens the fixture's engine; `tweak` changes the options first. */
static fixture *begin(void **state, void (*tweak)(sl_io_options *))
{
    static fixture f;
    const config *c = *state;
    f = (fixture){.config = c};
    if ((c->kind == SL_IO_URING && !have_uring) || (c->direct && !have_direct)) skip();
    f.options = (sl_io_options){
        .kind = c->kind,
        .depth = 8,
        .block_bytes = BLOCK,
        .max_in_flight_bytes = 8 * BLOCK,
        .max_requests = 64,
        .threads = 4,
        .no_direct = !c->direct,
        .no_registered_buffers = !c->buffers,
        .no_registered_files = !c->files,
        .fault = test_fault_hook,
        .fault_user = &f.fault,
    };
    if (tweak) tweak(&f.options);
    snprintf(f.path, sizeof f.path, "%s", test_path("data"));
    sl_io_arena_info arena;
    sl_io_file_info file;
    test_file_make(f.path, FILE_BYTES);
    OK(sl_io_engine_create(&f.options, &f.engine, &f.diag));
    OK(sl_io_arena_create(ARENA_BYTES, SL_IO_ARENA_POPULATE, &f.arena, &f.diag));
    OK(sl_io_engine_add_arena(f.engine, f.arena, &f.diag));
    OK(sl_io_file_open(f.engine, f.path, &f.file, &f.diag));
    sl_io_arena_get_info(f.arena, &arena);
    f.memory = arena.base;
    sl_io_file_get_info(f.file, &file);
    f.align = file.alignment_bytes;
    return &f;
}

static void end(fixture *f)
{
    sl_io_file_close(f->file);
    sl_io_engine_destroy(f->engine);
    sl_io_arena_destroy(f->arena);
    unlink(f->path);
}

/* Takes `count` completions, in whatever order, to out[user]. */
static void collect(fixture *f, sl_io_completion *out, size_t count)
{
    for (size_t got = 0, n = 0; got < count; got += n) {
        sl_io_completion c[16];
        OK(sl_io_reap(f->engine, c, SL_MIN(count - got, SL_COUNTOF(c)), 10000000000u, &n, &f->diag));
        assert_true(n > 0);
        for (size_t i = 0; i < n; i++) {
            assert_true(c[i].user < count);
            assert_ptr_equal(out[c[i].user].file, NULL); /* exactly one completion a request */
            out[c[i].user] = c[i];
        }
    }
}

static void test_info(void **state)
{
    fixture *f = begin(state, NULL);
    const config *c = f->config;
    sl_io_engine_info info;
    sl_io_file_info file;
    struct stat s;
    sl_io_engine_get_info(f->engine, &info);
    sl_io_file_get_info(f->file, &file);
    assert_string_equal(info.name, c->kind == SL_IO_URING ? "io_uring" : "threads");
    assert_int_equal(info.direct, c->direct);
    assert_int_equal(info.registered_buffers, c->buffers);
    assert_int_equal(info.registered_files, c->files);
    assert_int_equal(info.alignment_bytes, f->align);
    assert_int_equal(info.depth, 8);
    assert_int_equal(info.threads, c->kind == SL_IO_URING ? 0 : 4);
    const bool all = c->direct && (c->kind == SL_IO_THREADS || (c->buffers && c->files));
    assert_int_equal(info.reason[0] == '\0', all);
    if (!c->direct) assert_non_null(strstr(info.reason, "direct"));
    if (c->kind == SL_IO_URING && !c->buffers) assert_non_null(strstr(info.reason, "buffers"));
    assert_int_equal(stat(f->path, &s), 0);
    assert_int_equal(file.size_bytes, FILE_BYTES);
    assert_int_equal(file.inode, s.st_ino);
    assert_int_equal(file.mtime_ns / 1000000000, s.st_mtime);
    assert_int_equal(file.direct, c->direct);
    assert_int_equal(file.registered, c->files);
    assert_string_equal(file.path, f->path);
    assert_true(c->direct ? file.alignment_bytes >= 512 : file.alignment_bytes == 1);
    end(f);
}

/* 4 KiB to 4 MiB, and the whole file in one request: cut into blocks inside. */
static void test_sizes(void **state)
{
    fixture *f = begin(state, NULL);
    for (uint64_t size = 4096; size <= 4 << 20; size *= 4) {
        sl_io_completion c = {0};
        memset(f->memory, 0, size);
        OK(sl_io_submit(f->engine, &(sl_io_read){f->file, 0, size, f->memory, 0}, 1, &f->diag));
        collect(f, &c, 1);
        OK(c.status);
        assert_int_equal(c.bytes, size);
        test_check(f->memory, 0, size);
    }
    sl_io_range r;
    sl_io_completion c = {0};
    OK(sl_io_superset(0, FILE_BYTES, f->align, &r, &f->diag));
    OK(sl_io_submit(f->engine, &(sl_io_read){f->file, r.offset, r.length, f->memory, 0}, 1, &f->diag));
    collect(f, &c, 1);
    OK(c.status);
    assert_int_equal(c.bytes, FILE_BYTES);
    test_check(f->memory, 0, FILE_BYTES);
    sl_io_counters n;
    sl_io_engine_get_counters(f->engine, &n);
    assert_int_equal(n.requests, 7);
    assert_int_equal(n.failed, 0);
    assert_int_equal(n.retries, 0);
    assert_true(n.read_bytes == FILE_BYTES + (4096 + 16384 + 65536 + 262144 + 1048576 + 4194304ull));
    assert_int_equal(n.blocks, 1 + 1 + 1 + 4 + 16 + 64 + 65);
    assert_int_equal(n.in_flight_peak_blocks, 8);
    assert_int_equal(n.in_flight_peak_bytes, 8 * BLOCK);
    assert_true(n.busy_ns > 0);
    end(f);
}

static void tweak_narrow(sl_io_options *o)
{
    o->max_in_flight_bytes = 3 * BLOCK;
}

static void test_in_flight_limit(void **state)
{
    fixture *f = begin(state, tweak_narrow);
    sl_io_completion c = {0};
    sl_io_counters n;
    OK(sl_io_submit(f->engine, &(sl_io_read){f->file, 0, 4 << 20, f->memory, 0}, 1, &f->diag));
    collect(f, &c, 1);
    OK(c.status);
    test_check(f->memory, 0, 4 << 20);
    sl_io_engine_get_counters(f->engine, &n);
    assert_int_equal(n.in_flight_peak_bytes, 3 * BLOCK);
    end(f);
}

/* 2000 reads of any offset and length, up to 32 at a time; memory inside the arena and outside of it. */
static void test_unaligned_many(void **state)
{
    fixture *f = begin(state, NULL);
    enum { SLOTS = 32, SLOT = 160 << 10, TOTAL = 2000 };
    uint8_t *outside = sl_aligned_alloc(65536, SLOTS * SLOT);
    assert_non_null(outside);
    struct {
        uint64_t offset, length;
        sl_io_range range;
        bool busy;
    } want[SLOTS] = {0};
    uint64_t seed = 88172645463325252u;
    for (unsigned sent = 0, done = 0; done < TOTAL;) {
        for (unsigned s = 0; s < SLOTS && sent < TOTAL; s++) {
            if (want[s].busy) continue;
            want[s].offset = test_random(&seed) % FILE_BYTES;
            want[s].length = 1 + test_random(&seed) % SL_MIN(150000u, FILE_BYTES - want[s].offset);
            want[s].busy = true;
            OK(sl_io_superset(want[s].offset, want[s].length, f->align, &want[s].range, &f->diag));
            assert_true(want[s].range.length <= SLOT);
            uint8_t *dest = (s & 1 ? f->memory : outside) + s * SLOT;
            const sl_io_read r = {f->file, want[s].range.offset, want[s].range.length, dest, s};
            OK(sl_io_submit(f->engine, &r, 1, &f->diag));
            sent++;
        }
        sl_io_completion c[8];
        size_t n;
        OK(sl_io_reap(f->engine, c, 8, SL_IO_WAIT_FOREVER, &n, &f->diag));
        for (size_t i = 0; i < n; i++, done++) {
            const unsigned s = (unsigned)c[i].user;
            assert_true(want[s].busy);
            OK(c[i].status);
            assert_true(c[i].bytes >= want[s].range.lead + want[s].length);
            test_check((s & 1 ? f->memory : outside) + s * SLOT + want[s].range.lead, want[s].offset,
                       want[s].length);
            want[s].busy = false;
        }
    }
    assert_int_equal(sl_io_pending(f->engine), 0);
    sl_free(outside);
    end(f);
}

static void test_end_of_file(void **state)
{
    fixture *f = begin(state, NULL);
    const uint64_t tail = sl_align_down(FILE_BYTES, 4096), past = tail + 4096;
    const sl_io_read reads[] = {
        {f->file, tail, 4096, f->memory, 0}, /* crosses it */
        {f->file, tail - 2 * BLOCK, 2 * BLOCK + 4096, f->memory + BLOCK,
         1},                                             /* crosses it in its last block */
        {f->file, past, 4096, f->memory + 8 * BLOCK, 2}, /* lies behind */
        {f->file, tail, 8192, f->memory + 9 * BLOCK, 3}, /* crosses it by too much */
    };
    sl_io_completion c[4] = {0};
    OK(sl_io_submit(f->engine, reads, 4, &f->diag));
    collect(f, c, 4);
    OK(c[0].status);
    assert_int_equal(c[0].bytes, FILE_BYTES - tail);
    test_check(f->memory, tail, FILE_BYTES - tail);
    OK(c[1].status);
    assert_int_equal(c[1].bytes, FILE_BYTES - (tail - 2 * BLOCK));
    test_check(f->memory + BLOCK, tail - 2 * BLOCK, c[1].bytes);
    assert_int_equal(c[2].status, SL_ERR_TRUNCATED);
    assert_int_equal(c[2].error_offset, past);
    assert_int_equal(c[3].status, SL_ERR_TRUNCATED);
    assert_int_equal(c[3].bytes, 0);
    assert_int_equal(sl_io_completion_fail(&c[2], &f->diag), SL_ERR_TRUNCATED);
    assert_non_null(strstr(f->diag.message, f->path));
    assert_non_null(strstr(f->diag.message, "4198400")); /* the offset */
    end(f);
}

static void test_empty_file(void **state)
{
    fixture *f = begin(state, NULL);
    sl_io_file *empty;
    sl_io_completion c = {0};
    char path[512];
    snprintf(path, sizeof path, "%s", test_path("empty"));
    test_file_make(path, 0);
    OK(sl_io_file_open(f->engine, path, &empty, &f->diag));
    OK(sl_io_submit(f->engine, &(sl_io_read){empty, 0, 4096, f->memory, 0}, 1, &f->diag));
    collect(f, &c, 1);
    assert_int_equal(c.status, SL_ERR_TRUNCATED);
    sl_io_file_close(empty);
    unlink(path);
    end(f);
}

static void test_arguments(void **state)
{
    fixture *f = begin(state, NULL);
    sl_io_completion c;
    sl_io_engine *other;
    size_t n = 77;
    const sl_io_read good = {f->file, 0, 4096, f->memory, 0};
    sl_io_read r = good;
    r.length = 0;
    assert_int_equal(sl_io_submit(f->engine, &r, 1, &f->diag), SL_ERR_ARGUMENT);
    r = good, r.dest = NULL;
    assert_int_equal(sl_io_submit(f->engine, &r, 1, &f->diag), SL_ERR_ARGUMENT);
    r = good, r.file = NULL;
    assert_int_equal(sl_io_submit(f->engine, &r, 1, &f->diag), SL_ERR_ARGUMENT);
    r = good, r.offset = UINT64_MAX - 4095;
    assert_int_equal(sl_io_submit(f->engine, &r, 1, &f->diag), SL_ERR_OVERFLOW);
    r = good, r.offset = sl_align_down(INT64_MAX, 4096);
    assert_int_equal(sl_io_submit(f->engine, &r, 1, &f->diag), SL_ERR_OVERFLOW);
    if (f->align > 1) {
        r = good, r.offset = 1;
        assert_int_equal(sl_io_submit(f->engine, &r, 1, &f->diag), SL_ERR_ARGUMENT);
        assert_non_null(strstr(f->diag.message, f->path));
        r = good, r.length = 100;
        assert_int_equal(sl_io_submit(f->engine, &r, 1, &f->diag), SL_ERR_ARGUMENT);
        r = good, r.dest = f->memory + 1;
        assert_int_equal(sl_io_submit(f->engine, &r, 1, &f->diag), SL_ERR_ARGUMENT);
    }
    OK(sl_io_engine_create(&f->options, &other, &f->diag));
    assert_int_equal(sl_io_submit(other, &good, 1, &f->diag), SL_ERR_ARGUMENT);
    sl_io_engine_destroy(other);
    /* One bad read refuses all of them. */
    assert_int_equal(sl_io_submit(f->engine, (sl_io_read[]){good, {0}}, 2, &f->diag), SL_ERR_ARGUMENT);
    assert_int_equal(sl_io_pending(f->engine), 0);
    assert_int_equal(sl_io_reap(f->engine, &c, 0, 0, &n, &f->diag), SL_ERR_ARGUMENT);
    assert_int_equal(n, 0);
    OK(sl_io_reap(f->engine, &c, 1, SL_IO_WAIT_FOREVER, &n, &f->diag)); /* nothing pending: does not wait */
    assert_int_equal(n, 0);
    assert_int_equal(sl_io_engine_add_arena(f->engine, f->arena, &f->diag), SL_ERR_ARGUMENT);
    OK(sl_io_engine_remove_arena(f->engine, f->arena, &f->diag));
    assert_int_equal(sl_io_engine_remove_arena(f->engine, f->arena, &f->diag), SL_ERR_ARGUMENT);
    end(f);
}

static void tweak_small_table(sl_io_options *o)
{
    o->max_requests = 4;
}

static void test_busy(void **state)
{
    fixture *f = begin(state, tweak_small_table);
    sl_io_read r[5];
    sl_io_completion c[4] = {0};
    for (unsigned i = 0; i < 5; i++)
        r[i] = (sl_io_read){f->file, i * BLOCK, BLOCK, f->memory + i * BLOCK, i};
    assert_int_equal(sl_io_submit(f->engine, r, 5, &f->diag), SL_ERR_ARGUMENT);
    OK(sl_io_submit(f->engine, r, 3, &f->diag));
    assert_int_equal(sl_io_submit(f->engine, r + 3, 2, &f->diag), SL_ERR_BUSY);
    assert_int_equal(sl_io_pending(f->engine), 3);
    OK(sl_io_submit(f->engine, r + 3, 1, &f->diag));
    assert_int_equal(sl_io_submit(f->engine, r + 4, 1, &f->diag), SL_ERR_BUSY);
    collect(f, c, 4);
    test_check(f->memory, 0, 4 * BLOCK);
    r[4].user = 0;
    c[0] = (sl_io_completion){0};
    OK(sl_io_submit(f->engine, r + 4, 1, &f->diag));
    collect(f, c, 1);
    test_check(f->memory + 4 * BLOCK, 4 * BLOCK, BLOCK);
    end(f);
}

/* 4 requests of 5 blocks, the last one of 1 page, and what became of them. */
enum { JOBS = 4, JOB_BYTES = 4 * BLOCK + 4096, JOB_BLOCKS = 20 };

static void run_jobs(fixture *f, sl_io_completion *c)
{
    sl_io_read r[JOBS];
    memset(f->memory, 0xee, JOBS * 5 * BLOCK);
    memset(c, 0, JOBS * sizeof *c);
    for (unsigned i = 0; i < JOBS; i++)
        r[i] = (sl_io_read){f->file, i * 8 * BLOCK, JOB_BYTES, f->memory + i * 5 * BLOCK, i};
    OK(sl_io_submit(f->engine, r, JOBS, &f->diag));
    collect(f, c, JOBS);
    assert_int_equal(sl_io_pending(f->engine), 0);
}

static void check_jobs(const fixture *f, const sl_io_completion *c)
{
    for (unsigned i = 0; i < JOBS; i++) {
        OK(c[i].status);
        assert_int_equal(c[i].bytes, JOB_BYTES);
        test_check(f->memory + i * 5 * BLOCK, i * 8 * BLOCK, JOB_BYTES);
    }
}

/* Every completion in turn fails: one request ends in EIO and says where, the others are right, the engine
 * goes on. */
static void test_eio_everywhere(void **state)
{
    fixture *f = begin(state, NULL);
    sl_io_completion c[JOBS];
    for (uint64_t at = 1; at <= JOB_BLOCKS; at++) {
        f->fault = (test_fault){.kind = FAULT_EIO, .at = at};
        run_jobs(f, c);
        assert_int_equal(f->fault.hits, 1);
        unsigned failed = 0;
        for (unsigned i = 0; i < JOBS; i++) {
            const uint64_t begin_at = i * 8 * BLOCK;
            if (c[i].status != SL_OK) {
                failed++;
                assert_int_equal(c[i].status, SL_ERR_IO);
                assert_int_equal(c[i].sys_errno, EIO);
                assert_int_equal(c[i].error_offset, f->fault.offset);
                assert_int_equal(c[i].bytes, f->fault.offset - begin_at);
                assert_int_equal(sl_io_completion_fail(&c[i], &f->diag), SL_ERR_IO);
                assert_int_equal(f->diag.sys_errno, EIO);
                assert_non_null(strstr(f->diag.message, f->path));
            } else {
                assert_int_equal(c[i].bytes, JOB_BYTES);
            }
            test_check(f->memory + i * 5 * BLOCK, begin_at, c[i].bytes);
        }
        assert_int_equal(failed, 1);
        f->fault = (test_fault){0};
        run_jobs(f, c);
        check_jobs(f, c);
    }
    end(f);
}

/* Every completion in turn is short, interrupted, refused, held or late: nobody notices. */
static void test_repaired_everywhere(void **state)
{
    static const int kinds[] = {FAULT_EAGAIN, FAULT_EINTR, FAULT_SHORT, FAULT_TINY,
                                FAULT_EMPTY,  FAULT_HOLD,  FAULT_LATE};
    fixture *f = begin(state, NULL);
    sl_io_completion c[JOBS];
    for (size_t k = 0; k < SL_COUNTOF(kinds); k++) {
        for (uint64_t at = 1; at <= JOB_BLOCKS; at++) {
            sl_io_counters before, after;
            sl_io_engine_get_counters(f->engine, &before);
            f->fault = (test_fault){.kind = kinds[k], .at = at};
            run_jobs(f, c);
            assert_int_equal(f->fault.hits, 1);
            check_jobs(f, c);
            sl_io_engine_get_counters(f->engine, &after);
            const bool again = kinds[k] != FAULT_HOLD && kinds[k] != FAULT_LATE;
            assert_int_equal(after.retries - before.retries, again);
        }
    }
    for (uint64_t seed = 1; seed <= 50; seed++) {
        f->fault = (test_fault){.random = seed * 2654435761u, .delay_ns = 50000};
        run_jobs(f, c);
        assert_true(f->fault.hits >= JOB_BLOCKS);
        check_jobs(f, c);
    }
    end(f);
}

/* Held completions let later requests finish first. */
static void test_reordered(void **state)
{
    fixture *f = begin(state, NULL);
    sl_io_completion c[4];
    sl_io_read r[4];
    unsigned got = 0;
    f->fault = (test_fault){.kind = FAULT_LATE, .at = 1, .delay_ns = 30000000};
    for (unsigned i = 0; i < 4; i++)
        r[i] = (sl_io_read){f->file, i * BLOCK, BLOCK, f->memory + i * BLOCK, i};
    OK(sl_io_submit(f->engine, r, 4, &f->diag));
    while (got < 4) {
        size_t n;
        OK(sl_io_reap(f->engine, c + got, 1, SL_IO_WAIT_FOREVER, &n, &f->diag));
        got += (unsigned)n;
    }
    assert_int_equal(c[3].offset, f->fault.offset);
    test_check(f->memory, 0, 4 * BLOCK);
    end(f);
}

/* A fault that never ends is an error, not a hang. */
static void test_stuck(void **state)
{
    static const struct {
        int kind, sys_errno;
    } cases[] = {{FAULT_EAGAIN, EAGAIN}, {FAULT_EINTR, EINTR}, {FAULT_EMPTY, EIO}};
    fixture *f = begin(state, NULL);
    for (size_t i = 0; i < SL_COUNTOF(cases); i++) {
        sl_io_completion c = {0};
        f->fault = (test_fault){.kind = cases[i].kind};
        OK(sl_io_submit(f->engine, &(sl_io_read){f->file, 0, BLOCK, f->memory, 0}, 1, &f->diag));
        collect(f, &c, 1);
        assert_int_equal(c.status, SL_ERR_IO);
        assert_int_equal(c.sys_errno, cases[i].sys_errno);
        assert_int_equal(c.bytes, 0);
    }
    f->fault = (test_fault){0};
    sl_io_completion c[JOBS];
    run_jobs(f, c);
    check_jobs(f, c);
    end(f);
}

static void test_timeout(void **state)
{
    fixture *f = begin(state, NULL);
    sl_io_completion c;
    size_t n;
    f->fault = (test_fault){.kind = FAULT_LATE, .delay_ns = 80000000};
    const uint64_t start = sl_now_ns();
    OK(sl_io_submit(f->engine, &(sl_io_read){f->file, 0, BLOCK, f->memory, 5}, 1, &f->diag));
    OK(sl_io_reap(f->engine, &c, 1, 0, &n, &f->diag));
    assert_int_equal(n, 0);
    assert_int_equal(sl_io_reap(f->engine, &c, 1, 5000000, &n, &f->diag), SL_ERR_TIMEOUT);
    assert_int_equal(n, 0);
    assert_int_equal(sl_io_pending(f->engine), 1);
    OK(sl_io_reap(f->engine, &c, 1, SL_IO_WAIT_FOREVER, &n, &f->diag));
    assert_int_equal(n, 1);
    assert_int_equal(c.user, 5);
    assert_true(sl_now_ns() - start >= 80000000);
    end(f);
}

/* The file becomes shorter while reads of it are under way. */
static void test_truncated_under_run(void **state)
{
    fixture *f = begin(state, NULL);
    sl_io_completion c[3] = {0};
    OK(sl_io_file_check(f->file, &f->diag));
    const uint64_t cut = 10 * BLOCK + 700; /* inside a block, aligned to nothing */
    OK(sl_io_submit(f->engine, &(sl_io_read){f->file, 0, 4 * BLOCK, f->memory, 0}, 1, &f->diag));
    collect(f, c, 1);
    OK(c[0].status);
    assert_int_equal(truncate(f->path, (off_t)cut), 0);
    const sl_io_read reads[] = {
        {f->file, 0, 4 * BLOCK, f->memory, 0},
        {f->file, 8 * BLOCK, 8 * BLOCK, f->memory + 8 * BLOCK, 1},
        {f->file, 20 * BLOCK, BLOCK, f->memory + 20 * BLOCK, 2},
    };
    memset(c, 0, sizeof c);
    OK(sl_io_submit(f->engine, reads, 3, &f->diag));
    collect(f, c, 3);
    OK(c[0].status);
    test_check(f->memory, 0, 4 * BLOCK);
    assert_int_equal(c[1].status, SL_ERR_TRUNCATED);
    assert_int_equal(c[1].error_offset, cut);
    assert_int_equal(c[1].bytes, cut - 8 * BLOCK);
    test_check(f->memory + 8 * BLOCK, 8 * BLOCK, c[1].bytes);
    assert_int_equal(c[2].status, SL_ERR_TRUNCATED);
    assert_int_equal(sl_io_completion_fail(&c[1], &f->diag), SL_ERR_TRUNCATED);
    assert_non_null(strstr(f->diag.message, f->path));
    assert_int_equal(sl_io_file_check(f->file, &f->diag), SL_ERR_TRUNCATED);
    assert_non_null(strstr(f->diag.message, f->path));
    end(f);
}

static void test_deleted_replaced_written(void **state)
{
    fixture *f = begin(state, NULL);
    sl_io_completion c[JOBS];
    char other[512];
    assert_int_equal(unlink(f->path), 0);
    run_jobs(f, c); /* an open file stays readable */
    check_jobs(f, c);
    assert_int_equal(sl_io_file_check(f->file, &f->diag), SL_ERR_NOT_FOUND);
    assert_non_null(strstr(f->diag.message, f->path));
    snprintf(other, sizeof other, "%s", test_path("other"));
    test_file_make(other, FILE_BYTES);
    assert_int_equal(rename(other, f->path), 0);
    assert_int_equal(sl_io_file_check(f->file, &f->diag), SL_ERR_TRUNCATED);
    assert_non_null(strstr(f->diag.message, "replaced"));
    sl_io_file_close(f->file);
    OK(sl_io_file_open(f->engine, f->path, &f->file, &f->diag));
    OK(sl_io_file_check(f->file, &f->diag));
    const struct timespec times[2] = {{.tv_sec = 1}, {.tv_sec = 1}};
    assert_int_equal(utimensat(AT_FDCWD, f->path, times, 0), 0);
    assert_int_equal(sl_io_file_check(f->file, &f->diag), SL_ERR_TRUNCATED);
    assert_non_null(strstr(f->diag.message, "written"));
    end(f);
}

/* After drain no read touches memory, and the engine works. */
static void test_drain(void **state)
{
    fixture *f = begin(state, NULL);
    sl_io_completion c[JOBS];
    sl_io_read r[40];
    size_t dropped = 0, n;
    f->fault = (test_fault){.kind = FAULT_LATE, .delay_ns = 1000000};
    for (unsigned i = 0; i < 40; i++)
        r[i] = (sl_io_read){f->file, i * BLOCK, 2 * BLOCK, f->memory + (uint64_t)i * 2 * BLOCK, i};
    OK(sl_io_submit(f->engine, r, 40, &f->diag));
    OK(sl_io_drain(f->engine, &dropped, &f->diag));
    assert_int_equal(dropped, 40);
    assert_int_equal(sl_io_pending(f->engine), 0);
    memset(f->memory, 0xee, ARENA_BYTES);
    usleep(20000);
    for (unsigned i = 0; i < ARENA_BYTES; i++)
        if (f->memory[i] != 0xee) fail_msg("byte %u was written after drain", i);
    OK(sl_io_reap(f->engine, c, 1, 0, &n, &f->diag));
    assert_int_equal(n, 0);
    f->fault = (test_fault){0};
    run_jobs(f, c);
    check_jobs(f, c);
    end(f);
}

static void test_cancel(void **state)
{
    fixture *f = begin(state, NULL);
    sl_io_completion c[40] = {0};
    sl_io_read r[40];
    unsigned cancelled = 0;
    for (unsigned i = 0; i < 40; i++)
        r[i] = (sl_io_read){f->file, i * BLOCK, 2 * BLOCK, f->memory + (uint64_t)i * 2 * BLOCK, i};
    OK(sl_io_submit(f->engine, r, 40, &f->diag));
    OK(sl_io_cancel_all(f->engine, &f->diag));
    assert_int_equal(sl_io_pending(f->engine), 40);
    collect(f, c, 40);
    for (unsigned i = 0; i < 40; i++) {
        if (c[i].status == SL_OK) {
            test_check(r[i].dest, r[i].offset, r[i].length);
        } else {
            assert_int_equal(c[i].status, SL_ERR_CANCELLED);
            assert_true(c[i].bytes < r[i].length);
            test_check(r[i].dest, r[i].offset, c[i].bytes);
            cancelled++;
        }
    }
    assert_int_equal(cancelled, 36); /* 8 blocks were out: 4 requests */
    end(f);
}

/* Closing a file takes its reads away and leaves those of others alone. */
static void test_close_pending(void **state)
{
    fixture *f = begin(state, NULL);
    sl_io_file *second;
    sl_io_read r[20];
    sl_io_completion c[20] = {0};
    OK(sl_io_file_open(f->engine, f->path, &second, &f->diag));
    for (unsigned i = 0; i < 20; i++)
        r[i] = (sl_io_read){i & 1 ? second : f->file, i * BLOCK, BLOCK, f->memory + i * BLOCK, i / 2};
    OK(sl_io_submit(f->engine, r, 20, &f->diag));
    sl_io_file_close(second);
    assert_int_equal(sl_io_pending(f->engine), 10);
    collect(f, c, 10);
    for (unsigned i = 0; i < 10; i++) {
        OK(c[i].status);
        test_check(f->memory + 2 * i * BLOCK, 2 * i * BLOCK, BLOCK);
    }
    /* Destroying the engine with reads pending and a file open is in order, too. */
    OK(sl_io_submit(f->engine, r, 1, &f->diag));
    sl_io_engine_destroy(f->engine);
    sl_io_arena_destroy(f->arena);
    unlink(f->path);
}

static void test_read_sync(void **state)
{
    fixture *f = begin(state, NULL);
    sl_io_completion c[JOBS] = {0};
    sl_io_read r[JOBS];
    uint8_t *plain = malloc(FILE_BYTES);
    assert_non_null(plain);
    for (unsigned i = 0; i < JOBS; i++)
        r[i] = (sl_io_read){f->file, i * 8 * BLOCK, JOB_BYTES, f->memory + i * 5 * BLOCK, i};
    OK(sl_io_submit(f->engine, r, JOBS, &f->diag));
    OK(sl_io_read_sync(f->file, 7, 12345, plain, &f->diag)); /* while others are under way */
    test_check(plain, 7, 12345);
    collect(f, c, JOBS);
    check_jobs(f, c);
    OK(sl_io_read_sync(f->file, 0, FILE_BYTES, plain, &f->diag));
    test_check(plain, 0, FILE_BYTES);
    OK(sl_io_read_sync(f->file, 4096, 8192, f->memory, &f->diag));
    test_check(f->memory, 4096, 8192);
    OK(sl_io_read_sync(f->file, FILE_BYTES - 1, 1, plain, &f->diag));
    test_check(plain, FILE_BYTES - 1, 1);
    OK(sl_io_read_sync(f->file, 0, 0, NULL, &f->diag));
    assert_int_equal(sl_io_read_sync(f->file, FILE_BYTES - 1, 2, plain, &f->diag), SL_ERR_TRUNCATED);
    assert_int_equal(sl_io_read_sync(f->file, UINT64_MAX, 2, plain, &f->diag), SL_ERR_OVERFLOW);
    assert_int_equal(sl_io_read_sync(NULL, 0, 2, plain, &f->diag), SL_ERR_ARGUMENT);
    for (uint64_t at = 1; at <= 3; at++) {
        f->fault = (test_fault){.kind = FAULT_EIO, .at = at};
        assert_int_equal(sl_io_read_sync(f->file, 1, 3 * BLOCK, plain, &f->diag), SL_ERR_IO);
        assert_non_null(strstr(f->diag.message, f->path));
        f->fault = (test_fault){.kind = FAULT_TINY, .at = at};
        OK(sl_io_read_sync(f->file, 1, 3 * BLOCK, plain, &f->diag));
        test_check(plain, 1, 3 * BLOCK);
    }
    assert_int_equal(truncate(f->path, 5000), 0);
    assert_int_equal(sl_io_read_sync(f->file, 4000, 2000, plain, &f->diag), SL_ERR_TRUNCATED);
    free(plain);
    end(f);
}

static void test_no_allocation(void **state)
{
    fixture *f = begin(state, NULL);
    sl_io_completion c[JOBS];
    uint8_t row[600];
    run_jobs(f, c);
    OK(sl_io_read_sync(f->file, 4000, sizeof row, row, &f->diag));
    const uint64_t before = sl_alloc_count();
    for (unsigned i = 0; i < 20; i++) {
        run_jobs(f, c);
        OK(sl_io_read_sync(f->file, 4001 + i, sizeof row, row, &f->diag));
        test_check(row, 4001 + i, sizeof row);
    }
    assert_int_equal(sl_alloc_count(), before);
    end(f);
}

/* ---- threads ---- */

typedef struct job {
    fixture *f;
    sl_status status;
    bool right;
} job;

/* No cmocka assertion off the main thread: they jump. */
static void *read_once(void *arg)
{
    job *j = arg;
    sl_diag diag;
    sl_io_completion c = {0};
    size_t n;
    j->status =
        sl_io_submit(j->f->engine, &(sl_io_read){j->f->file, 0, 4 * BLOCK, j->f->memory, 0}, 1, &diag);
    if (j->status == SL_OK) j->status = sl_io_reap(j->f->engine, &c, 1, SL_IO_WAIT_FOREVER, &n, &diag);
    j->right = j->status == SL_OK && c.status == SL_OK;
    for (uint64_t i = 0; j->right && i < 4 * BLOCK; i++)
        j->right = j->f->memory[i] == test_byte(i);
    return NULL;
}

static job on_thread(fixture *f)
{
    job j = {.f = f};
    pthread_t t;
    assert_int_equal(pthread_create(&t, NULL, read_once, &j), 0);
    pthread_join(t, NULL);
    return j;
}

/* Made here, owned there; then nobody else may use it until it was given up. */
static void test_owner(void **state)
{
    fixture *f = begin(state, NULL);
    sl_io_completion c[JOBS];
    size_t n;
    sl_io_file *file;
    run_jobs(f, c);
    assert_int_equal(on_thread(f).status, SL_ERR_ARGUMENT);
    OK(sl_io_submit(f->engine, &(sl_io_read){f->file, 0, BLOCK, f->memory, 0}, 1, &f->diag));
    assert_int_equal(sl_io_engine_release_thread(f->engine, &f->diag), SL_ERR_BUSY);
    OK(sl_io_drain(f->engine, NULL, &f->diag));
    OK(sl_io_engine_release_thread(f->engine, &f->diag));
    sl_io_engine_info info;
    sl_io_engine_get_info(f->engine, &info);
    assert_int_equal(info.registered_buffers, f->config->buffers);
    assert_int_equal(info.registered_files, f->config->files);
    const job j = on_thread(f);
    OK(j.status);
    assert_true(j.right);
    assert_int_equal(sl_io_reap(f->engine, c, 1, 0, &n, &f->diag), SL_ERR_ARGUMENT);
    assert_int_equal(sl_io_file_open(f->engine, f->path, &file, &f->diag), SL_ERR_ARGUMENT);
    assert_non_null(strstr(f->diag.message, "thread"));
    end(f); /* nothing in flight: any thread may */
}

/* Two engines on two threads, one arena. */
static void test_two_engines(void **state)
{
    fixture *f = begin(state, NULL);
    fixture g = *f;
    job jobs[2] = {{.f = f}, {.f = &g}};
    pthread_t t[2];
    f->options.fault = NULL;
    OK(sl_io_engine_create(&f->options, &g.engine, &f->diag));
    OK(sl_io_engine_add_arena(g.engine, g.arena, &f->diag));
    OK(sl_io_file_open(g.engine, g.path, &g.file, &f->diag));
    g.memory += 4 << 20;
    for (unsigned i = 0; i < 2; i++)
        assert_int_equal(pthread_create(&t[i], NULL, read_once, &jobs[i]), 0);
    for (unsigned i = 0; i < 2; i++) {
        pthread_join(t[i], NULL);
        assert_true(jobs[i].right);
    }
    sl_io_engine_destroy(g.engine);
    end(f);
}

typedef struct named_test {
    const char *name;
    CMUnitTestFunction function;
} named_test;

#define T(f)                                                                                                 \
    {                                                                                                        \
#f, f                                                                                                \
    }
static const named_test tests[] = {
    T(test_info),
    T(test_sizes),
    T(test_in_flight_limit),
    T(test_unaligned_many),
    T(test_end_of_file),
    T(test_empty_file),
    T(test_arguments),
    T(test_busy),
    T(test_eio_everywhere),
    T(test_repaired_everywhere),
    T(test_reordered),
    T(test_stuck),
    T(test_timeout),
    T(test_truncated_under_run),
    T(test_deleted_replaced_written),
    T(test_drain),
    T(test_cancel),
    T(test_close_pending),
    T(test_read_sync),
    T(test_no_allocation),
    T(test_owner),
    T(test_two_engines),
};

int main(void)
{
    enum { N = SL_COUNTOF(configs) * SL_COUNTOF(tests) };
    static struct CMUnitTest all[N];
    static char names[N][96];
    sl_io_engine *probe = NULL;
    sl_diag diag;
    if (test_folder_make() != 0) return 1;
    have_direct = test_direct_works();
    have_uring = sl_io_engine_create(&(sl_io_options){.kind = SL_IO_URING}, &probe, &diag) == SL_OK;
    sl_io_engine_destroy(probe);
    if (!have_uring) printf("skipping io_uring: %s\n", diag.message);
    for (size_t i = 0; i < N; i++) {
        const config *c = &configs[i / SL_COUNTOF(tests)];
        const named_test *t = &tests[i % SL_COUNTOF(tests)];
        snprintf(names[i], sizeof names[i], "%s: %s", c->name, t->name);
        all[i] = (struct CMUnitTest){
            .name = names[i], .test_func = t->function, .initial_state = (void *)(uintptr_t)c};
    }
    const int failed = _cmocka_run_group_tests("io_engine", all, N, NULL, NULL);
    test_folder_remove();
    return failed != 0;
}
