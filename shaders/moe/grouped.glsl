// grouped.glsl - the columns of moe_matmul: the items of a tile that moe_group has made. Before: the push block `p`
// (sl_push_moe_matmul).
#ifndef SL_GROUPED_GLSL
#define SL_GROUPED_GLSL

layout(buffer_reference, std430, buffer_reference_align = 16) buffer Tiles { sl_moe_tile at[]; };

sl_moe_tile share; // the workgroup's

// Of column `column`, or the last one there is: its item, and the row of activations that it multiplies.
uint item_of(uint column) { return U32(p.items).at[share.first + min(column, share.count - 1u)]; }
uint x_row(uint column) { return p.x_per_slot != 0u ? item_of(column) : item_of(column) / p.n_used; }
#endif
