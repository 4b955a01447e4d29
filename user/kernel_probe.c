// SPDX-License-Identifier: BSD-2-Clause
/* What this kernel can do, found by loading, as kernel_open() would. */
#include "kernel_private.h"

#include <bpf/libbpf.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "egress.skel.h"

/* The skeleton's own pointer to .rodata is not there for an object that was opened from its ELF. */
static void set_retval_known(const struct bpf_object *object, bool known)
{
	struct egress__rodata rodata;
	struct bpf_map *map;
	size_t size = 0;

	bpf_object__for_each_map(map, object) {
		const void *initial = strstr(bpf_map__name(map), ".rodata")
					      ? bpf_map__initial_value(map, &size)
					      : NULL;

		if (!initial || size != sizeof(rodata))
			continue;
		memcpy(&rodata, initial, sizeof(rodata));
		rodata.has_set_retval = known;
		(void)bpf_map__set_initial_value(map, &rodata, sizeof(rodata));
	}
}

/* Loads one program, or all of them (NULL). 0 or -errno. */
static int try_load(const char *name, bool set_retval)
{
	size_t size;
	/* The skeleton's own bytes: a copy of the object for the probe was 180 KiB of the
	 * binary. */
	const void *elf = kernel_elf(&size);
	struct bpf_object *object = bpf_object__open_mem(elf, size, NULL);
	struct bpf_program *program;
	int result;

	if (!object)
		return -errno;
	set_retval_known(object, set_retval);
	bpf_object__for_each_program(program, object)
		if (name)
			bpf_program__set_autoload(program,
						  strcmp(bpf_program__name(program), name) == 0);
	result = bpf_object__load(object);
	bpf_object__close(object);
	return result;
}

/* Only when the whole does not load: to tell which program is to blame. */
static void probe_each(struct kernel_probe *probe)
{
	for (size_t i = 0; i < probe->program_count; i++)
		probe->programs[i].error = -try_load(kernel_programs[i].name, false);
}

void kernel_probe(struct kernel_probe *ret)
{
	/* What does not load is told by us, in a line each, not by the verifier's log. */
	libbpf_print_fn_t previous = libbpf_set_print(NULL);
	struct kernel_probe probe = {.program_count = KERNEL_PROGRAM_COUNT};

	_Static_assert(KERNEL_PROGRAM_COUNT <= sizeof(probe.programs) / sizeof(probe.programs[0]),
		       "a slot for each program");
	for (size_t i = 0; i < KERNEL_PROGRAM_COUNT; i++) {
		snprintf(probe.programs[i].name, sizeof(probe.programs[i].name), "%s",
			 kernel_programs[i].name);
		probe.programs[i].since = kernel_programs[i].since;
	}
	/* By loading and not by bpftool's list of helpers, which names what a program type may not
	 * call. */
	probe.set_retval = try_load(NULL, true) == 0;
	if (!probe.set_retval && try_load(NULL, false) != 0)
		probe_each(&probe);
	libbpf_set_print(previous);
	*ret = probe;
}
