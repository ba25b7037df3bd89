/* A whole call: environment, configuration on stdin, the agent's answer -> what the runtime is told.
 * Input: text in sections divided by lines of %%: CNI_COMMAND, CNI_CONTAINERID, CNI_IFNAME, CNI_NETNS ("@" is a namespace
 * that can be opened), CNI_ARGS, CNI_PATH, configuration, answer of the agent (without this section it is away). */
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "../../cni/call.h"
#include "../../cni/wire.h"
#include "cni_world.h"

enum { COMMAND, CONTAINER, INTERFACE, NETNS, ARGS, PATH, CONFIG, ANSWER, SECTIONS };

static const char *const variables[] = { "CNI_COMMAND", "CNI_CONTAINERID", "CNI_IFNAME",
					 "CNI_NETNS",   "CNI_ARGS",        "CNI_PATH" };

struct section {
	const uint8_t *data;
	size_t size;
	bool there;
};

static void divide(const uint8_t *data, size_t size, struct section *sections)
{
	static const char divider[] = "\n%%\n";

	for (int n = 0; n < SECTIONS; n++)
		sections[n] = (struct section){ (const uint8_t *)"", 0, false };
	for (int n = 0; n < SECTIONS && data; n++) {
		const uint8_t *end = n < ANSWER ? memmem(data, size, divider, 4) : NULL;
		size_t length = end ? (size_t)(end - data) : size;

		sections[n] = (struct section){ data, length, true };
		if (!end)
			return;
		data += length + 4;
		size -= length + 4;
	}
}

static void set_environment(const struct section *sections)
{
	for (int n = COMMAND; n <= PATH; n++) {
		char *value = strndup((const char *)sections[n].data, sections[n].size);

		MUST(value);
		/* No input may open what it likes. */
		if (n == NETNS && *value)
			MUST(setenv(variables[n], strcmp(value, "@") == 0 ? "/proc/self/ns/net" : "/absent/netns", 1) ==
			     0);
		else if (sections[n].there)
			MUST(setenv(variables[n], value, 1) == 0);
		else
			MUST(unsetenv(variables[n]) == 0);
		free(value);
	}
}

static int configuration(const struct section *config)
{
	int fd = memfd_create("config", MFD_CLOEXEC);

	MUST(fd >= 0 && write(fd, config->data, config->size) == (ssize_t)config->size);
	MUST(lseek(fd, 0, SEEK_SET) == 0);
	return fd;
}

static void check_error(const char *output, size_t size)
{
	json_t *error = json_loadb(output, size, 0, NULL);
	json_t *code = json_object_get(error, "code");

	/* The runtime must get a reason whatever went wrong. */
	MUST(json_is_object(error) && json_is_integer(code) && json_integer_value(code) > 0);
	MUST(json_string_length(json_object_get(error, "msg")) && json_object_get(error, "details"));
	MUST(json_string_length(json_object_get(error, "cniVersion")));
	json_decref(error);
}

/* ADD succeeds only if an agent of our protocol said so, and hands on what the plugins before it said. */
static void check_add(const struct section *sections, const char *output, size_t size)
{
	json_t *printed = json_loadb(output, size, JSON_ALLOW_NUL, NULL);
	json_t *config = json_loadb((const char *)sections[CONFIG].data, sections[CONFIG].size, JSON_ALLOW_NUL, NULL);
	const uint8_t *end = memchr(sections[ANSWER].data, '\n', sections[ANSWER].size);

	MUST(sections[ANSWER].there && end);
	json_t *said = json_loadb((const char *)sections[ANSWER].data, (size_t)(end - sections[ANSWER].data), 0, NULL);
	MUST(json_is_object(said) && !json_object_get(said, "error"));
	MUST(json_integer_value(json_object_get(said, "protocol")) == CNI_PROTOCOL);
	MUST(json_equal(printed, json_object_get(config, "prevResult")));
	json_t *path = json_object_get(config, "agentSocket");
	MUST(!path || strlen(json_string_value(path)) == json_string_length(path));
	json_decref(said);
	json_decref(config);
	json_decref(printed);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static FILE *notes;
	struct section sections[SECTIONS];
	char *output = NULL;
	size_t output_size = 0;

	if (!notes)
		MUST((notes = fopen("/dev/null", "w")));
	divide(data, size, sections);
	memset(&world, 0, sizeof(world));
	world.answer = sections[ANSWER].data;
	world.answer_left = sections[ANSWER].size;
	world.agent_away = !sections[ANSWER].there;
	set_environment(sections);
	int config = configuration(&sections[CONFIG]);
	FILE *stream = open_memstream(&output, &output_size), *usual = stderr;

	MUST(stream);
	stderr = notes; /* what it tells the operator is not our matter, and slow */
	int rc = cni_call(config, stream);
	stderr = usual;
	fclose(stream);
	close(config);
	const char *command = getenv("CNI_COMMAND");

	MUST(rc == 0 || rc == 1);
	if (rc == 1)
		check_error(output, output_size);
	else if (strcmp(command, "ADD") == 0)
		check_add(sections, output, output_size);
	else
		MUST((strcmp(command, "VERSION") == 0) == (output_size > 0));
	/* The namespace's descriptor is passed as long as there is one, and closed. */
	MUST(world.passed <= 1 && (!world.passed || fcntl(world.passed_fd, F_GETFD) == -1));
	free(output);
	return 0;
}
