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
// entries after that, and the weight of the new parameters in their average, which may be NULL.
template <class T>
const char *adam(const T *__restrict gradient, const T *numbers, T *__restrict p, T *__restrict m, T *__restrict v,
                 T *__restrict average, idx size) {
    const T step = numbers[0], factor = numbers[1], bound = numbers[2], weight = numbers[3];
    // The weights of the new gradient are not differences: 1 - T(0.999) is off by 1.3e-5 of itself in float.
    const T beta1 = T(0.9), beta2 = T(0.999), rest1 = T(0.1), rest2 = T(0.001), epsilon = T(1e-8);
    #pragma omp parallel for schedule(static)
    for (idx start = 0; start < size; start += BLOCK) {
        const idx end = start + BLOCK < size ? start + BLOCK : size;
        #pragma omp simd
        for (idx i = start; i < end; i++) {
            T g = factor * gradient[i];
            g = g > bound ? bound : g < -bound ? -bound : g;
            m[i] = beta1 * m[i] + rest1 * g;
            v[i] = beta2 * v[i] + rest2 * g * g;
            p[i] -= step * m[i] / (std::sqrt(v[i]) + epsilon);
        }
        if (average) {
            #pragma omp simd
            for (idx i = start; i < end; i++) average[i] += weight * (p[i] - average[i]);
        }
    }
    return 0;
}

}  // namespace pixelvae
