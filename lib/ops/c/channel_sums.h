// The sum of each channel over images and places.
#pragma once
#include "wide.h"

namespace pixelvae {

// The sum of a map, vector by vector.
template <class T> inline T sum_of(const T *map, wide::idx area) {
    using wide::idx;
    typedef typename wide::Vector<T>::type Vec;
    const idx width = wide::Vector<T>::width, whole = area - area % width;
    Vec sum[4] = {};  // so that none waits for the one before
    for (idx p = 0; p < whole; p += width) sum[p / width % 4] += *(const Vec *)(map + p);
    const Vec all = (sum[0] + sum[1]) + (sum[2] + sum[3]);
    T total = 0;
    for (idx i = 0; i < width; i++) total += all[i];
    for (idx p = whole; p < area; p++) total += map[p];
    return total;
}

// sums[c] = the sum of of_maps[n, c] over images, in double.
template <class T> inline void sum_images(T *sums, const T *of_maps, wide::idx N, wide::idx C) {
    for (wide::idx c = 0; c < C; c++) {
        double total = 0;
        for (wide::idx n = 0; n < N; n++) total += of_maps[n * C + c];
        sums[c] = T(total);
    }
}

template <class T> const char *channel_sums(const T *x, T *sums, wide::idx N, wide::idx C, wide::idx area) {
    wide::Scratch<T> of_maps(N * C);
    #pragma omp parallel for schedule(static)
    for (wide::idx map = 0; map < N * C; map++) of_maps[map] = sum_of(x + map * area, area);
    sum_images<T>(sums, of_maps, N, C);
    return 0;
}

}  // namespace pixelvae
