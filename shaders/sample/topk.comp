#version 450
#extension GL_GOOGLE_include_directive : require
#include "common.glsl"
#include "reduce.glsl"
// One workgroup a row. Radix select over the ordered bits of the values, eight bits a pass: the key of the k-th largest;
// among equals of that key, a second select over their indices, so that lower ones win. What is chosen is then sorted
// in shared memory. Every step is independent of the order in which invocations run.
SL_PUSH(sl_push_topk);

shared uint histogram[256];
shared uint chosen_key[SL_TOPK_MAX], chosen_id[SL_TOPK_MAX];
shared uint chosen, prefix, still;

F32 x;

uint key_at(uint i) { return ordered(x.at[i] == 0.0 ? 0.0 : x.at[i]); }

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
    if (gl_LocalInvocationIndex == 0u) {
        uint left = still, bin = 0u;
        for (uint k = 0u; k < 256u; k++) {
            bin = from_top ? 255u - k : k;
            if (histogram[bin] >= left) break;
            left -= histogram[bin];
        }
        still = left;
        prefix |= bin << shift;
    }
    barrier();
}

// Key of the k-th largest; afterwards `still` = how many entries of just this key are wanted.
uint select_key()
{
    if (gl_LocalInvocationIndex == 0u) {
        prefix = 0u;
        still = p.k;
    }
    for (int shift = 24; shift >= 0; shift -= 8) {
        clear_histogram();
        const uint known = shift == 24 ? 0u : 0xffffffffu << (shift + 8);
        for (uint i = gl_LocalInvocationIndex; i < p.n; i += WORKGROUP) {
            const uint key = key_at(i);
            if ((key & known) == (prefix & known)) atomicAdd(histogram[key >> shift & 255u], 1u);
        }
        take_bin(uint(shift), true);
    }
    return prefix;
}

// The `still`-th lowest index among the entries of this key.
uint select_index(uint threshold)
{
    barrier();
    if (gl_LocalInvocationIndex == 0u) prefix = 0u;
    for (int shift = 24; shift >= 0; shift -= 8) {
        clear_histogram();
        const uint known = shift == 24 ? 0u : 0xffffffffu << (shift + 8);
        for (uint i = gl_LocalInvocationIndex; i < p.n; i += WORKGROUP)
            if (key_at(i) == threshold && (i & known) == (prefix & known)) atomicAdd(histogram[i >> shift & 255u], 1u);
        take_bin(uint(shift), false);
    }
    return prefix;
}

bool before(uint key_a, uint id_a, uint key_b, uint id_b) { return key_a != key_b ? key_a > key_b : id_a < id_b; }

// Bitonic sort of SL_TOPK_MAX entries; unused ones have key 0 and the largest id, and end up last.
void sort_chosen()
{
    for (uint size = 2u; size <= SL_TOPK_MAX; size *= 2u)
        for (uint distance = size / 2u; distance > 0u; distance /= 2u) {
            for (uint t = gl_LocalInvocationIndex; t < SL_TOPK_MAX / 2u; t += WORKGROUP) {
                const uint a = t / distance * distance * 2u + t % distance, b = a + distance;
                const bool forward = (a & size) == 0u;
                const uint ka = chosen_key[a], ia = chosen_id[a], kb = chosen_key[b], ib = chosen_id[b];
                if (before(kb, ib, ka, ia) == forward) {
                    chosen_key[a] = kb;
                    chosen_id[a] = ib;
                    chosen_key[b] = ka;
                    chosen_id[b] = ia;
                }
            }
            barrier();
        }
}

void main()
{
    const uint r = gl_WorkGroupID.x;
    x = F32(offset_mul(p.x, r, p.x_stride * 4u));
    const uint threshold = select_key();
    const uint last = select_index(threshold);

    for (uint i = gl_LocalInvocationIndex; i < SL_TOPK_MAX; i += WORKGROUP) {
        chosen_key[i] = 0u;
        chosen_id[i] = 0xffffffffu;
    }
    if (gl_LocalInvocationIndex == 0u) chosen = 0u;
    barrier();
    for (uint i = gl_LocalInvocationIndex; i < p.n; i += WORKGROUP) {
        const uint key = key_at(i);
        if (key > threshold || (key == threshold && i <= last)) {
            const uint slot = atomicAdd(chosen, 1u);
            if (slot < SL_TOPK_MAX) {
                chosen_key[slot] = key;
                chosen_id[slot] = i;
            }
        }
    }
    barrier();
    sort_chosen();

    for (uint i = gl_LocalInvocationIndex; i < p.k; i += WORKGROUP) {
        U32(p.ids).at[r * p.k + i] = chosen_id[i];
        F32(p.values).at[r * p.k + i] = x.at[chosen_id[i]];
    }
    const float most = from_ordered(chosen_key[0]);
    float sum = 0.0;
    for (uint i = gl_LocalInvocationIndex; i < p.n; i += WORKGROUP)
        if (!isnan(x.at[i])) sum += exp(x.at[i] - most);
    sum = workgroup_sum(sum);
    if (gl_LocalInvocationIndex == 0u) F32(p.lse).at[r] = most + log(sum);
}
