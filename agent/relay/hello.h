/* The server's name in the first message of a TLS client (RFC 6066, 3), read while it arrives. Takes bytes from whoever
 * dials, so nothing is believed: every length is held against what is there, nothing is allocated, nothing is changed.
 *
 * With Encrypted ClientHello the name is the outer one, which is the one that is meant for everybody on the way. */
#ifndef FP_HELLO_H
#define FP_HELLO_H
#include "relay_abi.h"

#include "base.h"

/* Bytes that are looked at, at most: longer first messages have no name. */
enum { FP_HELLO_MOST = 16384 };

enum fp_hello {
	FP_HELLO_MORE,    /* as far as it came it is one: ask again with more */
	FP_HELLO_NAMED,   /* there is a name */
	FP_HELLO_NAMELESS /* there is none: none was said, it is none, or this is no TLS */
};

/* What the bytes so far say. ret_name: in lower case, without a dot at its end; set with FP_HELLO_NAMED only. */
enum fp_hello fp_hello_read(const void *bytes, size_t size, char ret_name[FP_NAME_MAX + 1]);
#endif
