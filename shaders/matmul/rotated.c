#include "shaders/matmul/rotated.h"

#include "shaders/push.h"

#include <math.h>

uint32_t sl_rotation_of(uint32_t n)
{
    uint32_t size = 1;
    while (size < SL_ROTATION_MAX && n % (size * 2) == 0)
        size *= 2;
    return size;
}

/* The fast Walsh-Hadamard transform. */
static void rotate_block(float *values, uint32_t size)
{
    for (uint32_t step = 1; step < size; step *= 2)
        for (uint32_t i = 0; i < size; i++)
            if (!(i & step)) {
                const float a = values[i], b = values[i + step];
                values[i] = a + b;
                values[i + step] = a - b;
            }
    const float scale = 1 / sqrtf((float)size);
    for (uint32_t i = 0; i < size; i++)
        values[i] *= scale;
}

void sl_rotate(float *values, uint32_t n, uint32_t size)
{
    for (uint32_t i = 0; i < n; i += size)
        rotate_block(values + i, size);
}

uint64_t sl_s8_bytes(uint64_t rows, uint64_t n)
{
    return rows * n + rows * sizeof(float);
}

float *sl_s8_scales(void *matrix, uint64_t rows, uint64_t n)
{
    return (float *)(void *)((uint8_t *)matrix + rows * n);
}
