/* string_map.h - the one hash table of the formats: from byte strings to 32-bit numbers, open addressing.
 *
 * Owns: the slots; keys are referred to, not copied, and must outlive the map. The hash is keyed with random
 * bits at init, so that a file cannot be made whose names all collide. Threads: one writer; any number of
 * readers once it is filled. */
#ifndef SL_RUNTIME_GGUF_STRING_MAP_H
#define SL_RUNTIME_GGUF_STRING_MAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct sl_string_map_slot {
    const void *key; /* NULL: empty */
    uint32_t length;
    uint32_t value;
    uint32_t tag; /* upper bits of the hash: most mismatches are seen without touching the key */
} sl_string_map_slot;

typedef struct sl_string_map {
    sl_string_map_slot *slots;
    size_t mask; /* slots - 1; slots is a power of two */
    size_t count;
    uint64_t seed[2];
} sl_string_map;

typedef enum sl_string_map_result {
    SL_STRING_MAP_ADDED,
    SL_STRING_MAP_EXISTS, /* the map is as it was */
    SL_STRING_MAP_NO_MEMORY
} sl_string_map_result;

/* Room for `expected` keys without growing. False: out of memory (the map is then empty and may be freed). A
 * zeroed map that was never initialised may be read (it finds nothing) and freed. */
bool sl_string_map_init(sl_string_map *map, size_t expected);
void sl_string_map_free(sl_string_map *map);

/* Adds key -> value unless the key is there. `length` <= UINT32_MAX. */
sl_string_map_result sl_string_map_add(sl_string_map *map, const void *key, size_t length, uint32_t value);

/* False when the key is absent; *value is then left alone. */
bool sl_string_map_get(const sl_string_map *map, const void *key, size_t length, uint32_t *value);

#endif
