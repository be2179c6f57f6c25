// GELU and its derivative, on a CPU. gelu.py calls this.
//
// Tensors are dense: float, or bfloat16 as its 16 bits, in between float.

#include <algorithm>

#include "vectors.h"

namespace {

typedef std::int32_t Ints __attribute__((vector_size(4 * LANES)));

constexpr Int CHUNK = 64 * LANES;  // numbers that a thread takes at a time

// e to the power of numbers not above 0, to a relative error of 1e-7; below -60 it is 0, since denormals are slow.
// After Cephes.
inline Floats exp_negative(Floats x) {
    const float magic = 12582912.0f;  // 1.5 * 2^23: a sum with it is rounded to an integer
    const Floats shifted = x * 1.44269504f + magic, power = shifted - magic;
    const Floats rest = (x - power * 0.693359375f) + power * 2.12194440e-4f;
    Floats sum = rest * 1.9875691500e-4f + 1.3981999507e-3f;
    sum = sum * rest + 8.3334519073e-3f;
    sum = sum * rest + 4.1665795894e-2f;
    sum = sum * rest + 1.6666665459e-1f;
    sum = sum * rest + 5.0000001201e-1f;
    sum = sum * rest * rest + rest + 1.0f;
    return x < -60.0f ? Floats{} : sum * (Floats)(((Ints)shifted << 23) + 0x3f800000);
}

// The standard normal distribution: its cumulative function to 8e-8 (Abramowitz and Stegun, 7.1.26), and its density.
struct Normal {
    Floats cumulative, density;
};

inline Normal normal(Floats x) {
    const Floats size = x < 0.0f ? -x : x, power = exp_negative(-0.5f * x * x);
    const Floats t = 1.0f / (1.0f + 0.2316418882f * size);  // 0.3275911 / sqrt(2)
    Floats sum = 1.061405429f * t - 1.453152027f;
    sum = sum * t + 1.421413741f;
    sum = sum * t - 0.284496736f;
    sum = sum * t + 0.254829592f;
    const Floats tail = 0.5f * sum * t * power;
    return {x < 0.0f ? tail : 1.0f - tail, 0.3989422804f * power};
}

// ``slope``, where there is one, takes the derivative.
template <class Number>
void map_gelu(const Number* x, Number* y, Number* slope, Int size, int threads) {
#pragma omp parallel for num_threads(threads) schedule(static)
    for (Int begin = 0; begin < size; begin += CHUNK)
        for (Int i = begin; i < std::min(begin + CHUNK, size); i += LANES) {
            const Int count = std::min<Int>(LANES, size - i);
            const Floats number = load(x + i, count);
            const Normal n = normal(number);
            store(y + i, number * n.cumulative, count);
            if (slope) store(slope + i, n.cumulative + number * n.density, count);
        }
}

}  // namespace

extern "C" {

void gelu_float32(const float* x, float* y, float* slope, Int size, int threads) {
    map_gelu(x, y, slope, size, threads);
}

void gelu_bfloat16(const Bfloat* x, Bfloat* y, Bfloat* slope, Int size, int threads) {
    map_gelu(x, y, slope, size, threads);
}
}
