/* The cuDNN that Theano 1.0.5 was written for (versions 5 to 7), in terms of cuDNN 8 and 9.
 *
 * This folder comes first on the compiler's path, the real header behind it. What is missed of the old interface:
 *
 * - cudnnGetConvolution...Algorithm: the one algorithm to use. The new interface lists all, the best guess first.
 *   Taken is the first that works within the limit, computes as the convolution asks to, and gives the same bits
 *   every time, so that a training that was interrupted resumes as if it had not been; only where there is none
 *   that does, one that may not.
 * - one status for all that is not supported. Version 9 has a dozen, and Theano compares with the old one.
 * - float32 that is float32. By itself the library may round to TF32 on Ampere and later; here it does where the
 *   environment has PIXELVAE_TF32=1.
 */
#ifndef PIXELVAE_CUDNN_H
#define PIXELVAE_CUDNN_H
#include_next <cudnn.h>

#if CUDNN_MAJOR >= 8
#include <stdlib.h>

#define PIXELVAE_HERE static inline __attribute__((unused))

PIXELVAE_HERE cudnnStatus_t pixelvae_status(cudnnStatus_t status) {
#if CUDNN_MAJOR >= 9
  if (status / 1000 == CUDNN_STATUS_NOT_SUPPORTED / 1000) return CUDNN_STATUS_NOT_SUPPORTED;
#endif
  return status;
}

PIXELVAE_HERE cudnnMathType_t pixelvae_math(cudnnMathType_t asked, cudnnDataType_t type) {
  const char *tf32 = getenv("PIXELVAE_TF32");
  int plain = asked == CUDNN_DEFAULT_MATH && type != CUDNN_DATA_HALF && !(tf32 && tf32[0] == '1');
  return plain ? CUDNN_FMA_MATH : asked;
}

/* Both set the math type, the second of a convolution that has one. */
PIXELVAE_HERE cudnnStatus_t pixelvae_describe(cudnnConvolutionDescriptor_t convolution, int n, const int *pad,
                                              const int *stride, const int *dilation, cudnnConvolutionMode_t mode,
                                              cudnnDataType_t type) {
  cudnnStatus_t status = cudnnSetConvolutionNdDescriptor(convolution, n, pad, stride, dilation, mode, type);
  if (status != CUDNN_STATUS_SUCCESS) return status;
  return cudnnSetConvolutionMathType(convolution, pixelvae_math(CUDNN_DEFAULT_MATH, type));
}
PIXELVAE_HERE cudnnStatus_t pixelvae_set_math(cudnnConvolutionDescriptor_t convolution, cudnnMathType_t asked) {
  return cudnnSetConvolutionMathType(convolution, pixelvae_math(asked, CUDNN_DATA_FLOAT));
}

/* Whether an algorithm that is on offer computes as the convolution asks to. */
PIXELVAE_HERE int pixelvae_same_math(cudnnConvolutionDescriptor_t convolution, cudnnMathType_t offered) {
  cudnnMathType_t asked;
  if (cudnnGetConvolutionMathType(convolution, &asked) != CUDNN_STATUS_SUCCESS) return 0;
  if (asked == CUDNN_FMA_MATH) return offered == CUDNN_FMA_MATH || offered == CUDNN_DEFAULT_MATH;
  return offered != CUDNN_TENSOR_OP_MATH_ALLOW_CONVERSION; /* to half precision, that is */
}

/* The preferences of the old interface, by the numbers that they had. */
#define PIXELVAE_PREFERENCE(KIND, PREFIX) \
  typedef enum { PREFIX##_NO_WORKSPACE, PREFIX##_PREFER_FASTEST, PREFIX##_SPECIFY_WORKSPACE_LIMIT } KIND;
PIXELVAE_PREFERENCE(cudnnConvolutionFwdPreference_t, CUDNN_CONVOLUTION_FWD)
PIXELVAE_PREFERENCE(cudnnConvolutionBwdFilterPreference_t, CUDNN_CONVOLUTION_BWD_FILTER)
PIXELVAE_PREFERENCE(cudnnConvolutionBwdDataPreference_t, CUDNN_CONVOLUTION_BWD_DATA)

#define PIXELVAE_CHOOSE(NAME, WHICH, FIRST, SECOND, RESULT)                                                     \
  PIXELVAE_HERE cudnnStatus_t NAME(cudnnHandle_t handle, FIRST first, SECOND second,                            \
                                   cudnnConvolutionDescriptor_t convolution, RESULT result,                     \
                                   cudnnConvolution##WHICH##Preference_t preference, size_t limit,              \
                                   cudnnConvolution##WHICH##Algo_t *chosen) {                                   \
    cudnnConvolution##WHICH##AlgoPerf_t offers[16];                                                             \
    int count = 0, any, i;                                                                                      \
    cudnnStatus_t status = NAME##_v7(handle, first, second, convolution, result, 16, &count, offers);           \
    if (status != CUDNN_STATUS_SUCCESS) return pixelvae_status(status);                                         \
    if ((int)preference == 0) limit = 0;                                                                        \
    if ((int)preference == 1) limit = (size_t)-1;                                                               \
    for (any = 0; any < 2; any++) {                                                                             \
      for (i = 0; i < count; i++) {                                                                             \
        if (offers[i].status == CUDNN_STATUS_SUCCESS && offers[i].memory <= limit &&                            \
            (any || offers[i].determinism == CUDNN_DETERMINISTIC) &&                                            \
            pixelvae_same_math(convolution, offers[i].mathType)) {                                              \
          *chosen = offers[i].algo;                                                                             \
          return CUDNN_STATUS_SUCCESS;                                                                          \
        }                                                                                                       \
      }                                                                                                         \
    }                                                                                                           \
    return CUDNN_STATUS_NOT_SUPPORTED;                                                                          \
  }
PIXELVAE_CHOOSE(cudnnGetConvolutionForwardAlgorithm, Fwd, cudnnTensorDescriptor_t, cudnnFilterDescriptor_t,
                cudnnTensorDescriptor_t)
PIXELVAE_CHOOSE(cudnnGetConvolutionBackwardFilterAlgorithm, BwdFilter, cudnnTensorDescriptor_t,
                cudnnTensorDescriptor_t, cudnnFilterDescriptor_t)
PIXELVAE_CHOOSE(cudnnGetConvolutionBackwardDataAlgorithm, BwdData, cudnnFilterDescriptor_t, cudnnTensorDescriptor_t,
                cudnnTensorDescriptor_t)

/* The macros come last: the functions above call what they hide. */
#define cudnnSetConvolutionNdDescriptor pixelvae_describe
#define cudnnSetConvolutionMathType pixelvae_set_math
#define cudnnGetConvolutionForwardWorkspaceSize(...) \
  pixelvae_status((cudnnGetConvolutionForwardWorkspaceSize)(__VA_ARGS__))
#define cudnnGetConvolutionBackwardFilterWorkspaceSize(...) \
  pixelvae_status((cudnnGetConvolutionBackwardFilterWorkspaceSize)(__VA_ARGS__))
#define cudnnGetConvolutionBackwardDataWorkspaceSize(...) \
  pixelvae_status((cudnnGetConvolutionBackwardDataWorkspaceSize)(__VA_ARGS__))

/* Recurrent networks, which are not used here, need a name at least to be compiled. */
#if CUDNN_MAJOR == 8
#define cudnnSetRNNDescriptor cudnnSetRNNDescriptor_v6
#endif

#endif /* CUDNN_MAJOR >= 8 */
#endif
