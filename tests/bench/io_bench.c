/* io_bench.c - how fast the two engines read a file: GB/s for blocks of 4 KiB to 4 MiB.
 *
 * Usage: io_bench FILE [SECONDS [MIB_IN_FLIGHT [BLOCK_KIB]]]. FILE should be larger than any cache between
 * here and the drive; it is read front to back, again and again, by requests of one block each. Prints one
 * line a case: engine, block, reads in flight, GB/s, CPU time as a part of the wall time.
 *
 * To compare:
 *   fio --name=r --filename=FILE --readonly --rw=read --direct=1 --ioengine=io_uring --fixedbufs
 *       --registerfiles --bs=1M --iodepth=16 --time_based --runtime=3 */
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>

#include "hal/base/checked.h"
#include "hal/base/clock.h"
#include "io/io.h"

typedef struct bench_case {
    const char *name;
    sl_io_options options;
} bench_case;

static uint64_t cpu_ns(void)
{
    struct rusage u;
    getrusage(RUSAGE_SELF, &u);
    return ((uint64_t)u.ru_utime.tv_sec + (uint64_t)u.ru_stime.tv_sec) * 1000000000u +
           ((uint64_t)u.ru_utime.tv_usec + (uint64_t)u.ru_stime.tv_usec) * 1000u;
}

/* Keeps `depth` requests of `block` bytes in flight for `seconds`. */
static sl_status measure(sl_io_engine *e, sl_io_file *file, char *memory, uint64_t block, unsigned depth,
                         double seconds, double *out_gb_per_s, double *out_cpu, sl_diag *diag)
{
    sl_status st = SL_OK;
    sl_io_file_info info;
    sl_io_completion c[64];
    sl_io_read r = {.file = file, .length = block};
    sl_io_file_get_info(file, &info);
    const uint64_t blocks = info.size_bytes / block;
    uint64_t next = 0, bytes = 0;
    if (blocks == 0) return sl_fail(diag, SL_ERR_ARGUMENT, "%s: smaller than a block", info.path);
    const uint64_t start = sl_now_ns(), cpu = cpu_ns(), stop = start + (uint64_t)(seconds * 1e9);
    for (unsigned i = 0; i < depth; i++) {
        r.offset = next++ % blocks * block;
        r.dest = memory + i * block;
        r.user = i;
        SL_TRY(sl_io_submit(e, &r, 1, diag));
    }
    while (sl_io_pending(e)) {
        size_t n, again = 0;
        sl_io_read reads[64];
        SL_TRY(sl_io_reap(e, c, 64, SL_IO_WAIT_FOREVER, &n, diag));
        const bool go_on = sl_now_ns() < stop;
        for (size_t i = 0; i < n; i++) {
            SL_TRY(sl_io_completion_fail(&c[i], diag));
            bytes += c[i].bytes;
            r.offset = next++ % blocks * block;
            r.dest = memory + c[i].user * block;
            r.user = c[i].user;
            if (go_on) reads[again++] = r;
        }
        SL_TRY(sl_io_submit(e, reads, again, diag));
    }
    const double wall = (double)(sl_now_ns() - start);
    *out_gb_per_s = (double)bytes / wall;
    *out_cpu = (double)(cpu_ns() - cpu) / wall;
cleanup:
    return st;
}

static sl_status run_case(const bench_case *c, const char *path, uint64_t block, double seconds,
                          uint64_t in_flight, sl_io_arena *arena, sl_diag *diag)
{
    sl_status st = SL_OK;
    sl_io_engine *e = NULL;
    sl_io_file *file = NULL;
    sl_io_arena_info memory;
    double rate = 0, cpu = 0;
    sl_io_options o = c->options;
    o.depth = (uint32_t)SL_MIN(SL_MAX(in_flight / block, 1u), 64u);
    o.threads = SL_MIN(o.depth, 32u);
    o.block_bytes = (uint32_t)block;
    o.max_in_flight_bytes = in_flight;
    SL_TRY(sl_io_engine_create(&o, &e, diag));
    SL_TRY(sl_io_engine_add_arena(e, arena, diag));
    SL_TRY(sl_io_file_open(e, path, &file, diag));
    sl_io_arena_get_info(arena, &memory);
    SL_TRY(measure(e, file, memory.base, block, o.depth, seconds, &rate, &cpu, diag));
    printf("%-28s %8llu KiB x %2u  %6.2f GB/s  cpu %4.0f %%\n", c->name, (unsigned long long)block / 1024,
           o.depth, rate, cpu * 100);
    fflush(stdout);
cleanup:
    sl_io_engine_destroy(e);
    return st;
}

int main(int argc, char **argv)
{
    static const bench_case cases[] = {
        {"io_uring registered", {.kind = SL_IO_URING}},
        {"io_uring unregistered",
         {.kind = SL_IO_URING, .no_registered_buffers = true, .no_registered_files = true}},
        {"threads", {.kind = SL_IO_THREADS}},
        {"threads buffered", {.kind = SL_IO_THREADS, .no_direct = true}},
    };
    if (argc < 2) {
        fprintf(stderr, "usage: %s FILE [SECONDS [MIB_IN_FLIGHT [BLOCK_KIB]]]\n", argv[0]);
        return 2;
    }
    const double seconds = argc > 2 ? atof(argv[2]) : 2;
    const uint64_t in_flight = (uint64_t)(argc > 3 ? atoi(argv[3]) : 16) << 20;
    const uint64_t only = argc > 4 ? (uint64_t)atoi(argv[4]) << 10 : 0;
    sl_io_arena *arena = NULL;
    sl_diag diag;
    sl_status st = SL_OK;
    SL_TRY(sl_io_arena_create(SL_MAX(in_flight, 64ull << 20), SL_IO_ARENA_POPULATE, &arena, &diag));
    for (uint64_t block = 4096; block <= 4 << 20; block *= 4)
        for (size_t i = 0; i < SL_COUNTOF(cases); i++)
            if (!only || only == block)
                SL_TRY(run_case(&cases[i], argv[1], block, seconds, in_flight, arena, &diag));
cleanup:
    if (st != SL_OK) fprintf(stderr, "io_bench: %s\n", diag.message);
    sl_io_arena_destroy(arena);
    return st != SL_OK;
}
