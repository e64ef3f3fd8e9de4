// log softmax of the levels that pixels have, summed over each image, and its gradient.
#pragma once
#include "gate.h"

namespace pixelvae {

static const idx RUN = 64;  // positions at a time: what is kept of them stays in registers and the first cache

// The logits of `width` positions, level by level `step` apart: log p of the levels x, and log normalisers.  `width` may
// exceed the `count` of positions that there are.  Whether all levels exist.
template <class T>
bool log_softmax(const T *__restrict logits, idx step, const T *__restrict x, T *__restrict log_p, T *__restrict norms,
                 idx levels, idx width, idx count) {
    T top[RUN], total[RUN];
    for (idx i = 0; i < width; i++) top[i] = logits[i];
    for (idx k = 1; k < levels; k++) {
        const T *row = logits + k * step;
        #pragma omp simd
        for (idx i = 0; i < width; i++) top[i] = row[i] > top[i] ? row[i] : top[i];
    }
    for (idx i = 0; i < width; i++) total[i] = 0;
    for (idx k = 0; k < levels; k++) {
        const T *row = logits + k * step;
        #pragma omp simd
        for (idx i = 0; i < width; i++) total[i] += exponential(row[i] - top[i]);
    }
    bool inside = true;
    for (idx i = 0; i < count; i++) {
        const idx level = static_cast<idx>(x[i]);
        norms[i] = top[i] + std::log(total[i]);
        if (level < 0 || level >= levels) inside = false;
        else log_p[i] = logits[level * step + i] - norms[i];
    }
    return inside;
}

// g * (one of the levels x - softmax) for the same logits, which may lie where the gradient goes.
template <class T>
void softmax_gradient(const T *logits, idx step, const T *x, const T *norms, T g, T *gradient, idx levels, idx width,
                      idx count) {
    for (idx k = 0; k < levels; k++) {
        const T *row = logits + k * step;
        T *out = gradient + k * step;
        #pragma omp simd
        for (idx i = 0; i < width; i++) out[i] = -g * exponential(row[i] - norms[i]);
    }
    for (idx i = 0; i < count; i++) gradient[static_cast<idx>(x[i]) * step + i] += g;
}

// logits (N, levels, S), x (N, S) -> log p (N), log normalisers (N, S), with S = C * H * W
template <class T>
const char *categorical(const T *__restrict logits, const T *__restrict x, T *__restrict log_p, T *__restrict norms,
                        idx N, idx levels, idx S) {
    bool outside = false;
    for (idx n = 0; n < N; n++) {
        double sum = 0;
        #pragma omp parallel for schedule(static) reduction(+ : sum) reduction(|| : outside)
        for (idx start = 0; start < S; start += RUN) {
            const idx count = S - start < RUN ? S - start : RUN, at = n * S + start;
            T own[RUN] = {};
            if (!log_softmax<T>(logits + n * levels * S + start, S, x + at, own, norms + at, levels, count, count))
                outside = true;
            for (idx i = 0; i < count; i++) sum += own[i];
        }
        log_p[n] = T(sum);
    }
    return outside ? "a value is outside 0 ... levels - 1" : 0;
}

// g (N) -> gradient of the logits, g * (one of the chosen level - softmax)
template <class T>
const char *categorical_gradient(const T *logits, const T *x, const T *norms, const T *g, T *gradient, idx N, idx levels,
                                 idx S) {
    for (idx n = 0; n < N; n++) {
        #pragma omp parallel for schedule(static)
        for (idx start = 0; start < S; start += RUN) {
            const idx count = S - start < RUN ? S - start : RUN, at = n * S + start, first = n * levels * S + start;
            softmax_gradient<T>(logits + first, S, x + at, norms + at, g[n], gradient + first, levels, count, count);
        }
    }
    return 0;
}

}  // namespace pixelvae
