#version 450
#extension GL_GOOGLE_include_directive : require
#include "common.glsl"
#include "rows_out.glsl"
// convert_rows: SL_TILE_X elements of a row a workgroup, a block of 32 an invocation.
SL_PUSH(sl_push_convert_rows);

void main()
{
    const uint begin = gl_WorkGroupID.x * SL_TILE_X, end = min(begin + SL_TILE_X, p.n);
    for (uint r = gl_WorkGroupID.y; r < p.rows; r += gl_NumWorkGroups.y) {
        const uvec2 x = offset_mul(p.x, r, p.x_stride * 4u), y = offset_mul(p.y, r, bytes_of_row(SL_KEY, p.y_stride));
        for (uint block = begin / 32u + gl_LocalInvocationIndex; block < end / 32u; block += WORKGROUP) {
            vec4 v[8];
            [[unroll]] for (uint j = 0u; j < 8u; j++) v[j] = F32x4(x).at[block * 8u + j];
#if SL_KEY == BLOCK_FORMAT
            put_block(y, p.n, block, v);
#else
            [[unroll]] for (uint j = 0u; j < 8u; j++) put_halves(y, block * 8u + j, v[j]);
#endif
        }
    }
}
