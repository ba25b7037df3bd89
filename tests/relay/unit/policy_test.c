/* Who may connect: names of peers, and what only shows in C. That policies mean what Python means by them: tests/unit/relay/test_policies.py. */
#include <errno.h>
#include <string.h>

#include "../../../agent/relay/policy_file.h"
#include "check.h"

static bool reads(const char *uri, struct fp_peer_name *ret_name)
{
	return fp_peer_name_read(uri, strlen(uri), ret_name);
}

static bool is(struct fp_span span, const char *text)
{
	return span.length == strlen(text) && !memcmp(span.at, text, span.length);
}

static void names_of_peers(void)
{
	static const char *const nobodys[] = {
		"",
		"spiffe://",
		"spiffe:///",
		"spiffe:///ns/a/sa/b",
		"spiffe://d/ns//sa/b",
		"spiffe://d/ns/a/sa/",
		"spiffe://d/ns/a/sa",
		"spiffe://d/ns/a/sa/b/",
		"spiffe://d/ns/a/sa/b/c",
		"spiffe://d/ns/a/sa//b",
		"spiffe://d/nss/a/sa/b",
		"spiffe://d/ns/a/s/b",
		"spiffe://d/sa/a/ns/b",
		"SPIFFE://d/ns/a/sa/b",
		"https://d/ns/a/sa/b",
		"d/ns/a/sa/b",
	};
	struct fp_peer_name name;
	CHECK(reads("spiffe://cluster.local/ns/shop/sa/cart", &name));
	CHECK(is(name.principal, "cluster.local/ns/shop/sa/cart") && is(name.namespace, "shop") &&
	      is(name.account, "cart"));
	for (size_t i = 0; i < sizeof(nobodys) / sizeof(*nobodys); i++) {
		CHECK(!reads(nobodys[i], &name));
		CHECK(!name.principal.length && !name.namespace.length && !name.account.length);
	}
	/* A name that goes on behind its end is not read there. */
	CHECK(fp_peer_name_read("spiffe://d/ns/a/sa/bc", 20, &name) && is(name.account, "b"));
}

struct file {
	struct fp_policy_head head;
	struct fp_policy_workload workloads[2];
	struct fp_policy_row policies[2];
	struct fp_policy_part rules[2], clauses[2], matches[2];
	struct fp_policy_term terms[2];
	struct fp_policy_member members[2];
	char names[24];
};

/* DENY at port 80, ALLOW from 10.0.0.0/8; pod 5 has both, pod 9 none and a name. */
static struct file whole(void)
{
	return (struct file){
		.head = { .magic = FP_POLICY_MAGIC,
			  .version = FP_POLICY_VERSION,
			  .generation = 3,
			  .workloads = 2,
			  .policies = 2,
			  .rules = 2,
			  .clauses = 2,
			  .matches = 2,
			  .terms = 2,
			  .members = 2,
			  .names = 24 },
		.workloads = { { .netns_cookie = 5, .members = 2 }, { .netns_cookie = 9, .members = 0, .name = 24 } },
		.policies = { { .rules = 1, .action = FP_ACTION_DENY }, { .rules = 1, .action = FP_ACTION_ALLOW } },
		.rules = { { 1 }, { 1 } },
		.clauses = { { 1 }, { 1 } },
		.matches = { { 1 }, { 1 } },
		.terms = { { .field = FP_FIELD_PORT, .number = 80 },
			   { .field = FP_FIELD_SOURCE,
			     .addr = { { [10] = 0xff, [11] = 0xff, [12] = 10 } },
			     .number = 104 } },
		.members = { { 1 }, { 2 } },
		.names = { "spiffe://dom/ns/ab/sa/cd" },
	};
}

static struct fp_policy_decision decide(const struct fp_policies *policies, uint64_t cookie, uint8_t net, uint16_t port)
{
	struct fp_subject subject = { .source = { { [10] = 0xff, [11] = 0xff, [12] = net } }, .port = port };
	struct fp_policy_decision decision;
	fp_policies_decide(policies, cookie, &subject, &decision);
	return decision;
}

static void decisions(void)
{
	struct file file = whole();
	struct fp_policies *policies = NULL;
	CHECK(fp_policies_read(&file, sizeof(file), &policies) == 0);
	memset(&file, 0xff, sizeof(file)); /* it has its own */
	struct fp_policy_decision found = decide(policies, 5, 10, 80);
	CHECK(found.verdict == FP_DENY_BY_POLICY && found.policy == 1 && !fp_policy_allows(found.verdict));
	found = decide(policies, 5, 10, 81);
	CHECK(found.verdict == FP_ALLOW_BY_POLICY && found.policy == 2 && fp_policy_allows(found.verdict));
	found = decide(policies, 5, 11, 81);
	CHECK(found.verdict == FP_DENY_NOT_ALLOWED && !found.policy && !fp_policy_allows(found.verdict));
	found = decide(policies, 9, 11, 80);
	CHECK(found.verdict == FP_ALLOW_NO_POLICY && !found.policy && fp_policy_allows(found.verdict));
	found = decide(policies, 6, 10, 81);
	CHECK(found.verdict == FP_DENY_UNKNOWN_WORKLOAD && !fp_policy_allows(found.verdict));
	found = decide(NULL, 5, 10, 81);
	CHECK(found.verdict == FP_DENY_UNKNOWN_WORKLOAD);
	struct fp_peer_name name;
	fp_policies_name(policies, 9, &name);
	CHECK(is(name.principal, "dom/ns/ab/sa/cd") && is(name.namespace, "ab") && is(name.account, "cd"));
	fp_policies_name(policies, 5, &name);
	CHECK(!name.principal.length);
	fp_policies_name(policies, 6, &name);
	CHECK(!name.principal.length);
	fp_policies_name(NULL, 9, &name);
	CHECK(!name.principal.length);
	fp_policies_free(policies);
}

/* One number at a time that leads nowhere, or to what somebody else has. */
static void numbers_that_lead_nowhere(void)
{
	struct file file = whole();
	uint32_t *const wrong[] = {
		&file.head.magic,           &file.head.version,
		&file.head.workloads,       &file.head.policies,
		&file.head.rules,           &file.head.clauses,
		&file.head.matches,         &file.head.terms,
		&file.head.members,         &file.head.text,
		&file.head.names,           &file.head.pad,
		&file.workloads[0].name,    &file.workloads[1].name,
		&file.workloads[1].members, &file.workloads[0].members,
		&file.policies[0].rules,    &file.policies[1].rules,
		&file.rules[0].rows,        &file.rules[1].rows,
		&file.clauses[1].rows,      &file.matches[0].rows,
		&file.matches[1].rows,      &file.members[0].policy,
		&file.members[1].policy,    &file.terms[0].text,
		&file.terms[0].length,      &file.terms[0].pad,
		&file.terms[1].number,
	};
	for (size_t i = 0; i < sizeof(wrong) / sizeof(*wrong); i++) {
		struct fp_policies *policies = NULL;
		uint32_t right = *wrong[i];
		*wrong[i] = right + 200;
		CHECK(fp_policies_read(&file, sizeof(file), &policies) == -EBADMSG && !policies);
		*wrong[i] = right;
	}
	file.members[1].policy = 1; /* twice the same */
	struct fp_policies *policies = NULL;
	CHECK(fp_policies_read(&file, sizeof(file), &policies) == -EBADMSG);
	file = whole();
	file.workloads[1].netns_cookie = 5;
	CHECK(fp_policies_read(&file, sizeof(file), &policies) == -EBADMSG);
	file = whole();
	file.terms[0].number = 65536;
	CHECK(fp_policies_read(&file, sizeof(file), &policies) == -EBADMSG);
	file = whole();
	file.terms[1].how = FP_HOW_PREFIX;
	CHECK(fp_policies_read(&file, sizeof(file), &policies) == -EBADMSG);
}

int main(void)
{
	names_of_peers();
	decisions();
	numbers_that_lead_nowhere();
	return 0;
}
