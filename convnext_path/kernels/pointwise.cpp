// GELU, the gradients of GELU, and those of a BatchNorm that trains, on a CPU. pointwise.py calls this.
//
// Tensors are dense; those of a BatchNorm are channels-last, (rows, channels). Float, or bfloat16 as its 16 bits, in
// between float. Which numbers are added in which order follows from the shape alone, never from the number of threads.

#include <algorithm>
#include <omp.h>

#include "vectors.h"

namespace {

typedef std::int32_t Ints __attribute__((vector_size(4 * LANES)));

constexpr Int CHUNK = 64 * LANES;  // numbers that a thread takes at a time
constexpr Int PIECES = 64;         // into which rows are split at the most, to be added up
constexpr Int ROWS = 64;           // of a piece at the least
constexpr int TILE = 4;            // rows that are added in registers first

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

inline Floats gelu(Floats x) { return x * normal(x).cumulative; }

inline Floats gelu_slope(Floats x) {
    const Normal n = normal(x);
    return n.cumulative + x * n.density;
}

// Call ``run`` with the place and the number of lanes of each vector of ``size`` numbers.
template <class Run>
void for_each_vector(Int size, int threads, Run run) {
#pragma omp parallel for num_threads(threads) schedule(static)
    for (Int begin = 0; begin < size; begin += CHUNK)
        for (Int i = begin; i < std::min(begin + CHUNK, size); i += LANES) run(i, std::min<Int>(LANES, size - i));
}

template <class Number>
void map_gelu(const Number* x, Number* y, Int size, int threads) {
    for_each_vector(size, threads, [=](Int i, Int count) { store(y + i, gelu(load(x + i, count)), count); });
}

template <class Number>
void map_gelu_gradient(const Number* x, const Number* grad, Number* by_x, Int size, int threads) {
    for_each_vector(size, threads, [=](Int i, Int count) {
        store(by_x + i, load(grad + i, count) * gelu_slope(load(x + i, count)), count);
    });
}

struct Matrix {
    Int rows, channels;

    Int padded() const { return (channels + LANES - 1) / LANES * LANES; }
    Int pieces() const { return std::min(PIECES, (rows + ROWS - 1) / ROWS); }
};

// Add to two sums a channel, those of ``grad`` and of ``grad * (x - mean)``, what TILE rows or fewer give.
template <class Number>
void add_rows(const Matrix& m, const Number* x, const Number* grad, const float* mean, Int rows, float* sums) {
    for (Int c = 0; c < m.channels; c += LANES) {
        const Int count = std::min<Int>(LANES, m.channels - c);
        const Floats center = load(mean + c, count);
        Floats first = {}, second = {};
        for (Int r = 0; r < rows; ++r) {
            const Floats g = load(grad + r * m.channels + c, count);
            first += g;
            second += g * (load(x + r * m.channels + c, count) - center);
        }
        store(sums + c, load(sums + c) + first);
        store(sums + m.padded() + c, load(sums + m.padded() + c) + second);
    }
}

template <class Number>
void add_piece(const Matrix& m, const Number* x, const Number* grad, const float* mean, Int piece, float* sums) {
    std::fill_n(sums, 2 * m.padded(), 0.0f);
    const Int end = (piece + 1) * m.rows / m.pieces();
    for (Int r = piece * m.rows / m.pieces(); r < end; r += TILE)
        add_rows(m, x + r * m.channels, grad + r * m.channels, mean, std::min<Int>(TILE, end - r), sums);
}

// A channel's gradients: by x it is scale * (grad - center + slope * (x - mean)).
struct Channel {
    float by_weight, by_bias, scale, center, slope;
};

inline Channel finish(const Matrix& m, const float* sums, float inverse, float weight) {
    float first = 0.0f, second = 0.0f;
    for (Int piece = 0; piece < m.pieces(); ++piece, sums += 2 * m.padded()) {
        first += sums[0];
        second += sums[m.padded()];
    }
    return {second * inverse, first, weight * inverse, first / m.rows, -inverse * inverse * second / m.rows};
}

template <class Number>
void batch_norm_gradients(const Matrix& m, const Number* x, const Number* grad, const float* mean,
                          const float* inverse, const float* weight, Number* by_x, float* by_weight, float* by_bias,
                          float* scratch, int threads) {
    const Int sums = 2 * m.padded();
    float* const scale = scratch + m.pieces() * sums;
    float *const center = scale + m.padded(), *const slope = center + m.padded();
#pragma omp parallel num_threads(threads)
    {
#pragma omp for schedule(dynamic)
        for (Int piece = 0; piece < m.pieces(); ++piece) add_piece(m, x, grad, mean, piece, scratch + piece * sums);
#pragma omp for schedule(static)
        for (Int i = 0; i < m.channels; ++i) {
            const Channel channel = finish(m, scratch + i, inverse[i], weight[i]);
            by_weight[i] = channel.by_weight, by_bias[i] = channel.by_bias;
            scale[i] = channel.scale, center[i] = channel.center, slope[i] = channel.slope;
        }
#pragma omp for schedule(static)
        for (Int r = 0; r < m.rows; ++r)
            for (Int i = 0, at = r * m.channels; i < m.channels; i += LANES) {
                const Int count = std::min<Int>(LANES, m.channels - i);
                const Floats distance = load(x + at + i, count) - load(mean + i, count);
                const Floats rest = load(grad + at + i, count) - load(center + i) + load(slope + i) * distance;
                store(by_x + at + i, load(scale + i) * rest, count);
            }
    }
}

}  // namespace

extern "C" {

void gelu_float32(const float* x, float* y, Int size, int threads) { map_gelu(x, y, size, threads); }

void gelu_bfloat16(const Bfloat* x, Bfloat* y, Int size, int threads) { map_gelu(x, y, size, threads); }

void gelu_gradient_float32(const float* x, const float* grad, float* by_x, Int size, int threads) {
    map_gelu_gradient(x, grad, by_x, size, threads);
}

void gelu_gradient_bfloat16(const Bfloat* x, const Bfloat* grad, Bfloat* by_x, Int size, int threads) {
    map_gelu_gradient(x, grad, by_x, size, threads);
}

// How many floats of scratch the two functions below need.
Int batch_norm_scratch(Int rows, Int channels) {
    const Matrix m = {rows, channels};
    return (2 * m.pieces() + 3) * m.padded();
}

void batch_norm_gradients_float32(Int rows, Int channels, const float* x, const float* grad, const float* mean,
                                  const float* inverse, const float* weight, float* by_x, float* by_weight,
                                  float* by_bias, float* scratch, int threads) {
    batch_norm_gradients({rows, channels}, x, grad, mean, inverse, weight, by_x, by_weight, by_bias, scratch, threads);
}

void batch_norm_gradients_bfloat16(Int rows, Int channels, const Bfloat* x, const Bfloat* grad, const float* mean,
                                   const float* inverse, const float* weight, Bfloat* by_x, float* by_weight,
                                   float* by_bias, float* scratch, int threads) {
    batch_norm_gradients({rows, channels}, x, grad, mean, inverse, weight, by_x, by_weight, by_bias, scratch, threads);
}
}
