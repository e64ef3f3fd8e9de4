// Correlations with 3x3 taps by Winograd's F(2x2, 3x3) (Lavin & Gray 2016): 16 products for 4 places instead of 36.
//
// The output is cut into tiles of 2x2 places, each of which sees a patch of 4x4.  Weights and patches are transformed,
// 16 products of matrices sum over the channels, one for each number of a patch, and the sums are transformed back.
// The columns of the products are the tiles of all images, so an image gives the same bits in every batch.
#pragma once
#include "wide.h"

namespace pixelvae {
namespace wide {

// b = B^T a of four vectors or numbers.
template <class V> inline void patch_transform(V *b, const V &a0, const V &a1, const V &a2, const V &a3) {
    b[0] = a0 - a2;
    b[1] = a1 + a2;
    b[2] = a2 - a1;
    b[3] = a1 - a3;
}

// to[16][strip][c][ROWS] = G g G^T of the weights w[row * row_step + c * c_step + tap], or with the taps turned round.
template <class T>
void transform_weights(T *to, const T *w, idx rows, idx row_step, idx channels, idx c_step, bool turned) {
    const idx strips = parts(rows, ROWS), step = strips * channels * ROWS;
    #pragma omp parallel for schedule(static)
    for (idx strip = 0; strip < strips; strip++)
        for (idx c = 0; c < channels; c++) {
            T g[9][ROWS] = {}, half[4][3][ROWS];
            const idx first = strip * ROWS;
            for (idx r = 0; r < least(ROWS, rows - first); r++) {
                const T *from = w + (first + r) * row_step + c * c_step;
                for (idx t = 0; t < 9; t++) g[t][r] = from[turned ? 8 - t : t];
            }
            for (idx j = 0; j < 3; j++)
                for (idx r = 0; r < ROWS; r++) {
                    const T outer = g[j][r] + g[6 + j][r], inner = g[3 + j][r];
                    half[0][j][r] = g[j][r];
                    half[1][j][r] = T(0.5) * (outer + inner);
                    half[2][j][r] = T(0.5) * (outer - inner);
                    half[3][j][r] = g[6 + j][r];
                }
            for (idx i = 0; i < 4; i++) {
                T *out = to + 4 * i * step + (strip * channels + c) * ROWS;
                for (idx r = 0; r < ROWS; r++) {
                    const T outer = half[i][0][r] + half[i][2][r], inner = half[i][1][r];
                    out[r] = half[i][0][r];
                    out[step + r] = T(0.5) * (outer + inner);
                    out[2 * step + r] = T(0.5) * (outer - inner);
                    out[3 * step + r] = half[i][2][r];
                }
            }
        }
}

// to[16][c][column] = B^T d B of the patches d of the tiles in some runs, which lie in rows of tiles.
template <class T>
void transform_patches(T *to, const T *x, idx C, idx H, idx W, const Run *runs, idx n_runs) {
    typedef typename Vector<T>::type Vec;
    const idx columns = Vector<T>::columns, step = C * columns;
    T d[4][4][Vector<T>::columns];
    memset(d, 0, sizeof(d));  // the same places lie outside for every channel
    for (idx c = 0; c < C; c++, to += columns) {
        for (idx n = 0; n < n_runs; n++) {
            const Run &run = runs[n];
            const idx left = 2 * run.j, length = least(2 * run.length, W - left), last = run.length - 1;
            for (idx i = 0; i < 4; i++) {
                const idx y = 2 * run.i - 1 + i;
                T *const at = d[i][0] + run.column;
                if (y < 0 || y >= H) {
                    for (idx j = 0; j < 4; j++) memset(at + j * columns, 0, run.length * sizeof(T));
                    continue;
                }
                const T *row = x + ((run.image * C + c) * H + y) * W + left;
                split(at + columns, columns, row, length, 2);
                copy(at + 1, at + 2 * columns, last);
                at[0] = left ? row[-1] : T(0);
                copy(at + 3 * columns, at + columns + 1, last);
                at[3 * columns + last] = left + 2 * run.length < W ? row[2 * run.length] : T(0);
            }
        }
        for (idx v = 0; v < columns; v += Vector<T>::width) {
            Vec rows[4][4], out[4];
            for (idx j = 0; j < 4; j++) {
                Vec column[4];
                for (idx i = 0; i < 4; i++) column[i] = *(const Vec *)(d[i][j] + v);
                patch_transform(out, column[0], column[1], column[2], column[3]);
                for (idx i = 0; i < 4; i++) rows[i][j] = out[i];
            }
            for (idx i = 0; i < 4; i++) {
                patch_transform(out, rows[i][0], rows[i][1], rows[i][2], rows[i][3]);
                for (idx j = 0; j < 4; j++) *(Vec *)(to + (4 * i + j) * step + v) = out[j];
            }
        }
    }
}

// z[2][2][column] = A^T m A of the sums m[16], `step` apart.
template <class T> inline void transform_back(T *z, const T *m, idx step) {
    typedef typename Vector<T>::type Vec;
    const idx columns = Vector<T>::columns;
    for (idx v = 0; v < columns; v += Vector<T>::width) {
        Vec top[4], low[4];
        for (idx j = 0; j < 4; j++) {
            const Vec a = *(const Vec *)(m + j * step + v), b = *(const Vec *)(m + (4 + j) * step + v);
            const Vec c = *(const Vec *)(m + (8 + j) * step + v), d = *(const Vec *)(m + (12 + j) * step + v);
            top[j] = a + b + c;
            low[j] = b - c - d;
        }
        *(Vec *)(z + v) = top[0] + top[1] + top[2];
        *(Vec *)(z + columns + v) = top[1] - top[2] - top[3];
        *(Vec *)(z + 2 * columns + v) = low[0] + low[1] + low[2];
        *(Vec *)(z + 3 * columns + v) = low[1] - low[2] - low[3];
    }
}

// y (N, O, H, W) = acc + bias + the correlation of x (N, C, H, W) with w (O, C, 9), not below the floor; `adjoint`: w is
// (C, O, 9), and its taps are turned round.
template <class T>
void winograd(const T *x, const T *w, const T *bias, const T *acc, T *y, idx N, idx C, idx H, idx W, idx O, bool adjoint,
              T floor) {
    const idx columns = Vector<T>::columns, high = parts(H, 2), wide = parts(W, 2), tiles = N * high * wide;
    const idx strips = parts(O, ROWS), groups = parts(tiles, columns), some = STRIPS * ROWS * columns;
    Scratch<T> u(16 * strips * ROWS * C);
    transform_weights<T>(u, w, O, adjoint ? 9 : C * 9, C, adjoint ? O * 9 : 9, adjoint);
    // A task is a group of tiles, of all rows or, where there are few, of a share of them.
    const int threads = omp_get_max_threads();
    const idx shares = groups ? least(parts(strips, STRIPS), parts(2 * threads, groups)) : 1;
    #pragma omp parallel num_threads(threads)
    {
        Scratch<T> patches(16 * C * columns), sums(16 * some);
        Scratch<idx> at(C);
        for (idx c = 0; c < C; c++) at[c] = c * columns;
        Run runs[columns];
        T z[4 * Vector<T>::columns];
        #pragma omp for schedule(dynamic)
        for (idx task = 0; task < groups * shares; task++) {
            const idx start = task / shares * columns, share = task % shares;
            const idx n_runs = runs_of(start, least(columns, tiles - start), high, wide, runs);
            transform_patches<T>(patches, x, C, H, W, runs, n_runs);
            for (idx s0 = share * strips / shares, s1; s0 < (share + 1) * strips / shares; s0 = s1) {
                s1 = least(s0 + STRIPS, (share + 1) * strips / shares);
                for (idx k = 0; k < 16; k++)
                    for (idx s = s0; s < s1; s++)
                        for (idx c = 0; c < C; c += DEPTH)
                            block<T>(VECTORS, least(DEPTH, C - c), u + ((k * strips + s) * C + c) * ROWS,
                                     patches + (k * C + c) * columns, at, sums + k * some + (s - s0) * ROWS * columns,
                                     columns, c > 0);
                for (idx o = s0 * ROWS; o < least(O, s1 * ROWS); o++) {
                    transform_back<T>(z, sums + (o - s0 * ROWS) * columns, some);
                    for (idx n = 0; n < n_runs; n++) {
                        const Run &run = runs[n];
                        for (idx i = 0; i < 2 && 2 * run.i + i < H; i++) {
                            const idx to = ((run.image * O + o) * H + 2 * run.i + i) * W + 2 * run.j;
                            weave(y + to, z + 2 * i * columns + run.column, columns, least(2 * run.length, W - 2 * run.j),
                                  2, bias ? bias[o] : T(0), acc ? acc + to : 0, floor);
                        }
                    }
                }
            }
        }
    }
}

}  // namespace wide
}  // namespace pixelvae
