/* SPDX-License-Identifier: BSD-2-Clause */
/* What a policy may say and hardly mean. */
#ifndef POLICY_ADVICE_H
#define POLICY_ADVICE_H

#include "policy.h"

/* Adds a line to `advice` for each port where servers speak first that a route has which waits for the
 * client. For people: the policy is valid, and nothing depends on it. */
void policy_advise(const struct policy *policy, struct diag_list *advice);

#endif
