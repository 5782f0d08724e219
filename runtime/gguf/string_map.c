#include "runtime/gguf/string_map.h"

#include <string.h>
#include <sys/random.h>

#include "hal/base/alloc.h"
#include "hal/base/checked.h"
#include "hal/base/clock.h"

static uint64_t rotate(uint64_t x, unsigned n)
{
    return x << n | x >> (64 - n);
}

static void sip_round(uint64_t v[4])
{
    v[0] += v[1];
    v[1] = rotate(v[1], 13) ^ v[0];
    v[0] = rotate(v[0], 32);
    v[2] += v[3];
    v[3] = rotate(v[3], 16) ^ v[2];
    v[0] += v[3];
    v[3] = rotate(v[3], 21) ^ v[0];
    v[2] += v[1];
    v[1] = rotate(v[1], 17) ^ v[2];
    v[2] = rotate(v[2], 32);
}

/* SipHash-1-3 (Aumasson and Bernstein, 2012): the cheapest of the family that resists chosen keys. */
static uint64_t hash_bytes(const uint64_t seed[2], const void *key, size_t length)
{
    uint64_t v[4] = {seed[0] ^ 0x736f6d6570736575u, seed[1] ^ 0x646f72616e646f6du,
                     seed[0] ^ 0x6c7967656e657261u, seed[1] ^ 0x7465646279746573u};
    const unsigned char *p = key;
    size_t left = length;
    for (; left >= 8; left -= 8, p += 8) {
        uint64_t word;
        memcpy(&word, p, 8);
        v[3] ^= word;
        sip_round(v);
        v[0] ^= word;
    }
    uint64_t last = (uint64_t)length << 56;
    for (size_t i = 0; i < left; i++)
        last |= (uint64_t)p[i] << (8 * i);
    v[3] ^= last;
    sip_round(v);
    v[0] ^= last;
    v[2] ^= 0xff;
    for (int i = 0; i < 3; i++)
        sip_round(v);
    return v[0] ^ v[1] ^ v[2] ^ v[3];
}

/* At most 3/4 of the slots are in use, so a probe ends. */
static bool slots_for(size_t keys, size_t *out)
{
    size_t slots = 16;
    while (slots / 4 * 3 < keys) {
        if (slots > SIZE_MAX / 2) return false;
        slots *= 2;
    }
    *out = slots;
    return true;
}

bool sl_string_map_init(sl_string_map *map, size_t expected)
{
    memset(map, 0, sizeof *map);
    size_t slots;
    if (!slots_for(expected, &slots)) return false;
    map->slots = sl_calloc(slots, sizeof *map->slots);
    if (!map->slots) return false;
    map->mask = slots - 1;
    if (getrandom(map->seed, sizeof map->seed, GRND_NONBLOCK) != (ssize_t)sizeof map->seed) {
        map->seed[0] = sl_now_ns();
        map->seed[1] = (uint64_t)(uintptr_t)map->slots;
    }
    return true;
}

void sl_string_map_free(sl_string_map *map)
{
    if (!map) return;
    sl_free(map->slots);
    memset(map, 0, sizeof *map);
}

/* The slot that holds the key, or the empty one where it belongs. */
static sl_string_map_slot *probe(const sl_string_map *map, const void *key, size_t length, uint64_t hash)
{
    const uint32_t tag = (uint32_t)(hash >> 32);
    for (size_t i = hash & map->mask;; i = (i + 1) & map->mask) {
        sl_string_map_slot *slot = &map->slots[i];
        if (!slot->key) return slot;
        if (slot->tag == tag && slot->length == length && memcmp(slot->key, key, length) == 0) return slot;
    }
}

static bool grow(sl_string_map *map)
{
    size_t slots;
    if (!slots_for(map->count * 2 + 1, &slots)) return false;
    sl_string_map bigger = *map;
    bigger.slots = sl_calloc(slots, sizeof *bigger.slots);
    if (!bigger.slots) return false;
    bigger.mask = slots - 1;
    for (size_t i = 0; i <= map->mask; i++) {
        const sl_string_map_slot *old = &map->slots[i];
        if (old->key)
            *probe(&bigger, old->key, old->length, hash_bytes(map->seed, old->key, old->length)) = *old;
    }
    sl_free(map->slots);
    *map = bigger;
    return true;
}

sl_string_map_result sl_string_map_add(sl_string_map *map, const void *key, size_t length, uint32_t value)
{
    if (length > UINT32_MAX || !map->slots) return SL_STRING_MAP_NO_MEMORY;
    const uint64_t hash = hash_bytes(map->seed, key, length);
    sl_string_map_slot *slot = probe(map, key, length, hash);
    if (slot->key) return SL_STRING_MAP_EXISTS;
    if (map->count + 1 > (map->mask + 1) / 4 * 3) {
        if (!grow(map)) return SL_STRING_MAP_NO_MEMORY;
        slot = probe(map, key, length, hash);
    }
    *slot = (sl_string_map_slot){key, (uint32_t)length, value, (uint32_t)(hash >> 32)};
    map->count++;
    return SL_STRING_MAP_ADDED;
}

bool sl_string_map_get(const sl_string_map *map, const void *key, size_t length, uint32_t *value)
{
    if (!map->slots || length > UINT32_MAX) return false;
    const sl_string_map_slot *slot = probe(map, key, length, hash_bytes(map->seed, key, length));
    if (!slot->key) return false;
    *value = slot->value;
    return true;
}
