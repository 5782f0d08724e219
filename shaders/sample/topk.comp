#version 450
#extension GL_GOOGLE_include_directive : require
#include "common.glsl"
#include "reduce.glsl"
#include "vectors.glsl"
// One workgroup a row, two passes over it. First, every invocation keeps the two largest of its share: the k-th largest
// of all that is kept is a lower bound of the k-th largest of the row. Then all entries from that bound on are collected
// in shared memory (of a row in random order, some 300 for k = 256) and sorted. Where more than LIST_MAX reach the bound
// (many equal values, NaNs), a radix select over the whole row, eight bits a pass, chooses exactly k first.
// Values are compared by `ordered`; the outcome depends on no order of invocations.
SL_PUSH(sl_push_topk);

#define LIST_MAX 1024u
#define KEPT     512u // two an invocation

shared uint list_key[LIST_MAX], list_id[LIST_MAX];
shared uint histogram[256], bins[16];
shared uint list_count, prefix, still, found;

uvec2 x;

bool before(uint key_a, uint id_a, uint key_b, uint id_b) { return key_a != key_b ? key_a > key_b : id_a < id_b; }

// Bitonic sort of the first entries of the list, a power of two; begins and ends with a barrier.
void sort_list(uint entries)
{
    barrier();
    for (uint size = 2u; size <= entries; size *= 2u)
        for (uint distance = size / 2u; distance > 0u; distance /= 2u) {
            for (uint t = gl_LocalInvocationIndex; t < entries / 2u; t += WORKGROUP) {
                const uint a = t / distance * distance * 2u + t % distance, b = a + distance;
                const bool forward = (a & size) == 0u;
                const uint ka = list_key[a], ia = list_id[a], kb = list_key[b], ib = list_id[b];
                if (before(kb, ib, ka, ia) == forward) {
                    list_key[a] = kb;
                    list_id[a] = ib;
                    list_key[b] = ka;
                    list_id[b] = ia;
                }
            }
            barrier();
        }
}

uint largest = 0u, second = 0u; // keys of this invocation's share

void take(float v)
{
    const uint key = ordered(v);
    second = max(second, min(key, largest));
    largest = max(largest, key);
}

// The largest key of the row, and the lower bound.
uint bound_of_row(out uint most)
{
    if (in_vectors(x.x, p.n)) {
        for (uint i = gl_LocalInvocationIndex; i < p.n / 4u; i += WORKGROUP) {
            const vec4 v = F32x4(x).at[i];
            [[unroll]] for (uint c = 0u; c < 4u; c++) take(v[c]);
        }
    } else {
        for (uint i = gl_LocalInvocationIndex; i < p.n; i += WORKGROUP)
            take(F32(x).at[i]);
    }
    for (uint i = gl_LocalInvocationIndex; i < KEPT; i += WORKGROUP) {
        list_key[i] = i < WORKGROUP ? largest : i < 2u * WORKGROUP ? second : 0u;
        list_id[i] = i;
    }
    sort_list(KEPT);
    most = list_key[0];
    const uint bound = list_key[p.k - 1u];
    barrier();
    return bound;
}

void list_add(uint key, uint id)
{
    const uint slot = atomicAdd(list_count, 1u);
    if (slot < LIST_MAX) {
        list_key[slot] = key;
        list_id[slot] = id;
    }
}

void list_clear()
{
    barrier();
    if (gl_LocalInvocationIndex == 0u) list_count = 0u;
    barrier();
}

float sum = 0.0; // of the exponentials of this invocation's share

void consider(float v, uint i, uint bound, float most)
{
    const uint key = ordered(v);
    if (key != 0u) sum += exp(v - most);
    if (key >= bound) list_add(key, i);
}

// Lists the entries of key `bound` and above, and adds up exponentials.
void collect(uint bound, float most)
{
    list_clear();
    if (in_vectors(x.x, p.n)) {
        for (uint i = gl_LocalInvocationIndex; i < p.n / 4u; i += WORKGROUP) {
            const vec4 v = F32x4(x).at[i];
            [[unroll]] for (uint c = 0u; c < 4u; c++) consider(v[c], 4u * i + c, bound, most);
        }
    } else {
        for (uint i = gl_LocalInvocationIndex; i < p.n; i += WORKGROUP)
            consider(F32(x).at[i], i, bound, most);
    }
    barrier();
}

uint key_at(uint i) { return ordered(F32(x).at[i]); }

void clear_histogram()
{
    for (uint b = gl_LocalInvocationIndex; b < 256u; b += WORKGROUP)
        histogram[b] = 0u;
    barrier();
}

// The bin in which the `still`-th entry lies, counted from the top or from the bottom, joins the prefix.
void take_bin(uint shift, bool from_top)
{
    barrier();
    for (uint g = gl_LocalInvocationIndex; g < 16u; g += WORKGROUP) {
        uint sum = 0u;
        for (uint k = 0u; k < 16u; k++)
            sum += histogram[from_top ? 255u - (16u * g + k) : 16u * g + k];
        bins[g] = sum;
    }
    barrier();
    if (gl_LocalInvocationIndex == 0u) {
        uint left = still, group = 0u;
        while (group < 15u && bins[group] < left)
            left -= bins[group++];
        uint k = 16u * group, bin = from_top ? 255u - k : k;
        while (k < 16u * group + 15u && histogram[bin] < left) {
            left -= histogram[bin];
            k++;
            bin = from_top ? 255u - k : k;
        }
        still = left;
        found = histogram[bin];
        prefix |= bin << shift;
    }
    barrier();
}

// Key of the k-th largest; afterwards `still` of the `found` entries of just this key are wanted.
uint select_key()
{
    if (gl_LocalInvocationIndex == 0u) {
        prefix = 0u;
        still = p.k;
    }
    for (int shift = 24; shift >= 0; shift -= 8) {
        clear_histogram();
        const uint known = shift == 24 ? 0u : 0xffffffffu << (shift + 8), wanted = prefix & known;
        for (uint i = gl_LocalInvocationIndex; i < p.n; i += WORKGROUP) {
            const uint key = key_at(i);
            if ((key & known) == wanted) atomicAdd(histogram[key >> shift & 255u], 1u);
        }
        take_bin(uint(shift), true);
    }
    return prefix;
}

// The `still`-th lowest index among the entries of this key.
uint select_index(uint threshold)
{
    if (still == found) return 0xffffffffu; // all of them
    barrier();
    if (gl_LocalInvocationIndex == 0u) prefix = 0u;
    for (int shift = 24; shift >= 0; shift -= 8) {
        clear_histogram();
        const uint known = shift == 24 ? 0u : 0xffffffffu << (shift + 8), wanted = prefix & known;
        for (uint i = gl_LocalInvocationIndex; i < p.n; i += WORKGROUP)
            if (key_at(i) == threshold && (i & known) == wanted) atomicAdd(histogram[i >> shift & 255u], 1u);
        take_bin(uint(shift), false);
    }
    return prefix;
}

// Lists just the k that are wanted.
void collect_exactly()
{
    barrier();
    const uint threshold = select_key();
    const uint last = select_index(threshold);
    list_clear();
    for (uint i = gl_LocalInvocationIndex; i < p.n; i += WORKGROUP) {
        const uint key = key_at(i);
        if (key > threshold || (key == threshold && i <= last)) list_add(key, i);
    }
    barrier();
}

void main()
{
    const uint r = gl_WorkGroupID.x;
    x = offset_mul(p.x, r, p.x_stride * 4u);
    uint most_key;
    const uint bound = bound_of_row(most_key);
    const float most = from_ordered(most_key);
    collect(bound, most);
    const float total = workgroup_sum(sum);
    if (list_count > LIST_MAX) collect_exactly();

    const uint count = list_count;
    uint entries = 2u;
    while (entries < count)
        entries *= 2u;
    for (uint i = count + gl_LocalInvocationIndex; i < entries; i += WORKGROUP) { // these end up last
        list_key[i] = 0u;
        list_id[i] = 0xffffffffu;
    }
    sort_list(entries);

    for (uint i = gl_LocalInvocationIndex; i < p.k; i += WORKGROUP) {
        U32(p.ids).at[r * p.k + i] = list_id[i];
        U32(p.values).at[r * p.k + i] = U32(x).at[list_id[i]];
    }
    // An infinite maximum is the result itself; inf - inf would be a NaN.
    const bool infinite = (floatBitsToUint(most) & 0x7fffffffu) == 0x7f800000u;
    if (gl_LocalInvocationIndex == 0u) F32(p.lse).at[r] = infinite ? most : most + log(total);
}
