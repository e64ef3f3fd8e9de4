/* What the emulated libraries share, and what a kernel that was compiled for the CPU tells of itself. */
#pragma once
#include <cstddef>
#include <cstdlib>

struct emulated_argument {
  size_t size;
  bool pointer;
};
/* One for each kernel of a compiled source, exported under the name emulated_KERNEL. */
struct emulated_kernel {
  void (*call)(void **arguments); /* one thread of it */
  const emulated_argument *arguments;
  size_t count;
  char *shared; /* static shared memory */
  size_t shared_size;
};

static inline int emulated_setting(const char *name, int usual) {
  const char *value = getenv(name);
  return value && *value ? atoi(value) : usual;
}

/* All of these are the driver's, which is loaded before the other libraries; weak, so that what is linked with one of
 * those need not be linked with the driver as well. */
#pragma weak emulated_refuse
#pragma weak emulated_on_device
#pragma weak emulated_device
extern "C" {
/* Says on standard error, in one line, what a card would not do. */
void emulated_refuse(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* Whether all of that memory lies in one allocation of the current device's. */
bool emulated_on_device(const void *start, size_t bytes);
/* The device of the current context; the first where there is none, as CUDA's runtime takes it. */
int emulated_device(void);
}
