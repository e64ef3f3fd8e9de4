/* What CUDA C has beyond C++, in front of every kernel. One thread runs at a time, so that nothing has to be atomic. */
#pragma once
#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <type_traits>
#include <utility>
#include "emulated.h"

struct emulated_index {
  unsigned x, y, z;
};
extern "C" {
extern emulated_index threadIdx, blockIdx, blockDim, gridDim;
extern char *emulated_dynamic; /* shared memory whose size the launch names */
void emulated_barrier(int line);
}

#define __global__ __attribute__((visibility("hidden")))
#define __device__ __attribute__((visibility("hidden")))
#define __forceinline__ inline
#define __launch_bounds__(...)
#define __restrict__ __restrict
#define __shared__ static __attribute__((section("emulated_shared"), aligned(16)))
#define __syncthreads() emulated_barrier(__LINE__)
#define __threadfence()
#define __threadfence_block()
#define __CUDA_ARCH__ 900
#define warpSize 32
#define asm(...) abort() /* half precision is not emulated */

template <class To, class From> static inline To emulated_bits(From from) {
  static_assert(sizeof(To) == sizeof(From), "of one size");
  To to;
  memcpy(&to, &from, sizeof to);
  return to;
}
static inline float __int_as_float(int x) { return emulated_bits<float>(x); }
static inline int __float_as_int(float x) { return emulated_bits<int>(x); }
static inline double __longlong_as_double(long long x) { return emulated_bits<double>(x); }
static inline long long __double_as_longlong(double x) { return emulated_bits<long long>(x); }
static inline unsigned __byte_perm(unsigned a, unsigned b, unsigned selector) {
  unsigned long long bytes = (unsigned long long)b << 32 | a;
  unsigned result = 0;
  for (int i = 0; i < 4; i++) result |= (unsigned)(bytes >> 8 * (selector >> 4 * i & 7) & 0xff) << 8 * i;
  return result;
}

#define EMULATED_ATOMIC(NAME, VALUE) \
  template <class T, class V> static inline T NAME(T *place, V given) { \
    T old = *place, value = (T)given; \
    *place = VALUE; \
    return old; \
  }
EMULATED_ATOMIC(atomicAdd, old + value)
EMULATED_ATOMIC(atomicExch, value)
template <class T, class C, class V> static inline T atomicCAS(T *place, C expected, V value) {
  T old = *place;
  if (old == (T)expected) *place = (T)value;
  return old;
}

static inline float rsqrt(float x) { return 1 / sqrtf(x); }
static inline double rsqrt(double x) { return 1 / sqrt(x); }
/* Of two floats that one which is a number. */
#define EMULATED_EXTREME(NAME, OF_FLOATS, OPERATOR) \
  template <class A, class B, class C = typename std::common_type<A, B>::type> static inline C NAME(A a, B b) { \
    if constexpr (std::is_floating_point<C>::value) return OF_FLOATS((C)a, (C)b); \
    return (C)a OPERATOR (C)b ? (C)a : (C)b; \
  }
EMULATED_EXTREME(max, fmax, >)
EMULATED_EXTREME(min, fmin, <)

extern "C" char __start_emulated_shared[] __attribute__((weak, visibility("hidden")));
extern "C" char __stop_emulated_shared[] __attribute__((weak, visibility("hidden")));

template <auto Kernel> struct emulated_entry;
template <class... Arguments, void (*Kernel)(Arguments...)> struct emulated_entry<Kernel> {
  template <size_t... I> static void unpack(void **values, std::index_sequence<I...>) {
    Kernel(*(std::remove_const_t<Arguments> *)values[I]...);
  }
  static void call(void **values) { unpack(values, std::index_sequence_for<Arguments...>()); }
  static constexpr emulated_argument arguments[] = {{sizeof(Arguments), std::is_pointer_v<Arguments>}...};
  static emulated_kernel made() {
    return {call, arguments, sizeof...(Arguments), __start_emulated_shared,
            (size_t)(__stop_emulated_shared - __start_emulated_shared)};
  }
};
