/* A stand-in for libcuda.so.1: one device whose memory is the host's and whose kernels do nothing.
 *
 * With it a machine without a GPU can drive everything that comes before a kernel runs: generating and compiling its
 * code, linking, memory, transfers. The environment says what the device is: FAKE_CUDA_CAPABILITY (9.0),
 * FAKE_CUDA_VERSION of the driver (13000), FAKE_CUDA_DEVICES (1; 0 fails as a container without its device does).
 * Numbers are those of cuda.h. libgpuarray looks functions up one by one; these are the ones it asks for.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SUCCESS = 0, INVALID_VALUE = 1, OUT_OF_MEMORY = 2, NO_DEVICE = 100, INVALID_DEVICE = 101, NOT_SUPPORTED = 801 };
typedef int Result;
typedef void *Handle; /* contexts, modules, functions, events, streams: nobody looks into them */
typedef uintptr_t Pointer;

static char something; /* what handles point to */

static int setting(const char *name, int usual) {
  const char *value = getenv(name);
  return value ? atoi(value) : usual;
}

Result cuInit(unsigned flags) { return setting("FAKE_CUDA_DEVICES", 1) ? SUCCESS : NO_DEVICE; }
Result cuDriverGetVersion(int *version) { return *version = setting("FAKE_CUDA_VERSION", 13000), SUCCESS; }
Result cuGetErrorName(Result error, const char **name) { return *name = "FAKE_CUDA", SUCCESS; }
Result cuGetErrorString(Result error, const char **text) { return *text = "the stand-in refuses", SUCCESS; }

Result cuDeviceGetCount(int *count) { return *count = setting("FAKE_CUDA_DEVICES", 1), SUCCESS; }
Result cuDeviceGet(int *device, int ordinal) { return *device = 0, ordinal ? INVALID_DEVICE : SUCCESS; }
Result cuDeviceGetName(char *name, int size, int device) { return snprintf(name, size, "no GPU"), SUCCESS; }
Result cuDeviceGetPCIBusId(char *id, int size, int device) { return snprintf(id, size, "0000:00:00.0"), SUCCESS; }
Result cuDeviceGetAttribute(int *value, int attribute, int device) {
  const char *capability = getenv("FAKE_CUDA_CAPABILITY");
  int major = 9, minor = 0;
  if (capability) sscanf(capability, "%d.%d", &major, &minor);
  switch (attribute) {
    case 1: case 2: case 3: *value = 1024; break;              /* threads in a block, and along x and y */
    case 4: *value = 64; break;                                /* along z */
    case 5: *value = 2147483647; break;                        /* blocks along x */
    case 6: case 7: *value = 65535; break;                     /* along y and z */
    case 8: *value = 48 * 1024; break;                         /* shared memory of a block */
    case 10: *value = 32; break;                               /* threads in a warp */
    case 12: *value = 65536; break;                            /* registers of a block */
    case 16: *value = 100; break;                              /* multiprocessors */
    case 39: *value = 2048; break;                             /* threads of a multiprocessor */
    case 75: *value = major; break;
    case 76: *value = minor; break;
    default: *value = 1;
  }
  return SUCCESS;
}

Result cuDevicePrimaryCtxGetState(int device, unsigned *flags, int *active) { return *flags = *active = 0, SUCCESS; }
Result cuDevicePrimaryCtxSetFlags(int device, unsigned flags) { return SUCCESS; }
Result cuDevicePrimaryCtxRetain(Handle *context, int device) { return *context = &something, SUCCESS; }
Result cuDevicePrimaryCtxRelease(int device) { return SUCCESS; }
Result cuCtxGetDevice(int *device) { return *device = 0, SUCCESS; }
Result cuCtxPushCurrent_v2(Handle context) { return SUCCESS; }
Result cuCtxPopCurrent_v2(Handle *context) { return (context ? *context = &something : 0), SUCCESS; }

/* Assembling a kernel gives its own text back. */
typedef struct { char *text; size_t size; } Link;
Result cuLinkCreate(unsigned count, void *options, void **values, Link **link) {
  *link = calloc(1, sizeof(Link));
  return *link ? SUCCESS : OUT_OF_MEMORY;
}
Result cuLinkAddData(Link *link, int type, void *data, size_t size, const char *name, unsigned count, void *options,
                     void **values) {
  free(link->text);
  link->text = malloc(size);
  if (!link->text) return OUT_OF_MEMORY;
  memcpy(link->text, data, link->size = size);
  return SUCCESS;
}
Result cuLinkComplete(Link *link, void **text, size_t *size) {
  *text = link->text, *size = link->size;
  return link->text ? SUCCESS : INVALID_VALUE;
}
Result cuLinkDestroy(Link *link) { return free(link->text), free(link), SUCCESS; }
Result cuModuleLoadData(Handle *module, const void *image) { return *module = &something, SUCCESS; }
Result cuModuleLoadDataEx(Handle *module, const void *image, unsigned count, void *options, void **values) {
  return *module = &something, SUCCESS;
}
Result cuModuleUnload(Handle module) { return SUCCESS; }
Result cuModuleGetFunction(Handle *function, Handle module, const char *name) { return *function = &something, SUCCESS; }
Result cuFuncGetAttribute(int *value, int attribute, Handle function) { return *value = attribute ? 32 : 1024, SUCCESS; }
Result cuLaunchKernel(Handle function, unsigned grid_x, unsigned grid_y, unsigned grid_z, unsigned block_x,
                      unsigned block_y, unsigned block_z, unsigned shared, Handle stream, void **arguments, void **extra) {
  return SUCCESS;
}

Result cuMemGetInfo_v2(size_t *available, size_t *total) {
  *available = (size_t)7 << 30, *total = (size_t)8 << 30;
  return SUCCESS;
}
Result cuMemAlloc_v2(Pointer *pointer, size_t size) {
  void *memory = NULL;
  if (posix_memalign(&memory, 512, size)) return OUT_OF_MEMORY;
  return *pointer = (Pointer)memory, SUCCESS;
}
Result cuMemFree_v2(Pointer pointer) { return free((void *)pointer), SUCCESS; }
Result cuMemAllocHost_v2(void **pointer, size_t size) { return (*pointer = calloc(1, size)) ? SUCCESS : OUT_OF_MEMORY; }
Result cuMemFreeHost(void *pointer) { return free(pointer), SUCCESS; }
static Result copy(void *to, const void *from, size_t size) { return memmove(to, from, size), SUCCESS; }
Result cuMemcpyHtoD_v2(Pointer to, const void *from, size_t size) { return copy((void *)to, from, size); }
Result cuMemcpyHtoDAsync_v2(Pointer to, const void *from, size_t size, Handle stream) {
  return copy((void *)to, from, size);
}
Result cuMemcpyDtoHAsync_v2(void *to, Pointer from, size_t size, Handle stream) { return copy(to, (void *)from, size); }
Result cuMemcpyDtoDAsync_v2(Pointer to, Pointer from, size_t size, Handle stream) {
  return copy((void *)to, (void *)from, size);
}
Result cuMemcpyPeerAsync(Pointer to, Handle there, Pointer from, Handle here, size_t size, Handle stream) {
  return copy((void *)to, (void *)from, size);
}
Result cuMemsetD8Async(Pointer pointer, unsigned char value, size_t size, Handle stream) {
  return memset((void *)pointer, value, size), SUCCESS;
}

Result cuEventCreate(Handle *event, unsigned flags) { return *event = &something, SUCCESS; }
Result cuEventRecord(Handle event, Handle stream) { return SUCCESS; }
Result cuEventSynchronize(Handle event) { return SUCCESS; }
Result cuEventDestroy_v2(Handle event) { return SUCCESS; }
Result cuStreamCreate(Handle *stream, unsigned flags) { return *stream = &something, SUCCESS; }
Result cuStreamWaitEvent(Handle stream, Handle event, unsigned flags) { return SUCCESS; }
Result cuStreamSynchronize(Handle stream) { return SUCCESS; }
Result cuStreamDestroy_v2(Handle stream) { return SUCCESS; }

Result cuIpcGetMemHandle(void *handle, Pointer pointer) { return NOT_SUPPORTED; }
typedef struct { char bytes[64]; } Shared;
Result cuIpcOpenMemHandle(Pointer *pointer, Shared handle, unsigned flags) { return NOT_SUPPORTED; }
Result cuIpcCloseMemHandle(Pointer pointer) { return NOT_SUPPORTED; }
