#include "policy_file.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "addr.h"
#include "sealed.h"

/* Rows stand where their alignment wants them: the tables with the widest members come first, and no row's size is odd. */
_Static_assert(sizeof(struct fp_policy_head) % 8 == 0 && sizeof(struct fp_policy_workload) % 8 == 0, "8 bytes wide");
_Static_assert(sizeof(struct fp_policy_row) % 4 == 0 && sizeof(struct fp_policy_term) % 4 == 0, "4 bytes wide");
_Static_assert(offsetof(struct fp_policies, bytes) % 8 == 0, "tables begin as memory does");

/* Where the next table begins; false if the file ends before its end. */
static bool find_table(struct fp_policies *p, size_t size, size_t *at, uint32_t rows, size_t row, void *ret_table)
{
	uint64_t bytes = (uint64_t)rows * row;
	char *begin = p->bytes + *at;
	if (bytes > size - *at)
		return false;
	memcpy(ret_table, &begin, sizeof(begin));
	*at += bytes;
	return true;
}

#define TABLE(member) find_table(p, size, &at, p->head.member, sizeof(*p->member), &p->member)

static bool find_tables(struct fp_policies *p, size_t size)
{
	size_t at = sizeof(p->head);
	return TABLE(workloads) && TABLE(policies) && TABLE(rules) && TABLE(clauses) && TABLE(matches) &&
	       TABLE(terms) && TABLE(members) && TABLE(text) && TABLE(names) && at == size;
}

/* A number of rows or bytes that are owned -> where they end. False if there are not so many. */
static bool make_end(uint32_t *number, uint32_t *last, uint32_t count)
{
	if (*number > count - *last)
		return false;
	*last += *number;
	*number = *last;
	return true;
}

/* Each row of a table of `count` rows has one owner afterwards. */
static bool make_ends(struct fp_policy_part *parts, uint32_t rows, uint32_t count)
{
	uint32_t last = 0;
	for (uint32_t i = 0; i < rows; i++)
		if (!make_end(&parts[i].rows, &last, count))
			return false;
	return last == count;
}

static bool take_policies(struct fp_policies *p)
{
	uint32_t rules = 0, text = 0;
	for (uint32_t i = 0; i < p->head.policies; i++) {
		struct fp_policy_row *row = &p->policies[i];
		if (row->action > FP_ACTION_AUDIT || row->dry_run > 1 || row->pad ||
		    !make_end(&row->rules, &rules, p->head.rules) || !make_end(&row->text, &text, p->head.text))
			return false;
	}
	return rules == p->head.rules && text == p->head.text;
}

/* Whose policies: ascending, and no more than there are. */
static bool check_members(const struct fp_policies *p, uint32_t first, uint32_t end)
{
	uint32_t last = 0;
	for (uint32_t i = first; i < end; i++) {
		if (p->members[i].policy <= last || p->members[i].policy > p->head.policies)
			return false;
		last = p->members[i].policy;
	}
	return true;
}

static bool take_workloads(struct fp_policies *p)
{
	uint32_t end = 0, name = 0;
	for (uint32_t i = 0; i < p->head.workloads; i++) {
		struct fp_policy_workload *row = &p->workloads[i];
		uint32_t first = end;
		if ((i && row->netns_cookie <= row[-1].netns_cookie) ||
		    !make_end(&row->members, &end, p->head.members) || !make_end(&row->name, &name, p->head.names) ||
		    !check_members(p, first, end))
			return false;
	}
	return end == p->head.members && name == p->head.names;
}

/* text: bytes of the policy's own */
static bool check_term(const struct fp_policy_term *term, uint32_t text)
{
	bool texts = term->field <= FP_FIELD_ACCOUNT;
	bool prefixes = term->field == FP_FIELD_SOURCE || term->field == FP_FIELD_DESTINATION;
	if (term->field >= FP_FIELD_COUNT || term->negative > 1 || term->pad)
		return false;
	if (term->how > (texts && term->field != FP_FIELD_ACCOUNT ? FP_HOW_PRESENT : FP_HOW_EXACT))
		return false;
	if (!texts && (term->text || term->length))
		return false;
	if (!prefixes && !fp_addr_is_unset(&term->addr))
		return false;
	if (texts)
		return !term->number && term->text <= text && term->length <= text - term->text;
	return term->number <= (prefixes ? 128 : UINT16_MAX);
}

/* Where what the first `rows` of a table own ends. */
static uint32_t end_of(const struct fp_policy_part *parts, uint32_t rows)
{
	return rows ? parts[rows - 1].rows : 0;
}

static bool take_terms(struct fp_policies *p)
{
	uint32_t next = 0, text = 0;
	for (uint32_t i = 0; i < p->head.policies; i++) {
		const struct fp_policy_row *row = &p->policies[i];
		uint32_t end = end_of(p->matches, end_of(p->clauses, end_of(p->rules, row->rules)));
		for (; next < end; next++) {
			if (!check_term(&p->terms[next], row->text - text))
				return false;
			p->terms[next].text += text;
		}
		text = row->text;
	}
	return true;
}

static bool take(struct fp_policies *p, size_t size)
{
	const struct fp_policy_head *head = &p->head;
	if (head->magic != FP_POLICY_MAGIC || head->version != FP_POLICY_VERSION || head->pad || !find_tables(p, size))
		return false;
	return take_policies(p) && make_ends(p->rules, head->rules, head->clauses) &&
	       make_ends(p->clauses, head->clauses, head->matches) &&
	       make_ends(p->matches, head->matches, head->terms) && take_workloads(p) && take_terms(p);
}

int fp_policies_read(const void *bytes, size_t size, struct fp_policies **ret_policies)
{
	if (size < sizeof(struct fp_policy_head) || size > FP_POLICY_FILE_MAX)
		return -EBADMSG;
	struct fp_policies *made = malloc(sizeof(*made) + size);
	if (!made)
		return -ENOMEM;
	*made = (struct fp_policies){ 0 };
	memcpy(made->bytes, bytes, size);
	memcpy(&made->head, made->bytes, sizeof(made->head));
	if (!take(made, size)) {
		free(made);
		return -EBADMSG;
	}
	*ret_policies = made;
	return 0;
}

static int read_file(const void *bytes, size_t size, void *arg)
{
	return fp_policies_read(bytes, size, arg);
}

int fp_policies_map(int fd, struct fp_policies **ret_policies)
{
	return fp_sealed_read(fd, FP_POLICY_FILE_MAX, read_file, ret_policies);
}

void fp_policies_free(struct fp_policies *policies)
{
	free(policies);
}
