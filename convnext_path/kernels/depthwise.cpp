// The gradients of a depthwise convolution by its weight and its bias, on a CPU. depthwise.py calls this.
//
// Tensors are dense and channels-last, (N, H, W, C); float, or bfloat16 as its 16 bits; sums are float. A block of
// channels of some images is copied to a buffer of its own, as float and between zeros, so that the innermost loop
// knows neither layout nor type nor border; it keeps the sums of one kernel row in registers. Which numbers are
// added in which order follows from the shape alone, never from the number of threads.

#include <algorithm>
#include <omp.h>

#include "vectors.h"

namespace {

#if defined(__AVX__) && !defined(__AVX512F__)
constexpr int VECTORS = 1;  // 16 registers
#else
constexpr int VECTORS = 2;
#endif
constexpr int BLOCK = LANES * VECTORS;  // channels that are computed together
constexpr int TILE = 4;                 // neighboring pixels of the output gradient, held in registers
constexpr int BUFFER = 1 << 15;         // floats that should stay in the cache of a core
constexpr int PIECES = 64;              // into which work is split at the least, if there are so many images

#define UNROLL _Pragma("GCC unroll 32")

Int ceil_div(Int a, Int b) { return (a + b - 1) / b; }

struct Shape {
    Int images, channels, height, width, out_height, out_width, kernel, stride, padding;

    Int blocks() const { return ceil_div(channels, BLOCK); }
    Int chunks() const { return std::min(images, ceil_div(PIECES, blocks())); }  // of images
    Int sums() const { return (kernel * kernel + 1) * BLOCK; }                   // of a piece; the last are the bias's

    // The buffer of a band of output rows: the input rows that they see, then their own gradients.
    Int grad_row() const { return ceil_div(out_width, TILE) * TILE * BLOCK; }
    Int input_row() const { return (grad_row() / BLOCK - 1) * stride * BLOCK + kernel * BLOCK; }
    Int input_size(Int rows) const { return ((rows - 1) * stride + kernel) * input_row(); }
    Int buffer_size(Int rows) const { return input_size(rows) + rows * grad_row(); }
    Int band() const {
        Int rows = out_height;
        while (rows > 1 && buffer_size(rows) > BUFFER) rows = ceil_div(rows, 2);
        return rows;
    }
};

// Copy ``count`` channels, at most a block, of each pixel of a row.
template <class Number>
void pack(float* to, const Number* from, Int pixels, Int channels, Int count) {
    for (Int i = 0; i < pixels; ++i, from += channels, to += BLOCK)
        if (count == BLOCK)
            for (int v = 0; v < BLOCK; v += LANES) store(to + v, load(from + v));
        else
            for (Int c = 0; c < count; c += LANES) store(to + c, load(from + c, count - c));
}

void add_pixels(float* sums, const float* grad, Int pixels) {
    for (int v = 0; v < BLOCK; v += LANES) {
        Floats sum = load(sums + v);
        for (Int i = 0; i < pixels; ++i) sum += load(grad + i * BLOCK + v);
        store(sums + v, sum);
    }
}

// Add to the sums of one kernel row what rows of the input and of the output gradient give. Both come packed;
// input[0] is what the first tap sees at grad[0].
template <int K, int STRIDE>
void correlate(float* sums, const float* input, Int input_row, const float* grad, Int grad_row, Int rows) {
    Floats sum[K][VECTORS];
    UNROLL for (int k = 0; k < K; ++k)
        UNROLL for (int v = 0; v < VECTORS; ++v) sum[k][v] = load(sums + k * BLOCK + v * LANES);
    for (Int y = 0; y < rows; ++y, input += STRIDE * input_row, grad += grad_row)
        for (Int x = 0; x < grad_row; x += TILE * BLOCK) {
            Floats tile[TILE][VECTORS];
            UNROLL for (int i = 0; i < TILE; ++i)
                UNROLL for (int v = 0; v < VECTORS; ++v) tile[i][v] = load(grad + x + i * BLOCK + v * LANES);
            UNROLL for (int j = 0; j < (TILE - 1) * STRIDE + K; ++j)
                UNROLL for (int v = 0; v < VECTORS; ++v) {
                    const Floats pixel = load(input + x * STRIDE + j * BLOCK + v * LANES);
                    UNROLL for (int i = 0; i < TILE; ++i) {
                        const int k = j - i * STRIDE;  // the tap that sees pixel j at output i
                        if (0 <= k && k < K) sum[k][v] += pixel * tile[i][v];
                    }
                }
        }
    UNROLL for (int k = 0; k < K; ++k)
        UNROLL for (int v = 0; v < VECTORS; ++v) store(sums + k * BLOCK + v * LANES, sum[k][v]);
}

using Correlate = void (*)(float*, const float*, Int, const float*, Int, Int);

template <int STRIDE>
Correlate choose(Int kernel) {
    switch (kernel) {
        case 5: return correlate<5, STRIDE>;
        case 7: return correlate<7, STRIDE>;
        case 9: return correlate<9, STRIDE>;
        default: return correlate<11, STRIDE>;
    }
}

// The sums of a block of channels over a chunk of the images. The buffer's border is zeroed once and never written.
template <class Number>
void add_piece(const Shape& s, const Number* input, const Number* grad, Int block, Int chunk, float* sums,
               float* buffer) {
    const Correlate run = s.stride == 1 ? choose<1>(s.kernel) : choose<2>(s.kernel);
    const Int band = s.band(), input_row = s.input_row(), grad_row = s.grad_row();
    const Int channel = block * BLOCK, count = std::min<Int>(BLOCK, s.channels - channel);
    const Int pixels = std::min(s.width, input_row / BLOCK - s.padding);  // that some tap sees
    float* const packed_grad = buffer + s.input_size(band);
    std::fill_n(sums, s.sums(), 0.0f);
    std::fill_n(buffer, s.buffer_size(band), 0.0f);
    for (Int n = chunk * s.images / s.chunks(); n < (chunk + 1) * s.images / s.chunks(); ++n)
        for (Int top = 0; top < s.out_height; top += band) {
            const Int bottom = std::min(top + band, s.out_height);
            const Int first = std::max<Int>(0, top * s.stride - s.padding);  // input row
            const Int last = std::min(s.height, (bottom - 1) * s.stride + s.kernel - s.padding);
            for (Int y = first; y < last; ++y)
                pack(buffer + (y - first) * input_row + s.padding * BLOCK,
                     input + (n * s.height + y) * s.width * s.channels + channel, pixels, s.channels, count);
            for (Int y = top; y < bottom; ++y)
                pack(packed_grad + (y - top) * grad_row,
                     grad + (n * s.out_height + y) * s.out_width * s.channels + channel, s.out_width, s.channels, count);
            add_pixels(sums + s.kernel * s.kernel * BLOCK, packed_grad, (bottom - top) * grad_row / BLOCK);
            for (Int k = 0; k < s.kernel; ++k) {
                // Output row y sees input row y * stride + k - padding, where there is one.
                const Int begin = std::max(top, ceil_div(std::max<Int>(0, s.padding - k), s.stride));
                const Int end = std::min(bottom, ceil_div(std::max<Int>(0, s.height + s.padding - k), s.stride));
                if (begin < end)
                    run(sums + k * s.kernel * BLOCK,
                        buffer + (begin * s.stride + k - s.padding - first) * input_row, input_row,
                        packed_grad + (begin - top) * grad_row, grad_row, end - begin);
            }
        }
}

// Add up a block's chunks and write them where they belong: weight (C, K, K), bias (C).
void write_block(const Shape& s, float* sums, Int block, float* weight, float* bias) {
    for (Int chunk = 1; chunk < s.chunks(); ++chunk)
        for (Int i = 0; i < s.sums(); ++i) sums[i] += sums[chunk * s.sums() + i];
    const Int taps = s.kernel * s.kernel;
    for (Int c = 0, channel = block * BLOCK; c < BLOCK && channel < s.channels; ++c, ++channel) {
        for (Int tap = 0; tap < taps; ++tap) weight[channel * taps + tap] = sums[tap * BLOCK + c];
        bias[channel] = sums[taps * BLOCK + c];
    }
}

template <class Number>
void compute(const Shape& s, const Number* input, const Number* grad, float* weight, float* bias, float* scratch,
             int threads) {
    const Int chunks = s.chunks(), pieces = s.blocks() * chunks, buffer_size = s.buffer_size(s.band());
    float* const buffers = scratch + pieces * s.sums();
#pragma omp parallel num_threads(threads)
    {
#pragma omp for schedule(dynamic)
        for (Int i = 0; i < pieces; ++i)
            add_piece(s, input, grad, i / chunks, i % chunks, scratch + i * s.sums(),
                      buffers + omp_get_thread_num() * buffer_size);
#pragma omp for schedule(static)
        for (Int block = 0; block < s.blocks(); ++block)
            write_block(s, scratch + block * chunks * s.sums(), block, weight, bias);
    }
}

}  // namespace

extern "C" {

// How many floats of scratch the two functions below need.
Int depthwise_scratch(const Shape* shape, int threads) {
    return shape->blocks() * shape->chunks() * shape->sums() + threads * shape->buffer_size(shape->band());
}

void depthwise_gradients_float32(const Shape* shape, const float* input, const float* grad, float* weight, float* bias,
                                 float* scratch, int threads) {
    compute(*shape, input, grad, weight, bias, scratch, threads);
}

void depthwise_gradients_bfloat16(const Shape* shape, const Bfloat* input, const Bfloat* grad, float* weight,
                                  float* bias, float* scratch, int threads) {
    compute(*shape, input, grad, weight, bias, scratch, threads);
}
}
