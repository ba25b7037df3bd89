#include "hello.h"

enum {
	RECORD_HANDSHAKE = 22, /* RFC 8446, 5.1 */
	RECORD_HEAD = 5,
	RECORD_MOST = 16384,
	CLIENT_HELLO = 1,     /* 4 */
	SESSION_ID_MOST = 32, /* 4.1.2 */
	SERVER_NAME = 0,      /* RFC 6066, 3 */
	HOST_NAME = 0
};

/* Where reading stands. What is read is the handshake message; heads of records are stepped over. */
struct reader {
	const uint8_t *at, *end;
	uint32_t record;  /* bytes of the record that are left */
	uint32_t message; /* bytes of the message that are left */
	bool wrong;       /* this is no such message */
	bool more;        /* it goes on behind what is there */
};

static bool stopped(const struct reader *r)
{
	return r->wrong || r->more;
}

/* Step into the next record. One without content is none that a handshake may be cut into. */
static void open_record(struct reader *r)
{
	static const uint8_t begin[] = { RECORD_HANDSHAKE, 3 };
	size_t there = (size_t)(r->end - r->at);
	for (size_t i = 0; i < sizeof(begin) && i < there; i++)
		r->wrong |= r->at[i] != begin[i];
	if (r->wrong)
		return;
	r->more = there < RECORD_HEAD;
	if (r->more)
		return;
	r->record = (uint32_t)r->at[3] << 8 | r->at[4];
	r->at += RECORD_HEAD;
	r->wrong = !r->record || r->record > RECORD_MOST;
}

static uint8_t next(struct reader *r)
{
	if (!stopped(r) && !r->message)
		r->wrong = true;
	if (!stopped(r) && !r->record)
		open_record(r);
	if (!stopped(r) && r->at == r->end)
		r->more = true;
	if (stopped(r))
		return 0;
	r->record--;
	r->message--;
	return *r->at++;
}

static uint32_t next_number(struct reader *r, int bytes)
{
	uint32_t number = 0;
	while (bytes--)
		number = number << 8 | next(r);
	return number;
}

static void skip(struct reader *r, uint32_t bytes)
{
	while (bytes-- && !stopped(r))
		next(r);
}

/* As DNS writes it (RFC 1123 with underscores), so that it can be compared byte by byte. */
static bool is_in_names(uint8_t c)
{
	return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '.' || c == '_';
}

/* A name of so many bytes; false if it is none. */
static bool read_name(struct reader *r, uint32_t length, char ret_name[FP_NAME_MAX + 1])
{
	if (!length || length > FP_NAME_MAX)
		return false;
	for (uint32_t i = 0; i < length; i++) {
		uint8_t c = next(r);
		if (c >= 'A' && c <= 'Z')
			c = (uint8_t)(c - 'A' + 'a');
		if (stopped(r) || !is_in_names(c))
			return false;
		ret_name[i] = (char)c;
	}
	if (ret_name[length - 1] == '.')
		length--;
	ret_name[length] = '\0';
	return length > 0;
}

/* The list of names of the extension: the first that is a host's. */
static bool read_names(struct reader *r, uint32_t extension, char ret_name[FP_NAME_MAX + 1])
{
	uint32_t list = next_number(r, 2);
	if (stopped(r) || extension < 2 || list > extension - 2)
		return false;
	while (list >= 3 && !stopped(r)) {
		uint32_t type = next(r), length = next_number(r, 2);
		list -= 3;
		if (stopped(r) || length > list)
			return false;
		if (type == HOST_NAME)
			return read_name(r, length, ret_name);
		skip(r, length);
		list -= length;
	}
	return false;
}

static bool read_extensions(struct reader *r, char ret_name[FP_NAME_MAX + 1])
{
	uint32_t left = next_number(r, 2);
	while (left >= 4 && !stopped(r)) {
		uint32_t type = next_number(r, 2), length = next_number(r, 2);
		left -= 4;
		if (stopped(r) || length > left)
			return false;
		if (type == SERVER_NAME)
			return read_names(r, length, ret_name);
		skip(r, length);
		left -= length;
	}
	return false;
}

static bool read_hello(struct reader *r, char ret_name[FP_NAME_MAX + 1])
{
	r->message = 4;
	uint32_t type = next(r), length = next_number(r, 3);
	if (stopped(r) || type != CLIENT_HELLO)
		return false;
	r->message = length;
	uint32_t major = next(r);
	skip(r, 1 + 32); /* minor version, random */
	uint32_t session = next(r);
	if (stopped(r) || major != 3 || session > SESSION_ID_MOST)
		return false;
	skip(r, session);
	skip(r, next_number(r, 2)); /* cipher suites */
	skip(r, next(r));           /* compression methods */
	return !stopped(r) && read_extensions(r, ret_name);
}

enum fp_hello fp_hello_read(const void *bytes, size_t size, char ret_name[FP_NAME_MAX + 1])
{
	struct reader r = { .at = bytes };
	r.end = r.at + (size < FP_HELLO_MOST ? size : FP_HELLO_MOST);
	if (read_hello(&r, ret_name))
		return FP_HELLO_NAMED;
	return r.more && !r.wrong && size < FP_HELLO_MOST ? FP_HELLO_MORE : FP_HELLO_NAMELESS;
}
