// fragments.glsl - products of 16 x 16 matrices of f16, whose A an invocation fills from registers. Subgroups of 32; of
// invocation i, g = i / 4 and c = i % 4:
//   a[0], a[1]: row g,     k at places 2 c and 2 c + 1;   a[2], a[3]: row g,     places 8 + 2 c and 8 + 2 c + 1
//   a[4], a[5]: row g + 8, the first two places;          a[6], a[7]: row g + 8, the others
// That is how NVIDIA's driver lays them out (SL_CAP_MATRIX_FRAGMENTS; PTX: mma.m16n8k16), which no specification says and
// the test of the kernels proves.
//
// EMULATED: the same by plain arithmetic through shared memory, for devices that have no such matrices, so that what is
// around them runs in every test. All invocations of the workgroup multiply together.
//
// Before: WARPS, and the shared vectors `tile`. B is read from there: of column n the 16 k at vectors at + n * stride.
#ifndef SL_FRAGMENTS_GLSL
#define SL_FRAGMENTS_GLSL

#ifdef EMULATED

#define WARP (gl_LocalInvocationIndex / 32u)
#define LANE (gl_LocalInvocationIndex % 32u)

struct FragmentA {
    f16vec2 pairs[4];
};
// Columns 8 (LANE % 2) .. of row LANE / 2.
struct Sums {
    float at[8];
};

shared f16vec2 rows_of_a[WARPS * 16u * 8u];

void set_fragment(inout FragmentA a, uint slot, f16vec2 first, f16vec2 second)
{
    a.pairs[2u * slot] = first;
    a.pairs[2u * slot + 1u] = second;
}

void clear_sums(out Sums sums)
{
    for (uint i = 0u; i < 8u; i++) sums.at[i] = 0.0;
}

void share_a(FragmentA a)
{
    const uint row = WARP * 16u + LANE / 4u, c = LANE % 4u;
    barrier();
    for (uint slot = 0u; slot < 2u; slot++) {
        rows_of_a[(row + 8u * slot) * 8u + c] = a.pairs[2u * slot];
        rows_of_a[(row + 8u * slot) * 8u + 4u + c] = a.pairs[2u * slot + 1u];
    }
    barrier();
}

void add_product(inout Sums sums, uint at, uint stride)
{
    const uint row = (WARP * 16u + LANE / 2u) * 8u;
    for (uint i = 0u; i < 8u; i++) {
        const uint column = at + (LANE % 2u * 8u + i) * stride;
        for (uint k = 0u; k < 8u; k++) {
            const vec2 b = unpackHalf2x16(tile[column + k / 4u][k % 4u]);
            sums.at[i] += dot(vec2(rows_of_a[row + k]), b);
        }
    }
}

// Floats of column n at vectors at + n * stride.
void store_sums(Sums sums, uint at, uint stride)
{
    const uint row = LANE / 2u;
    for (uint i = 0u; i < 8u; i++)
        tile[at + (LANE % 2u * 8u + i) * stride + row / 4u][row % 4u] = floatBitsToUint(sums.at[i]);
}

#define FRAGMENT_B(b, at, stride)         const uint b = at
#define MULTIPLY_ADD(a, b, stride, sums)  share_a(a); add_product(sums, b, stride)

#else

#define WARP gl_SubgroupID
#define LANE gl_SubgroupInvocationID

#define FragmentA coopmat<float16_t, gl_ScopeSubgroup, 16, 16, gl_MatrixUseA>
#define Sums      coopmat<float, gl_ScopeSubgroup, 16, 16, gl_MatrixUseAccumulator>

#define set_fragment(a, slot, first, second)                                                                           \
    a[4u * (slot)] = first.x, a[4u * (slot) + 1u] = first.y, a[4u * (slot) + 2u] = second.x,                           \
    a[4u * (slot) + 3u] = second.y
#define clear_sums(sums) sums = Sums(0.0)
#define FRAGMENT_B(b, at, stride)                                                                                      \
    coopmat<float16_t, gl_ScopeSubgroup, 16, 16, gl_MatrixUseB> b;                                                     \
    coopMatLoad(b, tile, at, stride, gl_CooperativeMatrixLayoutColumnMajor)
#define MULTIPLY_ADD(a, b, stride, sums) sums = coopMatMulAdd(a, b, sums)
#define store_sums(sums, at, stride)     coopMatStore(sums, tile, at, stride, gl_CooperativeMatrixLayoutColumnMajor)

#endif
#endif
