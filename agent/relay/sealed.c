#include "sealed.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>

int fp_sealed_read(int fd, size_t most, int (*read)(const void *bytes, size_t size, void *arg), void *arg)
{
	const int wanted = F_SEAL_WRITE | F_SEAL_GROW | F_SEAL_SHRINK;
	struct stat stat;
	int seals = fcntl(fd, F_GET_SEALS);
	if (seals < 0 || (seals & wanted) != wanted)
		return -EPERM;
	if (fstat(fd, &stat))
		return -errno;
	if (stat.st_size <= 0 || (uint64_t)stat.st_size > most)
		return -EBADMSG;
	size_t size = (size_t)stat.st_size;
	/* Private: kernels before 6.7 refuse a shared mapping of what is sealed against writing. */
	void *bytes = mmap(NULL, size, PROT_READ, MAP_PRIVATE, fd, 0);
	if (bytes == MAP_FAILED)
		return -errno;
	int rc = read(bytes, size, arg);
	munmap(bytes, size);
	return rc;
}
