/* gguf_internal.h - shared by the files of this folder: the parsed model file, and the parser of one part.
 *
 * Threads: see gguf.h. */
#ifndef SL_RUNTIME_GGUF_GGUF_INTERNAL_H
#define SL_RUNTIME_GGUF_GGUF_INTERNAL_H

#include "runtime/gguf/gguf.h"
#include "runtime/gguf/string_map.h"

#define SL_GGUF_LABEL_BYTES 168 /* a path in a message: its last 160 bytes */

/* One part after parsing. `bytes` is its header, into which keys, names, strings and arrays point. */
typedef struct sl_gguf_part {
    sl_gguf_file file;
    char *path;
    char label[SL_GGUF_LABEL_BYTES];
    unsigned char *bytes;
    uint32_t version, alignment_bytes;
    sl_gguf_kv *kvs;
    size_t kv_count;
    sl_gguf_tensor *tensors;
    size_t tensor_count;
    sl_string_map keys; /* key -> index in kvs */
} sl_gguf_part;

struct sl_gguf {
    sl_gguf_part *parts;
    uint32_t part_count;
    sl_gguf_tensor *tensors; /* of all parts */
    size_t tensor_count;
    sl_string_map names; /* tensor name -> index in tensors */
};

/* Where a header comes from: a descriptor, or bytes when fd < 0. */
typedef struct sl_gguf_source {
    int fd;
    const unsigned char *memory;
    uint64_t size_bytes;
} sl_gguf_source;

/* Reads and checks the header of one part: everything but duplicate tensor names, which span parts. `part`
 * has path, label and file identity; the rest is filled. On failure the caller still frees it with
 * sl_gguf_part_free. */
sl_status sl_gguf_part_read(sl_gguf_part *part, const sl_gguf_source *source, sl_diag *diag) SL_NODISCARD;
void sl_gguf_part_free(sl_gguf_part *part);

/* Getters over one part (the public ones take the first). */
const sl_gguf_kv *sl_gguf_part_find(const sl_gguf_part *part, const char *key);
sl_status sl_gguf_part_get_u64(const sl_gguf_part *part, const char *key, uint64_t max, uint64_t *out,
                               sl_diag *diag) SL_NODISCARD;

/* Writes `length` bytes as printable ASCII with \xNN escapes, cut with "..." to fit. Gives `text`. */
const char *sl_gguf_escape(const void *bytes, size_t length, char *text, size_t capacity);

/* Bytes of a scalar of this type; 0 for strings, arrays and unknown numbers. */
size_t sl_gguf_scalar_bytes(uint32_t type);

/* Decodes one scalar at `p` into kv->type and kv->value. False: a bool that is neither 0 nor 1. */
bool sl_gguf_decode_scalar(sl_gguf_type type, const unsigned char *p, sl_gguf_kv *kv);

static inline uint64_t sl_gguf_load(const unsigned char *p, size_t bytes)
{
    uint64_t v = 0;
    for (size_t i = 0; i < bytes; i++)
        v |= (uint64_t)p[i] << (8 * i);
    return v;
}

#endif
