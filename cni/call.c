#include "call.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>
#include <unistd.h>

#include "wire.h"

/* Error codes of the CNI specification. */
enum {
	CNI_VERSION_MISMATCH = 1,
	CNI_BAD_ENVIRONMENT = 4,
	CNI_IO_FAILURE = 5,
	CNI_NOT_JSON = 6,
	CNI_BAD_CONFIG = 7,
	CNI_TRY_AGAIN = 11,
	CNI_NOT_AVAILABLE = 50,
};

enum { DEFAULT_SECONDS = 30, MAX_SECONDS = 600, MAX_ENVIRONMENT = 64 * 1024, MAX_INTERFACE = 16 /* IFNAMSIZ */ };

static const char DEFAULT_SOCKET[] = "/run/tidegate/cni.sock";
static const char *const VERSIONS[] = { "0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0" };
static const char NEWEST[] = "1.1.0";

struct call {
	const char *command;
	const char *version; /* of the configuration; the answer speaks it too */
	json_t *config;
	FILE *output;
};

static int print(const struct call *call, json_t *value)
{
	int failed = !value || json_dumpf(value, call->output, JSON_COMPACT) < 0 || putc('\n', call->output) == EOF ||
		     fflush(call->output);

	json_decref(value);
	return failed ? 1 : 0;
}

/* Messages of libraries may quote half a character, of which JSON takes what comes before. NULL without memory. */
static json_t *as_json(const char *text)
{
	size_t size = strlen(text);
	json_t *value = json_stringn(text, size);

	while (!value && size)
		value = json_stringn(text, --size);
	return value;
}

/* Prints a CNI error object; the result is the exit code. */
static int fail(const struct call *call, int code, const char *message, const char *details)
{
	print(call, json_pack("{s:s, s:i, s:s, s:o}", "cniVersion", call->version, "code", code, "msg", message,
			      "details", as_json(details)));
	return 1;
}

static int print_versions(const struct call *call)
{
	json_t *versions = json_array();

	for (size_t n = 0; n < sizeof(VERSIONS) / sizeof(VERSIONS[0]); n++)
		json_array_append_new(versions, json_string(VERSIONS[n]));
	return print(call, json_pack("{s:s, s:o}", "cniVersion", call->version, "supportedVersions", versions));
}

static int is_supported(const char *version)
{
	for (size_t n = 0; n < sizeof(VERSIONS) / sizeof(VERSIONS[0]); n++)
		if (strcmp(version, VERSIONS[n]) == 0)
			return 1;
	return 0;
}

/* All of the input, at most CNI_MAX_BYTES. Returns NULL with errno set. */
static char *read_all(int input, size_t *ret_size)
{
	char *data = malloc(CNI_MAX_BYTES + 1);
	size_t have = 0;

	while (data) {
		ssize_t got = read(input, data + have, CNI_MAX_BYTES + 1 - have);

		if (got < 0 && errno == EINTR)
			continue;
		if (got == 0) {
			*ret_size = have;
			return data;
		}
		if (got > 0)
			have += (size_t)got;
		if (got < 0 || have > CNI_MAX_BYTES) {
			errno = got < 0 ? errno : EMSGSIZE;
			free(data);
			return NULL;
		}
	}
	return data;
}

static const char *environment(const char *name)
{
	const char *value = getenv(name);

	return value ? value : "";
}

static int takes_a_sandbox(const char *command)
{
	return strcmp(command, "ADD") == 0 || strcmp(command, "CHECK") == 0 || strcmp(command, "DEL") == 0;
}

/* A name that the kernel gives an interface (dev_valid_name() of net/core/dev.c). */
static int is_interface(const char *name)
{
	if (strlen(name) >= MAX_INTERFACE || strcmp(name, ".") == 0 || strcmp(name, "..") == 0)
		return 0;
	for (const unsigned char *at = (const unsigned char *)name; *at; at++)
		if (*at == '/' || *at == ':' || isspace(*at))
			return 0;
	return 1;
}

/* Returns NULL when the environment is fine, else what is wrong with it. */
static const char *check_environment(const struct call *call)
{
	static const char *const names[] = { "CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME", "CNI_ARGS", "CNI_PATH" };

	for (size_t n = 0; n < sizeof(names) / sizeof(names[0]); n++)
		if (strlen(environment(names[n])) > MAX_ENVIRONMENT)
			return "a CNI variable is longer than 64 KiB";
	if (!takes_a_sandbox(call->command))
		return strcmp(call->command, "STATUS") == 0 || strcmp(call->command, "GC") == 0 ?
			       NULL :
			       "CNI_COMMAND is none of ADD, DEL, CHECK, STATUS, GC, VERSION";
	if (!*environment("CNI_CONTAINERID"))
		return "CNI_CONTAINERID is missing";
	if (!*environment("CNI_IFNAME"))
		return "CNI_IFNAME is missing";
	/* What was never attached may be taken away all the same. */
	if (strcmp(call->command, "DEL") != 0 && !is_interface(environment("CNI_IFNAME")))
		return "CNI_IFNAME is no name of an interface: at most 15 bytes without '/', ':' and spaces";
	/* The runtime may have lost the namespace by the time of DEL. */
	if (!*environment("CNI_NETNS") && strcmp(call->command, "DEL") != 0)
		return "CNI_NETNS is missing";
	return NULL;
}

static json_t *make_request(const struct call *call)
{
	return json_pack("{s:i, s:s, s:s, s:s, s:s, s:s, s:s, s:O}", "protocol", CNI_PROTOCOL, "command", call->command,
			 "containerId", environment("CNI_CONTAINERID"), "netns", environment("CNI_NETNS"), "ifname",
			 environment("CNI_IFNAME"), "args", environment("CNI_ARGS"), "path", environment("CNI_PATH"),
			 "config", call->config);
}

/* Turns the agent's answer into ours. */
static int answer(const struct call *call, const json_t *said, json_t *previous)
{
	json_t *error = json_object_get(said, "error");
	json_int_t code = json_integer_value(json_object_get(error, "code"));
	const char *message = json_string_value(json_object_get(error, "msg"));
	const char *details = json_string_value(json_object_get(error, "details"));

	/* Whatever it looks like, an error is no success, and to the runtime code 0 would be one. */
	if (error)
		return fail(call, code > 0 && code <= INT_MAX ? (int)code : CNI_TRY_AGAIN,
			    message && *message ? message : "the agent refused", details ? details : "");
	return strcmp(call->command, "ADD") == 0 ? print(call, json_incref(previous)) : 0;
}

/* The agent did not answer. A pod must always be able to go; everything else waits until the agent is back. */
static int agent_away(const struct call *call, const char *why)
{
	if (strcmp(call->command, "DEL") == 0 || strcmp(call->command, "GC") == 0) {
		fprintf(stderr, "tidegate: %s; %s succeeds without it\n", why, call->command);
		return 0;
	}
	if (strcmp(call->command, "STATUS") == 0)
		return fail(call, CNI_NOT_AVAILABLE, "the tidegate agent of this node is away", why);
	return fail(call, CNI_TRY_AGAIN, "the tidegate agent of this node is away", why);
}

/* A longer path could not be connected to, and what follows a NUL would be lost. */
static int is_socket_path(const json_t *value)
{
	const char *path = json_string_value(value);

	return path && *path && strlen(path) == json_string_length(value) &&
	       strlen(path) < sizeof(((struct sockaddr_un *)NULL)->sun_path);
}

static int forward(const struct call *call)
{
	json_t *path = json_object_get(call->config, "agentSocket");
	json_t *seconds = json_object_get(call->config, "timeoutSeconds");
	json_t *previous = json_object_get(call->config, "prevResult");
	double limit = json_is_number(seconds) ? json_number_value(seconds) : DEFAULT_SECONDS;
	const char *problem = check_environment(call);
	json_t *request, *said = NULL;
	char why[512];
	int netns = -1, code;

	if (problem)
		return fail(call, CNI_BAD_ENVIRONMENT, problem, "");
	if ((path && !is_socket_path(path)) || (seconds && !json_is_number(seconds)) || limit <= 0 ||
	    limit > MAX_SECONDS)
		return fail(call, CNI_BAD_CONFIG,
			    "agentSocket must be a path of at most 107 bytes, timeoutSeconds between 0 and 600", "");
	if (strcmp(call->command, "ADD") == 0 && !json_is_object(previous))
		return fail(call, CNI_BAD_CONFIG, "no prevResult",
			    "tidegate is a chained plugin: put it behind the one that makes the interface");
	if (*environment("CNI_NETNS")) {
		netns = open(environment("CNI_NETNS"), O_RDONLY | O_CLOEXEC);
		if (netns < 0 && strcmp(call->command, "DEL") != 0)
			return fail(call, CNI_BAD_ENVIRONMENT, "CNI_NETNS cannot be opened", strerror(errno));
	}
	request = make_request(call);
	if (!request) {
		code = fail(call, CNI_BAD_ENVIRONMENT, "a CNI variable is not UTF-8", "");
	} else if (cni_exchange(path ? json_string_value(path) : DEFAULT_SOCKET, request, netns,
				cni_now() + (long long)(limit * 1000), &said, why, sizeof(why)) < 0) {
		code = agent_away(call, why);
	} else {
		code = answer(call, said, previous);
	}
	json_decref(said);
	json_decref(request);
	if (netns >= 0)
		close(netns);
	return code;
}

int cni_call(int input, FILE *output)
{
	struct call call = { .command = environment("CNI_COMMAND"), .version = NEWEST, .output = output };
	json_error_t error;
	const char *asked;
	size_t size = 0;
	char *data;
	int code;

	if (!*call.command) {
		fprintf(stderr, "tidegate: a CNI plugin, run by container runtimes; see cni/README.md\n");
		return fail(&call, CNI_BAD_ENVIRONMENT, "CNI_COMMAND is missing", "");
	}
	data = read_all(input, &size);
	if (!data)
		return fail(&call, CNI_IO_FAILURE, "the configuration cannot be read from stdin", strerror(errno));
	call.config = json_loadb(data, size, JSON_ALLOW_NUL, &error);
	free(data);
	if (!json_is_object(call.config)) {
		code = fail(&call, CNI_NOT_JSON, "the configuration is not a JSON object", error.text);
		json_decref(call.config);
		return code;
	}
	asked = json_string_value(json_object_get(call.config, "cniVersion"));
	if (asked && is_supported(asked))
		call.version = asked;
	if (strcmp(call.command, "VERSION") == 0)
		code = print_versions(&call);
	else if (!asked || !is_supported(asked))
		code = fail(&call, CNI_VERSION_MISMATCH, "incompatible CNI version", asked ? asked : "none given");
	else
		code = forward(&call);
	json_decref(call.config);
	return code;
}
