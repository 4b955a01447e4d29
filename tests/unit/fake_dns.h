/* SPDX-License-Identifier: BSD-2-Clause */
/* A name server on 127.0.0.1 for tests: answers from a table, in the test's own event loop. */
#ifndef FAKE_DNS_H
#define FAKE_DNS_H

#include <arpa/inet.h>
#include <event2/event.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

struct fake_name {
	const char *name;
	const char *a[20], *aaaa[20]; /* texts; none: NOERROR without answers */
	int rcode;
	bool silent, silent_a, silent_aaaa;
	unsigned ttl;
};

struct fake_dns {
	int fd;
	char text[32]; /* "127.0.0.1:PORT" */
	struct event *event;
	const struct fake_name *names;
	int queries;
	char last[256];
};

static inline size_t fake_dns_name(const unsigned char *packet, size_t size, char *ret)
{
	size_t at = 12, out = 0;

	while (at < size && packet[at]) {
		size_t label = packet[at++];

		if (out)
			ret[out++] = '.';
		memcpy(ret + out, packet + at, label);
		out += label;
		at += label;
	}
	ret[out] = 0;
	return at + 1;
}

static inline size_t fake_dns_record(unsigned char *at, int type, unsigned ttl, const char *text)
{
	int length = type == 28 ? 16 : 4;
	uint16_t fixed[5] = {htons(0xc00c), htons((uint16_t)type), htons(1),
			     htons((uint16_t)(ttl >> 16)), htons((uint16_t)ttl)};

	memcpy(at, fixed, 10);
	at[10] = 0;
	at[11] = (unsigned char)length;
	inet_pton(type == 28 ? AF_INET6 : AF_INET, text, at + 12);
	return 12 + (size_t)length;
}

static inline void fake_dns_answer(evutil_socket_t fd, short what, void *argument)
{
	struct fake_dns *dns = argument;
	struct sockaddr_in from;
	socklen_t from_length = sizeof(from);
	unsigned char packet[2048];
	ssize_t size = recvfrom(fd, packet, 512, 0, (struct sockaddr *)&from, &from_length);
	const struct fake_name *entry;
	size_t end;
	int type;

	(void)what;
	if (size < 17)
		return;
	dns->queries++;
	end = fake_dns_name(packet, (size_t)size, dns->last);
	type = packet[end] << 8 | packet[end + 1];
	end += 4;
	for (entry = dns->names; entry->name && strcmp(entry->name, dns->last) != 0;)
		entry++;
	if (entry->silent || (entry->silent_a && type == 1) || (entry->silent_aaaa && type == 28))
		return;
	packet[2] = 0x84;
	packet[3] = (unsigned char)(0x80 | (entry->name ? entry->rcode : 3));
	packet[7] = 0;
	memset(packet + 8, 0, 4);
	for (const char *const *text = type == 28 ? entry->aaaa : entry->a; entry->name && *text;
	     text++, packet[7]++)
		end += fake_dns_record(packet + end, type, entry->ttl, *text);
	sendto(fd, packet, end, 0, (struct sockaddr *)&from, from_length);
}

static inline void fake_dns_start(struct fake_dns *dns, struct event_base *base,
				  const struct fake_name *names)
{
	struct sockaddr_in sa = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
	socklen_t length = sizeof(sa);

	*dns = (struct fake_dns){.names = names};
	dns->fd = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK, 0);
	if (bind(dns->fd, (struct sockaddr *)&sa, length) < 0 ||
	    getsockname(dns->fd, (struct sockaddr *)&sa, &length) < 0)
		perror("fake_dns");
	snprintf(dns->text, sizeof(dns->text), "127.0.0.1:%u", ntohs(sa.sin_port));
	dns->event = event_new(base, dns->fd, EV_READ | EV_PERSIST, fake_dns_answer, dns);
	event_add(dns->event, NULL);
}

static inline void fake_dns_stop(struct fake_dns *dns)
{
	event_free(dns->event);
	close(dns->fd);
}

#endif
