// Correlations of wide layers, as products of large matrices that are packed block by block.
//
// The columns of a product are the output's places, over all images; the sum runs over (channel, tap).  A block of
// the sum is packed for a range of columns (shared by the threads), then each thread packs some rows of the weights
// and multiplies them with all of it, so that both lie in caches and weights are read once a batch rather than once
// an image.  Each number is summed in an order that depends neither on the batch nor on the number of threads.
#pragma once
#include <omp.h>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <new>

namespace pixelvae {
namespace wide {

typedef long idx;

// The registers' block: ROWS rows by VECTORS vectors.  32 registers of 64 bytes hold twice what 16 of 32 do.
#ifdef __AVX512F__
static const int BYTES = 64, ROWS = 8, VECTORS = 3;
#else
static const int BYTES = 32, ROWS = 4, VECTORS = 3;
#endif
// Numbers summed in one go; blocks of rows and of columns that a thread packs for itself at a time, so that what it
// reads lies in a cache of its own.
static const idx DEPTH = 384, STRIPS = 4, PANELS = 8;
// Numbers that the threads share in a cache, and that one of them has in a cache of its own.
static const idx SHARED = 1 << 20, OWN = 1 << 17;
// Gradients of so few weights over so many places are summed in parts, each by one thread.
static const idx PARTS = 16, FEW_WEIGHTS = 1 << 17, MANY_PLACES = 1 << 10;

template <class T> struct Vector {
    typedef T type __attribute__((vector_size(BYTES), aligned(sizeof(T)), may_alias));
    static const int width = BYTES / sizeof(T), columns = VECTORS * width;
};

template <class T> class Scratch {  // not initialised, aligned to a cache line
    T *data;
    Scratch(const Scratch &);
public:
    explicit Scratch(idx size) {
        void *memory = 0;
        if (posix_memalign(&memory, 64, sizeof(T) * (size > 0 ? size : 1))) throw std::bad_alloc();
        data = static_cast<T *>(memory);
    }
    ~Scratch() { free(data); }
    operator T *() { return data; }
};

inline idx parts(idx size, idx part) { return (size + part - 1) / part; }
inline idx least(idx a, idx b) { return a < b ? a : b; }
// The least number that a convolution writes, with or without rectified linear units behind it; NaN stays NaN.
template <class T> inline T floor_of(bool relu) { return relu ? T(0) : -std::numeric_limits<T>::infinity(); }
template <class V> inline V at_least(V floor, V x) { return x < floor ? floor : x; }

inline idx floor_div(idx a, idx b) { return a >= 0 ? a / b : -((b - 1 - a) / b); }

// out (ROWS x V vectors, rows ld apart) = A (K x ROWS) transposed, times the vectors at b + at[k] + apart[v]; or += that.
// The numbers of A lie ACROSS apart from row to row, and ALONG from k to k.
template <class T, int V, int ACROSS = 1, int ALONG = ROWS> __attribute__((noinline))
void block(idx K, const T *a, const T *b, const idx *at, const idx *apart, T *out, idx ld, bool add) {
    typedef typename Vector<T>::type Vec;
    const int width = Vector<T>::width;
    Vec sum[ROWS][V] = {};
    const T *from[V];
    #pragma GCC unroll 3
    for (int v = 0; v < V; v++) from[v] = b + apart[v];
    for (idx k = 0; k < K; k++, a += ALONG) {
        Vec x[V];
        #pragma GCC unroll 3
        for (int v = 0; v < V; v++) x[v] = *(const Vec *)(from[v] + at[k]);
        #pragma GCC unroll 8
        for (int r = 0; r < ROWS; r++) {
            const T factor = a[r * ACROSS];
            #pragma GCC unroll 3
            for (int v = 0; v < V; v++) sum[r][v] += factor * x[v];
        }
    }
    #pragma GCC unroll 8
    for (int r = 0; r < ROWS; r++)
        #pragma GCC unroll 3
        for (int v = 0; v < V; v++) {
            Vec *to = (Vec *)(out + r * ld + v * width);
            *to = add ? *to + sum[r][v] : sum[r][v];
        }
}

// The same for 1 to VECTORS vectors.
template <class T, int ACROSS = 1, int ALONG = ROWS>
inline void some_vectors(idx vectors, idx K, const T *a, const T *b, const idx *at, const idx *apart, T *out, idx ld,
                         bool add) {
    switch (vectors) {
    case 1: return block<T, 1, ACROSS, ALONG>(K, a, b, at, apart, out, ld, add);
    case 2: return block<T, 2, ACROSS, ALONG>(K, a, b, at, apart, out, ld, add);
    default: return block<T, 3, ACROSS, ALONG>(K, a, b, at, apart, out, ld, add);
    }
}

// Vectors that lie side by side.
template <class T>
inline void block(idx vectors, idx K, const T *a, const T *b, const idx *at, T *out, idx ld, bool add) {
    static const idx apart[VECTORS] = {0, Vector<T>::width, 2 * Vector<T>::width};
    some_vectors<T>(vectors, K, a, b, at, apart, out, ld, add);
}

// How many of so many vectors the next block takes: one alone would keep the units half busy.
inline idx next_vectors(idx left) { return left == VECTORS + 1 ? VECTORS - 1 : least(left, VECTORS); }

// Copies exactly `length` numbers; short runs are what there is most of.
template <class T> inline void copy(T *to, const T *from, idx length) {
    typedef T Eight __attribute__((vector_size(8 * sizeof(T)), aligned(sizeof(T)), may_alias));
    typedef T Four __attribute__((vector_size(4 * sizeof(T)), aligned(sizeof(T)), may_alias));
    if (length >= 8) {
        for (idx i = 0; i < length - 8; i += 8) *(Eight *)(to + i) = *(const Eight *)(from + i);
        *(Eight *)(to + length - 8) = *(const Eight *)(from + length - 8);
    } else if (length >= 4) {
        *(Four *)to = *(const Four *)from;
        *(Four *)(to + length - 4) = *(const Four *)(from + length - 4);
    } else
        for (idx i = 0; i < length; i++) to[i] = from[i];
}

template <class T> struct Four {
    typedef T type __attribute__((vector_size(4 * sizeof(T)), aligned(sizeof(T)), may_alias));
};

// Four of the eight numbers of a and b, by index.
template <int I, int J, int K, int L, class V> inline V shuffle(V a, V b) {
#if defined __clang__ || __GNUC__ >= 12
    return __builtin_shufflevector(a, b, I, J, K, L);
#else
    return __builtin_shuffle(a, b, decltype(a < b){I, J, K, L});
#endif
}

// to[r * apart + j] = from[stride * j + r], for `length` numbers.
template <class T> inline void split(T *to, idx apart, const T *from, idx length, idx stride) {
    if (stride == 1) return copy(to, from, length);
    typedef typename Four<T>::type V;
    idx done = 0;
    if (stride == 2 && length >= 8)
        for (const idx even = length & ~1; done < even; done += 8) {
            const idx at = least(done, even - 8);  // the last eight overlap those before
            const V a = *(const V *)(from + at), b = *(const V *)(from + at + 4);
            *(V *)(to + at / 2) = shuffle<0, 2, 4, 6>(a, b);
            *(V *)(to + apart + at / 2) = shuffle<1, 3, 5, 7>(a, b);
        }
    for (idx i = done && length % 2 ? length - 1 : done; i < length; i++) to[i % stride * apart + i / stride] = from[i];
}

// to[stride * j + r] = from[r * apart + j] + bias + acc, not below the floor, for `length` numbers.
template <class T>
inline void weave(T *to, const T *from, idx apart, idx length, idx stride, T bias, const T *acc, T floor) {
    if (stride == 1) {
        if (acc) for (idx i = 0; i < length; i++) to[i] = at_least(floor, from[i] + bias + acc[i]);
        else for (idx i = 0; i < length; i++) to[i] = at_least(floor, from[i] + bias);
        return;
    }
    typedef typename Four<T>::type V;
    idx done = 0;
    if (stride == 2 && length >= 8)
        for (const idx even = length & ~1; done < even; done += 8) {
            const idx at = least(done, even - 8);  // as above
            const V a = *(const V *)(from + at / 2) + bias, b = *(const V *)(from + apart + at / 2) + bias;
            V low = shuffle<0, 4, 1, 5>(a, b), high = shuffle<2, 6, 3, 7>(a, b);
            if (acc) {
                low += *(const V *)(acc + at);
                high += *(const V *)(acc + at + 4);
            }
            *(V *)(to + at) = at_least(V{} + floor, low);
            *(V *)(to + at + 4) = at_least(V{} + floor, high);
        }
    for (idx i = done && length % 2 ? length - 1 : done; i < length; i++)
        to[i] = at_least(floor, from[i % stride * apart + i / stride] + bias + (acc ? acc[i] : T(0)));
}

// to[x * to_step + row] = from[row * from_step + x], four by four.
template <class T>
inline void transpose(T *to, idx to_step, const T *from, idx from_step, idx rows, idx length) {
    typedef T Four __attribute__((vector_size(4 * sizeof(T)), aligned(sizeof(T)), may_alias));
    if (rows < 4 || length < 4) {
        for (idx x = 0; x < length; x++)
            for (idx r = 0; r < rows; r++) to[x * to_step + r] = from[r * from_step + x];
        return;
    }
    for (idx row = 0; row < rows; row += 4) {
        const idx r = least(row, rows - 4);  // the last four overlap those before
        for (idx column = 0; column < length; column += 4) {
            const idx x = least(column, length - 4);
            const T *in = from + r * from_step + x;
            T *out = to + x * to_step + r;
            const Four a = *(const Four *)in, b = *(const Four *)(in + from_step);
            const Four c = *(const Four *)(in + 2 * from_step), d = *(const Four *)(in + 3 * from_step);
            const Four ab = shuffle<0, 4, 1, 5>(a, b), cd = shuffle<0, 4, 1, 5>(c, d);
            const Four AB = shuffle<2, 6, 3, 7>(a, b), CD = shuffle<2, 6, 3, 7>(c, d);
            *(Four *)out = shuffle<0, 1, 4, 5>(ab, cd);
            *(Four *)(out + to_step) = shuffle<2, 3, 6, 7>(ab, cd);
            *(Four *)(out + 2 * to_step) = shuffle<0, 1, 4, 5>(AB, CD);
            *(Four *)(out + 3 * to_step) = shuffle<2, 3, 6, 7>(AB, CD);
        }
    }
}

// A batch of maps, of which the places (top + step i, left + step j) are read or written.
struct Maps {
    idx channels, height, width, step, top, left;
    idx area() const { return height * width; }
};

// How far a tap lies from the place that it counts for.
struct Tap { idx dy, dx; };

inline void fill_taps(Tap *taps, idx kh, idx kw, idx n_taps) {
    for (idx t = 0; t < n_taps; t++) {
        taps[t].dy = t / kw - kh / 2;
        taps[t].dx = t % kw - kw / 2;
    }
}

// A run of columns that lie in one row of the maps.
struct Run { idx column, length, image, i, j; };

// The columns first .. first + count of `height` x `width` places an image, as runs; how many.
inline idx runs_of(idx first, idx count, idx height, idx width, Run *runs) {
    idx n = 0;
    for (idx column = 0; column < count; n++) {
        const idx place = first + column, line = place / width;
        Run &run = runs[n];
        run.column = column;
        run.image = line / height;
        run.i = line % height;
        run.j = place % width;
        run.length = least(width - run.j, count - column);
        column += run.length;
    }
    return n;
}

// What a tap reads for a run inside the maps: `length` numbers at `from` of a channel.
struct Piece { idx to, from, length; };

inline idx find_pieces(Piece *pieces, const Maps &maps, const Tap *taps, idx n_taps, const Run *runs, idx n_runs,
                       idx columns) {
    idx count = 0;
    for (idx t = 0; t < n_taps; t++)
        for (idx n = 0; n < n_runs; n++) {
            const Run &run = runs[n];
            const idx y = maps.top + run.i * maps.step + taps[t].dy, x = maps.left + run.j * maps.step + taps[t].dx;
            const idx begin = x < 0 ? parts(-x, maps.step) : 0;
            const idx end = x < maps.width ? least(run.length, parts(maps.width - x, maps.step)) : 0;
            if (y < 0 || y >= maps.height || begin >= end) continue;
            Piece &piece = pieces[count++];
            piece.to = t * columns + run.column + begin;
            piece.from = (run.image * maps.channels * maps.height + y) * maps.width + x + begin * maps.step;
            piece.length = end - begin;
        }
    return count;
}

// One row of columns for each (channel, tap), zero outside the maps.  Channel by channel, so that memory is read and
// written in order.
template <class T>
void pack_columns(T *packed, const T *x, const Maps &maps, idx channels, idx n_taps, const Piece *pieces, idx n_pieces) {
    const idx row = n_taps * Vector<T>::columns;
    for (idx c = 0; c < channels; c++, x += maps.area(), packed += row) {
        memset(packed, 0, row * sizeof(T));
        for (idx n = 0; n < n_pieces; n++) {
            const Piece &piece = pieces[n];
            T *to = packed + piece.to;
            const T *from = x + piece.from;
            if (maps.step == 1) copy(to, from, piece.length);
            else for (idx p = 0; p < piece.length; p++) to[p] = from[p * maps.step];
        }
    }
}

// ROWS rows of the weights: packed[c, tap][row], zeros for rows that there are not.
template <class T>
void pack_rows(T *packed, const T *w, idx rows, idx row_step, idx channels, idx c_step, const idx *tap_at, idx n_taps) {
    if (rows < ROWS) memset(packed, 0, channels * n_taps * ROWS * sizeof(T));
    const bool all = n_taps == 0 || tap_at[n_taps - 1] == n_taps - 1;  // the taps are in order
    if (all && c_step == n_taps) return transpose(packed, ROWS, w, row_step, rows, channels * n_taps);
    for (idx c = 0; c < channels; c++, w += c_step, packed += n_taps * ROWS)
        if (all) transpose(packed, ROWS, w, row_step, rows, n_taps);
        else
            for (idx t = 0; t < n_taps; t++)
                for (idx r = 0; r < rows; r++) packed[t * ROWS + r] = w[r * row_step + tap_at[t]];
}

// One row of a tile into the maps, with bias, acc (or 0) and floor.
template <class T>
inline void write_row(T *to, const T *sums, idx length, idx step, T bias, const T *acc, T floor) {
    if (step == 1 && acc)
        for (idx p = 0; p < length; p++) to[p] = at_least(floor, sums[p] + bias + acc[p]);
    else if (step == 1)
        for (idx p = 0; p < length; p++) to[p] = at_least(floor, sums[p] + bias);
    else
        for (idx p = 0; p < length; p++) to[p * step] = at_least(floor, sums[p] + bias + (acc ? acc[p * step] : T(0)));
}

// out[n, row, place] = acc + bias + sum over channels c and taps of w[row * row_step + c * c_step + tap] times
// in[n, c, place + tap], at h x w places of each image.
template <class T>
void product(idx N, const T *in, Maps source, const Tap *taps, const idx *tap_at, idx n_taps, const T *weights,
             idx row_step, idx c_step, T *out, Maps target, idx h, idx w, const T *bias, const T *acc,
             T floor) {
    if (n_taps == 1 && source.step == 1 && target.step == 1 && !taps[0].dy && !taps[0].dx) {
        w *= h;  // 1x1: a map is one long line
        source.width = target.width = w;
        source.height = target.height = h = 1;
    }
    const idx columns = Vector<T>::columns, rows = target.channels, places = N * h * w, panels = parts(places, columns);
    const idx channels = n_taps ? least(source.channels, parts(DEPTH, n_taps)) : source.channels;  // summed in one go
    const idx depth = channels * n_taps, strips = parts(rows, ROWS);
    // A task is a set of columns, of all rows or, where there are few columns, of a share of them.
    const int threads = omp_get_max_threads();
    const idx few = parts(panels, 2 * threads), set_panels = few < PANELS / 2 ? PANELS / 2 : least(few, PANELS);
    const idx sets = parts(panels, set_panels);
    const idx shares = sets ? least(parts(strips, STRIPS), parts(2 * threads, sets)) : 1;
    const idx size = (set_panels * columns + STRIPS * ROWS) * depth;
    // The sums of a task stay side by side until they are whole: a row of a small map is soon at its end.
    const idx tile = ROWS * columns, tiles = channels < source.channels ? set_panels * parts(strips, shares) : 1;
    Scratch<T> own(threads * size), own_sums(threads * tiles * tile);
    Scratch<Piece> own_pieces(threads * n_taps * columns);
    Scratch<idx> row_at(depth);
    for (idx k = 0; k < depth; k++) row_at[k] = k * columns;
    #pragma omp parallel for num_threads(threads) schedule(dynamic)
    for (idx task = 0; task < sets * shares; task++) {
        const idx panel0 = task / shares * set_panels, panel1 = least(panels, panel0 + set_panels);
        const idx strip0 = task % shares * strips / shares, strip1 = (task % shares + 1) * strips / shares;
        T *packed = own + omp_get_thread_num() * size, *a = packed + set_panels * depth * columns;
        T *sums = own_sums + omp_get_thread_num() * tiles * tile;
        Piece *pieces = own_pieces + omp_get_thread_num() * n_taps * columns;
        Run runs[columns];
        for (idx c0 = 0; c0 < source.channels; c0 += channels) {
            const idx c1 = least(c0 + channels, source.channels), K = (c1 - c0) * n_taps;
            const bool last = c1 == source.channels;
            for (idx panel = panel0; panel < panel1; panel++) {
                const idx start = panel * columns, n_runs = runs_of(start, least(columns, places - start), h, w, runs);
                const idx n_pieces = find_pieces(pieces, source, taps, n_taps, runs, n_runs, columns);
                pack_columns(packed + (panel - panel0) * depth * columns, in + c0 * source.area(), source, c1 - c0,
                             n_taps, pieces, n_pieces);
            }
            for (idx some = strip0; some < strip1; some += STRIPS) {
                const idx end = least(strip1, some + STRIPS);
                for (idx s = some; s < end; s++)
                    pack_rows(a + (s - some) * depth * ROWS, weights + s * ROWS * row_step + c0 * c_step,
                              least(ROWS, rows - s * ROWS), row_step, c1 - c0, c_step, tap_at, n_taps);
                for (idx panel = panel0; panel < panel1; panel++) {
                    const idx start = panel * columns, count = least(columns, places - start);
                    const idx n_runs = last ? runs_of(start, count, h, w, runs) : 0;  // until then nothing is written
                    for (idx s = some; s < end; s++) {
                        T *own_tile = sums + (tiles > 1 ? (s - strip0) * set_panels + panel - panel0 : 0) * tile;
                        block<T>(parts(count, Vector<T>::width), K, a + (s - some) * depth * ROWS,
                                 packed + (panel - panel0) * depth * columns, row_at, own_tile, columns, c0 > 0);
                        for (idx n = 0; n < n_runs; n++) {
                            const Run &run = runs[n];
                            const idx begin = run.image * rows * target.area() +
                                              (target.top + run.i * target.step) * target.width + target.left +
                                              run.j * target.step;
                            for (idx r = s * ROWS; r < least(rows, (s + 1) * ROWS); r++) {
                                const idx to = begin + r * target.area();
                                write_row<T>(out + to, own_tile + (r - s * ROWS) * columns + run.column, run.length,
                                             target.step, bias ? bias[r] : T(0), acc ? acc + to : 0, floor);
                            }
                        }
                    }
                }
            }
        }
    }
}

template <class T>
void correlate(const T *x, const T *w, const T *bias, const T *acc, T *y, idx N, idx C, idx H, idx W, idx O, idx Ho,
               idx Wo, idx kh, idx kw, idx n_taps, idx stride, T floor) {
    Scratch<Tap> taps(n_taps);
    Scratch<idx> at(n_taps);
    fill_taps(taps, kh, kw, n_taps);
    for (idx t = 0; t < n_taps; t++) at[t] = t;
    const Maps source = {C, H, W, stride, 0, 0}, target = {O, Ho, Wo, 1, 0, 0};
    product<T>(N, x, source, taps, at, n_taps, w, C * n_taps, n_taps, y, target, Ho, Wo, bias, acc,
               floor);
}

template <class T>
void correlate_inputs(const T *gy, const T *w, const T *bias, const T *acc, T *gx, idx N, idx C, idx H, idx W, idx O,
                      idx Ho, idx Wo, idx kh, idx kw, idx n_taps, idx stride, T floor) {
    Scratch<Tap> taps(n_taps), own(n_taps);
    Scratch<idx> at(n_taps);
    fill_taps(taps, kh, kw, n_taps);
    // The places of one residue modulo the stride have their own taps.
    for (idx top = 0; top < least(stride, H); top++)
        for (idx left = 0; left < least(stride, W); left++) {
            idx n = 0;
            for (idx t = 0; t < n_taps; t++) {
                const idx qy = floor_div(taps[t].dy, stride), qx = floor_div(taps[t].dx, stride);
                if (taps[t].dy - qy * stride != top || taps[t].dx - qx * stride != left) continue;
                own[n].dy = -qy;
                own[n].dx = -qx;
                at[n++] = t;
            }
            const Maps source = {O, Ho, Wo, 1, 0, 0}, target = {C, H, W, stride, top, left};
            product<T>(N, gy, source, own, at, n, w, n_taps, C * n_taps, gx, target, parts(H - top, stride),
                       parts(W - left, stride), bias, acc, floor);
        }
}

// A batch with the channels last, in blocks of so many, each inside a plane with rows of `pitch` places.  Threads do not
// wait for each other at its end.
template <class T>
void channels_last(T *to, idx image_step, idx block_step, idx block, idx pitch, idx top, idx left, const T *from, idx N,
                   idx C, idx H, idx W) {
    #pragma omp for collapse(2) schedule(static) nowait
    for (idx n = 0; n < N; n++)
        for (idx c = 0; c < C; c += block)
            for (idx y = 0; y < H; y++)
                transpose(to + n * image_step + c / block * block_step + ((y + top) * pitch + left) * block, block,
                          from + ((n * C + c) * H + y) * W, H * W, least(block, C - c), W);
}

// The gradient of weights by a team of threads that shares a cache with room for `cached` numbers.
template <class T>
void weights_by_team(const T *x, const T *gy, T *gw, idx N, idx C, idx H, idx W, idx O, idx Ho, idx Wo, idx kh, idx kw,
                     idx n_taps, idx stride, int threads, idx cached) {
    const idx cy = kh / 2, cx = kw / 2;
    Scratch<Tap> taps(n_taps);
    fill_taps(taps, kh, kw, n_taps);
    const idx width = Vector<T>::width, blocks = parts(C, width), strips = parts(O, ROWS), area = Ho * Wo;
    // A task is some rows and some blocks of channels, with all taps.
    const idx sets = parts(blocks, VECTORS), set_blocks = parts(blocks, sets), vectors = set_blocks * n_taps;
    const idx task_strips = strips * sets < 32 ? 1 : STRIPS, groups = parts(strips, task_strips);
    const idx below = (Ho - 1) * stride + taps[n_taps - 1].dy + 1, beside = (Wo - 1) * stride + cx + 1;
    const idx height = cy + (H > below ? H : below), pitch = cx + (W > beside ? W : beside);
    const idx plane = height * pitch * width, map = blocks * plane;
    // So many images at a time that their copies fit in a cache; the more, the larger the sums that each set adds to.
    const idx fitting = (cached + O * C * n_taps) / (map + strips * ROWS * area);
    const idx images = least(N, fitting > 1 ? fitting : 1), strip = images * area * ROWS;
    const idx ld = vectors * width, tile = ROWS * ld;
    Scratch<T> maps(images * map), rows(strips * strip), own(threads * task_strips * tile);
    Scratch<idx> at(images * area), apart(vectors);
    for (idx p = 0; p < images * area; p++)
        at[p] = p / area * map + ((p % area / Wo * stride + cy) * pitch + p % Wo * stride + cx) * width;
    for (idx v = 0; v < vectors; v++) {
        const Tap &tap = taps[v % n_taps];
        apart[v] = v / n_taps * plane + (tap.dy * pitch + tap.dx) * width;
    }
    #pragma omp parallel num_threads(threads)
    {
        #pragma omp for schedule(static)
        for (idx n = 0; n < images; n++) memset(maps + n * map, 0, map * sizeof(T));
        if (O % ROWS) {
            #pragma omp single
            memset(rows + (strips - 1) * strip, 0, strip * sizeof(T));
        }
        for (idx n0 = 0; n0 < N; n0 += images) {
            const idx n = least(images, N - n0), P = n * area;
            channels_last<T>(maps, map, plane, width, pitch, cy, cx, x + n0 * C * H * W, n, C, H, W);
            channels_last<T>(rows, area * ROWS, strip, ROWS, area, 0, 0, gy + n0 * O * area, n, O, 1, area);
            #pragma omp barrier
            #pragma omp for schedule(dynamic)
            for (idx task = 0; task < groups * sets; task++) {
                const idx strip0 = task % groups * task_strips, strip1 = least(strips, strip0 + task_strips);
                const idx block0 = task / groups * set_blocks, block1 = least(blocks, block0 + set_blocks);
                const idx own_vectors = (block1 - block0) * n_taps;
                T *sums = own + omp_get_thread_num() * task_strips * tile;
                for (idx p = 0; p < P; p += DEPTH)
                    for (idx s = strip0; s < strip1; s++)
                        for (idx v = 0, some; v < own_vectors; v += some) {
                            some = next_vectors(own_vectors - v);
                            some_vectors<T>(some, least(DEPTH, P - p), rows + s * strip + p * ROWS,
                                            maps + block0 * plane, at + p, apart + v,
                                            sums + (s - strip0) * tile + v * width, ld, p > 0);
                        }
                for (idx o = strip0 * ROWS; o < least(O, strip1 * ROWS); o++)
                    for (idx c = block0 * width; c < least(C, block1 * width); c++) {
                        T *to = gw + (o * C + c) * n_taps;
                        const T *from = sums + (o - strip0 * ROWS) * ld + (c / width - block0) * n_taps * width + c % width;
                        for (idx t = 0; t < n_taps; t++) to[t] = n0 ? to[t] + from[t * width] : from[t * width];
                    }
            }
        }
    }
}

template <class T>
void correlate_weights(const T *x, const T *gy, T *gw, idx N, idx C, idx H, idx W, idx O, idx Ho, idx Wo, idx kh,
                       idx kw, idx n_taps, idx stride) {
    const idx size = O * C * n_taps;
    if (N < PARTS || size > FEW_WEIGHTS || N * Ho * Wo < PARTS * MANY_PLACES)
        return weights_by_team<T>(x, gy, gw, N, C, H, W, O, Ho, Wo, kh, kw, n_taps, stride, omp_get_max_threads(),
                                  SHARED);
    // As many parts whatever the number of threads, which would change the bits.
    Scratch<T> sums(PARTS * size);
    #pragma omp parallel
    {
        #pragma omp for schedule(dynamic)
        for (idx part = 0; part < PARTS; part++) {
            const idx n0 = part * N / PARTS, n1 = (part + 1) * N / PARTS;
            weights_by_team<T>(x + n0 * C * H * W, gy + n0 * O * Ho * Wo, sums + part * size, n1 - n0, C, H, W, O, Ho,
                               Wo, kh, kw, n_taps, stride, 1, OWN);
        }
        #pragma omp for schedule(static)
        for (idx i = 0; i < size; i++) {
            T total = 0;
            for (idx part = 0; part < PARTS; part++) total += sums[part * size + i];
            gw[i] = total;
        }
    }
}

}  // namespace wide
}  // namespace pixelvae
