#version 450
#extension GL_GOOGLE_include_directive : require
#include "common.glsl"
// One workgroup. The items of each expert are counted, the counts summed up to places, and the items put there in order:
// of a part of the items at a time, every expert has a word with a bit an item, and the rank of an item is the number of
// bits below its own. So the order of atomics changes nothing.
SL_PUSH(sl_push_moe_group);

#define EXPERTS 1024u
#define WORDS   2048u

shared uint next[EXPERTS]; // count of an expert, then the place of its next item
shared uint bits[WORDS], places[WORDS]; // [n_experts][words]; places: of the item of a word's lowest bit
shared uint subgroup_sums[64];

layout(buffer_reference, std430, buffer_reference_align = 16) buffer Tiles { sl_moe_tile at[]; };

// The sum of v over the invocations before this one; `total`: over all.
uint sum_before(uint v, out uint total)
{
    const uint inclusive = subgroupInclusiveAdd(v);
    if (gl_SubgroupInvocationID == gl_SubgroupSize - 1u) subgroup_sums[gl_SubgroupID] = inclusive;
    barrier();
    uint before = inclusive - v;
    total = 0u;
    for (uint i = 0u; i < gl_NumSubgroups; i++) {
        if (i < gl_SubgroupID) before += subgroup_sums[i];
        total += subgroup_sums[i];
    }
    barrier();
    return before;
}

void count_items()
{
    for (uint e = gl_LocalInvocationIndex; e < p.n_experts; e += WORKGROUP) next[e] = 0u;
    barrier();
    for (uint i = gl_LocalInvocationIndex; i < p.n_items; i += WORKGROUP) {
        const uint e = U32(p.ids).at[i];
        if (e < p.n_experts) atomicAdd(next[e], 1u);
    }
    barrier();
}

// Counts become places, and the tiles are written. An invocation has a few consecutive experts.
void place_experts()
{
    const uint each = (p.n_experts + WORKGROUP - 1u) / WORKGROUP;
    const uint begin = min(gl_LocalInvocationIndex * each, p.n_experts), end = min(begin + each, p.n_experts);
    uint items = 0u, tiles = 0u, total_items, total_tiles;
    for (uint e = begin; e < end; e++) {
        items += next[e];
        tiles += (next[e] + p.tile - 1u) / p.tile;
    }
    uint place = sum_before(items, total_items), tile = sum_before(tiles, total_tiles);
    for (uint e = begin; e < end; e++) {
        const uint count = next[e];
        for (uint first = 0u; first < count; first += p.tile)
            Tiles(p.tiles).at[tile++] = sl_moe_tile(e, place + first, min(p.tile, count - first), 0u);
        next[e] = place;
        place += count;
    }
    const uint room = SL_MOE_TILES(p.n_experts, p.n_items, p.tile);
    for (uint i = total_tiles + gl_LocalInvocationIndex; i < room; i += WORKGROUP)
        Tiles(p.tiles).at[i] = sl_moe_tile(0u, 0u, 0u, 0u);
    barrier();
}

void main()
{
    count_items();
    place_experts();
    const uint words = WORDS / p.n_experts, part = words * 32u;
    for (uint begin = 0u; begin < p.n_items; begin += part) {
        for (uint w = gl_LocalInvocationIndex; w < p.n_experts * words; w += WORKGROUP) bits[w] = 0u;
        barrier();
        const uint end = min(begin + part, p.n_items);
        for (uint i = begin + gl_LocalInvocationIndex; i < end; i += WORKGROUP) {
            const uint e = U32(p.ids).at[i], at = i - begin;
            if (e < p.n_experts) atomicOr(bits[e * words + at / 32u], 1u << (at % 32u));
        }
        barrier();
        for (uint e = gl_LocalInvocationIndex; e < p.n_experts; e += WORKGROUP)
            for (uint w = e * words; w < (e + 1u) * words; w++) {
                places[w] = next[e];
                next[e] += bitCount(bits[w]);
            }
        barrier();
        for (uint i = begin + gl_LocalInvocationIndex; i < end; i += WORKGROUP) {
            const uint e = U32(p.ids).at[i], at = i - begin, w = e * words + at / 32u;
            if (e < p.n_experts)
                U32(p.items).at[places[w] + bitCount(bits[w] & ((1u << (at % 32u)) - 1u))] = i;
        }
        barrier();
    }
}
