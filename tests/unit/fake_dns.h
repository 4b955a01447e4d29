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
	bool truncated; /* over UDP; whole over TCP, in two pieces */
	bool silent, silent_a, silent_aaaa;
	unsigned ttl;
};

struct fake_dns {
	int fd;
	char text[32]; /* "127.0.0.1:PORT" */
	struct event *event;
	int tcp_fd; /* the same port */
	struct event *tcp_event;
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
	if (entry->truncated) {
		packet[2] |= 2;
		sendto(fd, packet, end, 0, (struct sockaddr *)&from, from_length);
		return;
	}
	for (const char *const *text = type == 28 ? entry->aaaa : entry->a; entry->name && *text;
	     text++, packet[7]++)
		end += fake_dns_record(packet + end, type, entry->ttl, *text);
	sendto(fd, packet, end, 0, (struct sockaddr *)&from, from_length);
}

static inline void fake_dns_tcp(evutil_socket_t fd, short what, void *argument)
{
	struct fake_dns *dns = argument;
	unsigned char packet[4096] = {0};
	ssize_t size = recv(fd, packet, 512, 0);
	const struct fake_name *entry;
	const char *const *text;
	size_t end;
	int type;

	(void)what;
	end = size > 18 ? fake_dns_name(packet + 2, (size_t)size - 2, dns->last) : 0;
	type = end ? packet[2 + end] << 8 | packet[3 + end] : 0;
	end += 4;
	for (entry = dns->names; entry->name && strcmp(entry->name, dns->last) != 0;)
		entry++;
	packet[4] = 0x84;
	packet[5] = 0x80;
	for (text = type == 28 ? entry->aaaa : entry->a; entry->name && *text; text++) {
		end += fake_dns_record(packet + 2 + end, type, entry->ttl, *text);
		packet[9]++;
	}
	packet[0] = (unsigned char)(end >> 8);
	packet[1] = (unsigned char)end;
	/* Who asked may be gone. */
	if (!entry->silent && send(fd, packet, 5, MSG_NOSIGNAL) == 5) {
		usleep(2000);
		(void)!send(fd, packet + 5, end - 3, MSG_NOSIGNAL);
	}
	close(fd);
}

static inline void fake_dns_accept(evutil_socket_t listener, short what, void *argument)
{
	struct fake_dns *dns = argument;

	(void)what;
	event_base_once(event_get_base(dns->tcp_event), accept(listener, NULL, NULL), EV_READ,
			fake_dns_tcp, dns, NULL);
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
	dns->tcp_fd = socket(AF_INET, SOCK_STREAM, 0);
	if (bind(dns->tcp_fd, (struct sockaddr *)&sa, length) < 0 || listen(dns->tcp_fd, 16) < 0)
		perror("fake_dns");
	dns->tcp_event = event_new(base, dns->tcp_fd, EV_READ | EV_PERSIST, fake_dns_accept, dns);
	event_add(dns->tcp_event, NULL);
}

static inline void fake_dns_stop(struct fake_dns *dns)
{
	event_free(dns->event);
	event_free(dns->tcp_event);
	close(dns->fd);
	close(dns->tcp_fd);
}

#endif
