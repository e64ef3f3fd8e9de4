// The sum of each channel over images and places.
#pragma once
#include "wide.h"

namespace pixelvae {

// One thread sums a channel, so that the bits do not depend on how many there are: an image in T, vector by vector, and
// the images in double.
template <class T> const char *channel_sums(const T *x, T *sums, wide::idx N, wide::idx C, wide::idx area) {
    using wide::idx;
    typedef typename wide::Vector<T>::type Vec;
    const idx width = wide::Vector<T>::width, whole = area - area % width;
    #pragma omp parallel for schedule(static)
    for (idx c = 0; c < C; c++) {
        double totals[width] = {};
        for (idx n = 0; n < N; n++) {
            const T *from = x + (n * C + c) * area;
            Vec sum[4] = {};  // the units add as fast as memory is read
            for (idx p = 0; p < whole; p += width) sum[p / width % 4] += *(const Vec *)(from + p);
            const Vec all = (sum[0] + sum[1]) + (sum[2] + sum[3]);
            for (idx i = 0; i < width; i++) totals[i] += all[i];
            for (idx p = whole; p < area; p++) totals[p - whole] += from[p];
        }
        double total = 0;
        for (idx i = 0; i < width; i++) total += totals[i];
        sums[c] = T(total);
    }
    return 0;
}

}  // namespace pixelvae
