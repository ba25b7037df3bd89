/* Who may connect to a pod: policies of one generation, and what they say of a connection. Deciding allocates nothing and changes
 * nothing, so any thread may ask, as often as something that it depends on has changed. */
#ifndef FP_POLICY_H
#define FP_POLICY_H
#include "base.h"
#include "policy_abi.h"

/* Tables of a file that was checked (policy_file.h), in memory of its own. What a row of the file has as the number of rows or bytes that
 * it owns is here where they end: they begin where those of the row before end. Terms point into all text. */
struct fp_policies {
	struct fp_policy_head head;
	struct fp_policy_workload *workloads;
	struct fp_policy_row *policies;
	struct fp_policy_part *rules;
	struct fp_policy_part *clauses;
	struct fp_policy_part *matches;
	struct fp_policy_term *terms;
	struct fp_policy_member *members;
	char *text;
	char *names;
	char bytes[];
};

/* A part of a text that somebody else keeps. */
struct fp_span {
	const char *at;
	size_t length;
};

/* Who a client is by its certificate. All empty: it showed none. */
struct fp_peer_name {
	struct fp_span principal; /* without spiffe:// */
	struct fp_span namespace;
	struct fp_span account;
};

/* Reads spiffe://TRUST-DOMAIN/ns/NAMESPACE/sa/ACCOUNT, and nothing else. The text has to stay as long as *ret_name is used; where
 * false comes back, *ret_name is nobody. */
fp_must_check bool fp_peer_name_read(const char *uri, size_t length, struct fp_peer_name *ret_name);

/* A connection, as far as policies look at it: where the pod sees it come from, the pod's own address, and the port at which its
 * application listens (host order). */
struct fp_subject {
	struct tg_addr source;
	struct tg_addr destination;
	uint16_t port;
	struct fp_peer_name name;
};

/* Who a pod of this node is that has that netns: as the agent knows it by its service account. Nobody, if it is in no table. */
void fp_policies_name(const struct fp_policies *policies, uint64_t netns_cookie, struct fp_peer_name *ret_name);

/* What holds for a connection to the pod with that netns. policies: NULL = nobody said anything yet, so it is refused. */
void fp_policies_decide(const struct fp_policies *policies, uint64_t netns_cookie, const struct fp_subject *subject,
			struct fp_policy_decision *ret_decision);

static inline bool fp_policy_allows(uint32_t verdict)
{
	return verdict <= FP_ALLOW_BY_POLICY;
}
#endif
