// Correlation of image batches with small kernels that are given tap by tap.
//
// A kernel of kh x kw is stored by its first `taps` taps in raster order, so that a masked kernel costs
// only what its non-zero taps cost.  Three routines, all parallel over images (handed out as threads get free,
// since other programs may hold one up):
//   correlate          y[n,o,i,j]  = acc + bias + sum_{c,t} w[o,c,t] x[n,c, s*i+dy_t, s*j+dx_t]
//   correlate_inputs   its adjoint in x (also the forward pass of a transposed convolution)
//   correlate_weights  its adjoint in w
// The first two write max(0, .) of it if `relu` is set; inside, that is a `floor`, else minus infinity.
// (dy_t, dx_t) are measured from the kernel's centre; outside the image are zeros.
//
// How: every channel of an image is copied into a zero-padded plane (one plane for each residue of the
// coordinates modulo the stride).  Planes are flat: the zeros at the end of a row serve as the left margin of
// the next, so a tap is one constant offset in memory, and the whole sum becomes a matrix product whose
// second factor is never laid out: its row (c, t) is just a pointer into a plane.
#pragma once
#include <cstdlib>
#include <cstring>
#include <new>

#include "wide.h"
#include "winograd.h"

namespace pixelvae {

using wide::floor_div;
using wide::idx;

template <class T> struct Vector {  // 32 bytes: one AVX register; other machines split or join it
    typedef T type __attribute__((vector_size(32), aligned(sizeof(T)), may_alias));
    static const idx width = 32 / sizeof(T);
};

// Each block of the matrix product: ROWS rows of the weights by VECTORS vectors of positions.
static const idx ROWS = 4, VECTORS = 3;
// Gradients of weights are summed in at most so many parts, of so many numbers in all.
static const idx MOST_PARTS = 8, MOST_PART_SUMS = 1 << 24;

inline idx ceil_div(idx a, idx b) { return (a + b - 1) / b; }

template <class T> class Buffer {  // zeros at first, aligned to a cache line
    T *data;
    Buffer(const Buffer &);
public:
    explicit Buffer(idx size) {
        void *memory = 0;
        const idx bytes = sizeof(T) * (size > 0 ? size : 1);
        if (posix_memalign(&memory, 64, bytes)) throw std::bad_alloc();
        data = static_cast<T *>(memset(memory, 0, bytes));
    }
    ~Buffer() { free(data); }
    operator T *() { return data; }
};

// The taps of a kernel: how far each lies from the centre.
struct Taps {
    idx count, kw, cy, cx;
    Taps(idx kh, idx kw, idx count) : count(count), kw(kw), cy(kh / 2), cx(kw / 2) {}
    idx dy(idx t) const { return t / kw - cy; }
    idx dx(idx t) const { return t % kw - cx; }
};

// Zero-padded planes of `height` x `width` positions, with room for offsets from (top, left) to (bottom, right).
struct Planes {
    idx height, width, top, pitch, lead, size;
    bool padded;
    Planes(idx height, idx width, idx ymin, idx ymax, idx xmin, idx xmax, idx outputs_h, idx outputs_w)
        : height(height), width(width) {
        idx left = xmin < 0 ? -xmin : 0, right = xmax > 0 ? xmax : 0;
        idx columns = width > outputs_w ? width : outputs_w;
        top = ymin < 0 ? -ymin : 0;
        idx bottom = (outputs_h > height ? outputs_h - height : 0) + (ymax > 0 ? ymax : 0);
        pitch = columns + (left > right ? left : right);
        lead = left;
        // An image is read where it lies only if whole vectors of positions neither start before nor end behind it.
        padded = top || bottom || pitch != width || pitch * height % (wide::BYTES / sizeof(float));
        // The slack lets the last block of positions read past the end.
        size = padded ? lead + (top + height + bottom + 1) * pitch + slack() : height * width;
    }
    static idx slack() { return 64; }
    idx origin() const { return padded ? lead + top * pitch : 0; }
    idx offset(idx dy, idx dx) const { return origin() + dy * pitch + dx; }
};

// out (rows x P, rows ld apart) = packed weights times the planes; rows is a multiple of wide::ROWS.  Whole vectors are
// written: ld >= P rounded up to them.
template <class T>
void multiply(idx rows, idx K, idx P, const T *packed, const T *planes, const idx *offset, T *out, idx ld) {
    const idx width = wide::Vector<T>::width;
    for (idx p = 0, left = ceil_div(P, width), vectors; left > 0; left -= vectors, p += vectors * width) {
        vectors = wide::next_vectors(left);
        for (idx r = 0; r < rows; r += wide::ROWS)
            wide::block<T>(vectors, K, packed + r * K, planes + p, offset, out + r * ld + p, ld, false);
    }
}

// Rows y0, y0 + stride, ... of a map from those of `stride` tiles, `apart` from each other, plus bias and acc.
template <class T>
void unpad(T *map, const T *tile, idx apart, idx pitch, idx H, idx W, idx stride, idx y0, T bias, const T *acc,
           T floor) {
    for (idx y = y0; y < H; y += stride, tile += pitch)
        wide::weave(map + y * W, tile, apart, W, stride, bias, acc ? acc + y * W : 0, floor);
}

// Weights (O, C, taps) in blocks of so many rows: packed[row / ROWS][k][row % ROWS], zero rows at the end.
// Forward: row = o, k = (c, t).  Adjoint: row = c, k = (o, t) over the chosen taps.
template <class T>
void pack(T *packed, const T *w, idx O, idx C, idx taps, bool adjoint, const idx *chosen, idx n_chosen) {
    const idx rows = adjoint ? C : O, inner = adjoint ? O : C, K = inner * n_chosen;
    const idx row_step = adjoint ? taps : C * taps, inner_step = adjoint ? C * taps : taps;
    const idx ROWS = wide::ROWS;
    for (idx first = 0; first < rows; first += ROWS)
        for (idx in = 0; in < inner; in++)
            for (idx k = 0; k < n_chosen; k++, packed += ROWS)
                for (idx r = 0; r < ROWS; r++)
                    packed[r] = first + r < rows ? w[(first + r) * row_step + in * inner_step + chosen[k]] : T(0);
}

// The planes a strided correlation reads, and where each (channel, tap) starts in them.
struct Sources {
    Planes planes;
    idx stride, residues;
    Buffer<idx> offsets;  // (C, taps): offset into the planes of one image
    Sources(idx C, idx H, idx W, const Taps &taps, idx kh, idx stride, idx Ho, idx Wo)
        : planes(ceil_div(H, stride), ceil_div(W, stride), floor_div(taps.dy(0), stride),
                 floor_div(taps.dy(taps.count - 1), stride), floor_div(leftmost(taps), stride),
                 floor_div(rightmost(taps), stride), Ho, Wo),
          stride(stride), residues(stride * stride), offsets(C * taps.count) {
        for (idx c = 0; c < C; c++)
            for (idx t = 0; t < taps.count; t++) {
                idx qy = floor_div(taps.dy(t), stride), qx = floor_div(taps.dx(t), stride);
                idx residue = (taps.dy(t) - qy * stride) * stride + taps.dx(t) - qx * stride;
                offsets[c * taps.count + t] = (c * residues + residue) * planes.size + planes.offset(qy, qx);
            }
    }
    static idx leftmost(const Taps &t) { return -t.cx; }
    static idx rightmost(const Taps &t) { return t.count >= t.kw ? t.kw - 1 - t.cx : t.count - 1 - t.cx; }
    bool direct() const { return !planes.padded && stride == 1; }
    template <class T> const T *fill(T *buffer, const T *image, idx C, idx H, idx W) const {
        if (direct()) return image;
        for (idx c = 0; c < C; c++)
            for (idx y = 0; y < H; y++, image += W)
                wide::split(buffer + (c * residues + y % stride * stride) * planes.size + planes.offset(y / stride, 0),
                      planes.size, image, W, stride);
        return buffer;
    }
};

inline void all_taps(idx *chosen, idx taps) {
    for (idx t = 0; t < taps; t++) chosen[t] = t;
}

inline idx output_size(idx size, idx kernel, idx stride) { return (size + 2 * (kernel / 2) - kernel) / stride + 1; }

// Whether a layer of 3x3 taps is better done as in winograd.h: if there is enough to do to transform the maps, and not
// more weights to transform than a few images pay for.  As below, the batch has no say in it.
inline bool is_winograd(idx sources, idx rows, idx area, idx kh, idx kw, idx taps, idx stride) {
    const idx pairs = sources * rows;
    return kh == 3 && kw == 3 && taps == 9 && stride == 1 && sources >= 64 && rows >= 64 && pairs * area >= 1 << 20 &&
           pairs <= 1024 * area;
}

// Whether a layer is better done as in wide.h, which costs packing but reads from caches: if its weights and the maps
// that it reads are large, or its own maps so small that padding is most of them.  The batch's size has no say in it:
// an image gives the same bits in every batch.
inline bool is_wide(idx sources, idx area, idx rows, idx own_area, idx taps) {
    const idx weights = sources * rows * taps;
    return weights + sources * area > 150000 || (weights > 16000 && own_area < 32);
}

template <class T>
const char *correlate(const T *x, const T *w, const T *bias, const T *acc, T *y, idx N, idx C, idx H, idx W, idx O,
                      idx kh, idx kw, idx n_taps, idx stride, bool relu) {
    const Taps taps(kh, kw, n_taps);
    const T floor = wide::floor_of<T>(relu);
    const idx Ho = output_size(H, kh, stride), Wo = output_size(W, kw, stride);
    if (is_winograd(C, O, H * W, kh, kw, n_taps, stride)) {
        wide::winograd<T>(x, w, bias, acc, y, N, C, H, W, O, false, floor);
        return 0;
    }
    if (is_wide(C, H * W, O, Ho * Wo, n_taps)) {
        wide::correlate<T>(x, w, bias, acc, y, N, C, H, W, O, Ho, Wo, kh, kw, n_taps, stride, floor);
        return 0;
    }
    Sources sources(C, H, W, taps, kh, stride, Ho, Wo);
    const Planes &planes = sources.planes;
    const idx K = C * n_taps, rows = ceil_div(O, wide::ROWS) * wide::ROWS, P = Ho * planes.pitch;
    const idx ld = P + wide::Vector<T>::width;
    Buffer<idx> chosen(n_taps);
    all_taps(chosen, n_taps);
    Buffer<T> packed(rows * K);
    pack<T>(packed, w, O, C, n_taps, false, chosen, n_taps);
    const idx chunk = N < 16 ? 1 : 2;  // two images at a time must not leave a thread without any
    #pragma omp parallel
    {
        Buffer<T> buffer(sources.direct() ? 0 : C * sources.residues * planes.size);
        Buffer<T> tile(rows * ld);
        #pragma omp for schedule(dynamic, chunk)
        for (idx n = 0; n < N; n++) {
            const T *in = sources.fill<T>(buffer, x + n * C * H * W, C, H, W);
            multiply<T>(rows, K, P, packed, in, sources.offsets, tile, ld);
            for (idx o = 0; o < O; o++) {
                const idx at = (n * O + o) * Ho * Wo;
                unpad<T>(y + at, tile + o * ld, 0, planes.pitch, Ho, Wo, 1, 0, bias ? bias[o] : T(0),
                         acc ? acc + at : 0, floor);
            }
        }
    }
    return 0;
}

template <class T>
const char *correlate_inputs(const T *gy, const T *w, const T *bias, const T *acc, T *gx, idx N, idx C, idx H, idx W,
                             idx O, idx Ho, idx Wo, idx kh, idx kw, idx n_taps, idx stride, bool relu) {
    const T floor = wide::floor_of<T>(relu);
    if (is_winograd(O, C, H * W, kh, kw, n_taps, stride)) {
        wide::winograd<T>(gy, w, bias, acc, gx, N, O, H, W, C, true, floor);
        return 0;
    }
    if (is_wide(O, Ho * Wo, C, Ho * Wo, n_taps)) {
        wide::correlate_inputs<T>(gy, w, bias, acc, gx, N, C, H, W, O, Ho, Wo, kh, kw, n_taps, stride, floor);
        return 0;
    }
    const Taps taps(kh, kw, n_taps);
    const idx rows = ceil_div(C, wide::ROWS) * wide::ROWS;
    const idx hmax = ceil_div(H, stride), wmax = ceil_div(W, stride);
    // A tap that reads q places down, forward, is read q places up here.
    const Planes planes(Ho, Wo, -floor_div(taps.dy(n_taps - 1), stride), -floor_div(taps.dy(0), stride),
                        -floor_div(Sources::rightmost(taps), stride), -floor_div(Sources::leftmost(taps), stride),
                        hmax, wmax);
    const idx P = hmax * planes.pitch, ld = P + wide::Vector<T>::width, residues = stride * stride;
    Buffer<T> packed(rows * O * n_taps);
    Buffer<idx> offsets(O * n_taps), chosen(n_taps), first(residues + 1);
    // Each residue of the output's coordinates has its own taps; they are packed one after the other.
    first[0] = 0;
    for (idx r = 0; r < residues; r++) {
        idx count = 0, *own = chosen + first[r];
        for (idx t = 0; t < n_taps; t++) {
            idx qy = floor_div(taps.dy(t), stride), qx = floor_div(taps.dx(t), stride);
            if ((taps.dy(t) - qy * stride) * stride + taps.dx(t) - qx * stride == r) own[count++] = t;
        }
        first[r + 1] = first[r] + count;
        pack<T>(packed + rows * O * first[r], w, O, C, n_taps, true, own, count);
        for (idx o = 0; o < O; o++)
            for (idx k = 0; k < count; k++)
                offsets[O * first[r] + o * count + k] =
                    o * planes.size +
                    planes.offset(-floor_div(taps.dy(own[k]), stride), -floor_div(taps.dx(own[k]), stride));
    }
    const idx chunk = N < 16 ? 1 : 2;  // as above
    #pragma omp parallel
    {
        Buffer<T> buffer(planes.padded ? O * planes.size : 0);
        Buffer<T> tiles(stride * rows * ld);
        #pragma omp for schedule(dynamic, chunk)
        for (idx n = 0; n < N; n++) {
            const T *in = gy + n * O * Ho * Wo;
            if (planes.padded) {
                for (idx o = 0; o < O; o++)
                    for (idx i = 0; i < Ho; i++)
                        wide::copy(buffer + o * planes.size + planes.offset(i, 0), in + (o * Ho + i) * Wo, Wo);
                in = buffer;
            }
            for (idx y0 = 0; y0 < stride; y0++) {
                for (idx x0 = 0; x0 < stride; x0++) {
                    const idx r = y0 * stride + x0, K = O * (first[r + 1] - first[r]);
                    multiply<T>(rows, K, P, packed + rows * O * first[r], in, offsets + O * first[r],
                                tiles + x0 * rows * ld, ld);
                }
                for (idx c = 0; c < C; c++) {
                    const idx at = (n * C + c) * H * W;
                    unpad<T>(gx + at, tiles + c * ld, rows * ld, planes.pitch, H, W, stride, y0, bias ? bias[c] : T(0),
                             acc ? acc + at : 0, floor);
                }
            }
        }
    }
    return 0;
}

// sum += the products of ROWS rows of g with VECTORS rows of the planes, over P positions (a multiple of a
// vector) of each of `images` images that lie g_step and b_step apart.
template <class T>
inline void dot_block(idx P, idx images, const T *g, idx ld, idx g_step, const T *b0, const T *b1, const T *b2,
                      idx b_step, T *sum, idx K, idx n_rows, idx n_columns) {
    typedef typename Vector<T>::type V;
    const idx width = Vector<T>::width;
    V s00 = {}, s01 = {}, s02 = {}, s10 = {}, s11 = {}, s12 = {};
    V s20 = {}, s21 = {}, s22 = {}, s30 = {}, s31 = {}, s32 = {};
    for (idx n = 0; n < images; n++, g += g_step, b0 += b_step, b1 += b_step, b2 += b_step) {
        const T *g1 = g + ld, *g2 = g + 2 * ld, *g3 = g + 3 * ld;
        for (idx p = 0; p < P; p += width) {
            const V x0 = *(const V *)(b0 + p), x1 = *(const V *)(b1 + p), x2 = *(const V *)(b2 + p);
            const V y0 = *(const V *)(g + p), y1 = *(const V *)(g1 + p);
            const V y2 = *(const V *)(g2 + p), y3 = *(const V *)(g3 + p);
            s00 += y0 * x0; s01 += y0 * x1; s02 += y0 * x2;
            s10 += y1 * x0; s11 += y1 * x1; s12 += y1 * x2;
            s20 += y2 * x0; s21 += y2 * x1; s22 += y2 * x2;
            s30 += y3 * x0; s31 += y3 * x1; s32 += y3 * x2;
        }
    }
    const V all[ROWS][VECTORS] = {{s00, s01, s02}, {s10, s11, s12}, {s20, s21, s22}, {s30, s31, s32}};
    for (idx r = 0; r < n_rows; r++)
        for (idx k = 0; k < n_columns; k++) {
            typedef T Half __attribute__((vector_size(16)));
            Half half[2];
            memcpy(half, &all[r][k], sizeof(half));
            const Half pair = half[0] + half[1];
            T total = 0;
            for (idx i = 0; i < width / 2; i++) total += pair[i];
            sum[r * K + k] += total;
        }
}

template <class T>
const char *correlate_weights(const T *x, const T *gy, T *gw, idx N, idx C, idx H, idx W, idx O, idx Ho, idx Wo,
                              idx kh, idx kw, idx n_taps, idx stride) {
    if (N && C >= 8 && O >= 8 && C * n_taps >= 48) {
        wide::correlate_weights<T>(x, gy, gw, N, C, H, W, O, Ho, Wo, kh, kw, n_taps, stride);
        return 0;
    }
    const Taps taps(kh, kw, n_taps);
    Sources sources(C, H, W, taps, kh, stride, Ho, Wo);
    const Planes &planes = sources.planes;
    const idx K = C * n_taps, rows = ceil_div(O, ROWS) * ROWS, width = Vector<T>::width;
    const idx P = ceil_div(Ho * planes.pitch, width) * width;
    const bool direct = planes.pitch == Wo && P == Ho * Wo && rows == O;
    // Small images are taken several at a time, since every block ends in a sum across its vectors.
    const idx group = P < 512 ? ceil_div(512, P) : 1, groups = ceil_div(N, group);
    const idx x_step = sources.direct() ? C * H * W : C * sources.residues * planes.size;
    const idx g_step = direct ? O * Ho * Wo : rows * P;
    // The images are summed in a few parts whatever the number of threads: it does not change the bits.
    const idx size = O * K, fitting = 1 + MOST_PART_SUMS / (size ? size : 1);
    const idx most = fitting < MOST_PARTS ? fitting : MOST_PARTS, parts = groups < most ? groups : most;
    Buffer<T> sums(parts * size);
    #pragma omp parallel
    {
        Buffer<T> buffer(sources.direct() ? 0 : group * x_step);
        Buffer<T> dense(direct ? 0 : group * g_step);
        #pragma omp for schedule(dynamic)
        for (idx part = 0; part < parts; part++)
        for (idx first = part * groups / parts; first < (part + 1) * groups / parts; first++) {
            T *sum = sums + part * size;
            const idx n0 = first * group, images = N - n0 < group ? N - n0 : group;
            const T *in = x + n0 * C * H * W, *g = gy + n0 * O * Ho * Wo;
            for (idx n = 0; n < images; n++) {
                sources.fill<T>(buffer + n * x_step, in + n * C * H * W, C, H, W);
                if (!direct)
                    for (idx o = 0; o < O; o++)
                        for (idx i = 0; i < Ho; i++)
                            memcpy(dense + n * g_step + o * P + i * planes.pitch,
                                   g + ((n * O + o) * Ho + i) * Wo, sizeof(T) * Wo);
            }
            if (!sources.direct()) in = buffer;
            if (!direct) g = dense;
            for (idx o = 0; o < O; o += ROWS)
                for (idx k = 0; k < K; k += VECTORS) {
                    const idx last = K - 1, *at = sources.offsets;
                    const T *b0 = in + at[k], *b1 = in + at[k + 1 < K ? k + 1 : last],
                            *b2 = in + at[k + 2 < K ? k + 2 : last];
                    dot_block<T>(P, images, g + o * P, P, g_step, b0, b1, b2, x_step, sum + o * K + k, K,
                                 O - o < ROWS ? O - o : ROWS, K - k < VECTORS ? K - k : VECTORS);
                }
        }
    }
    for (idx i = 0; i < size; i++) {
        T total = 0;
        for (idx part = 0; part < parts; part++) total += sums[part * size + i];
        gw[i] = total;
    }
    return 0;
}

}  // namespace pixelvae
