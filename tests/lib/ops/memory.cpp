// Convolutions of odd sizes on arrays that end where their numbers do, for a build with AddressSanitizer, which sees what
// guards of NaN do not: numbers that are read and not used.  Results are held to loops.
#include <cmath>
#include <cstdio>
#include <vector>

#include "categorical_of_maps.h"
#include "correlate.h"
#include "relu.h"

using namespace pixelvae;
using std::vector;

template <class T> vector<T> draw(idx size) {
    static unsigned state = 1;
    vector<T> out(size);
    for (T &x : out) x = T((state = state * 1664525u + 1013904223u) >> 8) / (1 << 23) - 1;
    out.shrink_to_fit();
    return out;
}

template <class T> int differ(const char *what, const vector<T> &ours, const vector<double> &truth, idx size) {
    for (size_t i = 0; i < truth.size(); i++)
        if (!(std::fabs(ours[i] - truth[i]) < (sizeof(T) == 4 ? 2e-3 : 1e-9)))
            return printf("%s, size %ld: %g, not %g, at %zu\n", what, size, double(ours[i]), truth[i], i);
    return 0;
}

template <class T>
int check(idx N, idx C, idx H, idx W, idx O, idx kh, idx kw, idx n_taps, idx stride, bool terms) {
    const idx Ho = output_size(H, kh, stride), Wo = output_size(W, kw, stride);
    const vector<T> x = draw<T>(N * C * H * W), gy = draw<T>(N * O * Ho * Wo), w = draw<T>(O * C * n_taps);
    const vector<T> b = draw<T>(O), bx = draw<T>(C), acc = draw<T>(gy.size()), accx = draw<T>(x.size());
    vector<T> y(gy.size()), gx(x.size()), gw(w.size()), ga(gy.size()), sums(O);
    vector<double> ty(gy.size()), tx(x.size()), tw(w.size());
    const Taps taps(kh, kw, n_taps);
    for (idx n = 0; n < N; n++)
        for (idx o = 0; o < O; o++)
            for (idx i = 0; i < Ho; i++)
                for (idx j = 0; j < Wo; j++) {
                    const idx out = ((n * O + o) * Ho + i) * Wo + j;
                    for (idx t = 0; t < n_taps; t++) {
                        const idx r = i * stride + taps.dy(t), c = j * stride + taps.dx(t);
                        if (r < 0 || r >= H || c < 0 || c >= W) continue;
                        for (idx in = 0; in < C; in++) {
                            const idx from = ((n * C + in) * H + r) * W + c, tap = (o * C + in) * n_taps + t;
                            ty[out] += double(w[tap]) * x[from];
                            tx[from] += double(w[tap]) * gy[out];
                            tw[tap] += double(gy[out]) * x[from];
                        }
                    }
                }
    for (size_t i = 0; terms && i < ty.size(); i++) ty[i] = std::fmax(0, ty[i] + b[i / (Ho * Wo) % O] + acc[i]);
    for (size_t i = 0; terms && i < tx.size(); i++) tx[i] = std::fmax(0, tx[i] + bx[i / (H * W) % C] + accx[i]);
    const T *none = 0;
    correlate<T>(x.data(), w.data(), terms ? b.data() : none, terms ? acc.data() : none, y.data(), N, C, H, W, O, kh, kw,
                 n_taps, stride, terms);
    correlate_inputs<T>(gy.data(), w.data(), terms ? bx.data() : none, terms ? accx.data() : none, gx.data(), N, C, H, W,
                        O, Ho, Wo, kh, kw, n_taps, stride, terms);
    correlate_weights<T>(x.data(), gy.data(), gw.data(), N, C, H, W, O, Ho, Wo, kh, kw, n_taps, stride);
    relu_gradient<T>(y.data(), gy.data(), ga.data(), sums.data(), N, O, Ho * Wo);
    return differ("forward", y, ty, W) + differ("inputs", gx, tx, W) + differ("weights", gw, tw, W);
}

// The likelihood of logits that are not stored, to that of those that are.
template <class T> int check_likelihood(idx N, idx D, idx S, idx C, idx levels) {
    const idx O = levels * C;
    const vector<T> h = draw<T>(N * D * S), w = draw<T>(O * D), b = draw<T>(O), g = draw<T>(N);
    vector<T> x = draw<T>(N * C * S), logits(N * O * S), gl(N * O * S), log_p(N), norms(x.size()), gh(h.size());
    vector<T> gw(w.size()), gb(O), truth(N), other(x.size());
    vector<double> th(h.size()), tw(w.size()), tb(O);
    for (T &level : x) level = T(idx((level + 1) * levels / 2));
    correlate<T>(h.data(), w.data(), b.data(), 0, logits.data(), N, D, 1, S, O, 1, 1, 1, 1, false);
    categorical<T>(logits.data(), x.data(), truth.data(), other.data(), N, levels, C * S);
    categorical_gradient<T>(logits.data(), x.data(), other.data(), g.data(), gl.data(), N, levels, C * S);
    for (idx i = 0; i < N * O * S; i++) {
        const idx n = i / S / O, o = i / S % O, p = i % S;
        tb[o] += gl[i];
        for (idx d = 0; d < D; d++) {
            th[(n * D + d) * S + p] += double(w[o * D + d]) * gl[i];
            tw[o * D + d] += double(h[(n * D + d) * S + p]) * gl[i];
        }
    }
    wide::categorical_of_maps<T>(h.data(), w.data(), b.data(), x.data(), log_p.data(), norms.data(), N, D, C, levels, S);
    wide::categorical_of_maps_gradient<T>(h.data(), w.data(), b.data(), x.data(), norms.data(), g.data(), gh.data(),
                                          gw.data(), gb.data(), N, D, C, levels, S);
    const vector<double> sums(truth.begin(), truth.end());
    return differ("log p", log_p, sums, S) + differ("maps", gh, th, S) + differ("their weights", gw, tw, S) +
           differ("bias", gb, tb, S);
}

int main() {
    const idx kernels[][4] = {{3, 3, 9, 1}, {3, 3, 9, 2}, {5, 5, 13, 1}, {3, 1, 1, 1}, {1, 1, 1, 1}, {3, 3, 4, 3}};
    const idx sizes[][2] = {{1, 1}, {4, 4}, {7, 9}, {8, 8}, {5, 17}, {3, 8}};
    const idx channels[][2] = {{1, 9}, {17, 8}, {5, 1}, {33, 18}, {130, 40}};
    int wrong = 0;
    for (auto &k : kernels)
        for (auto &s : sizes)
            for (auto &c : channels)
                for (int terms = 0; terms < 2; terms++) {
                    wrong += check<float>(3, c[0], s[0], s[1], c[1], k[0], k[1], k[2], k[3], terms);
                    wrong += check<double>(2, c[0], s[0], s[1], c[1], k[0], k[1], k[2], k[3], terms);
                }
    for (auto &k : kernels) wrong += check<float>(17, 9, 34, 33, 10, k[0], k[1], k[2], k[3], true);  // summed in parts
    const idx winograd[][4] = {{64, 66, 17, 16}, {130, 129, 8, 9}, {67, 64, 1, 300}, {400, 72, 13, 25}};
    for (auto &w : winograd)
        wrong += check<float>(2, w[0], w[2], w[3], w[1], 3, 3, 9, 1, true) +
                 check<double>(1, w[0], w[2], w[3], w[1], 3, 3, 9, 1, false);
    const idx pixels[][4] = {{1, 1, 1, 2}, {9, 47, 3, 5}, {17, 49, 1, 256}, {33, 200, 3, 7}};
    for (auto &p : pixels)
        wrong += check_likelihood<float>(3, p[0], p[1], p[2], p[3]) + check_likelihood<double>(2, p[0], p[1], p[2], p[3]);
    return wrong != 0;
}
