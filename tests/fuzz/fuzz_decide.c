// SPDX-License-Identifier: BSD-2-Clause
/* A request target from nowhere against a fixed policy. What is allowed must begin, byte for byte
 * but for unreserved escapes, with the allowed prefix, and must not hold a way out of it. */
#include <stdlib.h>
#include <string.h>

#include "config.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct config *fixed_policy(void)
{
	static const char text[] = "routes:\n"
				   "  - host: a.test\n"
				   "    path_allowlist: [/repos/acme/, /user]\n"
				   "    matches_nothing: false\n";
	struct config_source source = {.name = "fixed"};
	struct diag_list errors = {0};
	struct config *config;

	/* Without the last line, which is wrong on purpose: the parser must have refused it. */
	source.text = SPAN(text);
	if (config_parse(&source, 1, &errors))
		abort();
	diag_list_free(&errors);
	source.text.length = strlen(text) - strlen("    matches_nothing: false\n");
	config = config_parse(&source, 1, &errors);
	if (!config)
		abort();
	return config;
}

static bool contains(struct span text, const char *needle)
{
	return memmem(text.data, text.length, needle, strlen(needle)) != NULL;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct config *config;
	struct policy_request request = {.host = "a.test", .port = 443, .tls = true};
	struct policy_verdict verdict = {0};

	if (!config)
		config = fixed_policy();
	request.method = SPAN("GET");
	request.target = (struct span){(const char *)data, size};
	policy_decide(config->policy, &request, &verdict);
	if (verdict.reason == EGRESS_ALLOWED &&
	    (contains(verdict.path, "/../") || contains(verdict.path, "//") ||
	     contains(verdict.path, "\\") || contains(verdict.path, "%2f") ||
	     contains(verdict.path, "%2F") || contains(verdict.path, "%5c") ||
	     contains(verdict.path, "%00") || contains(verdict.path, "/%2e%2e/") ||
	     memchr(verdict.path.data, '\0', verdict.path.length)))
		abort();
	return 0;
}
