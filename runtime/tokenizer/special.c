#include "runtime/tokenizer/special.h"

#include <string.h>

#include "hal/base/alloc.h"
#include "hal/base/checked.h"
#include "runtime/tokenizer/tokenizer.h"

/* The new node's index, or 0 when memory is out. */
static uint32_t new_node(sl_special *s, uint8_t byte)
{
    if (s->count + 2 > s->capacity) {
        const size_t more = s->capacity ? s->capacity * 2 : 256;
        sl_special_node *grown = more < UINT32_MAX ? sl_realloc(s->nodes, more, sizeof *grown) : NULL;
        if (!grown) return 0;
        s->nodes = grown;
        s->capacity = more;
    }
    if (s->count == 0) s->nodes[s->count++] = (sl_special_node){.id = SL_TOKEN_NONE};
    s->nodes[s->count] = (sl_special_node){.id = SL_TOKEN_NONE, .byte = byte};
    return (uint32_t)s->count++;
}

static uint32_t find_child(const sl_special *s, uint32_t node, uint8_t byte)
{
    uint32_t child = s->nodes[node].child;
    while (child && s->nodes[child].byte != byte)
        child = s->nodes[child].sibling;
    return child;
}

bool sl_special_add(sl_special *s, const char *text, size_t length, uint32_t id, bool always)
{
    uint32_t node = 0;
    for (size_t i = 0; i < length; i++) {
        const uint8_t byte = (uint8_t)text[i];
        uint32_t next = i == 0 ? s->first[byte] : find_child(s, node, byte);
        if (!next) {
            if (!(next = new_node(s, byte))) return false;
            if (i == 0) {
                s->first[byte] = next;
            } else {
                s->nodes[next].sibling = s->nodes[node].child;
                s->nodes[node].child = next;
            }
        }
        node = next;
    }
    if (s->nodes[node].id == SL_TOKEN_NONE) {
        s->nodes[node].id = id;
        s->nodes[node].always = always;
    }
    return true;
}

size_t sl_special_match(const sl_special *s, const char *text, size_t left, bool all, uint32_t *out_id)
{
    size_t found = 0;
    uint32_t node = left ? s->first[(uint8_t)text[0]] : 0;
    for (size_t i = 1; node; i++) {
        if (s->nodes[node].id != SL_TOKEN_NONE && (all || s->nodes[node].always)) {
            found = i;
            *out_id = s->nodes[node].id;
        }
        node = i < left ? find_child(s, node, (uint8_t)text[i]) : 0;
    }
    return found;
}

void sl_special_free(sl_special *s)
{
    if (!s) return;
    sl_free(s->nodes);
    memset(s, 0, sizeof *s);
}
