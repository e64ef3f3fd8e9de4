// Convolutions of odd sizes on arrays that end where their numbers do, for a build with AddressSanitizer, which sees what
// guards of NaN do not: numbers that are read and not used.  Results are held to loops.
#include <cmath>
#include <cstdio>
#include <vector>

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
    return wrong != 0;
}
