// rope.glsl - the angle that RoPE turns a pair of elements by. Before: the push block `p` with the fields of sl_push_rope.
//
// An f32 frequency is off by 6e-8 of itself, 0.01 radians at position 131072. So the frequency is computed as the
// unevaluated sum of two f32 (vec2: high, low), turned into a 64-bit fraction of a full turn and multiplied by the
// position in integers, where whole turns drop out by wrapping around: no range reduction of a large angle is needed
// and none of its error is left. Dekker's splitting, because Vulkan does not promise that fma() is fused.
// Source: Dekker 1971, "A floating-point technique for extending the available precision".
#ifndef SL_ROPE_GLSL
#define SL_ROPE_GLSL

const vec2 LN2 = vec2(0.6931471824645996, -1.9046542121259336e-9);
const vec2 INVERSE_2PI = vec2(0.15915493667125702, 6.4206382432985265e-9);
const float TWO_32 = 4294967296.0;

// 2^(j/16)
const vec2 ROOTS[16] = vec2[16](
    vec2(1.0, 0.0), vec2(1.0442737340927124, 4.8334701574503924e-8),
    vec2(1.0905077457427979, -1.3077539939843064e-8), vec2(1.1387885808944702, 5.386222312608879e-8),
    vec2(1.1892070770263672, 3.797635272917432e-8), vec2(1.2418577671051025, 4.496838101886169e-8),
    vec2(1.2968395948410034, -4.018999533172973e-8), vec2(1.3542555570602417, -1.0123349269974824e-8),
    vec2(1.4142135381698608, 2.4203234971764687e-8), vec2(1.4768261909484863, -4.500898853621038e-8),
    vec2(1.5422108173370361, 8.070904833346049e-9), vec2(1.610490322113037, 9.836217174097328e-9),
    vec2(1.6817928552627563, -2.4755326677450284e-8), vec2(1.7562521696090698, -9.235770370707996e-9),
    vec2(1.8340080976486206, -1.1239277952768134e-8), vec2(1.9152065515518188, 9.845328108326612e-9));

// a + b exactly
vec2 sum_exact(float a, float b)
{
    precise float s = a + b;
    precise float t = s - a;
    precise float e = (a - (s - t)) + (b - t);
    return vec2(s, e);
}

// a * b exactly
vec2 product_exact(float a, float b)
{
    precise float ca = 4097.0 * a, cb = 4097.0 * b;
    precise float ah = ca - (ca - a), bh = cb - (cb - b);
    precise float al = a - ah, bl = b - bh;
    precise float product = a * b;
    precise float e = ((ah * bh - product) + ah * bl + al * bh) + al * bl;
    return vec2(product, e);
}

vec2 sum2(vec2 a, vec2 b)
{
    vec2 s = sum_exact(a.x, b.x);
    precise float low = s.y + (a.y + b.y);
    return sum_exact(s.x, low);
}

vec2 product2(vec2 a, vec2 b)
{
    vec2 s = product_exact(a.x, b.x);
    precise float low = s.y + (a.x * b.y + a.y * b.x);
    return sum_exact(s.x, low);
}

vec2 quotient2(vec2 a, vec2 b)
{
    precise float q = a.x / b.x;
    vec2 back = product_exact(q, b.x);
    precise float rest = ((a.x - back.x) - back.y) + (a.y - q * b.y);
    precise float low = rest / b.x;
    return sum_exact(q, low);
}

// 2^x for |x| < 120, to about 2^-34 relative: a sixteenth from the table, the rest by its series.
vec2 exp2_2(vec2 x)
{
    precise float sixteenths = floor(x.x * 16.0 + 0.5);
    precise float near = x.x - sixteenths * 0.0625;
    vec2 y = product2(sum_exact(near, x.y), LN2);
    precise float series = y.x * y.x * (0.5 + y.x * (1.0 / 6.0 + y.x * (1.0 / 24.0 + y.x / 120.0)));
    precise float low = y.y + series;
    int k = int(sixteenths);
    vec2 root = ROOTS[k & 15];
    float scale = uintBitsToFloat(uint((k >> 4) + 127) << 23);
    return sum2(root, product2(root, sum_exact(y.x, low))) * scale;
}

// log2 by one Newton step from the built-in one.
vec2 log2_2(float x)
{
    float guess = log2(x);
    vec2 power = exp2_2(vec2(guess, 0.0));
    precise float off = ((x - power.x) - power.y) / power.x;
    return sum_exact(guess, off * (1.0 - 0.5 * off) * 1.44269504);
}

// Turns that pair i makes from one position to the next.
vec2 turns(uint i)
{
    vec2 exponent = quotient2(vec2(-2.0 * float(i), 0.0), vec2(float(p.rot_dim), 0.0));
    vec2 t = product2(exp2_2(product2(exponent, log2_2(p.freq_base))), INVERSE_2PI);
    if (given(p.factors)) t = quotient2(t, vec2(F32(p.factors).at[i], 0.0));
    vec2 mix = vec2(0.0);
    if (p.ext_factor != 0.0) {
        vec2 span = sum_exact(p.corr_high, -p.corr_low);
        if (span.x < 0.001) span = vec2(0.001, 0.0);
        vec2 y = quotient2(sum_exact(float(i), -p.corr_low), span);
        if (y.x < 0.0) y = vec2(0.0);
        if (y.x > 1.0) y = vec2(1.0, 0.0);
        mix = product2(sum2(vec2(1.0, 0.0), -y), vec2(p.ext_factor, 0.0));
    }
    vec2 scale = sum2(product2(vec2(p.freq_scale, 0.0), sum2(vec2(1.0, 0.0), -mix)), mix);
    return product2(t, scale);
}

// Fraction of a turn after `position` steps, in units of 2^-32.
uint angle(vec2 t, uint position)
{
    precise float a = (t.x - floor(t.x)) * TWO_32, b = t.y * TWO_32;
    precise float a_rest = (a - floor(a)) * TWO_32;
    precise float b_rest = min((b - floor(b)) * TWO_32, 4294967040.0);
    uint carry, high, low;
    uint fraction = uaddCarry(uint(a_rest), uint(b_rest), carry);
    uint whole = uint(a) + uint(int(floor(b))) + carry;
    umulExtended(fraction, position, high, low);
    return whole * position + high;
}

// Cosine and sine of an angle in units of 2^-32 turns: the nearest quarter, and polynomials for the eighth around it
// (Cephes sinf, cosf); the built-in ones are good to 2^-11 only.
vec2 cos_sin(uint a)
{
    uint quarter = (a + 0x20000000u) >> 30;
    float x = float(int(a - (quarter << 30))) * (6.283185307 / TWO_32), z = x * x;
    float s = x + x * z * (-1.6666654611e-1 + z * (8.3321608736e-3 - z * 1.9515295891e-4));
    float c = 1.0 - 0.5 * z + z * z * (4.166664568e-2 + z * (-1.388731625e-3 + z * 2.443315712e-5));
    vec2 r = (quarter & 1u) != 0u ? vec2(-s, c) : vec2(c, s);
    return (quarter & 2u) != 0u ? -r : r;
}

// Cosine and sine, times attn_factor, that pair i is turned by at a position.
vec2 turn_at(uint i, uint position) { return cos_sin(angle(turns(i), position)) * p.attn_factor; }
#endif
