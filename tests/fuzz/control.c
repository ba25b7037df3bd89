/* The relay's control socket without the socket: any messages, from two peers, with any descriptors, in any order. Must hold:
 * an answer has the kind and serial of its question and fits into a message; a refusal carries nothing; no descriptor
 * stays behind; and after all of it the relay can still be asked. Needs root for pods (a netns is entered), else they are refused. */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "../../agent/relay/control.h"
#include "../../bpf/include/tg_capture.h"
#include "fuzz.h"

enum { STEPS = 40, SEALS = F_SEAL_WRITE | F_SEAL_GROW | F_SEAL_SHRINK };

static struct fp_control control;
static struct fp_peer peers[2];
static struct fp_packet request, answer;

static int listener(void)
{
	struct sockaddr_in name = { .sin_family = AF_INET };
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	inet_pton(AF_INET, TG_CAPTURE4_FASTPATH_IP, &name.sin_addr);
	if (bind(fd, (struct sockaddr *)&name, sizeof(name)) || listen(fd, 1)) {
		close(fd);
		return open("/dev/null", O_RDONLY | O_CLOEXEC);
	}
	return fd;
}

static int image(struct input *in)
{
	size_t size = next_byte(in);
	int fd = memfd_create("fuzz", MFD_CLOEXEC | MFD_ALLOW_SEALING);

	size = size < in->left ? size : in->left;
	MUST(fd >= 0 && write(fd, in->data, size) == (ssize_t)size);
	in->data += size;
	in->left -= size;
	MUST(fcntl(fd, F_ADD_SEALS, SEALS) == 0);
	return fd;
}

static int descriptor(struct input *in)
{
	switch (next_byte(in) & 3) {
	case 0:
		return image(in);
	case 1:
		return open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
	case 2:
		return listener();
	default:
		return open("/dev/null", O_RDONLY | O_CLOEXEC);
	}
}

static void ask(struct fp_peer *peer)
{
	struct fp_head asked = { 0 }, told;
	memcpy(&asked, request.bytes, request.size < sizeof(asked) ? request.size : sizeof(asked));
	enum fp_verdict verdict = fp_control_ask(&control, peer, &request, &answer);

	if (verdict == FP_HANG_UP) {
		MUST(request.size < sizeof(asked) || asked.kind == FP_EVENTS_TAKEN);
	} else if (verdict == FP_ANSWER) {
		memcpy(&told, answer.bytes, sizeof(told));
		MUST(answer.size >= sizeof(told) && answer.size <= FP_MESSAGE_MAX && answer.fd_count <= FP_MESSAGE_FDS);
		MUST(told.kind == asked.kind && told.serial == asked.serial && told.result <= 0);
		MUST(!told.result || (answer.size == sizeof(told) && !answer.fd_count && !told.count));
		fp_packet_close(&answer);
	}
	fp_packet_close(&request);
	while (fp_control_events(&control, &answer))
		MUST(answer.size <= FP_MESSAGE_MAX);
}

/* A greeted peer asks for one thing by the rules. */
static int told(uint32_t kind, const void *body, size_t size, int fd)
{
	struct fp_peer peer = { .version = FP_ABI_VERSION };
	struct fp_head head = { .kind = kind, .serial = 7 };

	memcpy(request.bytes, body, size);
	memcpy(request.bytes, &head, sizeof(head));
	request.size = size;
	request.fd_count = fd >= 0;
	request.fds[0] = fd;
	MUST(fp_control_ask(&control, &peer, &request, &answer) == FP_ANSWER);
	memcpy(&head, answer.bytes, sizeof(head));
	fp_packet_close(&request);
	fp_packet_close(&answer);
	return head.result;
}

static void begin(void)
{
	struct fp_ask_configure configure = {
		.config = { .workers = 1, .flows_fd = -1, .buffer_bytes = 4096, .pool_mib = 1 }
	};

	memset(&control, 0, sizeof(control));
	MUST(told(FP_CONFIGURE, &configure, sizeof(configure), open("/dev/null", O_RDONLY | O_CLOEXEC)) == 0);
}

static void settle(void)
{
	struct fp_sandbox_row rows[STEPS];
	int count;

	for (int i = 0; i < 2; i++) {
		fp_control_left(&control, &peers[i]);
		peers[i] = (struct fp_peer){ 0 };
	}
	if (control.draining || control.stopping) {
		fp_control_end(&control);
		begin();
	}
	count = fp_sandboxes(control.engine, 0, rows, STEPS);
	for (int i = 0; i < count; i++)
		MUST(fp_sandbox_remove(control.engine, rows[i].netns_cookie) == 0);
	(void)fp_sandbox_remove(control.engine, 0);
}

/* The lowest free number. */
static int lowest(void)
{
	int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
	MUST(fd >= 0 && close(fd) == 0);
	return fd;
}

/* Each message: who (1 bit), descriptors (2 bits); its kind, or 255 for raw bytes; its size less what the kind wants; bytes. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = { data, size };
	struct fp_head head = { .kind = FP_STATS };

	if (!control.engine)
		begin();
	int before = lowest();
	for (int n = 0; n < STEPS && in.left; n++) {
		uint8_t who = next_byte(&in);
		uint32_t kind = next_byte(&in);
		size_t length = next_byte(&in);

		memset(request.bytes, 0, sizeof(head));
		request.size = length;
		for (size_t i = 0; i < length; i++)
			request.bytes[i] = (char)next_byte(&in);
		if (kind != 255)
			memcpy(request.bytes, &kind, sizeof(kind));
		request.fd_count = (who >> 1) & 3;
		for (uint32_t i = 0; i < FP_MESSAGE_FDS; i++)
			request.fds[i] = i < request.fd_count ? descriptor(&in) : -1;
		ask(&peers[who & 1]);
	}
	settle();
	MUST(told(FP_STATS, &head, sizeof(head), -1) == 0);
	MUST(lowest() == before);
	return 0;
}
