// SPDX-License-Identifier: BSD-2-Clause
/* The certificates that routes show to their hosts: one entry for each pair of files. */
#include "policy_internal.h"

#include <stdlib.h>
#include <string.h>

static struct policy_client *find(const struct policy *policy, const char *certificate,
				  const char *key)
{
	for (size_t i = 0; i < policy->client_count; i++) {
		struct policy_client *client = policy->clients[i];

		if (strcmp(client->certificate, certificate) == 0 &&
		    strcmp(client->key.source, key) == 0)
			return client;
	}
	return NULL;
}

void policy_client_free(struct policy_client *client)
{
	if (!client)
		return;
	client_cert_unref(client->loaded);
	free(client->certificate);
	free(client->key.source);
	free(client);
}

/* The files are read later, by config_load_secrets_from(): a policy is checked without them. */
int policy_client_init(struct policy *policy, struct policy_route *route,
		       const struct policy_route_spec *spec, struct error *error)
{
	struct policy_client *client = find(policy, spec->client_cert, spec->client_key);
	void *clients;

	route->client = client;
	if (client)
		return 0;
	clients = arena_grow(&policy->arena, policy->clients, policy->client_count, sizeof(void *));
	if (clients)
		policy->clients = clients;
	client = clients ? calloc(1, sizeof(*client)) : NULL;
	if (!client)
		return error_set(error, "out of memory");
	client->key.kind = POLICY_SECRET_FILE;
	/* The first route that names the pair is where errors point to. */
	client->key.file = route->file;
	client->key.line = route->line;
	client->certificate = strdup(spec->client_cert);
	client->key.source = strdup(spec->client_key);
	if (!client->certificate || !client->key.source) {
		policy_client_free(client);
		return error_set(error, "out of memory");
	}
	policy->clients[policy->client_count++] = client;
	route->client = client;
	return 0;
}

size_t policy_client_count(const struct policy *policy)
{
	return policy->client_count;
}

const struct policy_client *policy_client_at(const struct policy *policy, size_t index)
{
	return policy->clients[index];
}

void policy_set_client(struct policy *policy, size_t index, struct client_cert *cert)
{
	client_cert_unref(policy->clients[index]->loaded);
	policy->clients[index]->loaded = cert;
}

/* False refuses the request: without the certificate the host would see another client than was
 * meant. */
bool policy_route_client(const struct policy_route *route, struct client_cert **ret)
{
	if (route->client && !route->client->loaded)
		return false;
	*ret = route->client ? route->client->loaded : NULL;
	return true;
}

struct client_cert *policy_host_client(const struct policy_host *host, uint16_t port)
{
	for (size_t i = 0; i < host->route_count; i++) {
		const struct policy_route *route = host->routes[i];

		for (size_t p = 0; route->client && p < route->port_count; p++)
			if (route->ports[p] == port && route->client->loaded)
				return route->client->loaded;
	}
	return NULL;
}
