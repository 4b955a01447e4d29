/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef CLIENTS_CONTEXT_H
#define CLIENTS_CONTEXT_H

#include "tls_provider.h"
#include "tls_provider_private.h"

/* For cmocka_run_group_tests(). */
static int load_provider(void **state)
{
	(void)state;
	(void)tls_provider_load();
	return 0;
}

static void needs_context(void)
{
	if (!tls_provider_query())
		skip(); /* OpenSSL 3.1 and later */
	assert_non_null(tls_provider_clients());
}

#endif
