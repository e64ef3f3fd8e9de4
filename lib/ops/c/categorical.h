// log softmax of the levels that pixels have, summed over each image, and its gradient.
#pragma once
#include "gate.h"

namespace pixelvae {

static const idx RUN = 64;  // positions at a time: what is kept of them stays in registers and the first cache

// logits (N, levels, S), x (N, S) -> log p (N), log normalisers (N, S), with S = C * H * W
template <class T>
const char *categorical(const T *__restrict logits, const T *__restrict x, T *__restrict log_p, T *__restrict norms,
                        idx N, idx levels, idx S) {
    bool outside = false;
    for (idx n = 0; n < N; n++) {
        const T *image = logits + n * levels * S;
        double sum = 0;
        #pragma omp parallel for schedule(static) reduction(+ : sum) reduction(|| : outside)
        for (idx start = 0; start < S; start += RUN) {
            const idx count = S - start < RUN ? S - start : RUN;
            T top[RUN], total[RUN];
            for (idx i = 0; i < count; i++) top[i] = image[start + i];
            for (idx k = 1; k < levels; k++) {
                const T *row = image + k * S + start;
                #pragma omp simd
                for (idx i = 0; i < count; i++) top[i] = row[i] > top[i] ? row[i] : top[i];
            }
            for (idx i = 0; i < count; i++) total[i] = 0;
            for (idx k = 0; k < levels; k++) {
                const T *row = image + k * S + start;
                #pragma omp simd
                for (idx i = 0; i < count; i++) total[i] += exponential(row[i] - top[i]);
            }
            for (idx i = 0; i < count; i++) {
                const idx at = start + i, level = static_cast<idx>(x[n * S + at]);
                const T norm = top[i] + std::log(total[i]);
                norms[n * S + at] = norm;
                if (level < 0 || level >= levels) outside = true;
                else sum += image[level * S + at] - norm;
            }
        }
        log_p[n] = T(sum);
    }
    return outside ? "a value is outside 0 ... levels - 1" : 0;
}

// g (N) -> gradient of the logits, g * (one of the chosen level - softmax)
template <class T>
const char *categorical_gradient(const T *__restrict logits, const T *__restrict x, const T *__restrict norms,
                                 const T *__restrict g, T *__restrict gradient, idx N, idx levels, idx S) {
    for (idx n = 0; n < N; n++) {
        const T *image = logits + n * levels * S;
        T *to = gradient + n * levels * S;
        #pragma omp parallel for schedule(static)
        for (idx start = 0; start < S; start += RUN) {
            const idx count = S - start < RUN ? S - start : RUN;
            const T *norm = norms + n * S + start;
            for (idx k = 0; k < levels; k++) {
                const T *row = image + k * S + start;
                T *out = to + k * S + start;
                #pragma omp simd
                for (idx i = 0; i < count; i++) out[i] = -g[n] * exponential(row[i] - norm[i]);
            }
            for (idx i = 0; i < count; i++) to[static_cast<idx>(x[n * S + start + i]) * S + start + i] += g[n];
        }
    }
    return 0;
}

}  // namespace pixelvae
