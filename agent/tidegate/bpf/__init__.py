"""The kernel programs: loading, attaching, adopting and their tables. The programs themselves are in bpf/."""
