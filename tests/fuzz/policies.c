/* A file of policies as the agent hands it in, and the name in a client's certificate: whatever the bytes are, the file is refused or each
 * workload in it gets a decision, and a name is one that has all of its parts or nobody's. */
#include <errno.h>

#include "../../agent/relay/policy_file.h"
#include "fuzz.h"

static const char *const names[] = { "", "spiffe://d/ns/a/sa/b", "spiffe://cluster.local/ns/shop/sa/cart" };

static void ask(const struct fp_policies *policies, uint64_t cookie)
{
	struct fp_peer_name own;

	fp_policies_name(policies, cookie, &own);
	MUST(!own.principal.length == !own.account.length && !own.principal.length == !own.namespace.length);
	for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++) {
		struct fp_subject subject = { .port = (uint16_t)(80 * i) };
		struct fp_policy_decision found;

		MUST(fp_peer_name_read(names[i], strlen(names[i]), &subject.name) == (i > 0));
		if (i != 1)
			subject.source = (struct tg_addr){ { [10] = 0xff, [11] = 0xff, [12] = 10 } };
		fp_policies_decide(policies, cookie, &subject, &found);
		MUST(found.verdict < FP_DENY_UNKNOWN_WORKLOAD && found.would < FP_DENY_UNKNOWN_WORKLOAD && !found.pad);
		MUST(found.policy <= policies->head.policies && found.audited <= policies->head.policies);
		MUST(!found.policy == (found.verdict == FP_ALLOW_NO_POLICY || found.verdict == FP_DENY_NOT_ALLOWED));
		MUST(!found.policy || !policies->policies[found.policy - 1].dry_run);
		MUST(!found.would_policy || policies->policies[found.would_policy - 1].dry_run);
	}
}

static void read_name(const uint8_t *data, size_t size)
{
	struct fp_peer_name name;

	if (!fp_peer_name_read((const char *)data, size, &name)) {
		MUST(!name.principal.length && !name.namespace.length && !name.account.length);
		return;
	}
	MUST(name.principal.length + 9 == size && name.namespace.length && name.account.length);
	MUST(!memchr(name.namespace.at, '/', name.namespace.length) &&
	     !memchr(name.account.at, '/', name.account.length));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fp_policies *policies = NULL;
	int rc = fp_policies_read(data, size, &policies);

	MUST(rc == 0 || rc == -EBADMSG);
	MUST((rc == 0) == (policies != NULL));
	read_name(data, size);
	for (uint32_t i = 0; policies && i < policies->head.workloads && i < 64; i++)
		ask(policies, policies->workloads[i].netns_cookie);
	fp_policies_free(policies);
	return 0;
}
