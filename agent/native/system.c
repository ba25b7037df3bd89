/* System calls for which Python 3.11 has no door: namespaces, mounts, the C library's heaps. See tgb.h. */
#define _GNU_SOURCE
#include <errno.h>
#include <malloc.h>
#include <sched.h>
#include <stdio.h>
#include <sys/mount.h>

#include "tgb.h"

int tgb_setns(int netns_fd)
{
	return setns(netns_fd, CLONE_NEWNET) ? -errno : 0;
}

int tgb_heaps(int most)
{
	return mallopt(M_ARENA_MAX, most) ? 0 : -EINVAL;
}

int tgb_bind_netns(int netns_fd, const char *path)
{
	char self[64];

	snprintf(self, sizeof(self), "/proc/self/fd/%d", netns_fd);
	return mount(self, path, NULL, MS_BIND, NULL) ? -errno : 0;
}

int tgb_unmount(const char *path)
{
	return umount2(path, MNT_DETACH | UMOUNT_NOFOLLOW) ? -errno : 0;
}

int tgb_mount_bpffs(const char *path)
{
	return mount("bpf", path, "bpf", MS_NOSUID | MS_NODEV | MS_NOEXEC | MS_RELATIME, "mode=0700") ? -errno : 0;
}
