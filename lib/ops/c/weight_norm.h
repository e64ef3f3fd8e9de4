// Weight normalisation, w = g v / ||v||, of the rows of v, keeping the first `taps` of every `full` entries.
#pragma once
#include <cmath>

namespace pixelvae {

typedef long idx;

static const char *const TOO_FEW = "the kernels have fewer taps";

template <class T> inline double row_norm(const T *v, idx length) {
    double sum = 0;
    for (idx i = 0; i < length; i++) sum += double(v[i]) * v[i];
    return std::sqrt(sum);
}

// v (O, C, full), g (O) -> w (O, C, taps)
template <class T>
const char *weight_norm(const T *v, const T *g, T *w, idx O, idx C, idx full, idx taps) {
    if (taps > full) return TOO_FEW;
    for (idx o = 0; o < O; o++) {
        const double scale = g[o] / row_norm(v + o * C * full, C * full);
        for (idx c = 0; c < C; c++)
            for (idx t = 0; t < taps; t++)
                w[(o * C + c) * taps + t] = T(scale * v[(o * C + c) * full + t]);
    }
    return 0;
}

// gw (O, C, taps) -> gv, gg:  gg = <v, gw> / ||v||,  gv = g / ||v|| (gw - v <v, gw> / ||v||^2)
template <class T>
const char *weight_norm_gradient(const T *v, const T *g, const T *gw, T *gv, T *gg, idx O, idx C, idx full,
                                 idx taps) {
    if (taps > full) return TOO_FEW;
    for (idx o = 0; o < O; o++) {
        const T *row = v + o * C * full, *from = gw + o * C * taps;
        const double norm = row_norm(row, C * full);
        double inner = 0;
        for (idx c = 0; c < C; c++)
            for (idx t = 0; t < taps; t++) inner += double(row[c * full + t]) * from[c * taps + t];
        gg[o] = T(inner / norm);
        const double scale = g[o] / norm, along = inner / (norm * norm);
        for (idx c = 0; c < C; c++)
            for (idx t = 0; t < full; t++) {
                const double own = t < taps ? from[c * taps + t] : 0;
                gv[(o * C + c) * full + t] = T(scale * (own - along * row[c * full + t]));
            }
    }
    return 0;
}

}  // namespace pixelvae
