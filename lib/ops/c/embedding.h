// Pixel values to learned vectors: maps (N, E * C, size) from values (N, C, size) and a table (levels, E).
#pragma once
#include <omp.h>
#include <vector>

namespace pixelvae {

typedef long idx;

// Channel e * C + c holds entry e of colour c.
template <class T>
const char *embed(const T *__restrict x, const T *__restrict table, T *__restrict y, idx N, idx C, idx size, idx levels,
                  idx E) {
    bool outside = false;
    #pragma omp parallel for schedule(static) collapse(2) reduction(|| : outside)
    for (idx n = 0; n < N; n++)
        for (idx c = 0; c < C; c++) {
            const T *values = x + (n * C + c) * size;
            for (idx i = 0; i < size; i++) {
                const idx level = static_cast<idx>(values[i]);
                if (level < 0 || level >= levels) {
                    outside = true;
                    continue;
                }
                const T *row = table + level * E;
                T *to = y + (n * E * C + c) * size + i;
                for (idx e = 0; e < E; e++) to[e * C * size] = row[e];
            }
        }
    return outside ? "a value is outside 0 ... levels - 1" : 0;
}

template <class T>
const char *embed_gradient(const T *__restrict x, const T *__restrict g, T *__restrict gtable, idx N, idx C, idx size,
                           idx levels, idx E) {
    #pragma omp parallel for schedule(static)
    for (idx e = 0; e < E; e++) {
        std::vector<double> sums(levels);
        for (idx n = 0; n < N; n++)
            for (idx c = 0; c < C; c++) {
                const T *values = x + (n * C + c) * size, *from = g + ((n * E + e) * C + c) * size;
                for (idx i = 0; i < size; i++) sums[static_cast<idx>(values[i])] += from[i];
            }
        for (idx level = 0; level < levels; level++) gtable[level * E + e] = T(sums[level]);
    }
    return 0;
}

}  // namespace pixelvae
