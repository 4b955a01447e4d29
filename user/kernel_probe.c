// SPDX-License-Identifier: BSD-2-Clause
/* What this kernel can do, found by loading, as kernel_open() would. */
#include "kernel_private.h"

#include <bpf/libbpf.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "egress.skel.h"

static int say_nothing(enum libbpf_print_level level, const char *format, va_list arguments)
{
	(void)level;
	(void)format;
	(void)arguments;
	return 0;
}

/* Loads one program, or all of them (NULL). 0 or -errno. */
static int try_load(const char *name, bool set_retval)
{
	struct egress *skeleton = egress__open();
	struct bpf_program *program;
	int result;

	if (!skeleton)
		return -errno;
	skeleton->rodata->has_set_retval = set_retval;
	bpf_object__for_each_program(program, skeleton->obj)
		if (name)
			bpf_program__set_autoload(program,
						  strcmp(bpf_program__name(program), name) == 0);
	result = egress__load(skeleton);
	egress__destroy(skeleton);
	return result;
}

static void probe_each(struct kernel_probe *probe)
{
	for (size_t i = 0; i < probe->program_count; i++)
		probe->programs[i].error = -try_load(kernel_programs[i].name, false);
}

void kernel_probe(struct kernel_probe *ret)
{
	libbpf_print_fn_t previous = libbpf_set_print(say_nothing);
	struct kernel_probe probe = {.program_count = KERNEL_PROGRAM_COUNT};

	_Static_assert(KERNEL_PROGRAM_COUNT <= sizeof(probe.programs) / sizeof(probe.programs[0]),
		       "a slot for each program");
	for (size_t i = 0; i < KERNEL_PROGRAM_COUNT; i++) {
		snprintf(probe.programs[i].name, sizeof(probe.programs[i].name), "%s",
			 kernel_programs[i].name);
		probe.programs[i].since = kernel_programs[i].since;
	}
	probe.set_retval = try_load(NULL, true) == 0;
	if (!probe.set_retval && try_load(NULL, false) != 0)
		probe_each(&probe);
	libbpf_set_print(previous);
	*ret = probe;
}
