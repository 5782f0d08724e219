/* tiles.h - how many workgroups cover a dimension. */
#ifndef SL_TILES_H
#define SL_TILES_H

#include <stdint.h>

#define SL_GROUPS_MAX 65535u /* of one dimension: what every Vulkan device offers */

static inline uint32_t sl_tiles(uint32_t n, uint32_t tile)
{
    return n / tile + (n % tile != 0);
}

/* For kernels that loop over the tiles beyond the grid. */
static inline uint32_t sl_tiles_clamped(uint64_t n, uint32_t tile)
{
    const uint64_t count = n / tile + (n % tile != 0);
    return count < SL_GROUPS_MAX ? (uint32_t)count : SL_GROUPS_MAX;
}
#endif
