/* Stand-ins for what lib.backend.cuda asks of CUDA's libraries, one for each of NVRTC, CUDNN and CUBLAS defined.
 *
 * The environment gives versions: FAKE_NVRTC (12.0), which knows compute capabilities from 5.0 to 9.0;
 * FAKE_CUDNN (91002), made for the CUDA of FAKE_CUDNN_CUDA (12000).
 * CUBLAS has only the start and what happens at it, and is linked to the real library, which has the rest: that one
 * does not start without a device.
 */
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

static const char *setting(const char *name, const char *usual) {
  const char *value = getenv(name);
  return value ? value : usual;
}

#ifdef NVRTC
int nvrtcVersion(int *major, int *minor) { return sscanf(setting("FAKE_NVRTC", "12.0"), "%d.%d", major, minor) != 2; }
int nvrtcGetNumSupportedArchs(int *count) { return *count = 6, 0; }
int nvrtcGetSupportedArchs(int *architectures) {
  const int known[] = {50, 60, 70, 80, 86, 90};
  for (int i = 0; i < 6; i++) architectures[i] = known[i];
  return 0;
}
#endif

#ifdef CUDNN
size_t cudnnGetVersion(void) { return atoi(setting("FAKE_CUDNN", "91002")); }
size_t cudnnGetCudartVersion(void) { return atoi(setting("FAKE_CUDNN_CUDA", "12000")); }
#endif

#ifdef CUBLAS
int cublasCreate_v2(void **handle) { return *handle = malloc(1), 0; }
int cublasDestroy_v2(void *handle) { return free(handle), 0; }
int cublasSetStream_v2(void *handle, void *stream) { return 0; }
int cublasSetPointerMode_v2(void *handle, int mode) { return 0; }
int cublasSetAtomicsMode(void *handle, int mode) { return 0; }
int cublasSgemm_v2(void *handle) { return 0; } /* called once at the start, to load the kernels */
#endif
