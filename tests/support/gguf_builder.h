/* gguf_builder.h - writes GGUF files for tests, right ones and wrong ones: every count, length and offset can
 * be made to lie. Bytes are put in the order of the calls: sl_gguf_build_begin, pairs, tensors,
 * sl_gguf_build_end.
 *
 * Owns: the builder owns its bytes until sl_gguf_build_free. Errors: an allocation failure aborts (tests
 * only). Threads: one. */
#ifndef SL_TESTS_SUPPORT_GGUF_BUILDER_H
#define SL_TESTS_SUPPORT_GGUF_BUILDER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct sl_gguf_build {
    unsigned char *bytes;
    size_t size, capacity;
    uint64_t n_kv, n_tensors; /* counted; sl_gguf_build_end writes them into the preamble */
    uint64_t data_size;       /* where the next tensor begins, from the start of the data */
    uint32_t alignment;       /* 32 unless set by the caller (the key is the caller's to write) */
    bool hole; /* set by the caller: the data is not in `bytes`, and a hole in the file that is saved */
} sl_gguf_build;

void sl_gguf_build_begin(sl_gguf_build *b, uint32_t version);
void sl_gguf_build_free(sl_gguf_build *b);

/* Raw pieces. */
void sl_gguf_build_bytes(sl_gguf_build *b, const void *bytes, size_t n);
void sl_gguf_build_number(sl_gguf_build *b, uint64_t value, size_t bytes);
void sl_gguf_build_text(sl_gguf_build *b, const void *text, size_t length); /* length word and bytes */

/* Pairs. `type` is the number in the file; _key writes key and type only, and counts the pair. */
void sl_gguf_build_key(sl_gguf_build *b, const char *key, uint32_t type);
void sl_gguf_build_scalar(sl_gguf_build *b, const char *key, uint32_t type, uint64_t bits, size_t bytes);
void sl_gguf_build_u32(sl_gguf_build *b, const char *key, uint32_t value);
void sl_gguf_build_f32(sl_gguf_build *b, const char *key, float value);
void sl_gguf_build_bool(sl_gguf_build *b, const char *key, bool value);
void sl_gguf_build_string(sl_gguf_build *b, const char *key, const char *value);
void sl_gguf_build_array(sl_gguf_build *b, const char *key, uint32_t type,
                         uint64_t count); /* elements follow */
void sl_gguf_build_strings(sl_gguf_build *b, const char *key, const char *const *values, size_t count);
void sl_gguf_build_i32s(sl_gguf_build *b, const char *key, const int32_t *values, size_t count);
void sl_gguf_build_f32s(sl_gguf_build *b, const char *key, const float *values, size_t count);

/* A tensor's description; _tensor places it at the next aligned offset and reserves `data_bytes` of zeros. */
void sl_gguf_build_tensor_at(sl_gguf_build *b, const char *name, uint32_t n_dims, const uint64_t *dims,
                             uint32_t type, uint64_t offset);
void sl_gguf_build_tensor(sl_gguf_build *b, const char *name, uint32_t n_dims, const uint64_t *dims,
                          uint32_t type, uint64_t data_bytes);

/* Fixes the counts, pads, appends the data (zeros; not with `hole`). After it `bytes` and `size` are the
 * file. */
void sl_gguf_build_end(sl_gguf_build *b);

/* Writes the bytes to `path`, or to a new temporary file whose path is put into `path` (at least 64 bytes).
 */
bool sl_gguf_build_save(const sl_gguf_build *b, const char *path);
bool sl_gguf_build_save_temporary(const sl_gguf_build *b, char *path, size_t capacity);

#endif
