/* libcuda.so.1: a driver whose cards compute on the CPU. The environment says what they are:
 *
 *   EMULATED_ORDER       forward, reverse or random: of blocks, and of a block's threads between two barriers
 *   EMULATED_SEED        of the random order (0)
 *   EMULATED_BUSY        1: no context can be made, as on a card that another process has for itself
 *   EMULATED_DEVICES     how many there are (1; 0 fails as a container without its device does)
 *   EMULATED_CAPABILITY  compute capability (9.0)
 *   EMULATED_DRIVER      the CUDA that the driver is for (13000)
 *   EMULATED_BREAK       "transfer": copies to the host lose their end, for a test of the tests
 *   CUDA_VISIBLE_DEVICES of those, the ones that this process sees, by number
 *
 * Everything is done at once, in the order of the calls. New memory is full of NaN, and so is what is given back.
 * Numbers are those of cuda.h. libgpuarray looks functions up one by one; these are the ones it asks for.
 */
#include "emulated.h"
#include <algorithm>
#include <cstdarg>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <dlfcn.h>
#include <iterator>
#include <map>
#include <numeric>
#include <random>
#include <setjmp.h>
#include <string>
#include <sys/mman.h>
#include <ucontext.h>
#include <vector>

enum Result { SUCCESS = 0, INVALID_VALUE = 1, OUT_OF_MEMORY = 2, NO_DEVICE = 100, INVALID_DEVICE = 101,
              INVALID_IMAGE = 200, INVALID_CONTEXT = 201, NOT_FOUND = 500, ILLEGAL_ADDRESS = 700, LAUNCH_FAILED = 719,
              NOT_SUPPORTED = 801 };
typedef uintptr_t Pointer;
struct Index { unsigned x, y, z; };

#define REFUSE(status, ...) return emulated_refuse(__VA_ARGS__), status

extern "C" void emulated_refuse(const char *format, ...) {
  char line[500];
  va_list list;
  va_start(list, format);
  vsnprintf(line, sizeof line, format, list);
  va_end(list);
  fprintf(stderr, "emulated CUDA: %s\n", line);
}

/* ---- contexts: one for each device, and a stack of them for each thread ---- */
enum { DEVICES = 8 };
struct Context { int device; };
static Context contexts[DEVICES] = {{0}, {1}, {2}, {3}, {4}, {5}, {6}, {7}};
static thread_local std::vector<Context *> current;

/* Ordinals that the process sees; a card's own number is its place among all. */
static std::vector<int> visible() {
  int count = std::min<int>(DEVICES, emulated_setting("EMULATED_DEVICES", 1)), number;
  std::vector<int> seen;
  const char *list = getenv("CUDA_VISIBLE_DEVICES");
  if (!list)
    while ((int)seen.size() < count) seen.push_back(seen.size());
  for (int used = 0; list && sscanf(list, "%d%n", &number, &used) == 1 && number >= 0 && number < count;) {
    seen.push_back(number);
    list = list[used] ? list + used + 1 : nullptr;
  }
  return seen;
}
static int devices() { return visible().size(); }
extern "C" int emulated_device(void) { return current.empty() ? 0 : current.back()->device; }
#define NEEDS_CONTEXT if (current.empty()) REFUSE(INVALID_CONTEXT, "%s without a current context", __func__)

/* ---- memory ---- */
struct Block { size_t size; int device; }; /* -1: the host's, pinned, which all devices reach */
static std::map<const char *, Block> blocks;

static const std::pair<const char *const, Block> *block_of(const void *start, size_t bytes) {
  auto after = blocks.upper_bound((const char *)start);
  if (after == blocks.begin()) return nullptr;
  auto block = std::prev(after);
  return (const char *)start + bytes <= block->first + block->second.size ? &*block : nullptr;
}
extern "C" bool emulated_on_device(const void *start, size_t bytes) {
  if (!bytes) return true;
  auto block = block_of(start, bytes);
  return block && (block->second.device < 0 || block->second.device == emulated_device());
}
static Result allocate(void **pointer, size_t size, int device) {
  if (!size) REFUSE(INVALID_VALUE, "an allocation of no bytes");
  if (posix_memalign(pointer, 512, size)) return OUT_OF_MEMORY;
  memset(*pointer, 0xff, size);
  blocks[(const char *)*pointer] = {size, device};
  return SUCCESS;
}
static Result release(void *pointer) {
  auto block = blocks.find((const char *)pointer);
  if (block == blocks.end()) REFUSE(INVALID_VALUE, "memory is given back that was not allocated");
  memset(pointer, 0xff, block->second.size);
  blocks.erase(block);
  free(pointer);
  return SUCCESS;
}

extern "C" {
Result cuInit(unsigned) { return devices() ? SUCCESS : NO_DEVICE; }
Result cuDriverGetVersion(int *version) { return *version = emulated_setting("EMULATED_DRIVER", 13000), SUCCESS; }
Result cuGetErrorName(Result error, const char **name) {
  static thread_local char text[40];
  snprintf(text, sizeof text, "CUDA error %d", error);
  return *name = text, SUCCESS;
}
Result cuGetErrorString(Result error, const char **text) { return cuGetErrorName(error, text); }

Result cuDeviceGetCount(int *count) { return *count = devices(), SUCCESS; }
Result cuDeviceGet(int *device, int ordinal) {
  return *device = ordinal, ordinal >= 0 && ordinal < devices() ? SUCCESS : INVALID_DEVICE;
}
Result cuDeviceGetName(char *name, int size, int device) {
  int number = visible()[device];
  return number ? snprintf(name, size, "emulated GPU %d", number) : snprintf(name, size, "emulated GPU"), SUCCESS;
}
Result cuDeviceGetPCIBusId(char *id, int size, int device) {
  return snprintf(id, size, "0000:%02x:00.0", visible()[device]), SUCCESS;
}
static const unsigned THREADS = 1024, ALONG_Z = 64, GRID = 2147483647, GRID_YZ = 65535, SHARED = 48 * 1024;
Result cuDeviceGetAttribute(int *value, int attribute, int) {
  const char *capability = getenv("EMULATED_CAPABILITY");
  int major = 9, minor = 0;
  if (capability) sscanf(capability, "%d.%d", &major, &minor);
  switch (attribute) {
    case 1: case 2: case 3: *value = THREADS; break; /* threads in a block, and along x and y */
    case 4: *value = ALONG_Z; break;
    case 5: *value = GRID; break; /* blocks along x */
    case 6: case 7: *value = GRID_YZ; break;
    case 8: *value = SHARED; break; /* bytes of a block */
    case 10: *value = 32; break;    /* threads in a warp */
    case 12: *value = 65536; break; /* registers of a block */
    case 16: *value = 2; break;     /* multiprocessors: few, so that launches are small */
    case 39: *value = 2048; break;  /* threads of a multiprocessor */
    case 75: *value = major; break;
    case 76: *value = minor; break;
    default: *value = 1;
  }
  return SUCCESS;
}

Result cuDevicePrimaryCtxGetState(int, unsigned *flags, int *active) { return *flags = *active = 0, SUCCESS; }
Result cuDevicePrimaryCtxSetFlags(int, unsigned) { return SUCCESS; }
Result cuDevicePrimaryCtxRetain(Context **context, int device) {
  return *context = &contexts[device], emulated_setting("EMULATED_BUSY", 0) ? OUT_OF_MEMORY : SUCCESS;
}
Result cuDevicePrimaryCtxRelease(int) { return SUCCESS; }
Result cuCtxGetDevice(int *device) { NEEDS_CONTEXT; return *device = emulated_device(), SUCCESS; }
Result cuCtxPushCurrent_v2(Context *context) { return current.push_back(context), SUCCESS; }
Result cuCtxPopCurrent_v2(Context **context) {
  NEEDS_CONTEXT;
  if (context) *context = current.back();
  return current.pop_back(), SUCCESS;
}

/* ---- memory, continued ---- */
Result cuMemGetInfo_v2(size_t *available, size_t *total) {
  NEEDS_CONTEXT;
  return *available = (size_t)4 << 30, *total = (size_t)8 << 30, SUCCESS;
}
Result cuMemAlloc_v2(Pointer *pointer, size_t size) {
  NEEDS_CONTEXT;
  return allocate((void **)pointer, size, emulated_device());
}
Result cuMemFree_v2(Pointer pointer) { return release((void *)pointer); }
Result cuMemAllocHost_v2(void **pointer, size_t size) { return allocate(pointer, size, -1); }
Result cuMemFreeHost(void *pointer) { return release(pointer); }
#define ON_DEVICE(pointer) \
  if (!emulated_on_device((void *)pointer, size)) \
    REFUSE(INVALID_VALUE, "%s: %zu bytes from %p on are not all the device's", __func__, size, (void *)pointer)
#define ON_HOST(pointer) \
  if (block_of((void *)pointer, 1) && block_of((void *)pointer, 1)->second.device >= 0) \
    REFUSE(INVALID_VALUE, "%s: %p is not the host's", __func__, (void *)pointer)
Result cuMemcpyHtoD_v2(Pointer to, const void *from, size_t size) {
  NEEDS_CONTEXT;
  ON_DEVICE(to);
  ON_HOST(from);
  return memcpy((void *)to, from, size), SUCCESS;
}
Result cuMemcpyHtoDAsync_v2(Pointer to, const void *from, size_t size, void *) { return cuMemcpyHtoD_v2(to, from, size); }
Result cuMemcpyDtoHAsync_v2(void *to, Pointer from, size_t size, void *) {
  NEEDS_CONTEXT;
  ON_DEVICE(from);
  ON_HOST(to);
  static const bool broken = getenv("EMULATED_BREAK") && !strcmp(getenv("EMULATED_BREAK"), "transfer");
  return memcpy(to, (void *)from, broken ? size / 2 : size), SUCCESS;
}
Result cuMemcpyDtoDAsync_v2(Pointer to, Pointer from, size_t size, void *) {
  NEEDS_CONTEXT;
  ON_DEVICE(from);
  ON_DEVICE(to);
  return memmove((void *)to, (void *)from, size), SUCCESS;
}
Result cuMemcpyPeerAsync(Pointer to, Context *, Pointer from, Context *, size_t size, void *) {
  if (!block_of((void *)to, size) || !block_of((void *)from, size))
    REFUSE(INVALID_VALUE, "%s: %zu bytes are not all a device's", __func__, size);
  return memmove((void *)to, (void *)from, size), SUCCESS;
}
Result cuMemsetD8Async(Pointer to, unsigned char value, size_t size, void *) {
  NEEDS_CONTEXT;
  ON_DEVICE(to);
  return memset((void *)to, value, size), SUCCESS;
}
Result cuIpcGetMemHandle(void *, Pointer) { return NOT_SUPPORTED; }
typedef struct { char bytes[64]; } Shared;
Result cuIpcOpenMemHandle(Pointer *, Shared, unsigned) { return NOT_SUPPORTED; }
Result cuIpcCloseMemHandle(Pointer) { return NOT_SUPPORTED; }

/* ---- streams and events: nothing is ever under way ---- */
static char something;
Result cuStreamCreate(void **stream, unsigned flags) {
  NEEDS_CONTEXT;
  /* cuDNN works on the default stream; only a stream that blocks waits for that, and makes it wait. */
  if (flags) REFUSE(INVALID_VALUE, "a stream that does not wait for cuDNN's");
  return *stream = &something, SUCCESS;
}
Result cuStreamWaitEvent(void *, void *, unsigned) { return SUCCESS; }
Result cuStreamSynchronize(void *) { return SUCCESS; }
Result cuStreamDestroy_v2(void *) { return SUCCESS; }
Result cuEventCreate(void **event, unsigned) { return *event = &something, SUCCESS; }
Result cuEventRecord(void *, void *) { return SUCCESS; }
Result cuEventSynchronize(void *) { return SUCCESS; }
Result cuEventDestroy_v2(void *) { return SUCCESS; }

/* ---- a kernel's threads ---- */
Index threadIdx, blockIdx, blockDim, gridDim; /* as the kernels see them */
char *emulated_dynamic;
}

/* A thread that waits at a barrier keeps its place on a stack of its own. A fiber, once made, runs one thread after the
 * other. Only the first jump onto its stack is by the slow setcontext. */
struct Fiber {
  ucontext_t start;
  jmp_buf place;
  bool begun = false, done = true;
  int line = 0; /* of the barrier that it waits at */
};
static const size_t STACK = 64 * 1024;
static std::vector<Fiber *> fibers;
static Fiber *running;
static jmp_buf scheduler;
static const emulated_kernel *kernel_running;
static void **values_running;

static void wait_for_others() {
  Fiber *fiber = running;
  if (!_setjmp(fiber->place)) _longjmp(scheduler, 1);
}
extern "C" void emulated_barrier(int line) {
  running->line = line;
  wait_for_others();
}
static void live() {
  for (;;) {
    kernel_running->call(values_running);
    running->done = true;
    wait_for_others();
  }
}
static Fiber *fiber(size_t number) {
  while (fibers.size() <= number) {
    Fiber *made = new Fiber;
    getcontext(&made->start);
    made->start.uc_stack.ss_sp = mmap(nullptr, STACK, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    made->start.uc_stack.ss_size = STACK;
    makecontext(&made->start, live, 0);
    fibers.push_back(made);
  }
  return fibers[number];
}
static void go_on(Fiber *fiber) {
  running = fiber;
  if (_setjmp(scheduler)) return;
  if (fiber->begun) _longjmp(fiber->place, 1);
  fiber->begun = true;
  setcontext(&fiber->start);
}

static void put_in_order(std::vector<unsigned> &order, size_t count) {
  static const std::string how = getenv("EMULATED_ORDER") ? getenv("EMULATED_ORDER") : "forward";
  static std::mt19937 generator(emulated_setting("EMULATED_SEED", 0));
  order.resize(count);
  std::iota(order.begin(), order.end(), 0);
  if (how == "reverse") std::reverse(order.begin(), order.end());
  if (how == "random") std::shuffle(order.begin(), order.end(), generator);
}
static Index unravel(unsigned number, Index size) {
  return {number % size.x, number / size.x % size.y, number / size.x / size.y};
}
static const char *run_block(bool barriers) {
  static std::vector<unsigned> order;
  size_t count = (size_t)blockDim.x * blockDim.y * blockDim.z;
  put_in_order(order, count);
  if (!barriers) {
    for (unsigned thread : order) {
      threadIdx = unravel(thread, blockDim);
      kernel_running->call(values_running);
    }
    return nullptr;
  }
  for (size_t thread = 0; thread < count; thread++) fiber(thread)->done = false;
  for (size_t alive = count; alive; put_in_order(order, count)) {
    int line = 0;
    for (unsigned thread : order) {
      Fiber *fiber = fibers[thread];
      if (fiber->done) continue;
      threadIdx = unravel(thread, blockDim);
      go_on(fiber);
      if (fiber->done) {
        alive--;
      } else {
        if (line && line != fiber->line) return "threads of a block wait at different barriers";
        line = fiber->line;
      }
    }
  }
  return nullptr;
}

/* ---- modules and launches ---- */
struct Function {
  std::string name;
  const emulated_kernel *kernel; /* null: of real PTX, which nothing here can run */
  bool barriers;
};
struct Module { void *library; };
struct Link { std::string image; };
static const char MARK[] = "//emulated ";

extern "C" {
Result cuLinkCreate(unsigned, void *, void **, Link **link) { return *link = new Link, SUCCESS; }
Result cuLinkAddData(Link *link, int, void *data, size_t size, const char *, unsigned, void *, void **) {
  return link->image.assign((const char *)data, size), SUCCESS;
}
Result cuLinkComplete(Link *link, void **image, size_t *size) {
  link->image.push_back(0);
  return *image = &link->image[0], *size = link->image.size(), SUCCESS;
}
Result cuLinkDestroy(Link *link) { return delete link, SUCCESS; }

Result cuModuleLoadDataEx(Module **module, const char *image, unsigned, void *, void **) {
  NEEDS_CONTEXT;
  *module = new Module{nullptr};
  if (strncmp(image, MARK, strlen(MARK))) return SUCCESS; /* real PTX */
  std::string file = image + strlen(MARK);
  file.resize(file.find('\n'));
  (*module)->library = dlopen(file.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (!(*module)->library) REFUSE(INVALID_IMAGE, "a compiled kernel cannot be loaded: %s", dlerror());
  return SUCCESS;
}
Result cuModuleLoadData(Module **module, const char *image) { return cuModuleLoadDataEx(module, image, 0, nullptr, nullptr); }
Result cuModuleUnload(Module *module) { return delete module, SUCCESS; }
Result cuModuleGetFunction(Function **function, Module *module, const char *name) {
  Function made{name, nullptr, false};
  if (module->library) {
    made.kernel = (const emulated_kernel *)dlsym(module->library, ("emulated_" + made.name).c_str());
    if (!made.kernel) REFUSE(NOT_FOUND, "there is no kernel %s", name);
    made.barriers = dlsym(module->library, "emulated_has_barriers");
  }
  return *function = new Function(made), SUCCESS;
}
Result cuFuncGetAttribute(int *value, int attribute, Function *) { return *value = attribute ? 32 : THREADS, SUCCESS; }

Result cuLaunchKernel(Function *function, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by, unsigned bz,
                      unsigned shared, void *, void **arguments, void **) {
  NEEDS_CONTEXT;
  const char *name = function->name.c_str();
  if (!function->kernel) REFUSE(NOT_SUPPORTED, "%s: PTX cannot be run", name);
  if (!gx || !gy || !gz || !bx || !by || !bz || (uint64_t)bx * by * bz > THREADS || bz > ALONG_Z || gx > GRID ||
      gy > GRID_YZ || gz > GRID_YZ || shared + function->kernel->shared_size > SHARED)
    REFUSE(INVALID_VALUE, "%s: a launch of %u x %u x %u blocks of %u x %u x %u threads, with %u bytes of shared memory",
           name, gx, gy, gz, bx, by, bz, shared);
  const emulated_kernel &kernel = *function->kernel;
  for (size_t i = 0; i < kernel.count; i++) {
    void *pointer = kernel.arguments[i].pointer ? *(void **)arguments[i] : nullptr;
    if (pointer && !emulated_on_device(pointer, 1)) REFUSE(ILLEGAL_ADDRESS, "%s: argument %zu is not on the device", name, i);
  }
  /* A value that is passed to a kernel is its own; the caller's must stay as it is. */
  std::vector<std::vector<char>> copies;
  std::vector<void *> values;
  for (size_t i = 0; i < kernel.count; i++)
    copies.emplace_back((char *)arguments[i], (char *)arguments[i] + kernel.arguments[i].size);
  for (auto &copy : copies) values.push_back(copy.data());
  static std::vector<double> dynamic(SHARED / sizeof(double));
  emulated_dynamic = (char *)dynamic.data();
  kernel_running = &kernel, values_running = values.data();
  gridDim = {gx, gy, gz}, blockDim = {bx, by, bz};
  static std::vector<unsigned> order;
  put_in_order(order, (size_t)gx * gy * gz);
  for (unsigned block : order) {
    blockIdx = unravel(block, gridDim);
    memset(kernel.shared, 0xff, kernel.shared_size);
    memset(emulated_dynamic, 0xff, shared);
    if (const char *trouble = run_block(function->barriers)) REFUSE(LAUNCH_FAILED, "%s: %s", name, trouble);
  }
  return SUCCESS;
}
}
