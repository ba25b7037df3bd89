/* One exchange of the plugin with an agent that says anything, over a socket that does anything.
 * Input: flags, length of the script, script, answer. Flag 1: pass a descriptor; 2: the agent is away; 4: blanks before
 * the answer, more than the plugin may take. */
#include "cni_world.h"

#include "../../cni/wire.h"

enum { DESCRIPTOR = 7 }; /* only its number travels: nothing is ever done with it */

static void check_request(const json_t *request, const char *text, bool whole)
{
	size_t length = strlen(text);

	(void)request;
	MUST(world.sent_size <= length + 1);
	MUST(memcmp(world.sent, text, world.sent_size < length ? world.sent_size : length) == 0);
	if (whole)
		MUST(world.sent_size == length + 1 && world.sent[length] == '\n');
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = { data, size };
	uint8_t flags = next_byte(&in), scripted = next_byte(&in);
	size_t script = scripted < in.left ? scripted : in.left, blanks = flags & 4 ? CNI_MAX_BYTES + 1 : 0;
	json_t *request = json_pack("{s:i, s:s}", "protocol", CNI_PROTOCOL, "command", "ADD"), *answer = NULL;
	char *text = json_dumps(request, JSON_COMPACT), why[64] = "";
	uint8_t *said = malloc(blanks + in.left - script + 1);

	MUST(said && text);
	memset(said, ' ', blanks);
	memcpy(said + blanks, in.data + script, in.left - script);
	memset(&world, 0, sizeof(world));
	world.script = (struct input){ in.data, script };
	world.answer = said;
	world.answer_left = blanks + in.left - script;
	world.agent_away = flags & 2;
	int fd = flags & 1 ? DESCRIPTOR : -1;
	long long deadline = 5000;
	int rc = cni_exchange("/run/tidegate/cni.sock", request, fd, deadline, &answer, why, sizeof(why));

	if (rc == 0) {
		MUST(json_is_object(answer) && !world.agent_away && !blanks);
	} else {
		MUST(rc == -1 && !answer && *why && strlen(why) < sizeof(why));
	}
	check_request(request, text, rc == 0);
	/* Exactly once, with the first bytes. */
	MUST(world.passed == (fd >= 0 && world.sent_size ? 1 : 0) && (!world.passed || world.passed_fd == fd));
	MUST(world.milliseconds <= deadline + 1000);
	json_decref(answer);
	json_decref(request);
	free(text);
	free(said);
	return 0;
}
