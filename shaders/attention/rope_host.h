/* rope_host.h - the angles of RoPE, for the C sides of rope and rope_table. Threads: any. */
#ifndef SL_ROPE_HOST_H
#define SL_ROPE_HOST_H

#include "shaders/push.h"

/* Angle a position turns pair i by, in radians. Double throughout: at position 131072 an f32 frequency is off
 * by 0.01 radians. */
double sl_rope_frequency(const struct sl_push_rope *p, uint32_t i);

/* Cosine and sine of an angle, times attn_factor. */
void sl_rope_turn(const struct sl_push_rope *p, double angle, float *out_cos, float *out_sin);

#endif
