// Weight normalisation, w = g v / ||v||, of the rows of v, keeping the first `taps` of every `full` entries.
#pragma once
#include <cmath>
#include <vector>

namespace pixelvae {

typedef long idx;

static const char *const TOO_FEW = "the kernels have fewer taps";
static const idx WORTH_THREADS = 1 << 16;  // numbers, below which starting threads takes longer than they save

template <class T> inline double product(const T *a, const T *b, idx length) {
    double sum = 0;
    #pragma omp simd reduction(+ : sum)
    for (idx i = 0; i < length; i++) sum += double(a[i]) * b[i];
    return sum;
}

template <class T> inline double row_norm(const T *v, idx length) { return std::sqrt(product(v, v, length)); }

// v (O, C, full), g (O) -> w (O, C, taps)
template <class T>
const char *weight_norm(const T *v, const T *g, T *w, idx O, idx C, idx full, idx taps) {
    if (taps > full) return TOO_FEW;
    if (taps == full) taps = full = C * full, C = 1;  // one long loop instead of many short ones
    #pragma omp parallel for schedule(static) if (O * C * full > WORTH_THREADS)
    for (idx o = 0; o < O; o++) {
        const double scale = g[o] / row_norm(v + o * C * full, C * full);
        for (idx c = 0; c < C; c++) {
            const T *from = v + (o * C + c) * full;
            T *to = w + (o * C + c) * taps;
            for (idx t = 0; t < taps; t++) to[t] = T(scale * from[t]);
        }
    }
    return 0;
}

// gw (O, C, taps) -> gv, gg:  gg = <v, gw> / ||v||,  gv = g / ||v|| (gw - v <v, gw> / ||v||^2)
template <class T>
const char *weight_norm_gradient(const T *v, const T *g, const T *gw, T *gv, T *gg, idx O, idx C, idx full,
                                 idx taps) {
    if (taps > full) return TOO_FEW;
    const idx length = C * full;
    #pragma omp parallel if (O * length > WORTH_THREADS)
    {
        std::vector<T> padded(taps < full ? length : 0);  // a row of gw, with zeros at the taps that are masked
        #pragma omp for schedule(static)
        for (idx o = 0; o < O; o++) {
            const T *row = v + o * length, *from = gw + o * C * taps;
            if (taps < full) {
                for (idx c = 0; c < C; c++)
                    for (idx t = 0; t < taps; t++) padded[c * full + t] = from[c * taps + t];
                from = padded.data();
            }
            const double norm = row_norm(row, length), inner = product(row, from, length);
            gg[o] = T(inner / norm);
            const double scale = g[o] / norm, along = inner / (norm * norm);
            T *to = gv + o * length;
            for (idx i = 0; i < length; i++) to[i] = T(scale * (from[i] - along * row[i]));
        }
    }
    return 0;
}

}  // namespace pixelvae
