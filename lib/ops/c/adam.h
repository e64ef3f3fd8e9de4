// Adam's update of packed vectors, in one pass over them, and the sum of a vector's squares.
#pragma once
#include <cmath>
#include <vector>

namespace pixelvae {

typedef long idx;

static const idx BLOCK = 1 << 14;  // summed by itself, so that a sum does not depend on the number of threads

template <class T>
const char *sum_of_squares(const T *__restrict x, T *squares, idx size) {
    std::vector<double> sums((size + BLOCK - 1) / BLOCK);
    #pragma omp parallel for schedule(static)
    for (idx start = 0; start < size; start += BLOCK) {
        const idx end = start + BLOCK < size ? start + BLOCK : size;
        double sum = 0;
        #pragma omp simd reduction(+ : sum)
        for (idx i = start; i < end; i++) sum += double(x[i]) * double(x[i]);
        sums[start / BLOCK] = sum;
    }
    double total = 0;
    for (double sum : sums) total += sum;
    *squares = T(total);
    return 0;
}

// numbers: the step's size with both corrections of the moments' bias, a factor of the gradient, the bound of its
// entries after that, and the weight of the new parameters in their average, which may be NULL. p, m, v and average are
// written over.
template <class T>
const char *adam(const T *__restrict gradient, const T *numbers, T *__restrict p, T *__restrict m, T *__restrict v,
                 T *__restrict average, idx size, double beta_1, double beta_2, double epsilon) {
    const T step = numbers[0], factor = numbers[1], bound = numbers[2], weight = numbers[3];
    // The weights of the new gradient are differences of doubles: 1 - float(0.999) is off by 1.3e-5 of itself.
    const T rest_1 = T(1 - beta_1), rest_2 = T(1 - beta_2), keep_1 = T(beta_1), keep_2 = T(beta_2), tiny = T(epsilon);
    #pragma omp parallel for schedule(static)
    for (idx start = 0; start < size; start += BLOCK) {
        const idx end = start + BLOCK < size ? start + BLOCK : size;
        #pragma omp simd
        for (idx i = start; i < end; i++) {
            T g = factor * gradient[i];
            g = g > bound ? bound : g < -bound ? -bound : g;
            m[i] = keep_1 * m[i] + rest_1 * g;
            v[i] = keep_2 * v[i] + rest_2 * g * g;
            p[i] -= step * m[i] / (std::sqrt(v[i]) + tiny);
        }
        if (average) {
            #pragma omp simd
            for (idx i = start; i < end; i++) average[i] += weight * (p[i] - average[i]);
        }
    }
    return 0;
}

}  // namespace pixelvae
