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

/* inside TG_CAPTURE4_PREFIX (a /16) or TG_CAPTURE6_PREFIX (a /64) */
tg_inline int tg_addr_is_capture(const struct tg_addr *addr)
{
	const struct tg_addr fastpath4 = TG_CAPTURE4_FASTPATH, fastpath6 = TG_CAPTURE6_FASTPATH;

	if (tg_addr_is_v4(addr))
		return !((tg_addr_word(addr, 3) ^ tg_addr_word(&fastpath4, 3)) & TG_BE32(0xffff0000U));
	return tg_addr_word(addr, 0) == tg_addr_word(&fastpath6, 0) &&
	       tg_addr_word(addr, 1) == tg_addr_word(&fastpath6, 1);
}

#define TG_SPREAD4_ENVOY 0x8000U /* in the host part of a v4 capture address: Envoy's half */

/* The tier that a capture address belongs to; 0 if none has it. */
tg_inline uint32_t tg_addr_tier(const struct tg_addr *addr)
{
	uint32_t host = TG_BE32(tg_addr_word(addr, 3)), half = TG_BE32(tg_addr_word(addr, 2));

	if (!tg_addr_is_capture(addr))
		return 0;
	if (tg_addr_is_v4(addr)) {
		host &= 0xffffU;
		if (host > 2)
			return host & TG_SPREAD4_ENVOY ? TG_TIER_ENVOY : TG_TIER_FASTPATH;
	} else if (half) {
		return half == TG_TIER_FASTPATH || half == TG_TIER_ENVOY ? half : 0;
	}
	return host == 1 ? TG_TIER_FASTPATH : host == 2 ? TG_TIER_ENVOY : 0;
}

/* What tells a tier's capture addresses of one family apart, above 0 and below 2^24; 0 for the listener's own address. */
tg_inline uint32_t tg_addr_spread(const struct tg_addr *addr)
{
	uint32_t host = TG_BE32(tg_addr_word(addr, 3));

	if (tg_addr_is_v4(addr))
		return (host & 0xffffU) > 2 ? host & 0xffffU : 0;
	return tg_addr_word(addr, 2) ? host & 0xffffffU : 0;
}

/* Where a tier listens. */
tg_inline void tg_addr_of_tier(struct tg_addr *to, uint32_t tier, int v4)
{
	const struct tg_addr fastpath4 = TG_CAPTURE4_FASTPATH, envoy4 = TG_CAPTURE4_ENVOY;
	const struct tg_addr fastpath6 = TG_CAPTURE6_FASTPATH, envoy6 = TG_CAPTURE6_ENVOY;

	if (v4)
		tg_addr_copy(to, tier == TG_TIER_ENVOY ? &envoy4 : &fastpath4);
	else
		tg_addr_copy(to, tier == TG_TIER_ENVOY ? &envoy6 : &fastpath6);
}

/* Where Envoy takes what comes to the pod. */
tg_inline int tg_addr_is_inbound(const struct tg_addr *addr)
{
	const struct tg_addr inbound4 = TG_CAPTURE4_INBOUND, inbound6 = TG_CAPTURE6_INBOUND;

	if (tg_addr_is_v4(addr))
		return tg_addr_word(addr, 3) == tg_addr_word(&inbound4, 3);
	return tg_addr_word(addr, 0) == tg_addr_word(&inbound6, 0) &&
	       tg_addr_word(addr, 1) == tg_addr_word(&inbound6, 1) && !tg_addr_word(addr, 2) &&
	       tg_addr_word(addr, 3) == tg_addr_word(&inbound6, 3);
}

/* A destination as a number; equal ones for different destinations are rare (FNV-1a by words, then mixed). */
tg_inline uint32_t tg_addr_hash(const struct tg_addr *addr, uint16_t port_be)
{
	uint32_t hash = 0x811c9dc5U;

	hash = (hash ^ TG_BE32(tg_addr_word(addr, 0))) * 0x01000193U;
	hash = (hash ^ TG_BE32(tg_addr_word(addr, 1))) * 0x01000193U;
	hash = (hash ^ TG_BE32(tg_addr_word(addr, 2))) * 0x01000193U;
	hash = (hash ^ TG_BE32(tg_addr_word(addr, 3))) * 0x01000193U;
	hash = (hash ^ TG_BE16(port_be)) * 0x9e3779b1U;
	hash = (hash ^ (hash >> 15)) * 0x85ebca77U;
	return hash ^ (hash >> 13);
}

/* Where connections to a destination go for a tier: to an address of their own, so that one source port may be connected
 * to several destinations, and the ports of a pod are not shared by all of them. */
tg_inline void tg_addr_of_destination(struct tg_addr *to, uint32_t tier, const struct tg_addr *dst, uint16_t port_be)
{
	uint32_t hash = tg_addr_hash(dst, port_be), host;

	tg_addr_of_tier(to, tier, tg_addr_is_v4(dst));
	if (tg_addr_is_v4(dst)) {
		host = hash >> 17; /* 15 bits; 0 to 2 have a meaning of their own */
		host = (host < 3 ? host + 3 : host) | (tier == TG_TIER_ENVOY ? TG_SPREAD4_ENVOY : 0);
		((tg_word *)to->ip)[3] = (tg_addr_word(to, 3) & TG_BE32(0xffff0000U)) | TG_BE32(host);
	} else {
		host = hash >> 8;
		((tg_word *)to->ip)[2] = TG_BE32(tier);
		((tg_word *)to->ip)[3] = TG_BE32(host ? host : 1);
	}
}
#endif
