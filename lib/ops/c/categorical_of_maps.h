// log softmax of logits that are a 1x1 convolution of maps, summed over each image, and its gradient.
//
// Whole, the logits would be the largest array of a model, and their gradient as large again.  They are made for some
// places at a time, which a core's own cache holds, and made anew for the gradient.  The logits' bits are those of the
// convolution (of up to DEPTH maps), and the sums do not depend on the number of threads.
#pragma once
#include "categorical.h"
#include "wide.h"

namespace pixelvae {
namespace wide {

static const idx PLACES = 48;  // whole blocks of registers, whatever their size

inline idx whole_strips(idx rows) { return parts(rows, ROWS) * ROWS; }

// Rows in strips: packed[row / ROWS][k][row % ROWS] = w[row * row_step + k * step], zeros for rows that there are not.
template <class T> void pack_strips(T *packed, const T *w, idx rows, idx row_step, idx depth, idx step) {
    for (idx first = 0; first < rows; first += ROWS)
        for (idx k = 0; k < depth; k++, packed += ROWS)
            for (idx r = 0; r < ROWS; r++)
                packed[r] = first + r < rows ? w[(first + r) * row_step + k * step] : T(0);
}

// out (rows x PLACES) = strips of rows times `depth` rows of PLACES numbers.
template <class T> void multiply_strips(T *out, const T *packed, const T *in, idx rows, idx depth) {
    Scratch<idx> at(depth);
    for (idx k = 0; k < depth; k++) at[k] = k * PLACES;
    for (idx row = 0; row < rows; row += ROWS, packed += depth * ROWS)
        for (idx p = 0; p < PLACES; p += Vector<T>::columns)
            block<T>(VECTORS, depth, packed, in + p, at, out + row * PLACES + p, PLACES, false);
}

// What both directions share: O = levels * colours logits of D maps with S places.
template <class T> struct Logits {
    const T *h, *bias;
    idx D, O, S, tiles;
    Scratch<T> packed;
    Logits(const T *h, const T *w, const T *bias, idx D, idx O, idx S)
        : h(h), bias(bias), D(D), O(O), S(S), tiles(parts(S, PLACES)), packed(whole_strips(O) * D) {
        pack_strips<T>(packed, w, O, D, D, 1);
    }
    // The logits (O x PLACES) of a tile, and `in` its maps; how many of its places there are, from `start` on.
    idx make(T *logits, T *in, idx tile, idx &n, idx &start) {
        n = tile / tiles;
        start = tile % tiles * PLACES;
        const idx count = least(PLACES, S - start);
        for (idx d = 0; d < D; d++) {
            copy(in + d * PLACES, h + (n * D + d) * S + start, count);
            for (idx i = count; i < PLACES; i++) in[d * PLACES + i] = 0;
        }
        multiply_strips<T>(logits, packed, in, O, D);
        for (idx o = 0; bias && o < O; o++) {
            T *row = logits + o * PLACES;
            #pragma omp simd
            for (idx i = 0; i < PLACES; i++) row[i] += bias[o];
        }
        return count;
    }
};

// h (N, D, S), w (levels * C, D), bias or 0, x (N, C, S) -> log p (N), log normalisers (N, C, S)
template <class T>
const char *categorical_of_maps(const T *h, const T *w, const T *bias, const T *x, T *log_p, T *norms, idx N, idx D,
                                idx C, idx levels, idx S) {
    const idx O = levels * C;
    Logits<T> all(h, w, bias, D, O, S);
    Scratch<T> of_places(N * C * S);
    bool outside = false;
    #pragma omp parallel
    {
        Scratch<T> logits(whole_strips(O) * PLACES), in(D * PLACES);
        #pragma omp for schedule(dynamic) reduction(|| : outside)
        for (idx tile = 0; tile < N * all.tiles; tile++) {
            idx n, start;
            const idx count = all.make(logits, in, tile, n, start);
            for (idx c = 0; c < C; c++) {
                const idx at = (n * C + c) * S + start;
                if (!log_softmax<T>(logits + c * PLACES, C * PLACES, x + at, of_places + at, norms + at, levels, PLACES,
                                    count))
                    outside = true;
            }
        }
    }
    if (outside) return "a value is outside 0 ... levels - 1";
    for (idx n = 0; n < N; n++) {
        double sum = 0;
        for (idx i = 0; i < C * S; i++) sum += of_places[n * C * S + i];
        log_p[n] = T(sum);
    }
    return 0;
}

// g (N) -> gradients of maps, weights and bias
template <class T>
const char *categorical_of_maps_gradient(const T *h, const T *w, const T *bias, const T *x, const T *norms, const T *g,
                                         T *gh, T *gw, T *gb, idx N, idx D, idx C, idx levels, idx S) {
    const idx O = levels * C, rows = whole_strips(O), width = Vector<T>::width, vectors = parts(D, width);
    const idx ld = vectors * width, size = rows * (ld + 1);
    Logits<T> all(h, w, bias, D, O, S);
    Scratch<T> across(whole_strips(D) * O), sums(PARTS * size);
    pack_strips<T>(across, w, D, 1, O, D);
    #pragma omp parallel
    {
        Scratch<T> logits(rows * PLACES), in(D * PLACES), out(whole_strips(D) * PLACES), last(PLACES * ld);
        idx at[PLACES], apart[VECTORS];
        for (idx i = 0; i < PLACES; i++) at[i] = i * ld;
        for (idx v = 0; v < VECTORS; v++) apart[v] = v * width;
        memset(last, 0, PLACES * ld * sizeof(T));
        // As many parts whatever the number of threads, which would change the bits.
        #pragma omp for schedule(dynamic)
        for (idx part = 0; part < PARTS; part++) {
            T *of_w = sums + part * size, *of_b = of_w + rows * ld;
            memset(of_w, 0, size * sizeof(T));
            for (idx tile = part * N * all.tiles / PARTS; tile < (part + 1) * N * all.tiles / PARTS; tile++) {
                idx n, start;
                const idx count = all.make(logits, in, tile, n, start);
                for (idx c = 0; c < C; c++) {
                    T norm[PLACES] = {};
                    const idx first = (n * C + c) * S + start;
                    copy(norm, norms + first, count);
                    softmax_gradient<T>(logits + c * PLACES, C * PLACES, x + first, norm, g[n], logits + c * PLACES,
                                        levels, PLACES, count);
                }
                for (idx o = 0; o < O; o++) {
                    T sum = 0;
                    #pragma omp simd reduction(+ : sum)
                    for (idx i = 0; i < count; i++) sum += logits[o * PLACES + i];
                    of_b[o] += sum;
                }
                multiply_strips<T>(out, across, logits, D, O);
                for (idx d = 0; d < D; d++) copy(gh + (n * D + d) * S + start, out + d * PLACES, count);
                transpose<T>(last, ld, in, PLACES, D, count);
                for (idx o = 0; o < O; o += ROWS)
                    for (idx v = 0, some; v < vectors; v += some) {
                        some = next_vectors(vectors - v);
                        some_vectors<T, PLACES, 1>(some, count, logits + o * PLACES, last + v * width, at, apart,
                                                   of_w + o * ld + v * width, ld, true);
                    }
            }
        }
        #pragma omp for schedule(static)
        for (idx o = 0; o < O; o++)
            for (idx d = 0; d <= D; d++) {
                T total = 0;
                const T *from = sums + (d < D ? o * ld + d : rows * ld + o);
                for (idx part = 0; part < PARTS; part++) total += from[part * size];
                (d < D ? gw[o * D + d] : gb[o]) = total;
            }
    }
    return 0;
}

}  // namespace wide
}  // namespace pixelvae
