/* SPDX-License-Identifier: BSD-2-Clause */
/* What a policy may say and hardly mean. */
#ifndef POLICY_ADVICE_H
#define POLICY_ADVICE_H

#include "policy.h"

/* The protocol whose port it is, where a client waits for the server's greeting: "SMTP"; with `tls` also
 * where it does so within TLS: "IMAPS". NULL for any other. */
const char *policy_greeted_in(uint16_t port, bool tls);

/* Adds a line to `advice` for each port where servers speak first that a route has which waits for the
 * client. For people: the policy is valid, and nothing depends on it. */
void policy_advise(const struct policy *policy, struct diag_list *advice);

#endif
