/* 16-byte addresses: word access, comparison and the classes of address that decisions ask about. */
#ifndef TG_ADDR_CORE_H
#define TG_ADDR_CORE_H
#include "../include/tg_abi.h"
#include "../include/tg_capture.h"

#define tg_inline static inline __attribute__((always_inline, unused))

/* struct tg_addr is bytes for the sake of cffi and C; the verifier and the CPU like words. Every tg_addr of the ABI lies
 * at a multiple of four, and so do those on the stack here because they are members of structs with wider members. */
typedef uint32_t __attribute__((may_alias)) tg_word;

tg_inline uint32_t tg_addr_word(const struct tg_addr *addr, int i)
{
	return ((const tg_word *)addr->ip)[i];
}

tg_inline void tg_addr_set(struct tg_addr *addr, uint32_t a, uint32_t b, uint32_t c, uint32_t d)
{
	((tg_word *)addr->ip)[0] = a;
	((tg_word *)addr->ip)[1] = b;
	((tg_word *)addr->ip)[2] = c;
	((tg_word *)addr->ip)[3] = d;
}

tg_inline void tg_addr_copy(struct tg_addr *to, const struct tg_addr *from)
{
	tg_addr_set(to, tg_addr_word(from, 0), tg_addr_word(from, 1), tg_addr_word(from, 2), tg_addr_word(from, 3));
}

#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
#define TG_BE32(x) __builtin_bswap32(x)
#define TG_BE16(x) __builtin_bswap16(x)
#else
#define TG_BE32(x) (x)
#define TG_BE16(x) (x)
#endif

/* ip_be in network order, as the kernel's contexts have it */
tg_inline void tg_addr_set_v4(struct tg_addr *addr, uint32_t ip_be)
{
	tg_addr_set(addr, 0, 0, TG_BE32(0xffffU), ip_be);
}

tg_inline int tg_addr_is_zero(const struct tg_addr *addr)
{
	return !(tg_addr_word(addr, 0) | tg_addr_word(addr, 1) | tg_addr_word(addr, 2) | tg_addr_word(addr, 3));
}

tg_inline int tg_addr_is_v4(const struct tg_addr *addr)
{
	return !tg_addr_word(addr, 0) && !tg_addr_word(addr, 1) && tg_addr_word(addr, 2) == TG_BE32(0xffffU);
}

/* bind() to 0.0.0.0 (v4-mapped here) or :: binds to nothing */
tg_inline int tg_addr_is_any(const struct tg_addr *addr)
{
	return tg_addr_is_zero(addr) || (tg_addr_is_v4(addr) && !tg_addr_word(addr, 3));
}

/* 127.0.0.0/8, ::1 and the unspecified address, which connect() takes for loopback */
tg_inline int tg_addr_is_loopback(const struct tg_addr *addr)
{
	if (tg_addr_is_v4(addr))
		return (TG_BE32(tg_addr_word(addr, 3)) >> 24) == 127 || !tg_addr_word(addr, 3);
	return !tg_addr_word(addr, 0) && !tg_addr_word(addr, 1) && !tg_addr_word(addr, 2) &&
	       (tg_addr_word(addr, 3) == TG_BE32(1) || !tg_addr_word(addr, 3));
}

/* inside TG_CAPTURE4_PREFIX (a /24) or TG_CAPTURE6_PREFIX (a /64) */
tg_inline int tg_addr_is_capture(const struct tg_addr *addr)
{
	const struct tg_addr fastpath4 = TG_CAPTURE4_FASTPATH, fastpath6 = TG_CAPTURE6_FASTPATH;

	if (tg_addr_is_v4(addr))
		return !((tg_addr_word(addr, 3) ^ tg_addr_word(&fastpath4, 3)) & TG_BE32(0xffffff00U));
	return tg_addr_word(addr, 0) == tg_addr_word(&fastpath6, 0) && tg_addr_word(addr, 1) == tg_addr_word(&fastpath6, 1);
}

/* The tier whose listener has this very address; 0 if none has. */
tg_inline uint32_t tg_addr_tier(const struct tg_addr *addr)
{
	uint32_t host = TG_BE32(tg_addr_word(addr, 3));

	if (!tg_addr_is_capture(addr))
		return 0;
	if (tg_addr_is_v4(addr))
		host &= 0xff;
	else if (tg_addr_word(addr, 2))
		return 0;
	return host == 1 ? TG_TIER_FASTPATH : host == 2 ? TG_TIER_ENVOY : 0;
}

/* The inverse: where connections for a tier go. */
tg_inline void tg_addr_of_tier(struct tg_addr *to, uint32_t tier, int v4)
{
	const struct tg_addr fastpath4 = TG_CAPTURE4_FASTPATH, envoy4 = TG_CAPTURE4_ENVOY;
	const struct tg_addr fastpath6 = TG_CAPTURE6_FASTPATH, envoy6 = TG_CAPTURE6_ENVOY;

	if (v4)
		tg_addr_copy(to, tier == TG_TIER_ENVOY ? &envoy4 : &fastpath4);
	else
		tg_addr_copy(to, tier == TG_TIER_ENVOY ? &envoy6 : &fastpath6);
}
#endif
