/* struct tg_addr (16 bytes, IPv4 as v4-mapped) <-> what the socket calls want. */
#ifndef FP_ADDR_H
#define FP_ADDR_H
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>

#include "../../bpf/include/tg_abi.h"
#include "base.h"

union fp_sockaddr {
	struct sockaddr sa;
	struct sockaddr_in in;
	struct sockaddr_in6 in6;
};

static inline bool fp_addr_equal(const struct tg_addr *a, const struct tg_addr *b)
{
	return memcmp(a, b, sizeof(*a)) == 0;
}

static inline bool fp_addr_is_unset(const struct tg_addr *addr)
{
	static const struct tg_addr unset;
	return fp_addr_equal(addr, &unset);
}

static inline bool fp_addr_is_v4(const struct tg_addr *addr)
{
	static const uint8_t mapped[12] = { [10] = 0xff, [11] = 0xff };
	return memcmp(addr->ip, mapped, sizeof(mapped)) == 0;
}

static inline uint64_t fp_address_hash(const struct tg_addr *addr, uint16_t port_be)
{
	uint64_t high, low;
	memcpy(&high, addr->ip, 8);
	memcpy(&low, addr->ip + 8, 8);
	/* Multiply and fold (the finalizer of splitmix64): addresses of one cluster differ in few low bits. */
	uint64_t h = low ^ (high * 0x9e3779b97f4a7c15u) ^ ((uint64_t)port_be << 48);
	h = (h ^ (h >> 30)) * 0xbf58476d1ce4e5b9u;
	h = (h ^ (h >> 27)) * 0x94d049bb133111ebu;
	return h ^ (h >> 31);
}

static inline socklen_t fp_sockaddr_make(const struct tg_addr *addr, uint16_t port_be, union fp_sockaddr *ret_name)
{
	memset(ret_name, 0, sizeof(*ret_name));
	if (fp_addr_is_v4(addr)) {
		ret_name->in.sin_family = AF_INET;
		ret_name->in.sin_port = port_be;
		memcpy(&ret_name->in.sin_addr, addr->ip + 12, 4);
		return sizeof(ret_name->in);
	}
	ret_name->in6.sin6_family = AF_INET6;
	ret_name->in6.sin6_port = port_be;
	memcpy(&ret_name->in6.sin6_addr, addr->ip, 16);
	return sizeof(ret_name->in6);
}

static inline uint16_t fp_sockaddr_read(const union fp_sockaddr *name, struct tg_addr *ret_addr)
{
	memset(ret_addr, 0, sizeof(*ret_addr));
	if (name->sa.sa_family == AF_INET) {
		ret_addr->ip[10] = ret_addr->ip[11] = 0xff;
		memcpy(ret_addr->ip + 12, &name->in.sin_addr, 4);
		return name->in.sin_port;
	}
	memcpy(ret_addr->ip, &name->in6.sin6_addr, 16);
	return name->in6.sin6_port;
}
#endif
