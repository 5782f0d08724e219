/* io_internal.h - what the source files of io/ share. Nothing outside io/ includes it.
 *
 * Layers: engine.c (life of an engine), io_file.c, io_arena.c, io_queue.c (requests cut into blocks, retries,
 * faults, completions: all that both carriers have in common) over a carrier, io_uring.c or io_threads.c,
 * which moves one block at a time. A carrier has no idea of requests, retries or ends of files.
 *
 * Threads: everything runs on the owner thread, except the workers inside io_threads.c. */
#ifndef SL_IO_INTERNAL_H
#define SL_IO_INTERNAL_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE /* O_DIRECT, statx, memfd_create; this header is the first include of every file here */
#endif

#include <pthread.h>

#include "io/io.h"

enum {
    SL_IO_MAX_FILES = 256, /* below the usual RLIMIT_NOFILE of 1024, which also bounds a ring's file table */
    SL_IO_MAX_ARENAS = 32,
    SL_IO_MAX_STALLS = 64, /* retries without progress before a block counts as failed */
    SL_IO_EOF_SLACK_BYTES = 4096,
};

typedef struct sl_io_request {
    sl_io_read read;
    uint64_t expected;     /* bytes of it that the file has */
    uint64_t issue_length; /* expected, rounded up to the alignment */
    uint64_t issued;       /* so many bytes were cut into blocks */
    uint32_t blocks_out;   /* blocks cut and not finished */
    sl_status status;
    int sys_errno;
    uint64_t error_offset; /* lowest place in the file that failed, when status is not OK */
    bool live;             /* submitted, not yet reaped */
    bool queued;           /* in engine->issue */
    bool done;
    bool sync; /* of sl_io_read_sync: never enters the queue of completions */
    struct sl_io_request *next;
} sl_io_request;

/* One read of at most block_bytes. Lives in exactly one place: free list, carrier, held list, retry list. */
typedef struct sl_io_block {
    sl_io_request *request;
    uint64_t offset, length; /* whole block, in the file */
    uint64_t done;           /* bytes known good, aligned: the next read begins behind them */
    char *dest;              /* of the whole block */
    unsigned stalls;
    int64_t result;   /* carrier's, possibly altered */
    uint32_t hold;    /* held: later completions that may still overtake */
    uint64_t wake_ns; /* held or retry: not before */
    struct sl_io_block *next;
} sl_io_block;

typedef struct sl_io_request_list {
    sl_io_request *head, *tail;
} sl_io_request_list;

struct sl_io_file {
    sl_io_engine *engine;
    char *path;
    int fd;
    unsigned slot; /* in engine->files and in the ring's file table */
    bool direct, registered;
    uint32_t alignment;
    uint64_t size, inode, device;
    int64_t mtime_ns;
};

struct sl_io_arena {
    void *map; /* what munmap takes */
    uint64_t map_size;
    char *base;
    uint64_t size;
    const char *pages;
};

typedef struct sl_io_arena_slot {
    sl_io_arena *arena; /* NULL: free */
    bool registered;
    unsigned first_buffer, buffer_count; /* in the ring's buffer table */
} sl_io_arena_slot;

/* What moves blocks. All calls but open and close are the owner thread's. */
typedef struct sl_io_carrier {
    const char *name;
    sl_status (*open)(sl_io_engine *engine, sl_diag *diag);
    sl_status (*bind)(sl_io_engine *engine, sl_diag *diag); /* the calling thread becomes the owner */
    void (*start)(sl_io_engine *engine,
                  sl_io_block *block); /* queue one block read; never fails, never calls back */
    /* Sends what was queued and takes what is ready, waiting for the first up to timeout_ns; calls
     * sl_io_block_arrived for each. */
    sl_status (*turn)(sl_io_engine *engine, uint64_t timeout_ns, sl_diag *diag);
    sl_status (*flush)(sl_io_engine *engine, sl_diag *diag); /* sends what was queued */
    void (*add_file)(sl_io_engine *engine, sl_io_file *file);
    void (*remove_file)(sl_io_engine *engine, sl_io_file *file);
    void (*add_arena)(sl_io_engine *engine, sl_io_arena_slot *slot);
    void (*remove_arena)(sl_io_engine *engine, sl_io_arena_slot *slot);
    void (*close)(sl_io_engine *engine);
} sl_io_carrier;

extern const sl_io_carrier sl_io_carrier_uring;
extern const sl_io_carrier sl_io_carrier_threads;

struct sl_io_engine {
    sl_io_options options; /* defaults filled in */
    const sl_io_carrier *carrier;
    void *carrier_state;
    bool bound, direct_warned;
    pthread_t owner;

    char reason_uring[SL_IO_REASON_BYTES]; /* why each is not had; "" if it is or was not asked for */
    char reason_buffers[SL_IO_REASON_BYTES];
    char reason_files[SL_IO_REASON_BYTES];

    sl_io_file *files[SL_IO_MAX_FILES];
    sl_io_arena_slot arenas[SL_IO_MAX_ARENAS];

    sl_io_request *requests; /* max_requests, and one that is kept for read_sync */
    sl_io_request *free_requests, *sync_request;
    size_t free_count, live_count; /* live_count without the sync request */
    sl_io_request_list issue, finished;

    char *bounce; /* of sl_io_read_sync, for reads that are not aligned */
    uint64_t bounce_size;

    sl_io_block *blocks;
    sl_io_block *free_blocks, *held, *retry;
    uint32_t in_carrier, out_blocks; /* blocks the carrier has; blocks not free */
    uint64_t out_bytes, busy_since_ns, sequence;
    sl_io_counters counters;
};

/* ARGUMENT if another thread owns the engine. `bind`: become the owner if there is none. */
SL_NODISCARD sl_status sl_io_own(sl_io_engine *engine, bool bind, sl_diag *diag);

/* Carrier to queue: a block came back with bytes or -errno. */
void sl_io_block_arrived(sl_io_engine *engine, sl_io_block *block, int64_t result);

/* The read that a block wants next. */
static inline uint64_t sl_io_block_at(const sl_io_block *block)
{
    return block->offset + block->done;
}
static inline uint64_t sl_io_block_left(const sl_io_block *block)
{
    return block->length - block->done;
}

SL_NODISCARD sl_status sl_io_queue_create(sl_io_engine *engine, sl_diag *diag);
void sl_io_queue_destroy(sl_io_engine *engine);

/* Cancels what matches (file NULL: all) and has not been issued. */
void sl_io_queue_cancel(sl_io_engine *engine, const sl_io_file *file);
/* Turns until nothing that matches is under way: a file, or memory [base, base + size) when base is not NULL.
 */
SL_NODISCARD sl_status sl_io_queue_settle(sl_io_engine *engine, const sl_io_file *file, const char *base,
                                          uint64_t size, sl_diag *diag);
/* Forgets finished requests that match; returns how many. */
size_t sl_io_queue_drop(sl_io_engine *engine, const sl_io_file *file);

/* Why io_uring does not work here, or SL_OK: sets up a small ring and reads through it. *flags:
 * IORING_SETUP_*. */
SL_NODISCARD sl_status sl_io_uring_probe(const sl_io_options *options, unsigned *out_flags, sl_diag *diag);

#endif
