// The gate of the gated PixelCNN: tanh(a) * sigmoid(b), fused with its per-image bias, and its gradient.
// The maps are read once and written once; tanh and exp are written so that compilers vectorise them.
#pragma once
#include <cmath>
#include <cstring>
#include <omp.h>

namespace pixelvae {

typedef long idx;

inline double exponential(double x) { return std::exp(x); }
inline double hyperbolic_tangent(double x) { return std::tanh(x); }

// exp(x) = 2^n exp(r), |r| <= ln(2)/2; relative error below 2e-7.  The ends are clamped, NaN stays NaN.
inline float exponential(float x) {
    x = x < -87.0f ? -87.0f : x;
    x = x > 88.0f ? 88.0f : x;
    const float n = __builtin_rintf(x * 1.44269504089f);
    const float r = (x - n * 0.693145751953125f) - n * 1.42860682030941723e-6f;
    float p = 1.38368e-3f;
    p = p * r + 8.37482e-3f;
    p = p * r + 4.166823e-2f;
    p = p * r + 0.1666642f;
    p = p * r + 0.49999992f;
    p = p * r + 1.00000004f;
    p = p * r + 1.0f;
    const int bits = (static_cast<int>(n) + 127) << 23;
    float power;
    memcpy(&power, &bits, sizeof(power));
    return p * power;
}

// Near 0 an odd polynomial, so that the relative error stays below 3e-7 there too.
inline float hyperbolic_tangent(float x) {
    const float u = x * x;
    float p = -5.65998e-3f;
    p = p * u + 2.059098e-2f;
    p = p * u - 5.372107e-2f;
    p = p * u + 0.13331127f;
    p = p * u - 0.33333261f;
    p = p * u * x + x;
    const float size = std::fabs(x);
    const float far = 1.0f - 2.0f / (exponential(2.0f * size) + 1.0f);
    return size < 0.625f ? p : std::copysign(far, x);
}

template <class T> inline T logistic(T x) { return T(1) / (T(1) + exponential(-x)); }

// y (N or 1, 2D, size), c (N or 1, 2D) -> out (N, D, size); channels d and D + d make a pair.
template <class T>
const char *gate(const T *__restrict y, const T *__restrict c, T *__restrict out, idx N, idx D, idx size, bool shared,
                 bool single) {
    #pragma omp parallel for schedule(static)
    for (idx n = 0; n < N; n++)
        for (idx d = 0; d < D; d++) {
            const T *a = y + ((single ? 0 : n * 2 * D) + d) * size, *b = a + D * size;
            const T *bias = c + (shared ? 0 : n * 2 * D);
            const T ca = bias[d], cb = bias[D + d];
            T *o = out + (n * D + d) * size;
            #pragma omp simd
            for (idx i = 0; i < size; i++) o[i] = hyperbolic_tangent(a[i] + ca) * logistic(b[i] + cb);
        }
    return 0;
}

// The gradients with respect to y and to each image's bias, from the gradient g (N, D, size) of the output.
template <class T>
const char *gate_gradient(const T *__restrict y, const T *__restrict c, const T *__restrict g, T *__restrict gy,
                          T *__restrict gc, idx N, idx D, idx size, bool shared) {
    #pragma omp parallel for schedule(static)
    for (idx n = 0; n < N; n++)
        for (idx d = 0; d < D; d++) {
            const T *a = y + (n * 2 * D + d) * size, *b = a + D * size;
            const T *bias = c + (shared ? 0 : n * 2 * D);
            const T ca = bias[d], cb = bias[D + d];
            const T *from = g + (n * D + d) * size;
            T *ga = gy + (n * 2 * D + d) * size, *gb = ga + D * size;
            T sum_a = 0, sum_b = 0;
            #pragma omp simd reduction(+ : sum_a, sum_b)
            for (idx i = 0; i < size; i++) {
                const T t = hyperbolic_tangent(a[i] + ca), s = logistic(b[i] + cb);
                const T da = from[i] * s * (T(1) - t * t), db = from[i] * t * s * (T(1) - s);
                ga[i] = da;
                gb[i] = db;
                sum_a += da;
                sum_b += db;
            }
            gc[n * 2 * D + d] = sum_a;
            gc[n * 2 * D + D + d] = sum_b;
        }
    return 0;
}

}  // namespace pixelvae
