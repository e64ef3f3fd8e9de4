// The gradient of rectified linear units from their value, and its sum over images and places, in one pass.
#pragma once
#include "channel_sums.h"

namespace pixelvae {

template <class T>
const char *relu_gradient(const T *y, const T *g, T *ga, T *sums, wide::idx N, wide::idx C, wide::idx area) {
    wide::Scratch<T> of_maps(N * C);
    #pragma omp parallel for schedule(static)
    for (wide::idx map = 0; map < N * C; map++) {
        const T *value = y + map * area, *from = g + map * area;
        T *to = ga + map * area;
        #pragma omp simd
        for (wide::idx p = 0; p < area; p++) to[p] = value[p] > T(0) ? from[p] : T(0);
        of_maps[map] = sum_of(to, area);
    }
    sum_images<T>(sums, of_maps, N, C);
    return 0;
}

}  // namespace pixelvae
