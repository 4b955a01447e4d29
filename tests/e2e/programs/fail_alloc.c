// SPDX-License-Identifier: BSD-2-Clause
/* Loaded before the C library: one allocation of the worker's fails, or one of whoever else runs the
 * program, by order of the test, who shares a page with us. Mappings without a file count. What libldns allocates itself does not count: it looks at none of it, and what calls it
 * makes sure beforehand. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <link.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

void *__libc_malloc(size_t size);
void *__libc_calloc(size_t count, size_t size);
void *__libc_realloc(void *old, size_t size);
void *__libc_memalign(size_t alignment, size_t size);

/* As test_allocations.py packs it. */
static volatile struct orders {
	int32_t active;
	int32_t at;   /* which allocation from now on fails */
	int32_t count, failed;
	int32_t others; /* not the worker's */
} *orders;
static int worker;
static uintptr_t spared_begin, spared_end;

static int find_spared(struct dl_phdr_info *info, size_t size, void *context)
{
	(void)size, (void)context;
	if (!strstr(info->dlpi_name, "libldns"))
		return 0;
	for (int i = 0; i < info->dlpi_phnum; i++)
		if (info->dlpi_phdr[i].p_type == PT_LOAD && info->dlpi_phdr[i].p_flags & PF_X) {
			spared_begin = info->dlpi_addr + info->dlpi_phdr[i].p_vaddr;
			spared_end = spared_begin + info->dlpi_phdr[i].p_memsz;
		}
	return 1;
}

static int is_worker(void)
{
	char line[256] = "";
	int fd = open("/proc/self/cmdline", O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? 0 : read(fd, line, sizeof(line) - 2);

	if (fd >= 0)
		close(fd);
	return n > 0 && strcmp(line + strlen(line) + 1, "worker") == 0;
}

__attribute__((constructor)) static void begin(void)
{
	int fd = open(ORDERS, O_RDWR | O_CLOEXEC);
	void *page = fd < 0 ? MAP_FAILED : mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

	if (fd >= 0)
		close(fd);
	dl_iterate_phdr(find_spared, NULL);
	worker = is_worker();
	if (page != MAP_FAILED)
		orders = page;
}

static int fails(const void *caller)
{
	if (!orders || !orders->active || orders->others == worker ||
	    ((uintptr_t)caller >= spared_begin && (uintptr_t)caller < spared_end))
		return 0;
	if (__sync_add_and_fetch(&orders->count, 1) != orders->at)
		return 0;
	orders->failed = 1;
	errno = ENOMEM;
	return 1;
}

#define UNLESS_IT_FAILS(real) (fails(__builtin_return_address(0)) ? NULL : (real))

void *malloc(size_t size)
{
	return UNLESS_IT_FAILS(__libc_malloc(size));
}

void *calloc(size_t count, size_t size)
{
	return UNLESS_IT_FAILS(__libc_calloc(count, size));
}

void *realloc(void *old, size_t size)
{
	return size == 0 ? __libc_realloc(old, 0) : UNLESS_IT_FAILS(__libc_realloc(old, size));
}

void *memalign(size_t alignment, size_t size)
{
	return UNLESS_IT_FAILS(__libc_memalign(alignment, size));
}

void *aligned_alloc(size_t alignment, size_t size)
{
	return UNLESS_IT_FAILS(__libc_memalign(alignment, size));
}

int posix_memalign(void **ret, size_t alignment, size_t size)
{
	*ret = UNLESS_IT_FAILS(__libc_memalign(alignment, size));
	return *ret ? 0 : ENOMEM;
}

void *mmap(void *address, size_t length, int protection, int flags, int fd, off_t offset)
{
	if (fd < 0 && fails(__builtin_return_address(0)))
		return MAP_FAILED;
	return (void *)syscall(SYS_mmap, address, length, protection, flags, fd, offset);
}
