// SPDX-License-Identifier: BSD-2-Clause
#include <openssl/crypto.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "bytes.h"
#include "cmd.h"
#include "diag.h"
#include "server.h"
#include "tls_memory.h"
#include "tls_provider.h"
#include "worker.h"

int cmd_worker(int argc, char **argv)
{
	struct server_handover handover;

	if (worker_parse_args(argc, argv, &handover) < 0 || handover.control_fd < 0) {
		diag_error("worker: this command is internal; 'egress-bpf run' starts it");
		return EXIT_USAGE;
	}
	/* Started by a descriptor, it would be known as that number. */
	(void)prctl(PR_SET_NAME, "egress-worker");
	if (handover.program_fd >= 0)
		close(handover.program_fd);
	bytes_own_thread();
	if (tls_memory_keep() < 0) {
		diag_error("worker: OpenSSL does not take our memory functions");
		return EXIT_FAILED;
	}
	/* Its tables go with the process; to free them one by one takes a millisecond. */
	(void)OPENSSL_init_crypto(OPENSSL_INIT_NO_ATEXIT, NULL);
	if (!tls_provider_load()) {
		diag_error("worker: OpenSSL does not start: out of memory, or its openssl.cnf is wrong");
		return EXIT_FAILED;
	}
	return server_run(&handover);
}
