/* ptrace for UML of Linux 6.1: it keeps less of a processor's extended state than one with AMX has, and the host takes
   only all of it back. What UML does not keep stays as it is. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <elf.h>
#include <stdarg.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/types.h>
#include <sys/uio.h>

static long (*next)(int, pid_t, void *, void *);
static char all[1 << 16];

__attribute__((constructor)) static void find(void)
{
	next = dlsym(RTLD_NEXT, "ptrace");
}

long ptrace(enum __ptrace_request request, ...)
{
	va_list arguments;
	va_start(arguments, request);
	pid_t pid = va_arg(arguments, pid_t);
	void *addr = va_arg(arguments, void *), *data = va_arg(arguments, void *);
	va_end(arguments);
	struct iovec *part = data, whole = { all, sizeof all };

	if ((request != PTRACE_GETREGSET && request != PTRACE_SETREGSET) || (long)addr != NT_X86_XSTATE)
		return next(request, pid, addr, data);
	if (next(PTRACE_GETREGSET, pid, addr, &whole))
		return -1;
	if (part->iov_len > whole.iov_len)
		part->iov_len = whole.iov_len;
	if (request == PTRACE_GETREGSET) {
		memcpy(part->iov_base, all, part->iov_len);
		return 0;
	}
	memcpy(all, part->iov_base, part->iov_len);
	return next(PTRACE_SETREGSET, pid, addr, &whole);
}
