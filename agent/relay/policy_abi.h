/* Who may connect to a pod: the form in which policies are decided, as the agent lays it out for the relay. It is
 * istio.security.Authorization of the workload API, taken apart into tables; agent/tidegate/model/authorization.py has the
 * same form and the same numbers, and says what matches what. Declared here and nowhere else; see tg_abi.h for the subset. */
#ifndef FP_POLICY_ABI_H
#define FP_POLICY_ABI_H
#ifndef TG_ABI_CDEF
#include "../../bpf/include/tg_abi.h"
#endif

enum fp_policy_file {
	FP_POLICY_MAGIC = 1330661972, /* "TFPO" */
	FP_POLICY_VERSION = 2,        /* of all that follows */
	FP_POLICY_FILE_MAX = 67108864 /* bytes */
};

enum fp_policy_action {
	FP_ACTION_ALLOW = 0, /* beside others of its kind: whoever none of them matches is refused */
	FP_ACTION_DENY = 1,
	FP_ACTION_AUDIT = 2 /* decides nothing: that it matches is told */
};

/* What of a connection a term is about. */
enum fp_policy_field {
	FP_FIELD_PRINCIPAL = 0, /* text: TRUST-DOMAIN/ns/NAMESPACE/sa/ACCOUNT; without an identity nothing fits */
	FP_FIELD_NAMESPACE = 1, /* text: the identity's; "" without one */
	FP_FIELD_ACCOUNT = 2,   /* text, FP_HOW_EXACT: NAMESPACE/ACCOUNT, in any trust domain */
	FP_FIELD_SOURCE = 3,    /* prefix */
	FP_FIELD_DESTINATION = 4,
	FP_FIELD_PORT = 5, /* of the workload */
	FP_FIELD_COUNT = 6
};

enum fp_policy_how {
	FP_HOW_EXACT = 0,
	FP_HOW_PREFIX = 1,
	FP_HOW_SUFFIX = 2,
	FP_HOW_PRESENT = 3 /* not empty */
};

/* What was decided, and by what. Names of counters; those that allow stand first. */
enum fp_policy_verdict {
	FP_ALLOW_NO_POLICY = 0, /* no ALLOW policy is for the workload, and no DENY policy matches */
	FP_ALLOW_BY_POLICY = 1,
	FP_DENY_BY_POLICY = 2,
	FP_DENY_NOT_ALLOWED = 3,     /* there are ALLOW policies, and none of them matches */
	FP_DENY_UNKNOWN_WORKLOAD = 4 /* nobody said what holds for it */
};

/* A file: this, then the tables in the order of their counts. A row owns the next so many rows of another table, so that what a
 * policy looks like does not depend on its neighbours. */
struct fp_policy_head {
	uint32_t magic;
	uint32_t version;
	uint64_t generation;
	uint32_t workloads; /* rows of each kind */
	uint32_t policies;
	uint32_t rules;
	uint32_t clauses;
	uint32_t matches;
	uint32_t terms;
	uint32_t members;
	uint32_t text; /* bytes, as are the next */
	uint32_t names;
	uint32_t pad;
};

struct fp_policy_workload {
	uint64_t netns_cookie; /* ascending */
	uint32_t members;      /* its rows */
	uint32_t name;         /* bytes of its own name: spiffe://TRUST-DOMAIN/ns/NAMESPACE/sa/ACCOUNT */
};

struct fp_policy_row {
	uint32_t rules;   /* its rows; none: it never matches */
	uint32_t text;    /* its bytes, which its terms point into */
	uint16_t action;  /* enum fp_policy_action */
	uint16_t dry_run; /* 1: decided for itself and told, never in force */
	uint32_t pad;
};

/* A rule owns clauses, all of which have to match; a clause matches, of which any has to; a match terms. */
struct fp_policy_part {
	uint32_t rows;
};

/* A match fits if of each field that has terms one of those that are not negative fits, where there are any, and no negative
 * one. One without terms never fits. */
struct fp_policy_term {
	uint16_t field;      /* enum fp_policy_field */
	uint16_t how;        /* enum fp_policy_how, of texts; else 0 */
	uint32_t negative;   /* 1: it must not fit */
	struct tg_addr addr; /* of prefixes; else 0 */
	uint32_t number; /* of prefixes: bits of 128, 96 more than an IPv4 prefix has; the port, host order; else 0 */
	uint32_t text;   /* of texts: where it begins in the policy's; else 0 */
	uint32_t length; /* in bytes */
	uint32_t pad;
};

/* A policy that is for a workload, in the order in which they are asked. */
struct fp_policy_member {
	uint32_t policy; /* its number: its place from 1 on, ascending within a workload */
};

/* Numbers are of policies; 0 = none. would: by those on trial, if there were no others. */
struct fp_policy_decision {
	uint32_t verdict; /* enum fp_policy_verdict */
	uint32_t policy;  /* that decided */
	uint32_t would;
	uint32_t would_policy;
	uint32_t audited; /* the first AUDIT policy that matches */
	uint32_t pad;
};
#endif
