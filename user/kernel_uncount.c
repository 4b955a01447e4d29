// SPDX-License-Identifier: BSD-2-Clause
/* Reading the counters of a wall that is up, and taking back what a self-test counted. */
#include "kernel_private.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define FRAME_SIZE 64 /* a test run wants a frame, and does not look at it */

int kernel_read_counter(const struct kernel *kernel, uint32_t index, uint64_t *ret_sum)
{
	int cpus = libbpf_num_possible_cpus(), result;
	uint64_t *values = cpus > 0 ? calloc((size_t)cpus, sizeof(*values)) : NULL, sum = 0;

	if (!values)
		return -ENOMEM;
	result = bpf_map_lookup_elem(kernel->maps[KERNEL_MAP_COUNTERS], &index, values);
	for (int cpu = 0; cpu < cpus && result == 0; cpu++)
		sum += values[cpu];
	free(values);
	if (result == 0)
		*ret_sum = sum;
	return result;
}

/* `ret_counters` is not to be used after a failure. */
int kernel_read_counters(const struct kernel *kernel, uint64_t ret_counters[EGRESS_COUNTER_COUNT],
			 struct error *error)
{
	int result = 0;

	for (uint32_t i = 0; i < EGRESS_COUNTER_COUNT && result == 0; i++)
		result = kernel_read_counter(kernel, i, &ret_counters[i]);
	return result < 0 ? error_set(error, "cannot read the counters: %s", strerror(-result)) : 0;
}

#define INSN(c, d, s, o, i)                                                                        \
	((struct bpf_insn){                                                                        \
		.code = (c), .dst_reg = (d), .src_reg = (s), .off = (o), .imm = (i)})

/* An update from user space would overwrite what the wall counts in the same moment. A program
 * adds atomically on whichever CPU it runs; readers sum all CPUs, modulo 2^64. */
int kernel_uncount(struct kernel *kernel, uint32_t index, uint64_t amount, struct error *error)
{
	const struct bpf_insn program[] = {
		/* *(u32 *)(r10 - 4) = index; r2 = r10 - 4; r1 = map; r0 = lookup(r1, r2) */
		INSN(BPF_ST | BPF_MEM | BPF_W, BPF_REG_10, 0, -4, (int)index),
		INSN(BPF_ALU64 | BPF_MOV | BPF_X, BPF_REG_2, BPF_REG_10, 0, 0),
		INSN(BPF_ALU64 | BPF_ADD | BPF_K, BPF_REG_2, 0, 0, -4),
		INSN(BPF_LD | BPF_DW | BPF_IMM, BPF_REG_1, BPF_PSEUDO_MAP_FD, 0,
		     kernel->maps[KERNEL_MAP_COUNTERS]),
		INSN(0, 0, 0, 0, 0),
		INSN(BPF_JMP | BPF_CALL, 0, 0, 0, BPF_FUNC_map_lookup_elem),
		/* if (r0) atomic *(u64 *)r0 += -amount; return 0 */
		INSN(BPF_JMP | BPF_JEQ | BPF_K, BPF_REG_0, 0, 2, 0),
		INSN(BPF_ALU64 | BPF_MOV | BPF_K, BPF_REG_1, 0, 0, -(int)amount),
		INSN(BPF_STX | BPF_ATOMIC | BPF_DW, BPF_REG_0, BPF_REG_1, 0, BPF_ADD),
		INSN(BPF_ALU64 | BPF_MOV | BPF_K, BPF_REG_0, 0, 0, 0),
		INSN(BPF_JMP | BPF_EXIT, 0, 0, 0, 0),
	};
	LIBBPF_OPTS(bpf_test_run_opts, run);
	unsigned char frame[FRAME_SIZE] = {0};
	int fd, result;

	if (amount == 0)
		return 0;
	if (amount > INT32_MAX)
		return error_set(error, "too much to take back");
	fd = bpf_prog_load(BPF_PROG_TYPE_SOCKET_FILTER, "uncount", "BSD", program,
			   sizeof(program) / sizeof(program[0]), NULL);
	if (fd < 0)
		return error_set(error, "cannot take back what was counted: %s", strerror(errno));
	run.data_in = frame;
	run.data_size_in = sizeof(frame);
	run.repeat = 1;
	result = bpf_prog_test_run_opts(fd, &run);
	if (result < 0)
		error_set(error, "cannot take back what was counted: %s", strerror(errno));
	close(fd);
	return result < 0 ? -1 : 0;
}
