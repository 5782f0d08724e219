#version 450
#extension GL_GOOGLE_include_directive : require
#extension GL_KHR_memory_scope_semantics : require
#extension GL_KHR_cooperative_matrix : require
#extension GL_NV_cooperative_matrix2 : require
#extension GL_EXT_shader_explicit_arithmetic_types_float16 : require
#include "common.glsl"
// matmul_decode: as gemm_coopmat2.comp, but w are the blocks of the file, which the driver decodes while it fills a matrix:
// it calls decoded() for each element. No scratch for decoded weights, and no pass over them before; each tile of tokens
// decodes again, so that it is for middle numbers of tokens.
//
// k is taken STEP weights at a time, in parts of DEPTH: with STEP a block, where a part lies within its block is known to
// the compiler. Where a product makes too few tiles for the device, n_splits workgroups share one (skinny_out.glsl).
//
// STAGED: scales in shared memory. SHARED: the weights too, decoded by the workgroup instead of the driver's loads.
SL_PUSH(sl_push_matmul_skinny);
#include "matmul/skinny_out.glsl"
layout(constant_id = 2) const uint N_OUT = 0;
layout(constant_id = 3) const uint N_K = 0;
layout(constant_id = 4) const uint X_STRIDE = 0;
layout(constant_id = 5) const uint Y_STRIDE = 0;
layout(constant_id = 6) const uint N_SPLITS = 1;
// gl_CooperativeMatrixClampModeConstantNV where a tile of x reaches beyond k, of w beyond rows or k, of y beyond tokens or
// rows; else ...UndefinedNV. The last is no expression of constants, on which glslang 15.2 crashes.
layout(constant_id = 7) const uint CLAMP_X = 0;
layout(constant_id = 8) const uint CLAMP_W = 0;
layout(constant_id = 9) const uint CLAMP_Y = 0;

layout(buffer_reference, std430, buffer_reference_align = 16) buffer Floats { float at[]; };
layout(buffer_reference, std430, buffer_reference_align = 16) buffer Halves { float16_t at[]; };

#ifdef SHARED
#include "matmul/decode_shared.glsl"
#define BLOCK_WEIGHTS 1
#else
#include "matmul/decode_blocks.glsl"
#endif
#if BLOCK_WEIGHTS == 256
#define STEP 256
#else
#define STEP DEPTH
#endif
const uint STEPS = (N_K + STEP - 1) / STEP, PART_STEPS = (STEPS + N_SPLITS - 1) / N_SPLITS;

#define MATRIX(type, rows, columns, use) coopmat<type, gl_ScopeWorkgroup, rows, columns, gl_MatrixUse##use>
#define TILE MATRIX(float, SL_TILE_Y, SL_TILE_X, Accumulator)

#ifdef STAGED // Q4_K: the scales of a block of each row, ready to use, in shared memory
shared f16vec2 scales[8][SL_TILE_X];
#define ROW_INVOCATIONS (256u / SL_TILE_X)
#define ROW_PARTS       (8u / ROW_INVOCATIONS)

uvec4 load_head(uint row0, uint step)
{
    const uint row = min(row0 + gl_LocalInvocationIndex / ROW_INVOCATIONS, N_OUT - 1u);
    return U32x4(p.w).at[(row * (N_K / 256u) + min(step, STEPS - 1u)) * 9u];
}

void stage_scales(uvec4 head)
{
    const uint row = gl_LocalInvocationIndex / ROW_INVOCATIONS;
    const uint first = gl_LocalInvocationIndex % ROW_INVOCATIONS * ROW_PARTS;
    barrier();
    [[unroll]] for (uint i = 0u; i < ROW_PARTS; i++) scales[first + i][row] = part_scales(head, first + i);
    barrier();
}

float16_t decoded(const in Block block, const in uint block_at[2], const in uint in_block[2])
{
    return part_weight(block, in_block[1], scales[in_block[1] >> 5][block_at[0] % SL_TILE_X]);
}
#elif !defined SHARED
float16_t decoded(const in Block block, const in uint block_at[2], const in uint in_block[2])
{
    return block_weight(block, in_block[1]);
}
#endif

void main()
{
    const uint token0 = gl_WorkGroupID.z * SL_TILE_Y, row0 = gl_WorkGroupID.x * SL_TILE_X;
    const uint tokens = gl_NumWorkGroups.z * SL_TILE_Y; // whole tiles: rows without a token are not stored
    tensorLayoutNV<2, CLAMP_X> x = createTensorLayoutNV(2, CLAMP_X);
    tensorLayoutNV<2, CLAMP_W> w = createTensorLayoutNV(2, CLAMP_W);
    tensorViewNV<2, false, 1, 0> turned = createTensorViewNV(2, false, 1, 0);
    x = setTensorLayoutDimensionNV(x, tokens, N_K);
    x = setTensorLayoutStrideNV(x, X_STRIDE, 1u);
    w = setTensorLayoutBlockSizeNV(w, 1u, BLOCK_WEIGHTS);
    w = setTensorLayoutDimensionNV(w, N_OUT, N_K);
    w = setTensorLayoutStrideNV(w, N_K / BLOCK_WEIGHTS, 1u);

    TILE sums = TILE(0.0);
    const uint first = gl_WorkGroupID.y * PART_STEPS;
#ifdef STAGED
    uvec4 head = load_head(row0, first);
#endif
#ifdef SHARED
    place_weights(row0, N_OUT);
    fetch_weights(first * STEP);
#endif
    for (uint step = first; step < first + PART_STEPS; step++) {
#ifdef STAGED
        stage_scales(head);
        head = load_head(row0, step + 1u);
#endif
        [[unroll]] for (uint part = 0u; part < STEP; part += DEPTH) {
            const uint k = step * STEP + part;
            MATRIX(float16_t, SL_TILE_Y, DEPTH, A) a;
            MATRIX(float16_t, DEPTH, SL_TILE_X, B) b;
            coopMatLoadTensorNV(a, Halves(p.x).at, 0, sliceTensorLayoutNV(x, token0, SL_TILE_Y, k, DEPTH));
#if defined SHARED
            barrier();
            store_weights(k);
            fetch_weights(k + STEP);
            barrier();
            coopMatLoad(b, w_tile, 0u, W_STRIDE, gl_CooperativeMatrixLayoutColumnMajor);
#elif SL_KEY == 1
            coopMatLoadTensorNV(b, Halves(p.w).at, 0, sliceTensorLayoutNV(w, row0, SL_TILE_X, k, DEPTH), turned);
#else
            coopMatLoadTensorNV(b, Halves(p.w).at, 0, sliceTensorLayoutNV(w, row0, SL_TILE_X, k, DEPTH), turned, decoded);
#endif
            sums = coopMatMulAdd(a, b, sums);
        }
    }

    if (N_SPLITS > 1u) {
        tensorLayoutNV<2> tile = createTensorLayoutNV(2);
        tile = setTensorLayoutDimensionNV(tile, SL_TILE_Y, SL_TILE_X);
        coopMatStoreTensorNV(sums, Partial(p.partial).at, partial_at(gl_WorkGroupID.y), tile);
        finish_tile();
        return;
    }
    tensorLayoutNV<2, CLAMP_Y> y = createTensorLayoutNV(2, CLAMP_Y);
    y = setTensorLayoutDimensionNV(y, p.n_tokens, N_OUT);
    if (given(p.bias)) {
        TILE bias;
        y = setTensorLayoutStrideNV(y, 0u, 1u);
        coopMatLoadTensorNV(bias, Floats(p.bias).at, 0, sliceTensorLayoutNV(y, token0, SL_TILE_Y, row0, SL_TILE_X));
        sums += bias;
    }
    y = setTensorLayoutStrideNV(y, Y_STRIDE, 1u);
    y = sliceTensorLayoutNV(y, token0, SL_TILE_Y, row0, SL_TILE_X);
    if (given(p.add)) {
        TILE before;
        coopMatLoadTensorNV(before, Floats(p.add).at, 0, y);
        sums += before;
    }
    coopMatStoreTensorNV(sums, Floats(p.y).at, 0, y);
}
