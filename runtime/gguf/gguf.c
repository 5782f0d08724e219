/* Opening: one file, its other parts, and what spans parts (the table of tensors, names, the count of split
 * files). */
#include "runtime/gguf/gguf_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "hal/base/alloc.h"
#include "hal/base/checked.h"

static void set_label(sl_gguf_part *part)
{
    const size_t length = strlen(part->path), shown = sizeof part->label - 4;
    const bool cut = length > shown;
    snprintf(part->label, sizeof part->label, "%s%s", cut ? "..." : "",
             part->path + (cut ? length - shown : 0));
}

static sl_status name_part(sl_gguf_part *part, const char *path, sl_diag *diag)
{
    part->path = sl_strdup(path);
    if (!part->path) return sl_fail(diag, SL_ERR_NO_MEMORY, "no memory for a path");
    part->file.path = part->path;
    set_label(part);
    return SL_OK;
}

/* O_NONBLOCK: a FIFO must not hang the open; for regular files it means nothing. */
static sl_status open_part(sl_gguf_part *part, const char *path, sl_diag *diag)
{
    int fd = -1;
    struct stat info;
    sl_status st = name_part(part, path, diag);
    if (st != SL_OK) return st;
    do
        fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    while (fd < 0 && errno == EINTR);
    if (fd < 0) {
        st = sl_fail_errno(diag, errno == ENOENT || errno == ENOTDIR ? SL_ERR_NOT_FOUND : SL_ERR_IO, errno,
                           "%s: cannot open", part->label);
        goto cleanup;
    }
    if (fstat(fd, &info) != 0) {
        st = sl_fail_errno(diag, SL_ERR_IO, errno, "%s: cannot stat", part->label);
        goto cleanup;
    }
    if (!S_ISREG(info.st_mode)) {
        st = sl_fail(diag, SL_ERR_FORMAT, "%s: not a regular file (mode 0%o)", part->label,
                     (unsigned)info.st_mode);
        goto cleanup;
    }
    part->file.size_bytes = (uint64_t)info.st_size;
    part->file.device = (uint64_t)info.st_dev;
    part->file.inode = (uint64_t)info.st_ino;
    part->file.mtime_ns = (int64_t)info.st_mtim.tv_sec * 1000000000 + info.st_mtim.tv_nsec;
    st = sl_gguf_part_read(part, &(sl_gguf_source){.fd = fd, .size_bytes = part->file.size_bytes}, diag);
cleanup:
    if (fd >= 0) close(fd);
    return st;
}

/* Values of the split keys; count is 1 for a file that is not split. */
typedef struct split_keys {
    uint64_t no, count, tensors;
    bool has_tensors;
} split_keys;

static sl_status read_split_keys(const sl_gguf_part *part, split_keys *out, sl_diag *diag)
{
    *out = (split_keys){.count = 1};
    sl_status st = SL_OK;
    if (!sl_gguf_part_find(part, "split.count")) return SL_OK;
    SL_TRY(sl_gguf_part_get_u64(part, "split.count", SL_GGUF_PARTS_MAX, &out->count, diag));
    if (out->count == 0) out->count = 1; /* a file that once was split and was merged again */
    if (sl_gguf_part_find(part, "split.no"))
        SL_TRY(sl_gguf_part_get_u64(part, "split.no", UINT32_MAX, &out->no, diag));
    out->has_tensors = sl_gguf_part_find(part, "split.tensors.count") != NULL;
    if (out->has_tensors)
        SL_TRY(sl_gguf_part_get_u64(part, "split.tensors.count", UINT64_MAX, &out->tensors, diag));
cleanup:
    return st;
}

#define SUFFIX_BYTES 20 /* -00001-of-00003.gguf */

/* Length of `path` before "-0000N-of-0000M.gguf", when it ends so with these numbers. */
static bool split_prefix(const char *path, uint64_t number, uint64_t count, size_t *out)
{
    char suffix[64];
    const size_t length = strlen(path);
    snprintf(suffix, sizeof suffix, "-%05" PRIu64 "-of-%05" PRIu64 ".gguf", number, count);
    const size_t tail = strlen(suffix);
    if (length <= tail || strcmp(path + length - tail, suffix) != 0) return false;
    *out = length - tail;
    return true;
}

static sl_status check_later_part(const sl_gguf_part *part, uint64_t index, uint64_t count, sl_diag *diag)
{
    split_keys keys;
    sl_status st = read_split_keys(part, &keys, diag);
    if (st != SL_OK) return st;
    if (keys.no != index)
        return sl_fail(diag, SL_ERR_FORMAT, "%s: key \"split.no\" is %" PRIu64 ", expected %" PRIu64,
                       part->label, keys.no, index);
    if (keys.count != count)
        return sl_fail(diag, SL_ERR_FORMAT,
                       "%s: key \"split.count\" is %" PRIu64 ", the first part says %" PRIu64, part->label,
                       keys.count, count);
    return SL_OK;
}

static sl_status open_later_parts(sl_gguf *g, const char *path, const split_keys *keys, sl_diag *diag)
{
    sl_status st = SL_OK;
    size_t prefix;
    char *name = NULL;
    if (!split_prefix(path, 1, keys->count, &prefix))
        return sl_fail(diag, SL_ERR_FORMAT,
                       "%s: key \"split.count\" is %" PRIu64
                       ", but the file name does not end in -00001-of-%05" PRIu64 ".gguf",
                       g->parts[0].label, keys->count, keys->count);
    sl_gguf_part *parts = sl_realloc(g->parts, (size_t)keys->count, sizeof *parts);
    const size_t name_bytes = prefix + SUFFIX_BYTES + 40;
    name = sl_malloc(name_bytes);
    if (parts) g->parts = parts;
    if (!parts || !name) {
        st = sl_fail(diag, SL_ERR_NO_MEMORY, "%s: no memory for %" PRIu64 " parts", g->parts[0].label,
                     keys->count);
        goto cleanup;
    }
    memset(parts + 1, 0, ((size_t)keys->count - 1) * sizeof *parts);
    for (uint64_t i = 1; i < keys->count; i++) {
        snprintf(name, name_bytes, "%.*s-%05" PRIu64 "-of-%05" PRIu64 ".gguf", (int)SL_MIN(prefix, 1u << 20),
                 path, i + 1, keys->count);
        g->part_count = (uint32_t)i + 1;
        SL_TRY(open_part(&parts[i], name, diag));
        SL_TRY(check_later_part(&parts[i], i, keys->count, diag));
    }
cleanup:
    sl_free(name);
    return st;
}

/* One table of the tensors of all parts, in the order of the parts. */
static sl_status collect_tensors(sl_gguf *g, const split_keys *keys, sl_diag *diag)
{
    uint64_t total = 0;
    for (uint32_t i = 0; i < g->part_count; i++)
        total += g->parts[i].tensor_count;
    if (keys->has_tensors && keys->count > 1 && keys->tensors != total)
        return sl_fail(diag, SL_ERR_FORMAT,
                       "%s: key \"split.tensors.count\" is %" PRIu64 ", the %u parts have %" PRIu64
                       " tensors",
                       g->parts[0].label, keys->tensors, g->part_count, total);
    g->tensors = sl_calloc((size_t)total, sizeof *g->tensors);
    if (!g->tensors || !sl_string_map_init(&g->names, (size_t)total))
        return sl_fail(diag, SL_ERR_NO_MEMORY, "%s: no memory for %" PRIu64 " tensors", g->parts[0].label,
                       total);
    for (uint32_t i = 0; i < g->part_count; i++) {
        for (size_t j = 0; j < g->parts[i].tensor_count; j++) {
            sl_gguf_tensor *t = &g->tensors[g->tensor_count];
            *t = g->parts[i].tensors[j];
            t->file_index = i;
            switch (sl_string_map_add(&g->names, t->name, t->name_length, (uint32_t)g->tensor_count)) {
            case SL_STRING_MAP_ADDED:
                break;
            case SL_STRING_MAP_EXISTS:
                return sl_fail(diag, SL_ERR_FORMAT, "%s: duplicate tensor \"%.72s\"", g->parts[i].label,
                               t->name);
            case SL_STRING_MAP_NO_MEMORY:
                return sl_fail(diag, SL_ERR_NO_MEMORY, "%s: no memory for tensor names", g->parts[i].label);
            }
            g->tensor_count++;
        }
        sl_free(g->parts[i].tensors);
        g->parts[i].tensors = NULL;
        g->parts[i].tensor_count = 0;
    }
    return SL_OK;
}

static sl_status new_gguf(sl_gguf **out, sl_diag *diag)
{
    sl_gguf *g = sl_calloc(1, sizeof *g);
    if (g) g->parts = sl_calloc(1, sizeof *g->parts);
    if (!g || !g->parts) {
        sl_free(g);
        return sl_fail(diag, SL_ERR_NO_MEMORY, "no memory for a model file");
    }
    g->part_count = 1;
    *out = g;
    return SL_OK;
}

sl_status sl_gguf_open(const char *path, sl_gguf **out, sl_diag *diag)
{
    sl_gguf *g = NULL;
    split_keys keys;
    sl_status st;
    *out = NULL;
    SL_TRY(new_gguf(&g, diag));
    SL_TRY(open_part(&g->parts[0], path, diag));
    SL_TRY(read_split_keys(&g->parts[0], &keys, diag));
    if (keys.count > 1) {
        if (keys.no != 0) {
            st = sl_fail(diag, SL_ERR_ARGUMENT,
                         "%s: key \"split.no\" is %" PRIu64
                         ": not the first part; open the one whose name ends in "
                         "-00001-of-%05" PRIu64 ".gguf",
                         g->parts[0].label, keys.no, keys.count);
            goto cleanup;
        }
        SL_TRY(open_later_parts(g, path, &keys, diag));
    }
    SL_TRY(collect_tensors(g, &keys, diag));
    *out = g;
    g = NULL;
cleanup:
    sl_gguf_close(g);
    return st;
}

sl_status sl_gguf_open_memory(const void *bytes, size_t size, const char *name, sl_gguf **out, sl_diag *diag)
{
    sl_gguf *g = NULL;
    split_keys keys;
    sl_status st;
    *out = NULL;
    SL_TRY(new_gguf(&g, diag));
    SL_TRY(name_part(&g->parts[0], name, diag));
    g->parts[0].file.size_bytes = size;
    SL_TRY(sl_gguf_part_read(&g->parts[0], &(sl_gguf_source){.fd = -1, .memory = bytes, .size_bytes = size},
                             diag));
    SL_TRY(read_split_keys(&g->parts[0], &keys, diag));
    if (keys.count > 1) {
        st = sl_fail(diag, SL_ERR_UNSUPPORTED,
                     "%s: key \"split.count\" is %" PRIu64 ": a split model cannot be read from memory",
                     g->parts[0].label, keys.count);
        goto cleanup;
    }
    SL_TRY(collect_tensors(g, &keys, diag));
    *out = g;
    g = NULL;
cleanup:
    sl_gguf_close(g);
    return st;
}

void sl_gguf_close(sl_gguf *g)
{
    if (!g) return;
    for (uint32_t i = 0; i < g->part_count; i++)
        sl_gguf_part_free(&g->parts[i]);
    sl_free(g->parts);
    sl_free(g->tensors);
    sl_string_map_free(&g->names);
    sl_free(g);
}

const char *sl_gguf_path(const sl_gguf *g)
{
    return g->parts[0].path;
}

uint32_t sl_gguf_version(const sl_gguf *g)
{
    return g->parts[0].version;
}

uint32_t sl_gguf_alignment_bytes(const sl_gguf *g)
{
    return g->parts[0].alignment_bytes;
}

uint32_t sl_gguf_file_count(const sl_gguf *g)
{
    return g->part_count;
}

const sl_gguf_file *sl_gguf_file_at(const sl_gguf *g, uint32_t index)
{
    return index < g->part_count ? &g->parts[index].file : NULL;
}

size_t sl_gguf_tensor_count(const sl_gguf *g)
{
    return g->tensor_count;
}

const sl_gguf_tensor *sl_gguf_tensor_at(const sl_gguf *g, size_t index)
{
    return index < g->tensor_count ? &g->tensors[index] : NULL;
}

const sl_gguf_tensor *sl_gguf_find_tensor(const sl_gguf *g, const char *name)
{
    uint32_t index;
    return sl_string_map_get(&g->names, name, strlen(name), &index) ? &g->tensors[index] : NULL;
}

sl_status sl_gguf_get_tensor(const sl_gguf *g, const char *name, const sl_gguf_tensor **out, sl_diag *diag)
{
    *out = sl_gguf_find_tensor(g, name);
    if (!*out)
        return sl_fail(diag, SL_ERR_NOT_FOUND, "%s: tensor \"%s\" is missing", g->parts[0].label, name);
    return SL_OK;
}
