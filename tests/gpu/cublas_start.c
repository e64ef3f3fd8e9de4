/* A cuBLAS that starts without a device, for the compile test: linked to the real library, which has all the rest. */
#include <stdlib.h>

int cublasCreate_v2(void **handle) { return *handle = malloc(1), 0; }
int cublasDestroy_v2(void *handle) { return free(handle), 0; }
int cublasSetStream_v2(void *handle, void *stream) { return 0; }
int cublasSetPointerMode_v2(void *handle, int mode) { return 0; }
int cublasSetAtomicsMode(void *handle, int mode) { return 0; }
int cublasSgemm_v2(void *handle) { return 0; } /* called once at the start, to load the kernels */
