// vectors.glsl - when rows of floats are read and written in vectors of four. A kernel asks once a row and has a loop for
// either case: a branch around each access would double the work of drivers that execute both sides.
#ifndef SL_VECTORS_GLSL
#define SL_VECTORS_GLSL

// `rows`: the low halves of the addresses of all rows, or-ed; n: their length. Never with small subgroups: a CPU behind
// Vulkan gathers element by element whatever the type, and there vectors measured half as fast. SUBGROUP is constant when
// the pipeline is made, so the other loop is gone there.
bool in_vectors(uint rows, uint n) { return SUBGROUP >= 16u && ((rows & 15u) | (n & 3u)) == 0u; }
#endif
