/* What a client says first, as it comes: a byte more each time. A name that is found is one, it is found as soon as it is there,
 * and whatever comes behind it changes nothing. */
#include "../../agent/relay/hello.h"
#include "fuzz.h"

static void check_name(const char *name)
{
	size_t length = strlen(name);

	MUST(length > 0 && length <= FP_NAME_MAX);
	MUST(strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789-._") == length);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char name[FP_NAME_MAX + 1], last[FP_NAME_MAX + 1] = "";
	enum fp_hello before = FP_HELLO_MORE;
	size_t step = size > 512 ? size / 256 : 1;

	for (size_t n = 0; n <= size; n += n + step > size && n < size ? size - n : step) {
		/* of its own size, so that a byte too far is seen */
		uint8_t *copy = malloc(n ? n : 1);
		MUST(copy);
		memcpy(copy, data, n);
		memset(name, 0, sizeof(name));
		enum fp_hello now = fp_hello_read(copy, n, name);
		free(copy);
		if (now == FP_HELLO_NAMED)
			check_name(name);
		MUST(before == FP_HELLO_MORE || now == before);
		MUST(before != FP_HELLO_NAMED || strcmp(name, last) == 0);
		MUST(now != FP_HELLO_MORE || n < FP_HELLO_MOST);
		before = now;
		memcpy(last, name, sizeof(last));
	}
	return 0;
}
