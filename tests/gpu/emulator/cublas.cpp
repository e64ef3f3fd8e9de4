/* libcublas.so.12: the products that libgpuarray calls, of matrices that lie column by column. */
#include "emulated.h"
#include <algorithm>

enum Status { SUCCESS = 0, INVALID_VALUE = 7, MAPPING_ERROR = 11, NOT_SUPPORTED = 15 };
struct Handle { int mode, device; };

#define REFUSE_IF(condition, status) \
  if (condition) return emulated_refuse("cuBLAS, %s: %s", __func__, #condition), status

/* Bytes from the start of a matrix of that many rows and columns to its end. */
template <class T> static size_t bytes(int rows, int columns, int leading) {
  return rows && columns ? sizeof(T) * ((size_t)leading * (columns - 1) + rows) : 0;
}

/* C (m, n) = alpha op(A) op(B) + beta C; C is not read where beta is zero. */
template <class T> static Status multiply(Handle *handle, int ta, int tb, int m, int n, int k, const T *alpha, const T *A,
                                          int lda, const T *B, int ldb, const T *beta, T *C, int ldc) {
  REFUSE_IF(handle->device != emulated_device(), MAPPING_ERROR);
  REFUSE_IF(m < 0 || n < 0 || k < 0, INVALID_VALUE);
  REFUSE_IF(lda < std::max(1, ta ? k : m) || ldb < std::max(1, tb ? n : k) || ldc < std::max(1, m), INVALID_VALUE);
  REFUSE_IF(!emulated_on_device(A, ta ? bytes<T>(k, m, lda) : bytes<T>(m, k, lda)), MAPPING_ERROR);
  REFUSE_IF(!emulated_on_device(B, tb ? bytes<T>(n, k, ldb) : bytes<T>(k, n, ldb)), MAPPING_ERROR);
  REFUSE_IF(!emulated_on_device(C, bytes<T>(m, n, ldc)), MAPPING_ERROR);
  for (size_t j = 0; j < (size_t)n; j++)
    for (size_t i = 0; i < (size_t)m; i++) {
      double sum = 0;
      for (size_t l = 0; l < (size_t)k; l++)
        sum += (double)(ta ? A[i * lda + l] : A[l * lda + i]) * (tb ? B[l * ldb + j] : B[j * ldb + l]);
      T &c = C[j * ldc + i];
      c = *alpha * sum + (*beta == 0 ? 0 : *beta * c);
    }
  return SUCCESS;
}

/* y = alpha op(A) x + beta y, A (m, n). */
template <class T> static Status apply(Handle *handle, int t, int m, int n, const T *alpha, const T *A, int lda, const T *x,
                                       int incx, const T *beta, T *y, int incy) {
  REFUSE_IF(incx <= 0 || incy <= 0, INVALID_VALUE);
  int rows = t ? n : m, columns = t ? m : n;
  return multiply<T>(handle, 0, !t, 1, rows, columns, alpha, x, incx, A, lda, beta, y, incy);
}

/* A (m, n) += alpha x y'. */
template <class T> static Status add_outer(Handle *handle, int m, int n, const T *alpha, const T *x, int incx, const T *y,
                                           int incy, T *A, int lda) {
  REFUSE_IF(incx <= 0 || incy <= 0, INVALID_VALUE);
  const T one = 1;
  return multiply<T>(handle, 1, 0, m, n, 1, alpha, x, incx, y, incy, &one, A, lda);
}

template <class T> static Status inner(Handle *handle, int n, const T *x, int incx, const T *y, int incy, T *result) {
  REFUSE_IF(incx <= 0 || incy <= 0 || n < 1, INVALID_VALUE);
  REFUSE_IF(handle->mode != 1, NOT_SUPPORTED); /* the result is to lie on the device */
  const T one = 1, none = 0;
  return multiply<T>(handle, 0, 1, 1, 1, n, &one, x, incx, y, incy, &none, result, 1);
}

template <class T> static Status multiply_each(Handle *handle, int ta, int tb, int m, int n, int k, const T *alpha, const T *A,
                                               int lda, long long da, const T *B, int ldb, long long db, const T *beta,
                                               T *C, int ldc, long long dc, int count) {
  Status status = SUCCESS;
  for (int i = 0; i < count && !status; i++)
    status = multiply<T>(handle, ta, tb, m, n, k, alpha, A + i * da, lda, B + i * db, ldb, beta, C + i * dc, ldc);
  return status;
}

template <class T> static Status multiply_listed(Handle *handle, int ta, int tb, int m, int n, int k, const T *alpha,
                                                 const T *const *A, int lda, const T *const *B, int ldb, const T *beta,
                                                 T *const *C, int ldc, int count) {
  size_t size = sizeof(T *) * count;
  REFUSE_IF(!emulated_on_device(A, size) || !emulated_on_device(B, size) || !emulated_on_device(C, size), MAPPING_ERROR);
  Status status = SUCCESS;
  for (int i = 0; i < count && !status; i++)
    status = multiply<T>(handle, ta, tb, m, n, k, alpha, A[i], lda, B[i], ldb, beta, C[i], ldc);
  return status;
}

extern "C" {
Status cublasCreate_v2(Handle **handle) { return *handle = new Handle{0, emulated_device()}, SUCCESS; }
Status cublasDestroy_v2(Handle *handle) { return delete handle, SUCCESS; }
Status cublasSetStream_v2(Handle *, void *) { return SUCCESS; }
Status cublasSetPointerMode_v2(Handle *handle, int mode) { return handle->mode = mode, SUCCESS; }
Status cublasGetPointerMode_v2(Handle *handle, int *mode) { return *mode = handle->mode, SUCCESS; }
Status cublasSetAtomicsMode(Handle *, int) { return SUCCESS; }
#define EXPORT(P, T) \
  Status cublas##P##gemm_v2(Handle *h, int ta, int tb, int m, int n, int k, const T *a, const T *A, int lda, const T *B, \
                            int ldb, const T *b, T *C, int ldc) { \
    return multiply<T>(h, ta, tb, m, n, k, a, A, lda, B, ldb, b, C, ldc); \
  } \
  Status cublas##P##gemv_v2(Handle *h, int t, int m, int n, const T *a, const T *A, int lda, const T *x, int incx, \
                            const T *b, T *y, int incy) { \
    return apply<T>(h, t, m, n, a, A, lda, x, incx, b, y, incy); \
  } \
  Status cublas##P##ger_v2(Handle *h, int m, int n, const T *a, const T *x, int incx, const T *y, int incy, T *A, int lda) { \
    return add_outer<T>(h, m, n, a, x, incx, y, incy, A, lda); \
  } \
  Status cublas##P##dot_v2(Handle *h, int n, const T *x, int incx, const T *y, int incy, T *result) { \
    return inner<T>(h, n, x, incx, y, incy, result); \
  } \
  Status cublas##P##gemmStridedBatched(Handle *h, int ta, int tb, int m, int n, int k, const T *a, const T *A, int lda, \
                                       long long da, const T *B, int ldb, long long db, const T *b, T *C, int ldc, \
                                       long long dc, int count) { \
    return multiply_each<T>(h, ta, tb, m, n, k, a, A, lda, da, B, ldb, db, b, C, ldc, dc, count); \
  } \
  Status cublas##P##gemmBatched(Handle *h, int ta, int tb, int m, int n, int k, const T *a, const T *const *A, int lda, \
                                const T *const *B, int ldb, const T *b, T *const *C, int ldc, int count) { \
    return multiply_listed<T>(h, ta, tb, m, n, k, a, A, lda, B, ldb, b, C, ldc, count); \
  }
EXPORT(S, float)
EXPORT(D, double)
/* Of half precision, which the models do not use: there only to be found. */
Status cublasSgemmEx(void) { return NOT_SUPPORTED; }
Status cublasGemmEx(void) { return NOT_SUPPORTED; }
Status cublasHgemmStridedBatched(void) { return NOT_SUPPORTED; }
}
