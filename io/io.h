/* io.h - files to memory: one read engine, carried by io_uring or by threads that call pread.
 *
 * The contract is the same for both carriers: reads are submitted, each gives exactly one completion, in any
 * order. Files are opened with O_DIRECT where the file system allows it, so no byte passes through the page
 * cache; then offset, length and destination of a read are multiples of the file's alignment (sl_io_superset
 * gives the aligned range that covers any bytes). A fallback is never silent: sl_io_engine_info,
 * sl_io_file_info and a log line say it.
 *
 * Threads: an engine has one owner thread, the one that first calls sl_io_submit, sl_io_reap,
 * sl_io_read_sync, sl_io_cancel_all or sl_io_drain. Until then any one thread at a time may use it, so an
 * engine can be created, its files opened and its arenas added on one thread and all of it be used on
 * another. From then on every function that takes an engine or a file of it is called by the owner; others
 * get SL_ERR_ARGUMENT (exceptions are marked "any thread"). sl_io_engine_release_thread gives the ownership
 * up. Reason: io_uring is fastest when the kernel knows that one task submits and reaps
 * (IORING_SETUP_SINGLE_ISSUER, DEFER_TASKRUN). New blocks are issued only inside submit, reap and read_sync:
 * an owner that wants a busy drive comes back to reap.
 *
 * Included by runtime/ and by tests. Includes only hal/base; knows nothing of devices.
 * Source: io_uring(7), io_uring_setup(2), io_uring_register(2), open(2) on O_DIRECT, statx(2). */
#ifndef SL_IO_IO_H
#define SL_IO_IO_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "hal/base/diag.h"

typedef struct sl_io_engine sl_io_engine;
typedef struct sl_io_file sl_io_file;
typedef struct sl_io_arena sl_io_arena;

#define SL_IO_WAIT_FOREVER UINT64_MAX

typedef enum sl_io_kind {
    SL_IO_AUTO,    /* io_uring if a real read through it works, else threads, with one warning line */
    SL_IO_URING,   /* SL_ERR_UNSUPPORTED, with the reason, if it does not work */
    SL_IO_THREADS, /* pread on threads */
} sl_io_kind;

/* ---- faults, for tests ---- */

/* One block read that came back from the carrier, before the engine looks at it. */
typedef struct sl_io_fault_event {
    uint64_t sequence; /* 1, 2, 3, ... over the engine's life: "the Nth block completion" */
    const sl_io_file *file;
    uint64_t offset, length; /* of this block read, bytes in the file */
    void *dest; /* where it was read to: a hook that shortens the result may scribble behind it */
} sl_io_fault_event;

/* What the hook may change. */
typedef struct sl_io_fault {
    int64_t result;    /* in: bytes read or -errno; out: what the engine shall believe */
    uint32_t hold;     /* out: let this many later block completions overtake it (fewer if none are left) */
    uint64_t delay_ns; /* out: and keep it back at least so long */
} sl_io_fault;

/* Called on the owner thread, for each block completion, retries included. */
typedef void (*sl_io_fault_fn)(void *user, const sl_io_fault_event *event, sl_io_fault *fault);

/* ---- engine ---- */

/* A zeroed struct is a good default. */
typedef struct sl_io_options {
    sl_io_kind kind;
    uint32_t depth;       /* block reads in flight; 0: 32; at most 4096 */
    uint32_t block_bytes; /* a read is cut into blocks of this size; 0: 1 MiB; power of two, 4 KiB..256 MiB */
    uint64_t max_in_flight_bytes; /* 0: 16 MiB; a single block may exceed it when nothing else is in flight */
    uint32_t max_requests;        /* submitted and not yet reaped; 0: 1024; at most 1 Mi */
    uint32_t threads;             /* of the threads engine; 0: the smaller of depth and 16; at most 256 */

    bool no_direct;             /* open files buffered */
    bool no_registered_buffers; /* do not register arenas with the ring */
    bool no_registered_files;   /* do not register files with the ring */

    /* For tests. */
    int simulate_uring_errno;        /* as if io_uring_setup failed with it; 0: off */
    uint64_t simulate_memlock_bytes; /* as if RLIMIT_MEMLOCK were this and applied; 0: off */
    sl_io_fault_fn fault;            /* NULL: none */
    void *fault_user;
} sl_io_options;

#define SL_IO_REASON_BYTES 192

typedef struct sl_io_engine_info {
    const char *name; /* "io_uring" or "threads"; static storage */
    bool direct;      /* every file now open bypasses the page cache; with no file open: will be tried */
    bool registered_buffers;  /* every arena that was added is registered with the ring (false without any) */
    bool registered_files;    /* every open file is registered with the ring (false without any) */
    uint32_t alignment_bytes; /* largest alignment of the open files; 4096 without any */
    uint32_t depth, block_bytes, threads; /* as taken; threads is 0 with io_uring */
    uint64_t max_in_flight_bytes;
    /* Why it is not all it could be (no io_uring, no registration, no direct); "" when nothing is missing. */
    char reason[SL_IO_REASON_BYTES];
} sl_io_engine_info;

typedef struct sl_io_counters {
    uint64_t requests;   /* completed, whatever the status */
    uint64_t failed;     /* of these: not SL_OK */
    uint64_t blocks;     /* block reads issued, retries included */
    uint64_t retries;    /* blocks issued again after a short read, EINTR, EAGAIN */
    uint64_t read_bytes; /* bytes that the drive or page cache delivered, re-reads included */
    uint64_t in_flight_peak_bytes, in_flight_peak_blocks;
    uint64_t busy_ns; /* time with at least one block in flight, as the owner thread saw it */
} sl_io_counters;

/* Makes an engine. `options` may be NULL (defaults) and is copied.
 * Owns: the caller owns *out and returns it to sl_io_engine_destroy.
 * Errors: ARGUMENT (an option out of range), UNSUPPORTED (kind SL_IO_URING and no io_uring), NO_MEMORY. */
SL_NODISCARD sl_status sl_io_engine_create(const sl_io_options *options, sl_io_engine **out, sl_diag *diag);

/* Waits for what is in flight, drops all completions, closes the files still open (their handles die), leaves
 * arenas alone (they outlive engines). NULL is fine. Threads: the owner; or any, when nothing is in flight.
 */
void sl_io_engine_destroy(sl_io_engine *engine);

/* Gives the ownership up, so that the next thread that submits becomes the owner. Rebuilds the ring (and
 * registers everything again): milliseconds, not for the steady state. Errors: BUSY while requests are
 * pending. */
SL_NODISCARD sl_status sl_io_engine_release_thread(sl_io_engine *engine, sl_diag *diag);

void sl_io_engine_get_info(const sl_io_engine *engine, sl_io_engine_info *out);
void sl_io_engine_get_counters(const sl_io_engine *engine, sl_io_counters *out);

/* ---- arenas ---- */

enum {
    SL_IO_ARENA_POPULATE = 1, /* back every page with memory now, not at the first touch */
    SL_IO_ARENA_NO_HUGE = 2,  /* ordinary pages only */
};

#define SL_IO_ARENA_ALIGNMENT_BYTES 65536 /* base and size of every arena are multiples of it */

typedef struct sl_io_arena_info {
    void *base;          /* zeroed, anonymous, private; never moves; fit for VK_EXT_external_memory_host */
    uint64_t size_bytes; /* the size asked for, rounded up */
    /* "hugetlb", "transparent huge" (asked for; the kernel decides), "base"; static storage */
    const char *pages;
} sl_io_arena_info;

/* Maps memory that rings can register and devices can import. Owns: the caller; destroy it after the engines
 * that have it and the devices that import it. Errors: ARGUMENT (size 0, flags), OVERFLOW, NO_MEMORY.
 * Threads: any. */
SL_NODISCARD sl_status sl_io_arena_create(uint64_t size_bytes, unsigned flags, sl_io_arena **out,
                                          sl_diag *diag);
void sl_io_arena_destroy(sl_io_arena *arena);
void sl_io_arena_get_info(const sl_io_arena *arena, sl_io_arena_info *out);

/* Tells the engine of an arena, so that reads into it use registered buffers. Where RLIMIT_MEMLOCK or the
 * kernel does not allow that, the reads work all the same, unregistered: SL_OK, an info line says what
 * raising the limit gives, and sl_io_engine_info says so. The threads engine only notes it. An arena may be
 * added to several engines. Errors: ARGUMENT (added twice), BUSY (more than 32 arenas). */
SL_NODISCARD sl_status sl_io_engine_add_arena(sl_io_engine *engine, sl_io_arena *arena, sl_diag *diag);

/* Takes it back. Reads into it that are under way are waited for (their completions stay to be reaped).
 * Errors: ARGUMENT (not added). */
SL_NODISCARD sl_status sl_io_engine_remove_arena(sl_io_engine *engine, sl_io_arena *arena, sl_diag *diag);

/* ---- files ---- */

typedef struct sl_io_file_info {
    const char *path;    /* lives as long as the file */
    uint64_t size_bytes; /* when it was opened */
    int64_t mtime_ns;    /* since 1970, when it was opened */
    uint64_t inode, device;
    uint32_t alignment_bytes; /* of offset, length and destination of a read: 1 when buffered */
    bool direct, registered;
} sl_io_file_info;

/* Opens a regular file for reading: O_DIRECT unless options.no_direct, checked by a real read; where the file
 * system refuses it, buffered, and the engine warns once. Alignment from statx STATX_DIOALIGN, else 4096.
 * Owns: the engine; the caller returns *out to sl_io_file_close before, or leaves it to sl_io_engine_destroy.
 * Errors: NOT_FOUND, IO (errno in diag), FORMAT (not a regular file), BUSY (more than 256 open), NO_MEMORY.
 */
SL_NODISCARD sl_status sl_io_file_open(sl_io_engine *engine, const char *path, sl_io_file **out,
                                       sl_diag *diag);

/* Cancels the file's reads, waits for those in flight, drops their completions, closes. NULL is fine. */
void sl_io_file_close(sl_io_file *file);

void sl_io_file_get_info(const sl_io_file *file, sl_io_file_info *out); /* any thread */

/* Is it still the file that was opened? Compares size, mtime and inode, of the open file and of the path.
 * Errors: NOT_FOUND (deleted), TRUNCATED (shorter, written to, or replaced), IO. Threads: any. */
SL_NODISCARD sl_status sl_io_file_check(const sl_io_file *file, sl_diag *diag);

/* ---- reads ---- */

/* The aligned range that covers [offset, offset + length). */
typedef struct sl_io_range {
    uint64_t offset, length; /* multiples of the alignment; may cross the end of the file */
    uint64_t lead;           /* the bytes asked for begin at destination + lead */
} sl_io_range;

/* `alignment`: a power of two. Errors: ARGUMENT, OVERFLOW. Threads: any. */
SL_NODISCARD sl_status sl_io_superset(uint64_t offset, uint64_t length, uint64_t alignment, sl_io_range *out,
                                      sl_diag *diag);

/* One read. The destination belongs to the engine until the completion was reaped, or drain or close
 * returned. */
typedef struct sl_io_read {
    sl_io_file *file;
    uint64_t offset, length; /* bytes; multiples of the file's alignment; length > 0 */
    void *dest;              /* aligned as well; best inside an arena that was added */
    uint64_t user;           /* comes back in the completion */
} sl_io_read;

typedef struct sl_io_completion {
    uint64_t user;
    sl_status status; /* OK; TRUNCATED (file ends before the read does); IO; CANCELLED */
    int sys_errno;    /* behind an IO status, or 0 */
    uint64_t bytes;   /* valid bytes at dest. OK: length, or less where the read crosses the end of the file;
                         else the part from the start that is known good */
    sl_io_file *file; /* valid until it is closed */
    uint64_t offset;  /* the read's */
    uint64_t error_offset; /* not OK: place in the file where it went wrong */
} sl_io_completion;

/* Submits all `count` reads or none. They are issued in this order. A read may cross the end of the file by
 * less than an alignment (4096 if that is larger); one that goes further, or meets the end of a file that has
 * become shorter, completes with TRUNCATED. EINTR, EAGAIN and short reads are retried inside. Errors: BUSY
 * (the request table has not room for all: reap, then try again), ARGUMENT (misaligned, length 0, NULL, more
 * than max_requests, a file of another engine, wrong thread), OVERFLOW, IO (the ring itself failed). */
SL_NODISCARD sl_status sl_io_submit(sl_io_engine *engine, const sl_io_read *reads, size_t count,
                                    sl_diag *diag);

/* Takes up to `max` completions; waits for the first one at most `timeout_ns` (0: do not wait;
 * SL_IO_WAIT_FOREVER). With nothing pending it returns at once with *out_count 0. A read's own failure is in
 * its completion, not here. Errors: TIMEOUT (only if timeout_ns > 0), ARGUMENT, IO (the ring itself failed).
 * *out_count is always set. */
SL_NODISCARD sl_status sl_io_reap(sl_io_engine *engine, sl_io_completion *out, size_t max,
                                  uint64_t timeout_ns, size_t *out_count, sl_diag *diag);

/* Requests submitted whose completion was not yet reaped. */
size_t sl_io_pending(const sl_io_engine *engine);

/* Nothing further of what is pending is issued. Each request still gives its completion: OK if it had
 * finished or was wholly in flight, else CANCELLED. */
SL_NODISCARD sl_status sl_io_cancel_all(sl_io_engine *engine, sl_diag *diag);

/* Cancels everything, waits for what is in flight and drops all completions: afterwards no read touches
 * memory. *out_dropped (may be NULL): how many requests. */
SL_NODISCARD sl_status sl_io_drain(sl_io_engine *engine, size_t *out_dropped, sl_diag *diag);

/* Reads exactly `length` bytes at `offset` to `dest`, any alignment (through the engine's bounce buffer where
 * needed, which grows to at most 4 MiB and stays), and waits; other requests go on meanwhile, those before it
 * come first. Errors: TRUNCATED, IO, NO_MEMORY, ARGUMENT, OVERFLOW. */
SL_NODISCARD sl_status sl_io_read_sync(sl_io_file *file, uint64_t offset, uint64_t length, void *dest,
                                       sl_diag *diag);

/* Puts a completion that is not OK into *diag ("PATH: read of N bytes at OFFSET: what") and returns its
 * status. */
sl_status sl_io_completion_fail(const sl_io_completion *completion, sl_diag *diag);

#endif
