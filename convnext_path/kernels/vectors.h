// Vectors of floats as wide as the processor's, and how they are read and written, as float or as bfloat16's 16 bits.

#pragma once

#include <cstdint>
#include <cstring>
#if defined(__AVX512BF16__)
#include <immintrin.h>
#endif

namespace {

#if defined(__AVX512F__)
constexpr int LANES = 16;
#elif defined(__AVX__)
constexpr int LANES = 8;
#else
constexpr int LANES = 4;
#endif

using Int = std::int64_t;
using Bfloat = std::uint16_t;
typedef float Floats __attribute__((vector_size(4 * LANES)));
typedef std::uint32_t Words __attribute__((vector_size(4 * LANES)));
typedef std::uint16_t Halves __attribute__((vector_size(2 * LANES)));

inline Floats load(const float* from) {
    Floats floats;
    std::memcpy(&floats, from, sizeof floats);
    return floats;
}

inline Floats load(const Bfloat* from) {
    Halves halves;
    std::memcpy(&halves, from, sizeof halves);
    return (Floats)(__builtin_convertvector(halves, Words) << 16);
}

inline void store(float* to, Floats floats) { std::memcpy(to, &floats, sizeof floats); }

// To the nearest, ties to even; a number that is none stays none.
inline void store(Bfloat* to, Floats floats) {
#if defined(__AVX512BF16__)
    const auto halves = _mm512_cvtneps_pbh((__m512)floats);  // denormals become 0
#else
    const Words bits = (Words)floats, rounded = (bits + 0x7fff + ((bits >> 16) & 1)) >> 16;
    const Halves halves = __builtin_convertvector(floats == floats ? rounded : (bits >> 16) | 0x40, Halves);
#endif
    std::memcpy(to, &halves, sizeof halves);
}

// The same for the first ``count`` lanes alone; the others are read as 0.
template <class Number>
Floats load(const Number* from, Int count) {
    if (count >= LANES) return load(from);
    Number some[LANES] = {};
    std::memcpy(some, from, count * sizeof(Number));
    return load(some);
}

template <class Number>
void store(Number* to, Floats floats, Int count) {
    if (count >= LANES) return store(to, floats);
    Number some[LANES];
    store(some, floats);
    std::memcpy(to, some, count * sizeof(Number));
}

// The first ``count`` lanes; the others are 0.
inline Floats first_lanes(Floats floats, Int count) {
    for (Int i = count; i < LANES; ++i) floats[i] = 0.0f;
    return floats;
}

inline float add_lanes(Floats floats) {
    float total = 0.0f;
    for (int i = 0; i < LANES; ++i) total += floats[i];
    return total;
}

}  // namespace
