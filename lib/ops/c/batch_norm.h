// Normalisation of maps (N, C, size) by each channel's mean and variance over the batch, and its gradient.
#pragma once
#include <cmath>
#include <omp.h>

namespace pixelvae {

typedef long idx;

template <class T>
const char *batch_norm(const T *__restrict x, const T *scale, const T *offset, T *__restrict y, T *mean, T *variance,
                       double epsilon, idx N, idx C, idx size) {
    #pragma omp parallel for schedule(static)
    for (idx c = 0; c < C; c++) {
        double total = 0, squares = 0;
        for (idx n = 0; n < N; n++) {
            const T *row = x + (n * C + c) * size;
            T sum = 0;
            #pragma omp simd reduction(+ : sum)
            for (idx i = 0; i < size; i++) sum += row[i];
            total += sum;
        }
        const T m = T(total / (N * size));
        for (idx n = 0; n < N; n++) {
            const T *row = x + (n * C + c) * size;
            T sum = 0;
            #pragma omp simd reduction(+ : sum)
            for (idx i = 0; i < size; i++) sum += (row[i] - m) * (row[i] - m);
            squares += sum;
        }
        mean[c] = m;
        variance[c] = T(squares / (N * size));
        const T a = T(scale[c] / std::sqrt(double(variance[c]) + epsilon));
        for (idx n = 0; n < N; n++) {
            const T *row = x + (n * C + c) * size;
            T *to = y + (n * C + c) * size;
            #pragma omp simd
            for (idx i = 0; i < size; i++) to[i] = (row[i] - m) * a + offset[c];
        }
    }
    return 0;
}

template <class T>
const char *batch_norm_gradient(const T *__restrict x, const T *scale, const T *mean, const T *variance,
                                const T *__restrict g, T *__restrict gx, T *gscale, T *goffset, double epsilon,
                                idx N, idx C, idx size) {
    #pragma omp parallel for schedule(static)
    for (idx c = 0; c < C; c++) {
        const T m = mean[c], inverse = T(1 / std::sqrt(double(variance[c]) + epsilon));
        double sum = 0, product = 0;
        for (idx n = 0; n < N; n++) {
            const T *row = x + (n * C + c) * size, *from = g + (n * C + c) * size;
            T s = 0, p = 0;
            #pragma omp simd reduction(+ : s, p)
            for (idx i = 0; i < size; i++) {
                s += from[i];
                p += from[i] * (row[i] - m);
            }
            sum += s;
            product += p;
        }
        goffset[c] = T(sum);
        gscale[c] = T(product * inverse);
        const T mean_g = T(sum / (N * size)), along = T(product * inverse * inverse / (N * size));
        const T factor = scale[c] * inverse;
        for (idx n = 0; n < N; n++) {
            const T *row = x + (n * C + c) * size, *from = g + (n * C + c) * size;
            T *to = gx + (n * C + c) * size;
            #pragma omp simd
            for (idx i = 0; i < size; i++) to[i] = factor * (from[i] - mean_g - (row[i] - m) * along);
        }
    }
    return 0;
}

}  // namespace pixelvae
