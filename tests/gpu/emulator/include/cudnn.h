/* cuDNN 9 as far as Theano's operations on convolutions, batch norm and reductions call it, for machines without the
 * real header. The compile test holds the emulated library against that one, too (tests/test_gpu_compile.py). */
#ifndef CUDNN_H_
#define CUDNN_H_
#include <stddef.h>

#define CUDNN_MAJOR 9
#define CUDNN_VERSION 91002
#define CUDNN_DIM_MAX 8

#ifdef __cplusplus
extern "C" {
#endif

typedef enum {
  CUDNN_STATUS_SUCCESS = 0,
  CUDNN_STATUS_BAD_PARAM = 2000,
  CUDNN_STATUS_NOT_SUPPORTED = 3000,
  CUDNN_STATUS_NOT_SUPPORTED_SHAPE = 3002
} cudnnStatus_t;
typedef enum {
  CUDNN_DATA_FLOAT = 0, CUDNN_DATA_DOUBLE = 1, CUDNN_DATA_HALF = 2, CUDNN_DATA_INT8 = 3, CUDNN_DATA_INT32 = 4
} cudnnDataType_t;
typedef enum { CUDNN_TENSOR_NCHW = 0 } cudnnTensorFormat_t;
typedef enum { CUDNN_CONVOLUTION = 0, CUDNN_CROSS_CORRELATION = 1 } cudnnConvolutionMode_t;
typedef enum {
  CUDNN_DEFAULT_MATH = 0, CUDNN_TENSOR_OP_MATH = 1, CUDNN_TENSOR_OP_MATH_ALLOW_CONVERSION = 2, CUDNN_FMA_MATH = 3
} cudnnMathType_t;
typedef enum { CUDNN_NON_DETERMINISTIC = 0, CUDNN_DETERMINISTIC = 1 } cudnnDeterminism_t;
typedef enum { CUDNN_NOT_PROPAGATE_NAN = 0, CUDNN_PROPAGATE_NAN = 1 } cudnnNanPropagation_t;
typedef enum { CUDNN_BATCHNORM_PER_ACTIVATION = 0, CUDNN_BATCHNORM_SPATIAL = 1 } cudnnBatchNormMode_t;
typedef enum {
  CUDNN_REDUCE_TENSOR_ADD = 0, CUDNN_REDUCE_TENSOR_MUL = 1, CUDNN_REDUCE_TENSOR_MIN = 2, CUDNN_REDUCE_TENSOR_MAX = 3,
  CUDNN_REDUCE_TENSOR_AMAX = 4, CUDNN_REDUCE_TENSOR_AVG = 5, CUDNN_REDUCE_TENSOR_NORM1 = 6, CUDNN_REDUCE_TENSOR_NORM2 = 7
} cudnnReduceTensorOp_t;
typedef enum { CUDNN_REDUCE_TENSOR_NO_INDICES = 0, CUDNN_REDUCE_TENSOR_FLATTENED_INDICES = 1 } cudnnReduceTensorIndices_t;
typedef enum { CUDNN_32BIT_INDICES = 0 } cudnnIndicesType_t;
typedef enum {
  CUDNN_CONVOLUTION_FWD_ALGO_IMPLICIT_GEMM = 0, CUDNN_CONVOLUTION_FWD_ALGO_IMPLICIT_PRECOMP_GEMM = 1,
  CUDNN_CONVOLUTION_FWD_ALGO_GEMM = 2, CUDNN_CONVOLUTION_FWD_ALGO_DIRECT = 3, CUDNN_CONVOLUTION_FWD_ALGO_FFT = 4,
  CUDNN_CONVOLUTION_FWD_ALGO_FFT_TILING = 5, CUDNN_CONVOLUTION_FWD_ALGO_WINOGRAD = 6,
  CUDNN_CONVOLUTION_FWD_ALGO_WINOGRAD_NONFUSED = 7
} cudnnConvolutionFwdAlgo_t;
typedef enum {
  CUDNN_CONVOLUTION_BWD_FILTER_ALGO_0 = 0, CUDNN_CONVOLUTION_BWD_FILTER_ALGO_1 = 1,
  CUDNN_CONVOLUTION_BWD_FILTER_ALGO_FFT = 2, CUDNN_CONVOLUTION_BWD_FILTER_ALGO_3 = 3,
  CUDNN_CONVOLUTION_BWD_FILTER_ALGO_WINOGRAD = 4, CUDNN_CONVOLUTION_BWD_FILTER_ALGO_WINOGRAD_NONFUSED = 5,
  CUDNN_CONVOLUTION_BWD_FILTER_ALGO_FFT_TILING = 6
} cudnnConvolutionBwdFilterAlgo_t;
typedef enum {
  CUDNN_CONVOLUTION_BWD_DATA_ALGO_0 = 0, CUDNN_CONVOLUTION_BWD_DATA_ALGO_1 = 1, CUDNN_CONVOLUTION_BWD_DATA_ALGO_FFT = 2,
  CUDNN_CONVOLUTION_BWD_DATA_ALGO_FFT_TILING = 3, CUDNN_CONVOLUTION_BWD_DATA_ALGO_WINOGRAD = 4,
  CUDNN_CONVOLUTION_BWD_DATA_ALGO_WINOGRAD_NONFUSED = 5
} cudnnConvolutionBwdDataAlgo_t;

typedef struct cudnnContext *cudnnHandle_t;
typedef struct cudnnTensorStruct *cudnnTensorDescriptor_t;
typedef struct cudnnFilterStruct *cudnnFilterDescriptor_t;
typedef struct cudnnConvolutionStruct *cudnnConvolutionDescriptor_t;
typedef struct cudnnReduceTensorStruct *cudnnReduceTensorDescriptor_t;

size_t cudnnGetVersion(void);
size_t cudnnGetCudartVersion(void);
const char *cudnnGetErrorString(cudnnStatus_t status);
cudnnStatus_t cudnnCreate(cudnnHandle_t *handle);
cudnnStatus_t cudnnDestroy(cudnnHandle_t handle);

cudnnStatus_t cudnnCreateTensorDescriptor(cudnnTensorDescriptor_t *);
cudnnStatus_t cudnnDestroyTensorDescriptor(cudnnTensorDescriptor_t);
cudnnStatus_t cudnnSetTensorNdDescriptor(cudnnTensorDescriptor_t, cudnnDataType_t, int axes, const int *shape,
                                         const int *strides);
cudnnStatus_t cudnnGetTensorNdDescriptor(const cudnnTensorDescriptor_t, int axes_asked, cudnnDataType_t *, int *axes,
                                         int *shape, int *strides);
cudnnStatus_t cudnnCreateFilterDescriptor(cudnnFilterDescriptor_t *);
cudnnStatus_t cudnnDestroyFilterDescriptor(cudnnFilterDescriptor_t);
cudnnStatus_t cudnnSetFilterNdDescriptor(cudnnFilterDescriptor_t, cudnnDataType_t, cudnnTensorFormat_t, int axes,
                                         const int *shape);
cudnnStatus_t cudnnGetFilterNdDescriptor(const cudnnFilterDescriptor_t, int axes_asked, cudnnDataType_t *,
                                         cudnnTensorFormat_t *, int *axes, int *shape);
cudnnStatus_t cudnnCreateConvolutionDescriptor(cudnnConvolutionDescriptor_t *);
cudnnStatus_t cudnnDestroyConvolutionDescriptor(cudnnConvolutionDescriptor_t);
cudnnStatus_t cudnnSetConvolutionNdDescriptor(cudnnConvolutionDescriptor_t, int axes, const int *padding,
                                              const int *strides, const int *dilation, cudnnConvolutionMode_t,
                                              cudnnDataType_t);
cudnnStatus_t cudnnGetConvolutionNdDescriptor(const cudnnConvolutionDescriptor_t, int axes_asked, int *axes, int *padding,
                                              int *strides, int *dilation, cudnnConvolutionMode_t *, cudnnDataType_t *);
cudnnStatus_t cudnnSetConvolutionMathType(cudnnConvolutionDescriptor_t, cudnnMathType_t);
cudnnStatus_t cudnnGetConvolutionMathType(cudnnConvolutionDescriptor_t, cudnnMathType_t *);
cudnnStatus_t cudnnSetConvolutionGroupCount(cudnnConvolutionDescriptor_t, int);
cudnnStatus_t cudnnGetConvolutionGroupCount(cudnnConvolutionDescriptor_t, int *);
cudnnStatus_t cudnnGetConvolutionNdForwardOutputDim(const cudnnConvolutionDescriptor_t, const cudnnTensorDescriptor_t x,
                                                    const cudnnFilterDescriptor_t w, int axes, int *shape);

/* In each direction: the algorithms in the order of the heuristics, or as timed; workspaces; the convolution itself. */
#define EMULATED_DIRECTION(KIND, NAME, FIRST, SECOND, RESULT) \
  typedef struct { \
    cudnnConvolution##KIND##Algo_t algo; \
    cudnnStatus_t status; \
    float time; \
    size_t memory; \
    cudnnDeterminism_t determinism; \
    cudnnMathType_t mathType; \
    int reserved[3]; \
  } cudnnConvolution##KIND##AlgoPerf_t; \
  cudnnStatus_t cudnnGetConvolution##NAME##Algorithm_v7(cudnnHandle_t, const FIRST, const SECOND, \
                                                        const cudnnConvolutionDescriptor_t, const RESULT, int asked, \
                                                        int *count, cudnnConvolution##KIND##AlgoPerf_t *); \
  cudnnStatus_t cudnnFindConvolution##NAME##AlgorithmEx(cudnnHandle_t, const FIRST, const void *, const SECOND, \
                                                        const void *, const cudnnConvolutionDescriptor_t, const RESULT, \
                                                        void *, int asked, int *count, \
                                                        cudnnConvolution##KIND##AlgoPerf_t *, void *space, size_t size); \
  cudnnStatus_t cudnnGetConvolution##NAME##WorkspaceSize(cudnnHandle_t, const FIRST, const SECOND, \
                                                         const cudnnConvolutionDescriptor_t, const RESULT, \
                                                         cudnnConvolution##KIND##Algo_t, size_t *); \
  cudnnStatus_t cudnnConvolution##NAME(cudnnHandle_t, const void *alpha, const FIRST, const void *, const SECOND, \
                                       const void *, const cudnnConvolutionDescriptor_t, \
                                       cudnnConvolution##KIND##Algo_t, void *space, size_t size, const void *beta, \
                                       const RESULT, void *);
EMULATED_DIRECTION(Fwd, Forward, cudnnTensorDescriptor_t, cudnnFilterDescriptor_t, cudnnTensorDescriptor_t)
EMULATED_DIRECTION(BwdData, BackwardData, cudnnFilterDescriptor_t, cudnnTensorDescriptor_t, cudnnTensorDescriptor_t)
EMULATED_DIRECTION(BwdFilter, BackwardFilter, cudnnTensorDescriptor_t, cudnnTensorDescriptor_t, cudnnFilterDescriptor_t)

cudnnStatus_t cudnnBatchNormalizationForwardTraining(
    cudnnHandle_t, cudnnBatchNormMode_t, const void *alpha, const void *beta, const cudnnTensorDescriptor_t, const void *x,
    const cudnnTensorDescriptor_t, void *y, const cudnnTensorDescriptor_t, const void *scale, const void *offset,
    double factor, void *running_mean, void *running_variance, double epsilon, void *mean, void *inverse_deviation);
cudnnStatus_t cudnnBatchNormalizationBackward(
    cudnnHandle_t, cudnnBatchNormMode_t, const void *alpha, const void *beta, const void *alpha_parameters,
    const void *beta_parameters, const cudnnTensorDescriptor_t, const void *x, const cudnnTensorDescriptor_t,
    const void *gy, const cudnnTensorDescriptor_t, void *gx, const cudnnTensorDescriptor_t, const void *scale, void *gscale,
    void *goffset, double epsilon, const void *mean, const void *inverse_deviation);

cudnnStatus_t cudnnCreateReduceTensorDescriptor(cudnnReduceTensorDescriptor_t *);
cudnnStatus_t cudnnDestroyReduceTensorDescriptor(cudnnReduceTensorDescriptor_t);
cudnnStatus_t cudnnSetReduceTensorDescriptor(cudnnReduceTensorDescriptor_t, cudnnReduceTensorOp_t, cudnnDataType_t,
                                             cudnnNanPropagation_t, cudnnReduceTensorIndices_t, cudnnIndicesType_t);
cudnnStatus_t cudnnGetReductionWorkspaceSize(cudnnHandle_t, const cudnnReduceTensorDescriptor_t,
                                             const cudnnTensorDescriptor_t, const cudnnTensorDescriptor_t, size_t *);
cudnnStatus_t cudnnReduceTensor(cudnnHandle_t, const cudnnReduceTensorDescriptor_t, void *indices, size_t indices_size,
                                void *space, size_t size, const void *alpha, const cudnnTensorDescriptor_t, const void *x,
                                const void *beta, const cudnnTensorDescriptor_t, void *y);

#ifdef __cplusplus
}
#endif
#endif
