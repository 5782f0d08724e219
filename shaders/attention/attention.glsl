// attention.glsl - what the attention kernels share: visible keys, softcap, splits.
#define PAGE       SL_KV_PAGE_TOKENS
#define NO_SCORE   -3.0e38 // of a key that is not visible; any score is larger
#define IS_SCORE(s) ((s) > -2.0e38)

// Keys x <= j < y are seen from a position.
uvec2 visible(uint position, uint window)
{
    if (position == SL_NO_POSITION) return uvec2(0u);
    return uvec2(window != 0u && position >= window ? position - window + 1u : 0u, position + 1u);
}

// cap * tanh(s / cap). The built-in tanh may overflow for large arguments.
float soften(float s, float cap)
{
    return cap * (1.0 - 2.0 / (exp(clamp(s / cap, -20.0, 20.0) * 2.0) + 1.0));
}

// The split's range of keys: an equal share of the pages that the token sees.
uvec2 split_range(uvec2 range, uint split, uint n_splits)
{
    if (range.x >= range.y) return uvec2(0u);
    uint first = range.x / PAGE, last = (range.y - 1u) / PAGE;
    uint share = (last - first + n_splits) / n_splits;
    uint from = first + split * share;
    if (from > last) return uvec2(0u);
    return uvec2(max(range.x, from * PAGE), min(range.y, (from + share) * PAGE));
}
