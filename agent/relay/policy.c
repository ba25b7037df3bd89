#include "policy.h"

#include <string.h>

#include "addr.h"

/* What a row of a table owns in another one: from `first` up to `end`. */
struct run {
	uint32_t first, end;
};

static struct run run_of(const struct fp_policy_part *parts, uint32_t index)
{
	return (struct run){ index ? parts[index - 1].rows : 0, parts[index].rows };
}

/* The part of *rest before the next slash, or all of it. */
static struct fp_span next_part(struct fp_span *rest)
{
	const char *slash = memchr(rest->at, '/', rest->length);
	struct fp_span part = { rest->at, slash ? (size_t)(slash - rest->at) : rest->length };
	size_t taken = part.length + (slash ? 1 : 0);
	rest->at += taken;
	rest->length -= taken;
	return part;
}

static bool is_word(struct fp_span span, const char *word)
{
	return span.length == strlen(word) && memcmp(span.at, word, span.length) == 0;
}

bool fp_peer_name_read(const char *uri, size_t length, struct fp_peer_name *ret_name)
{
	static const char scheme[] = "spiffe://";
	const size_t begin = sizeof(scheme) - 1;
	*ret_name = (struct fp_peer_name){ 0 };
	if (length <= begin || memcmp(uri, scheme, begin) != 0 || uri[length - 1] == '/')
		return false;
	struct fp_span rest = { uri + begin, length - begin };
	struct fp_peer_name name = { .principal = rest };
	struct fp_span domain = next_part(&rest), ns = next_part(&rest);
	name.namespace = next_part(&rest);
	struct fp_span sa = next_part(&rest);
	name.account = next_part(&rest);
	if (rest.length || !domain.length || !is_word(ns, "ns") || !name.namespace.length || !is_word(sa, "sa") ||
	    !name.account.length)
		return false;
	*ret_name = name;
	return true;
}

static bool text_fits(struct fp_span text, uint32_t how, struct fp_span wanted)
{
	if (how == FP_HOW_PRESENT)
		return text.length > 0;
	if (text.length < wanted.length || (how == FP_HOW_EXACT && text.length != wanted.length))
		return false;
	size_t from = how == FP_HOW_SUFFIX ? text.length - wanted.length : 0;
	return !wanted.length || memcmp(text.at + from, wanted.at, wanted.length) == 0;
}

/* wanted: NAMESPACE/ACCOUNT */
static bool account_fits(const struct fp_peer_name *name, struct fp_span wanted)
{
	size_t before = name->namespace.length, behind = name->account.length;
	return before && wanted.length == before + 1 + behind && memcmp(wanted.at, name->namespace.at, before) == 0 &&
	       wanted.at[before] == '/' && memcmp(wanted.at + before + 1, name->account.at, behind) == 0;
}

/* A prefix of one family has no address of the other, also where IPv4 is written as part of IPv6: ::/0 is every IPv6 address. */
static bool prefix_fits(const struct tg_addr *addr, const struct fp_policy_term *term)
{
	uint32_t bytes = term->number / 8, bits = term->number % 8;
	if (term->number < 96 && fp_addr_is_v4(addr))
		return false;
	if (memcmp(addr->ip, term->addr.ip, bytes) != 0)
		return false;
	return !bits || !((addr->ip[bytes] ^ term->addr.ip[bytes]) >> (8 - bits));
}

static bool term_fits(const struct fp_policies *p, const struct fp_policy_term *term, const struct fp_subject *subject)
{
	struct fp_span wanted = { p->text + term->text, term->length };
	switch (term->field) {
	case FP_FIELD_PRINCIPAL:
		return subject->name.principal.length && text_fits(subject->name.principal, term->how, wanted);
	case FP_FIELD_NAMESPACE:
		return text_fits(subject->name.namespace, term->how, wanted);
	case FP_FIELD_ACCOUNT:
		return account_fits(&subject->name, wanted);
	case FP_FIELD_SOURCE:
		return prefix_fits(&subject->source, term);
	case FP_FIELD_DESTINATION:
		return prefix_fits(&subject->destination, term);
	default:
		return subject->port == term->number;
	}
}

static bool match_fits(const struct fp_policies *p, uint32_t index, const struct fp_subject *subject)
{
	struct run terms = run_of(p->matches, index);
	uint32_t wanted = 0, met = 0; /* bits of fields */
	for (uint32_t i = terms.first; i < terms.end; i++) {
		const struct fp_policy_term *term = &p->terms[i];
		uint32_t bit = 1u << term->field;
		if (!term->negative)
			wanted |= bit;
		if ((met & bit && !term->negative) || !term_fits(p, term, subject))
			continue;
		if (term->negative)
			return false;
		met |= bit;
	}
	return terms.first < terms.end && met == wanted;
}

static bool clause_fits(const struct fp_policies *p, uint32_t index, const struct fp_subject *subject)
{
	struct run matches = run_of(p->clauses, index);
	for (uint32_t i = matches.first; i < matches.end; i++)
		if (match_fits(p, i, subject))
			return true;
	return matches.first == matches.end;
}

static bool rule_fits(const struct fp_policies *p, uint32_t index, const struct fp_subject *subject)
{
	struct run clauses = run_of(p->rules, index);
	for (uint32_t i = clauses.first; i < clauses.end; i++)
		if (!clause_fits(p, i, subject))
			return false;
	return true;
}

static bool policy_fits(const struct fp_policies *p, uint32_t number, const struct fp_subject *subject)
{
	uint32_t index = number - 1;
	uint32_t first = index ? p->policies[index - 1].rules : 0;
	for (uint32_t i = first; i < p->policies[index].rules; i++)
		if (rule_fits(p, i, subject))
			return true;
	return false;
}

/* The first of a workload's policies with that action that matches; 0 = none. any: whether there is one at all. */
static uint32_t first_of(const struct fp_policies *p, struct run members, uint32_t action, bool dry_run,
			 const struct fp_subject *subject, bool *ret_any)
{
	*ret_any = false;
	for (uint32_t i = members.first; i < members.end; i++) {
		uint32_t number = p->members[i].policy;
		const struct fp_policy_row *row = &p->policies[number - 1];
		if (row->action != action || (row->dry_run != 0) != dry_run)
			continue;
		*ret_any = true;
		if (policy_fits(p, number, subject))
			return number;
	}
	return 0;
}

static void verdict_of(const struct fp_policies *p, struct run members, bool dry_run, const struct fp_subject *subject,
		       uint32_t *ret_verdict, uint32_t *ret_policy)
{
	bool any;
	*ret_policy = first_of(p, members, FP_ACTION_DENY, dry_run, subject, &any);
	*ret_verdict = FP_DENY_BY_POLICY;
	if (*ret_policy)
		return;
	*ret_policy = first_of(p, members, FP_ACTION_ALLOW, dry_run, subject, &any);
	*ret_verdict = *ret_policy ? FP_ALLOW_BY_POLICY : any ? FP_DENY_NOT_ALLOWED : FP_ALLOW_NO_POLICY;
}

static const struct fp_policy_workload *find_workload(const struct fp_policies *p, uint64_t netns_cookie)
{
	uint32_t low = 0, high = p->head.workloads;
	while (low < high) {
		uint32_t middle = low + (high - low) / 2;
		const struct fp_policy_workload *found = &p->workloads[middle];
		if (found->netns_cookie == netns_cookie)
			return found;
		if (found->netns_cookie < netns_cookie)
			low = middle + 1;
		else
			high = middle;
	}
	return NULL;
}

void fp_policies_name(const struct fp_policies *policies, uint64_t netns_cookie, struct fp_peer_name *ret_name)
{
	const struct fp_policy_workload *found = policies ? find_workload(policies, netns_cookie) : NULL;
	*ret_name = (struct fp_peer_name){ 0 };
	if (!found)
		return;
	uint32_t first = found > policies->workloads ? found[-1].name : 0;
	if (!fp_peer_name_read(policies->names + first, found->name - first, ret_name))
		*ret_name = (struct fp_peer_name){ 0 };
}

void fp_policies_decide(const struct fp_policies *policies, uint64_t netns_cookie, const struct fp_subject *subject,
			struct fp_policy_decision *ret_decision)
{
	const struct fp_policy_workload *found = policies ? find_workload(policies, netns_cookie) : NULL;
	bool any;
	*ret_decision = (struct fp_policy_decision){ .verdict = FP_DENY_UNKNOWN_WORKLOAD };
	if (!found)
		return;
	const struct run members = { found > policies->workloads ? found[-1].members : 0, found->members };
	verdict_of(policies, members, false, subject, &ret_decision->verdict, &ret_decision->policy);
	verdict_of(policies, members, true, subject, &ret_decision->would, &ret_decision->would_policy);
	ret_decision->audited = first_of(policies, members, FP_ACTION_AUDIT, false, subject, &any);
}
