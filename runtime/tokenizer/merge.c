#include "runtime/tokenizer/merge.h"

#include <string.h>

#include "hal/base/alloc.h"
#include "hal/base/checked.h"

static bool reserve(void **items, size_t *capacity, size_t count, size_t item_bytes)
{
    if (count <= *capacity) return true;
    const size_t more = SL_MAX(count, *capacity ? *capacity * 2 : 256);
    void *grown = sl_realloc(*items, more, item_bytes);
    if (!grown) return false;
    *items = grown;
    *capacity = more;
    return true;
}

char *sl_merge_text(sl_merge_work *work, size_t n)
{
    void *text = work->text;
    if (!reserve(&text, &work->text_capacity, n, 1)) return NULL;
    work->text = text;
    return work->text;
}

void sl_merge_clear(sl_merge_work *work)
{
    work->symbol_count = 0;
}

bool sl_merge_add(sl_merge_work *work, uint32_t start, uint32_t length, uint32_t id)
{
    void *symbols = work->symbols;
    if (!reserve(&symbols, &work->symbol_capacity, work->symbol_count + 1, sizeof *work->symbols))
        return false;
    work->symbols = symbols;
    const uint32_t index = (uint32_t)work->symbol_count++;
    work->symbols[index] =
        (sl_merge_symbol){start, length, index ? index - 1 : SL_MERGE_END, SL_MERGE_END, id};
    if (index) work->symbols[index - 1].next = index;
    return true;
}

#define WAYS 4 /* children of a heap entry */

static bool push(sl_merge_work *work, sl_merge_pair pair)
{
    void *heap = work->heap;
    if (!reserve(&heap, &work->heap_capacity, work->heap_count + 1, sizeof *work->heap)) return false;
    work->heap = heap;
    size_t i = work->heap_count++;
    while (i) {
        const size_t parent = (i - 1) / WAYS;
        if (pair.key >= work->heap[parent].key) break;
        work->heap[i] = work->heap[parent];
        i = parent;
    }
    work->heap[i] = pair;
    return true;
}

static sl_merge_pair pop(sl_merge_work *work)
{
    const sl_merge_pair top = work->heap[0], last = work->heap[--work->heap_count];
    size_t i = 0;
    for (;;) {
        const size_t first = WAYS * i + 1, end = SL_MIN(first + WAYS, work->heap_count);
        size_t least = first;
        for (size_t child = first + 1; child < end; child++)
            if (work->heap[child].key < work->heap[least].key) least = child;
        if (first >= end || work->heap[least].key >= last.key) break;
        work->heap[i] = work->heap[least];
        i = least;
    }
    work->heap[i] = last;
    return top;
}

static bool offer(sl_merge_work *work, const char *text, sl_merge_find find, const void *context,
                  uint32_t left, uint32_t right)
{
    if (left == SL_MERGE_END || right == SL_MERGE_END) return true;
    const sl_merge_symbol *a = &work->symbols[left], *b = &work->symbols[right];
    uint32_t priority, id;
    if (!find(context, text, a, b, &priority, &id)) return true;
    return push(work, (sl_merge_pair){(uint64_t)priority << 32 | left, a->length + b->length, id});
}

bool sl_merge_run(sl_merge_work *work, const char *text, sl_merge_find find, const void *context)
{
    work->heap_count = 0;
    for (size_t i = 1; i < work->symbol_count; i++)
        if (!offer(work, text, find, context, (uint32_t)i - 1, (uint32_t)i)) return false;
    while (work->heap_count) {
        const sl_merge_pair pair = pop(work);
        const uint32_t left = (uint32_t)pair.key, right = work->symbols[left].next;
        /* A symbol only grows, and only by its right neighbour; so a left one that is alive, and as long
         * together with its neighbour as then, means that neither has changed. */
        sl_merge_symbol *a = &work->symbols[left];
        if (!a->length || right == SL_MERGE_END) continue;
        sl_merge_symbol *b = &work->symbols[right];
        if (a->length + b->length != pair.length) continue;
        a->length = pair.length;
        a->id = pair.id;
        a->next = b->next;
        b->length = 0;
        if (a->next != SL_MERGE_END) work->symbols[a->next].previous = left;
        if (!offer(work, text, find, context, a->previous, left)) return false;
        if (!offer(work, text, find, context, left, a->next)) return false;
    }
    return true;
}

void sl_merge_free(sl_merge_work *work)
{
    if (!work) return;
    sl_free(work->symbols);
    sl_free(work->heap);
    sl_free(work->text);
    memset(work, 0, sizeof *work);
}
