/* libcudnn.so.9: convolution with both gradients, batch norm and sums, of maps (N, C, H, W), as cuDNN documents them.
 *
 * Work happens in double precision. Of the algorithms that a card offers three stand for all: one that needs no
 * workspace, one that does, and one whose sums change from time to time, which comes first. The environment has
 * EMULATED_CUDNN (91002) and EMULATED_CUDNN_CUDA (12000), the versions of the library and of the CUDA it was made for. */
#include "emulated.h"
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <cudnn.h>
#include <limits>
#include <numeric>
#include <type_traits>
#include <vector>

typedef cudnnStatus_t Status;
static const Status OK = CUDNN_STATUS_SUCCESS, BAD = CUDNN_STATUS_BAD_PARAM, UNSUPPORTED = CUDNN_STATUS_NOT_SUPPORTED;

struct Shaped {
  cudnnDataType_t type;
  std::vector<int> shape, strides;
  size_t count() const { return std::accumulate(shape.begin(), shape.end(), (size_t)1, std::multiplies<size_t>()); }
  size_t bytes() const { /* from the first element to behind the last */
    size_t last = 0;
    for (size_t i = 0; i < shape.size(); i++) last += (size_t)(shape[i] - 1) * strides[i];
    return (last + 1) * (type == CUDNN_DATA_DOUBLE ? 8 : 4);
  }
};
struct cudnnContext { int device; };
struct cudnnTensorStruct : Shaped {};
struct cudnnFilterStruct : Shaped {};
struct cudnnConvolutionStruct {
  int padding[2], stride[2];
  cudnnConvolutionMode_t mode;
  cudnnDataType_t type;
  cudnnMathType_t math;
};
struct cudnnReduceTensorStruct { cudnnReduceTensorOp_t op; };

#define REFUSE_IF(condition, status) \
  do { \
    if (condition) return emulated_refuse("cuDNN, %s: %s", __func__, #condition), status; \
  } while (0)
#define CHECK(call) \
  do { \
    if (Status status = call) return status; \
  } while (0)

/* ---- arrays: read into double precision in raster order, and written back as alpha * result + beta * before ---- */
template <class F> static void each(const Shaped &array, F f) {
  size_t count = array.count();
  for (size_t i = 0; i < count; i++) {
    size_t rest = i, offset = 0;
    for (size_t axis = array.shape.size(); axis--; rest /= array.shape[axis])
      offset += rest % array.shape[axis] * array.strides[axis];
    f(i, offset);
  }
}
static std::vector<double> read(const Shaped &array, const void *data, bool tf32 = false) {
  std::vector<double> result(array.count());
  each(array, [&](size_t i, size_t offset) {
    result[i] = array.type == CUDNN_DATA_DOUBLE ? ((const double *)data)[offset] : ((const float *)data)[offset];
    if (tf32) { /* ten bits of the fraction */
      float x = result[i];
      unsigned bits;
      memcpy(&bits, &x, 4), bits = (bits + 0x1000) & 0xffffe000, memcpy(&x, &bits, 4);
      result[i] = x;
    }
  });
  return result;
}
static double scalar(const Shaped &array, const void *value) {
  return array.type == CUDNN_DATA_DOUBLE ? *(const double *)value : *(const float *)value;
}
static void write(const Shaped &array, void *data, const std::vector<double> &result, const void *alpha, const void *beta) {
  double a = scalar(array, alpha), b = scalar(array, beta);
  each(array, [&](size_t i, size_t offset) {
    if (array.type == CUDNN_DATA_DOUBLE) {
      double &y = ((double *)data)[offset];
      y = a * result[i] + (b == 0 ? 0 : b * y);
    } else {
      float &y = ((float *)data)[offset];
      y = a * result[i] + (b == 0 ? 0 : b * y);
    }
  });
}
static bool reachable(const Shaped &array, const void *data) { return emulated_on_device(data, array.bytes()); }

static Status set(Shaped &array, cudnnDataType_t type, int axes, const int *shape, const int *strides) {
  REFUSE_IF(type != CUDNN_DATA_FLOAT && type != CUDNN_DATA_DOUBLE, UNSUPPORTED);
  REFUSE_IF(axes < 3 || axes > CUDNN_DIM_MAX, BAD);
  REFUSE_IF(std::any_of(shape, shape + axes, [](int n) { return n <= 0; }), BAD);
  array.type = type;
  array.shape.assign(shape, shape + axes);
  array.strides.assign(axes, 1);
  for (int i = axes - 1; i-- > 0;) array.strides[i] = array.strides[i + 1] * shape[i + 1];
  if (strides) array.strides.assign(strides, strides + axes);
  return OK;
}
static void get(const Shaped &array, int asked, cudnnDataType_t *type, int *axes, int *shape, int *strides) {
  int count = array.shape.size(), most = std::min(asked, count);
  *type = array.type, *axes = count;
  std::copy_n(array.shape.begin(), most, shape);
  if (strides) std::copy_n(array.strides.begin(), most, strides);
}

extern "C" {
static size_t version(const char *name, size_t usual) { return emulated_setting(name, usual); }
size_t cudnnGetVersion(void) { return version("EMULATED_CUDNN", CUDNN_VERSION); }
size_t cudnnGetCudartVersion(void) { return version("EMULATED_CUDNN_CUDA", 12000); }
const char *cudnnGetErrorString(Status status) {
  static thread_local char text[40];
  return snprintf(text, sizeof text, "cuDNN's status %d", status), text;
}
Status cudnnCreate(cudnnHandle_t *handle) { return *handle = new cudnnContext{emulated_device()}, OK; }
Status cudnnDestroy(cudnnHandle_t handle) { return delete handle, OK; }
#define ON_ITS_DEVICE(handle) REFUSE_IF((handle)->device != emulated_device(), BAD)

#define LIFE(NAME, STRUCT) \
  Status cudnnCreate##NAME##Descriptor(cudnn##NAME##Descriptor_t *made) { return *made = new STRUCT(), OK; } \
  Status cudnnDestroy##NAME##Descriptor(cudnn##NAME##Descriptor_t one) { return delete one, OK; }
LIFE(Tensor, cudnnTensorStruct)
LIFE(Filter, cudnnFilterStruct)
LIFE(Convolution, cudnnConvolutionStruct)
LIFE(ReduceTensor, cudnnReduceTensorStruct)

Status cudnnSetTensorNdDescriptor(cudnnTensorDescriptor_t array, cudnnDataType_t type, int axes, const int *shape,
                                  const int *strides) {
  return set(*array, type, axes, shape, strides);
}
Status cudnnGetTensorNdDescriptor(const cudnnTensorDescriptor_t array, int asked, cudnnDataType_t *type, int *axes,
                                  int *shape, int *strides) {
  return get(*array, asked, type, axes, shape, strides), OK;
}
Status cudnnSetFilterNdDescriptor(cudnnFilterDescriptor_t array, cudnnDataType_t type, cudnnTensorFormat_t format, int axes,
                                  const int *shape) {
  REFUSE_IF(format != CUDNN_TENSOR_NCHW, UNSUPPORTED);
  return set(*array, type, axes, shape, nullptr);
}
Status cudnnGetFilterNdDescriptor(const cudnnFilterDescriptor_t array, int asked, cudnnDataType_t *type,
                                  cudnnTensorFormat_t *format, int *axes, int *shape) {
  return *format = CUDNN_TENSOR_NCHW, get(*array, asked, type, axes, shape, nullptr), OK;
}

/* ---- convolution ---- */
Status cudnnSetConvolutionNdDescriptor(cudnnConvolutionDescriptor_t c, int axes, const int *padding, const int *stride,
                                       const int *dilation, cudnnConvolutionMode_t mode, cudnnDataType_t type) {
  REFUSE_IF(axes != 2 || dilation[0] != 1 || dilation[1] != 1, UNSUPPORTED);
  REFUSE_IF(padding[0] < 0 || padding[1] < 0 || stride[0] <= 0 || stride[1] <= 0, BAD);
  std::copy_n(padding, 2, c->padding), std::copy_n(stride, 2, c->stride);
  return c->mode = mode, c->type = type, c->math = CUDNN_DEFAULT_MATH, OK;
}
Status cudnnGetConvolutionNdDescriptor(const cudnnConvolutionDescriptor_t c, int asked, int *axes, int *padding, int *stride,
                                       int *dilation, cudnnConvolutionMode_t *mode, cudnnDataType_t *type) {
  int most = std::min(asked, 2);
  std::copy_n(c->padding, most, padding), std::copy_n(c->stride, most, stride), std::fill_n(dilation, most, 1);
  return *axes = 2, *mode = c->mode, *type = c->type, OK;
}
Status cudnnSetConvolutionMathType(cudnnConvolutionDescriptor_t c, cudnnMathType_t math) { return c->math = math, OK; }
Status cudnnGetConvolutionMathType(cudnnConvolutionDescriptor_t c, cudnnMathType_t *math) { return *math = c->math, OK; }
Status cudnnSetConvolutionGroupCount(cudnnConvolutionDescriptor_t, int count) {
  REFUSE_IF(count != 1, UNSUPPORTED);
  return OK;
}
Status cudnnGetConvolutionGroupCount(cudnnConvolutionDescriptor_t, int *count) { return *count = 1, OK; }
Status cudnnGetConvolutionNdForwardOutputDim(const cudnnConvolutionDescriptor_t c, const cudnnTensorDescriptor_t x,
                                             const cudnnFilterDescriptor_t w, int axes, int *shape) {
  REFUSE_IF(axes != 4 || x->shape.size() != 4 || w->shape.size() != 4, UNSUPPORTED);
  REFUSE_IF(x->shape[1] != w->shape[1], BAD);
  shape[0] = x->shape[0], shape[1] = w->shape[0];
  for (int i = 0; i < 2; i++) {
    int room = x->shape[i + 2] + 2 * c->padding[i] - w->shape[i + 2];
    REFUSE_IF(room < 0, BAD);
    shape[i + 2] = room / c->stride[i] + 1;
  }
  return OK;
}
}

enum Direction { FORWARD, DATA, FILTER };
enum { WORST = 0, CAREFUL = 1 }; /* algorithms: the one without a workspace, and the one with; by the numbers of cudnn.h */

static Status fits(const cudnnConvolutionStruct *c, const cudnnTensorStruct *x, const cudnnFilterStruct *w,
                   const cudnnTensorStruct *y) {
  std::vector<int> shape(4);
  CHECK(cudnnGetConvolutionNdForwardOutputDim((cudnnConvolutionDescriptor_t)c, (cudnnTensorDescriptor_t)x,
                                              (cudnnFilterDescriptor_t)w, 4, shape.data()));
  REFUSE_IF(y->shape != shape, BAD);
  REFUSE_IF(x->type != w->type || x->type != y->type || x->type != c->type, BAD);
  return OK;
}
static Status workspace(int algorithm, const cudnnConvolutionStruct *c, const cudnnTensorStruct *x,
                        const cudnnFilterStruct *w, const cudnnTensorStruct *y, size_t *size) {
  CHECK(fits(c, x, w, y));
  *size = algorithm == CAREFUL ? 4 * (x->count() + w->count()) : 0;
  return algorithm == CAREFUL || algorithm == WORST ? OK : CUDNN_STATUS_NOT_SUPPORTED_SHAPE;
}
/* What is on offer, the best first: with TF32 and without. Backwards, algorithm 0 adds in whatever order. */
template <class Offer>
static Status offers(Direction direction, const cudnnConvolutionStruct *c, const cudnnTensorStruct *x,
                     const cudnnFilterStruct *w, const cudnnTensorStruct *y, int asked, int *count, Offer *out) {
  CHECK(fits(c, x, w, y));
  *count = 0;
  for (cudnnMathType_t math : {CUDNN_TENSOR_OP_MATH, CUDNN_DEFAULT_MATH})
    for (int algorithm : {WORST, CAREFUL}) {
      if ((math == CUDNN_TENSOR_OP_MATH && c->math == CUDNN_FMA_MATH) || *count == asked) continue;
      Offer &offer = out[(*count)++];
      memset(&offer, 0, sizeof offer);
      offer.algo = (decltype(offer.algo))algorithm;
      offer.status = workspace(algorithm, c, x, w, y, &offer.memory);
      offer.time = 1 + *count, offer.mathType = math;
      offer.determinism = direction == FORWARD || algorithm == CAREFUL ? CUDNN_DETERMINISTIC : CUDNN_NON_DETERMINISTIC;
    }
  return OK;
}

/* All three directions are sums of products over the same pairs of places. */
static void convolve(Direction direction, const cudnnConvolutionStruct *c, const Shaped &X, const Shaped &W, const Shaped &Y,
                     std::vector<double> &x, std::vector<double> &w, std::vector<double> &y) {
  const int N = X.shape[0], C = X.shape[1], H = X.shape[2], V = X.shape[3], O = W.shape[0], kh = W.shape[2], kw = W.shape[3],
            Ho = Y.shape[2], Wo = Y.shape[3], stride = c->stride[1];
  for (int n = 0; n < N; n++)
    for (int o = 0; o < O; o++)
      for (int ch = 0; ch < C; ch++)
        for (int tap = 0; tap < kh * kw; tap++) {
          int i = tap / kw, j = tap % kw, place = c->mode == CUDNN_CROSS_CORRELATION ? tap : kh * kw - 1 - tap;
          double &weight = w[((size_t)o * C + ch) * kh * kw + place];
          /* Columns of y whose partner lies inside x. */
          int first = std::max(0, (c->padding[1] - j + stride - 1) / stride);
          int last = V - 1 + c->padding[1] - j < 0 ? -1 : std::min(Wo - 1, (V - 1 + c->padding[1] - j) / stride);
          for (int row = 0; row < Ho; row++) {
            int from = row * c->stride[0] - c->padding[0] + i;
            if (from < 0 || from >= H) continue;
            double *xs = &x[(((size_t)n * C + ch) * H + from) * V] - c->padding[1] + j;
            double *ys = &y[(((size_t)n * O + o) * Ho + row) * Wo];
            if (direction == FORWARD)
              for (int q = first; q <= last; q++) ys[q] += weight * xs[q * stride];
            if (direction == DATA)
              for (int q = first; q <= last; q++) xs[q * stride] += weight * ys[q];
            if (direction == FILTER)
              for (int q = first; q <= last; q++) weight += xs[q * stride] * ys[q];
          }
        }
}
static Status run(Direction direction, cudnnHandle_t handle, const cudnnConvolutionStruct *c, const cudnnTensorStruct *x,
                  const void *xs, const cudnnFilterStruct *w, const void *ws, const cudnnTensorStruct *y, const void *ys,
                  int algorithm, void *space, size_t size, const void *alpha, const void *beta) {
  ON_ITS_DEVICE(handle);
  size_t needed;
  Status supported = workspace(algorithm, c, x, w, y, &needed);
  REFUSE_IF(supported != OK, supported);
  REFUSE_IF(size < needed || !emulated_on_device(space, needed), BAD);
  REFUSE_IF(!reachable(*x, xs) || !reachable(*w, ws) || !reachable(*y, ys), BAD);
  if (needed) memset(space, 0xff, needed);
  const char *override = getenv("NVIDIA_TF32_OVERRIDE");
  bool tf32 = x->type == CUDNN_DATA_FLOAT && c->math != CUDNN_FMA_MATH && !(override && *override == '0');
  const Shaped *shapes[] = {y, x, w}; /* by direction: what it makes */
  const void *places[] = {ys, xs, ws};
  std::vector<double> values[3];
  for (int i = 0; i < 3; i++)
    values[i] = i == direction ? std::vector<double>(shapes[i]->count(), 0) : read(*shapes[i], places[i], tf32);
  convolve(direction, c, *x, *w, *y, values[1], values[2], values[0]);
  return write(*shapes[direction], (void *)places[direction], values[direction], alpha, beta), OK;
}

extern "C" {
/* X, W and Y: which of the three arguments is x, which w and which y. */
#define DIRECTION(WHICH, KIND, NAME, FIRST, SECOND, RESULT, X, W, Y) \
  Status cudnnGetConvolution##NAME##Algorithm_v7(cudnnHandle_t, const FIRST d0, const SECOND d1, \
                                                 const cudnnConvolutionDescriptor_t c, const RESULT d2, int asked, \
                                                 int *count, cudnnConvolution##KIND##AlgoPerf_t *out) { \
    return offers(WHICH, c, d##X, d##W, d##Y, asked, count, out); \
  } \
  Status cudnnFindConvolution##NAME##AlgorithmEx(cudnnHandle_t, const FIRST d0, const void *, const SECOND d1, const void *, \
                                                 const cudnnConvolutionDescriptor_t c, const RESULT d2, void *, int asked, \
                                                 int *count, cudnnConvolution##KIND##AlgoPerf_t *out, void *, size_t) { \
    return offers(WHICH, c, d##X, d##W, d##Y, asked, count, out); \
  } \
  Status cudnnGetConvolution##NAME##WorkspaceSize(cudnnHandle_t, const FIRST d0, const SECOND d1, \
                                                  const cudnnConvolutionDescriptor_t c, const RESULT d2, \
                                                  cudnnConvolution##KIND##Algo_t algorithm, size_t *size) { \
    return workspace(algorithm, c, d##X, d##W, d##Y, size); \
  } \
  Status cudnnConvolution##NAME(cudnnHandle_t handle, const void *alpha, const FIRST d0, const void *p0, const SECOND d1, \
                                const void *p1, const cudnnConvolutionDescriptor_t c, \
                                cudnnConvolution##KIND##Algo_t algorithm, void *space, size_t size, const void *beta, \
                                const RESULT d2, void *p2) { \
    return run(WHICH, handle, c, d##X, p##X, d##W, p##W, d##Y, p##Y, algorithm, space, size, alpha, beta); \
  }
DIRECTION(FORWARD, Fwd, Forward, cudnnTensorDescriptor_t, cudnnFilterDescriptor_t, cudnnTensorDescriptor_t, 0, 1, 2)
DIRECTION(DATA, BwdData, BackwardData, cudnnFilterDescriptor_t, cudnnTensorDescriptor_t, cudnnTensorDescriptor_t, 2, 0, 1)
DIRECTION(FILTER, BwdFilter, BackwardFilter, cudnnTensorDescriptor_t, cudnnTensorDescriptor_t, cudnnFilterDescriptor_t, 0, 2, 1)
}

/* ---- batch norm, over images and places ---- */
static Status per_channel(cudnnBatchNormMode_t mode, const Shaped &x, const Shaped &parameters) {
  REFUSE_IF(mode != CUDNN_BATCHNORM_SPATIAL || x.shape.size() != 4, UNSUPPORTED);
  REFUSE_IF((parameters.shape != std::vector<int>{1, x.shape[1], 1, 1}) || parameters.type != x.type, BAD);
  return OK;
}
/* Calls f(channel, place in raster order) for all places of maps. */
template <class F> static void each_place(const Shaped &x, F f) {
  size_t places = (size_t)x.shape[2] * x.shape[3];
  for (size_t i = 0; i < x.count(); i++) f(i / places % x.shape[1], i);
}
static const float ONE = 1, ZERO = 0;
static const double ONES = 1, ZEROS = 0;
static void put(const Shaped &array, void *data, const std::vector<double> &values) {
  bool wide = array.type == CUDNN_DATA_DOUBLE;
  write(array, data, values, wide ? (const void *)&ONES : &ONE, wide ? (const void *)&ZEROS : &ZERO);
}

extern "C" {
Status cudnnBatchNormalizationForwardTraining(cudnnHandle_t handle, cudnnBatchNormMode_t mode, const void *alpha,
                                              const void *beta, const cudnnTensorDescriptor_t X, const void *xs,
                                              const cudnnTensorDescriptor_t Y, void *ys, const cudnnTensorDescriptor_t P,
                                              const void *scales, const void *offsets, double, void *running_mean,
                                              void *running_variance, double epsilon, void *means, void *inverses) {
  ON_ITS_DEVICE(handle);
  CHECK(per_channel(mode, *X, *P));
  REFUSE_IF(X->shape != Y->shape || X->type != Y->type || !(epsilon >= 0), BAD);
  REFUSE_IF(running_mean || running_variance, UNSUPPORTED);
  REFUSE_IF(!reachable(*X, xs) || !reachable(*Y, ys) || !reachable(*P, scales) || !reachable(*P, offsets), BAD);
  REFUSE_IF(!reachable(*P, means) || !reachable(*P, inverses), BAD);
  std::vector<double> x = read(*X, xs), scale = read(*P, scales), offset = read(*P, offsets);
  std::vector<double> mean(scale.size()), inverse(scale.size());
  double count = (double)x.size() / scale.size();
  each_place(*X, [&](size_t c, size_t i) { mean[c] += x[i] / count; });
  each_place(*X, [&](size_t c, size_t i) { inverse[c] += (x[i] - mean[c]) * (x[i] - mean[c]) / count; });
  for (double &v : inverse) v = 1 / sqrt(v + epsilon);
  each_place(*X, [&](size_t c, size_t i) { x[i] = (x[i] - mean[c]) * inverse[c] * scale[c] + offset[c]; });
  write(*Y, ys, x, alpha, beta), put(*P, means, mean), put(*P, inverses, inverse);
  return OK;
}
Status cudnnBatchNormalizationBackward(cudnnHandle_t handle, cudnnBatchNormMode_t mode, const void *alpha, const void *beta,
                                       const void *alpha_parameters, const void *beta_parameters,
                                       const cudnnTensorDescriptor_t X, const void *xs, const cudnnTensorDescriptor_t GY,
                                       const void *gys, const cudnnTensorDescriptor_t GX, void *gxs,
                                       const cudnnTensorDescriptor_t P, const void *scales, void *gscales, void *goffsets,
                                       double epsilon, const void *means, const void *inverses) {
  ON_ITS_DEVICE(handle);
  CHECK(per_channel(mode, *X, *P));
  REFUSE_IF(X->shape != GY->shape || X->shape != GX->shape || X->type != GY->type || X->type != GX->type, BAD);
  REFUSE_IF(!(epsilon >= 0) || !means || !inverses, BAD);
  REFUSE_IF(!reachable(*X, xs) || !reachable(*GY, gys) || !reachable(*GX, gxs) || !reachable(*P, scales), BAD);
  REFUSE_IF(!reachable(*P, gscales) || !reachable(*P, goffsets) || !reachable(*P, means) || !reachable(*P, inverses), BAD);
  std::vector<double> x = read(*X, xs), g = read(*GY, gys), scale = read(*P, scales), mean = read(*P, means),
                      inverse = read(*P, inverses), gscale(scale.size()), goffset(scale.size());
  double count = (double)x.size() / scale.size();
  each_place(*X, [&](size_t c, size_t i) {
    x[i] = (x[i] - mean[c]) * inverse[c];
    gscale[c] += g[i] * x[i], goffset[c] += g[i];
  });
  each_place(*X, [&](size_t c, size_t i) {
    g[i] = scale[c] * inverse[c] * (g[i] - goffset[c] / count - x[i] * gscale[c] / count);
  });
  write(*GX, gxs, g, alpha, beta);
  write(*P, gscales, gscale, alpha_parameters, beta_parameters);
  write(*P, goffsets, goffset, alpha_parameters, beta_parameters);
  return OK;
}

/* ---- reductions ---- */
Status cudnnSetReduceTensorDescriptor(cudnnReduceTensorDescriptor_t reduction, cudnnReduceTensorOp_t op, cudnnDataType_t,
                                      cudnnNanPropagation_t, cudnnReduceTensorIndices_t indices, cudnnIndicesType_t) {
  REFUSE_IF(op != CUDNN_REDUCE_TENSOR_ADD && op != CUDNN_REDUCE_TENSOR_MAX && op != CUDNN_REDUCE_TENSOR_NORM2, UNSUPPORTED);
  REFUSE_IF(indices != CUDNN_REDUCE_TENSOR_NO_INDICES, UNSUPPORTED);
  return reduction->op = op, OK;
}
Status cudnnGetReductionWorkspaceSize(cudnnHandle_t, const cudnnReduceTensorDescriptor_t, const cudnnTensorDescriptor_t X,
                                      const cudnnTensorDescriptor_t Y, size_t *size) {
  REFUSE_IF(X->shape.size() != Y->shape.size() || X->type != Y->type, BAD);
  for (size_t i = 0; i < X->shape.size(); i++) REFUSE_IF(Y->shape[i] != X->shape[i] && Y->shape[i] != 1, BAD);
  REFUSE_IF(X->shape == Y->shape, BAD);
  return *size = 4 * (Y->count() + 1), OK;
}
Status cudnnReduceTensor(cudnnHandle_t handle, const cudnnReduceTensorDescriptor_t reduction, void *, size_t, void *space,
                         size_t size, const void *alpha, const cudnnTensorDescriptor_t X, const void *xs, const void *beta,
                         const cudnnTensorDescriptor_t Y, void *ys) {
  ON_ITS_DEVICE(handle);
  size_t needed;
  CHECK(cudnnGetReductionWorkspaceSize(handle, reduction, X, Y, &needed));
  REFUSE_IF(size < needed || !emulated_on_device(space, needed), BAD);
  REFUSE_IF(!reachable(*X, xs) || !reachable(*Y, ys), BAD);
  memset(space, 0xff, needed);
  bool max = reduction->op == CUDNN_REDUCE_TENSOR_MAX, norm = reduction->op == CUDNN_REDUCE_TENSOR_NORM2;
  std::vector<double> x = read(*X, xs), y(Y->count(), max ? -std::numeric_limits<double>::infinity() : 0);
  for (size_t i = 0; i < x.size(); i++) {
    size_t rest = i, place = 0, step = 1;
    for (size_t axis = X->shape.size(); axis--; rest /= X->shape[axis]) {
      if (Y->shape[axis] > 1) place += rest % X->shape[axis] * step;
      step *= Y->shape[axis];
    }
    if (!max) y[place] += norm ? x[i] * x[i] : x[i];
    else if (x[i] > y[place] || std::isnan(x[i])) y[place] = x[i];
  }
  if (norm) for (double &sum : y) sum = sqrt(sum);
  return write(*Y, ys, y, alpha, beta), OK;
}
}
