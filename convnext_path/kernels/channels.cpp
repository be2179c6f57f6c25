// What is done to the channels of images, on a CPU: a factor for each, LayerNorm over them, the gradients of both, and
// those of a BatchNorm that trains. channels.py calls this.
//
// Tensors are dense and channels-last, (rows, channels): float, or bfloat16 as its 16 bits, in between float. Which
// numbers are added in which order follows from the shape alone, never from the number of threads.

#include <algorithm>
#include <cmath>

#include "vectors.h"

namespace {

constexpr Int PIECES = 64;  // into which rows are split at the most, to be added up
constexpr Int ROWS = 64;    // of a piece at the least
constexpr int TILE = 4;     // rows that are added in registers first

struct Matrix {
    Int rows, channels;

    Int padded() const { return (channels + LANES - 1) / LANES * LANES; }
    Int pieces() const { return std::min(PIECES, (rows + ROWS - 1) / ROWS); }

    // Call ``run`` with the first channel and the number of lanes of each vector of a row.
    template <class Run>
    void for_each_vector(Run run) const {
        for (Int c = 0; c < channels; c += LANES) run(c, std::min<Int>(LANES, channels - c));
    }

    // Call ``run`` with the place of the first, and with the number, of each ``tile`` rows of a piece, or fewer.
    template <class Run>
    void for_each_tile(Int piece, Int tile, Run run) const {
        const Int end = (piece + 1) * rows / pieces();
        for (Int r = piece * rows / pieces(); r < end; r += tile) run(r * channels, std::min(tile, end - r));
    }

    // A channel's sum over the pieces, which are ``stride`` floats apart.
    float add_up(const float* sums, Int stride) const {
        float total = 0.0f;
        for (Int piece = 0; piece < pieces(); ++piece) total += sums[piece * stride];
        return total;
    }
};

// Call ``run`` with each piece and with its ``size`` sums, from 0 on.
template <class Run>
void for_each_piece(const Matrix& m, float* sums, Int size, Run run) {
#pragma omp for schedule(dynamic)
    for (Int piece = 0; piece < m.pieces(); ++piece) {
        std::fill_n(sums + piece * size, size, 0.0f);
        run(piece, sums + piece * size);
    }
}

template <class Number>
void scale_channels(const Matrix& m, const Number* x, const float* factor, float* y, int threads) {
#pragma omp parallel for num_threads(threads) schedule(static)
    for (Int r = 0; r < m.rows; ++r)
        m.for_each_vector([=](Int c, Int count) {
            const Int at = r * m.channels + c;
            store(y + at, load(factor + c, count) * load(x + at, count), count);
        });
}

template <class Number>
void scale_rows(const Matrix& m, const Number* x, const float* grad, const float* factor, Number* by_x, Int rows,
                float* sums) {
    m.for_each_vector([=](Int c, Int count) {
        const Floats scale = load(factor + c, count);
        Floats sum = {};
        for (Int i = c; i < rows * m.channels; i += m.channels) {
            const Floats g = load(grad + i, count);
            store(by_x + i, g * scale, count);
            sum += g * load(x + i, count);
        }
        store(sums + c, load(sums + c) + sum);
    });
}

template <class Number>
void scale_channels_gradients(const Matrix& m, const Number* x, const float* grad, const float* factor, Number* by_x,
                              float* by_factor, float* scratch, int threads) {
#pragma omp parallel num_threads(threads)
    {
        for_each_piece(m, scratch, m.padded(), [=](Int piece, float* sums) {
            m.for_each_tile(piece, TILE, [=](Int at, Int rows) {
                scale_rows(m, x + at, grad + at, factor, by_x + at, rows, sums);
            });
        });
#pragma omp for schedule(static)
        for (Int c = 0; c < m.channels; ++c) by_factor[c] = m.add_up(scratch + c, m.padded());
    }
}

// A row's mean, and the inverse of its standard deviation.
struct Moments {
    float mean, inverse;
};

Moments find_moments(const Matrix& m, const Bfloat* x, float eps) {
    Floats sum = {}, squares = {};
    m.for_each_vector([&](Int c, Int count) { sum += load(x + c, count); });
    const float mean = add_lanes(sum) / m.channels;
    m.for_each_vector([&](Int c, Int count) {
        const Floats distance = first_lanes(load(x + c, count) - mean, count);
        squares += distance * distance;
    });
    return {mean, 1.0f / std::sqrt(add_lanes(squares) / m.channels + eps)};
}

void layer_norm(const Matrix& m, const Bfloat* x, const float* weight, const float* bias, float eps, Bfloat* y,
                Moments* moments, int threads) {
#pragma omp parallel for num_threads(threads) schedule(static)
    for (Int r = 0; r < m.rows; ++r) {
        const Int row = r * m.channels;
        const Moments of = moments[r] = find_moments(m, x + row, eps);
        m.for_each_vector([=](Int c, Int count) {
            const Floats unit = (load(x + row + c, count) - of.mean) * of.inverse;
            store(y + row + c, unit * load(weight + c, count) + load(bias + c, count), count);
        });
    }
}

// A row's gradient by x; what it adds to those by weight and bias goes to ``sums``.
void layer_norm_row(const Matrix& m, const Bfloat* x, const Bfloat* grad, const float* weight, Moments of,
                    Bfloat* by_x, float* sums) {
    float* const bias_sums = sums + m.padded();
    Floats first = {}, second = {};
    m.for_each_vector([&](Int c, Int count) {
        const Floats g = load(grad + c, count), unit = (load(x + c, count) - of.mean) * of.inverse;
        const Floats scaled = g * load(weight + c, count);
        first += scaled;
        second += scaled * unit;
        store(sums + c, load(sums + c) + g * unit);
        store(bias_sums + c, load(bias_sums + c) + g);
    });
    const float center = add_lanes(first) / m.channels, slope = add_lanes(second) / m.channels;
    m.for_each_vector([=](Int c, Int count) {
        const Floats unit = (load(x + c, count) - of.mean) * of.inverse;
        const Floats scaled = load(grad + c, count) * load(weight + c, count);
        store(by_x + c, of.inverse * (scaled - center - slope * unit), count);
    });
}

void layer_norm_gradients(const Matrix& m, const Bfloat* x, const Bfloat* grad, const float* weight,
                          const Moments* moments, Bfloat* by_x, float* by_weight, float* by_bias, float* scratch,
                          int threads) {
    const Int size = 2 * m.padded();
#pragma omp parallel num_threads(threads)
    {
        for_each_piece(m, scratch, size, [=](Int piece, float* sums) {
            m.for_each_tile(piece, 1, [=](Int at, Int) {
                layer_norm_row(m, x + at, grad + at, weight, moments[at / m.channels], by_x + at, sums);
            });
        });
#pragma omp for schedule(static)
        for (Int c = 0; c < m.channels; ++c) {
            by_weight[c] = m.add_up(scratch + c, size);
            by_bias[c] = m.add_up(scratch + m.padded() + c, size);
        }
    }
}

// Add to two sums a channel, those of ``grad`` and of ``grad * (x - mean)``, what some rows give.
template <class Number>
void add_rows(const Matrix& m, const Number* x, const Number* grad, const float* mean, Int rows, float* sums) {
    m.for_each_vector([=](Int c, Int count) {
        const Floats center = load(mean + c, count);
        Floats first = {}, second = {};
        for (Int i = c; i < rows * m.channels; i += m.channels) {
            const Floats g = load(grad + i, count);
            first += g;
            second += g * (load(x + i, count) - center);
        }
        store(sums + c, load(sums + c) + first);
        store(sums + m.padded() + c, load(sums + m.padded() + c) + second);
    });
}

// A channel's gradients: by x it is scale * (grad - center + slope * (x - mean)).
struct Channel {
    float by_weight, by_bias, scale, center, slope;
};

inline Channel finish(const Matrix& m, const float* sums, float inverse, float weight) {
    const float first = m.add_up(sums, 2 * m.padded()), second = m.add_up(sums + m.padded(), 2 * m.padded());
    return {second * inverse, first, weight * inverse, first / m.rows, -inverse * inverse * second / m.rows};
}

template <class Number>
void batch_norm_gradients(const Matrix& m, const Number* x, const Number* grad, const float* mean,
                          const float* inverse, const float* weight, Number* by_x, float* by_weight, float* by_bias,
                          float* scratch, int threads) {
    float* const scale = scratch + m.pieces() * 2 * m.padded();
    float *const center = scale + m.padded(), *const slope = center + m.padded();
#pragma omp parallel num_threads(threads)
    {
        for_each_piece(m, scratch, 2 * m.padded(), [=](Int piece, float* sums) {
            m.for_each_tile(piece, TILE, [=](Int at, Int rows) { add_rows(m, x + at, grad + at, mean, rows, sums); });
        });
#pragma omp for schedule(static)
        for (Int c = 0; c < m.channels; ++c) {
            const Channel channel = finish(m, scratch + c, inverse[c], weight[c]);
            by_weight[c] = channel.by_weight, by_bias[c] = channel.by_bias;
            scale[c] = channel.scale, center[c] = channel.center, slope[c] = channel.slope;
        }
#pragma omp for schedule(static)
        for (Int r = 0; r < m.rows; ++r)
            m.for_each_vector([=](Int c, Int count) {
                const Int at = r * m.channels + c;
                const Floats distance = load(x + at, count) - load(mean + c, count);
                const Floats rest = load(grad + at, count) - load(center + c) + load(slope + c) * distance;
                store(by_x + at, load(scale + c) * rest, count);
            });
    }
}

}  // namespace

extern "C" {

void scale_channels_float32(Int rows, Int channels, const float* x, const float* factor, float* y, int threads) {
    scale_channels({rows, channels}, x, factor, y, threads);
}

void scale_channels_bfloat16(Int rows, Int channels, const Bfloat* x, const float* factor, float* y, int threads) {
    scale_channels({rows, channels}, x, factor, y, threads);
}

// How many floats of scratch any of the functions below needs.
Int channels_scratch(Int rows, Int channels) {
    const Matrix m = {rows, channels};
    return (2 * m.pieces() + 3) * m.padded();
}

void scale_channels_gradients_float32(Int rows, Int channels, const float* x, const float* grad, const float* factor,
                                      float* by_x, float* by_factor, float* scratch, int threads) {
    scale_channels_gradients({rows, channels}, x, grad, factor, by_x, by_factor, scratch, threads);
}

void scale_channels_gradients_bfloat16(Int rows, Int channels, const Bfloat* x, const float* grad, const float* factor,
                                       Bfloat* by_x, float* by_factor, float* scratch, int threads) {
    scale_channels_gradients({rows, channels}, x, grad, factor, by_x, by_factor, scratch, threads);
}

// LayerNorm is for bfloat16 alone: in float, torch's takes as long. ``moments``: two floats a row.
void layer_norm_bfloat16(Int rows, Int channels, const Bfloat* x, const float* weight, const float* bias, float eps,
                         Bfloat* y, float* moments, int threads) {
    layer_norm({rows, channels}, x, weight, bias, eps, y, (Moments*)moments, threads);
}

void layer_norm_gradients_bfloat16(Int rows, Int channels, const Bfloat* x, const Bfloat* grad, const float* weight,
                                   const float* moments, Bfloat* by_x, float* by_weight, float* by_bias,
                                   float* scratch, int threads) {
    layer_norm_gradients({rows, channels}, x, grad, weight, (const Moments*)moments, by_x, by_weight, by_bias, scratch,
                         threads);
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
