/* Runs a target over files, without the fuzzer: the corpus as a regression test, with any compiler. */
#include "fuzz.h"

int main(int argc, char **argv)
{
	static uint8_t data[1 << 20];

	for (int n = 1; n < argc; n++) {
		FILE *file = fopen(argv[n], "rb");
		if (!file) {
			perror(argv[n]);
			return 1;
		}
		size_t size = fread(data, 1, sizeof(data), file);
		fclose(file);
		/* A copy of exact size: a read behind the end is a finding. */
		uint8_t *copy = malloc(size ? size : 1);
		MUST(copy);
		memcpy(copy, data, size);
		fprintf(stderr, "%s\n", argv[n]); /* a crash is the last one's */
		LLVMFuzzerTestOneInput(copy, size);
		free(copy);
	}
	printf("%d inputs\n", argc - 1);
	return argc > 1 ? 0 : 1;
}
