// SPDX-License-Identifier: BSD-2-Clause
#include "ui_guard.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <openssl/crypto.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>

static bool make_secret(char ret[UI_SECRET_SIZE])
{
	unsigned char bytes[UI_SECRET_SIZE / 2];

	/* getrandom(2) of up to 256 bytes is whole or fails; before the pool is ready it waits. */
	if (getrandom(bytes, sizeof(bytes), 0) != sizeof(bytes))
		return false;
	for (size_t i = 0; i < sizeof(bytes); i++)
		snprintf(ret + 2 * i, 3, "%02x", bytes[i]);
	OPENSSL_cleanse(bytes, sizeof(bytes));
	return true;
}

/* In constant time for equal lengths; the length is no secret. An empty one equals nothing. */
static bool is_secret(const char *secret, const char *text, size_t length)
{
	return *secret && length == strlen(secret) && CRYPTO_memcmp(secret, text, length) == 0;
}

bool ui_session_new(const struct sockaddr *address, struct ui_session *ret)
{
	const struct sockaddr_in6 *six = (const struct sockaddr_in6 *)address;
	const struct sockaddr_in *four = (const struct sockaddr_in *)address;
	bool is_six = address->sa_family == AF_INET6;
	unsigned port = ntohs(is_six ? six->sin6_port : four->sin_port);
	struct ui_session session = {0};
	char text[INET6_ADDRSTRLEN];

	if (!inet_ntop(address->sa_family,
		       is_six ? (const void *)&six->sin6_addr : (const void *)&four->sin_addr, text,
		       sizeof(text)))
		return false;
	snprintf(session.host, sizeof(session.host), is_six ? "[%s]:%u" : "%s:%u", text, port);
	snprintf(session.origin, sizeof(session.origin), "http://%s", session.host);
	/* A port in the name: pages of two bottles have the same cookies otherwise. */
	snprintf(session.cookie_name, sizeof(session.cookie_name), "egress_ui_%u", port);
	if (!make_secret(session.token) || !make_secret(session.cookie) || !make_secret(session.key))
		return false;
	*ret = session;
	return true;
}

bool ui_guard_host(const struct ui_session *session, const struct ui_headers *headers)
{
	return headers->host && strcmp(headers->host, session->host) == 0;
}

bool ui_guard_site(const struct ui_session *session, const struct ui_headers *headers, bool changes)
{
	/* A page's request that changes something always has an Origin (Fetch standard); without
	 * one it is none of a browser's page. Reading from the same origin has none. */
	if (headers->origin ? strcmp(headers->origin, session->origin) != 0 : changes)
		return false;
	return !headers->fetch_site || strcmp(headers->fetch_site, "same-origin") == 0;
}

/* "a=1; NAME=VALUE; b=2", RFC 6265, 4.2.1. The first of that name counts. */
static bool has_cookie(const struct ui_session *session, const char *header)
{
	const size_t name = strlen(session->cookie_name);

	for (const char *at = header; at; at = strchr(at, ';')) {
		at += strspn(at, "; ");
		if (strncmp(at, session->cookie_name, name) == 0 && at[name] == '=')
			return is_secret(session->cookie, at + name + 1,
					 strcspn(at + name + 1, "; "));
	}
	return false;
}

bool ui_guard_session(const struct ui_session *session, const struct ui_headers *headers)
{
	/* Before the token was used there is no session that anyone could have. */
	return !session->token[0] && headers->cookie && has_cookie(session, headers->cookie) &&
	       headers->key && is_secret(session->key, headers->key, strlen(headers->key));
}

bool ui_session_exchange(struct ui_session *session, const char *token)
{
	if (!is_secret(session->token, token, strlen(token)))
		return false;
	/* Empty from now on, which equals nothing: the link was good once. */
	OPENSSL_cleanse(session->token, sizeof(session->token));
	return true;
}
