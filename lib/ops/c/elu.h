// The exponential linear unit: x where x > 0, exp(x) - 1 elsewhere, and its gradient from its value.
#pragma once
#include "gate.h"

namespace pixelvae {

template <class T> const char *elu(const T *__restrict x, T *__restrict y, idx size) {
    #pragma omp parallel for simd schedule(static)
    for (idx i = 0; i < size; i++) {
        const T low = x[i] > T(0) ? T(0) : x[i];
        y[i] = x[i] > T(0) ? x[i] : exponential(low) - T(1);
    }
    return 0;
}

template <class T> const char *elu_gradient(const T *__restrict y, const T *__restrict g, T *__restrict gx, idx size) {
    #pragma omp parallel for simd schedule(static)
    for (idx i = 0; i < size; i++) gx[i] = y[i] > T(0) ? g[i] : g[i] * (y[i] + T(1));
    return 0;
}

}  // namespace pixelvae
