/* Fixed-width types for both worlds: clang -target bpf has no libc headers, the host compiler does. */
#ifndef TG_ABI_PRELUDE_H
#define TG_ABI_PRELUDE_H
#ifdef __bpf__
typedef unsigned char uint8_t;
typedef unsigned short uint16_t;
typedef unsigned int uint32_t;
typedef unsigned long long uint64_t;
#else
#include <stdint.h>
#endif
#endif
