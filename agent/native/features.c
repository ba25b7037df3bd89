/* What this kernel can do: it is asked, whatever its version. See tgb.h. */
#define _GNU_SOURCE
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <unistd.h>

#include "tgb.h"

int tgb_has_prog_type(uint32_t prog_type)
{
	return libbpf_probe_bpf_prog_type(prog_type, NULL) == 1;
}

int tgb_has_map_type(uint32_t map_type)
{
	return libbpf_probe_bpf_map_type(map_type, NULL) == 1;
}

int tgb_has_helper(uint32_t prog_type, uint32_t helper)
{
	return libbpf_probe_bpf_helper(prog_type, helper, NULL) == 1;
}

static int loads(uint32_t prog_type, uint32_t attach_type, const struct bpf_insn *insns, size_t count)
{
	LIBBPF_OPTS(bpf_prog_load_opts, opts, .expected_attach_type = attach_type);
	int fd = bpf_prog_load(prog_type, "tg_probe", "GPL", insns, count, &opts);

	if (fd < 0)
		return 0;
	close(fd);
	return 1;
}

/* clang-format off */
#define INSN(op, dst, src, imm_) { .code = (op), .dst_reg = (dst), .src_reg = (src), .imm = (imm_) }
/* clang-format on */
#define MOV_IMM(dst, imm_) INSN(BPF_ALU64 | BPF_MOV | BPF_K, dst, 0, imm_)
#define CALL(helper) INSN(BPF_JMP | BPF_CALL, 0, 0, helper)
#define EXIT() INSN(BPF_JMP | BPF_EXIT, 0, 0, 0)

/* The helper came in 5.18, for connect hooks only later, and which kernel has what depends on backports: try it. */
int tgb_has_set_retval(void)
{
	const struct bpf_insn insns[] = { MOV_IMM(BPF_REG_1, -ECONNREFUSED), CALL(BPF_FUNC_set_retval),
					  MOV_IMM(BPF_REG_0, 0), EXIT() };
	size_t count = sizeof(insns) / sizeof(insns[0]);

	return loads(BPF_PROG_TYPE_CGROUP_SOCK_ADDR, BPF_CGROUP_INET4_CONNECT, insns, count) &&
	       loads(BPF_PROG_TYPE_CGROUP_SOCK_ADDR, BPF_CGROUP_INET6_CONNECT, insns, count);
}

/* r1 is the context at entry */
int tgb_has_netns_cookie(uint32_t prog_type, uint32_t attach_type)
{
	const struct bpf_insn insns[] = { CALL(BPF_FUNC_get_netns_cookie), MOV_IMM(BPF_REG_0, 1), EXIT() };

	return loads(prog_type, attach_type, insns, sizeof(insns) / sizeof(insns[0]));
}
