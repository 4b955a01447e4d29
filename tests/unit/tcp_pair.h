/* SPDX-License-Identifier: BSD-2-Clause */
/* Two ends of a TCP connection over loopback, for tests of what a socketpair(2) does not do: resets,
 * urgent data, segments. */
#ifndef TCP_PAIR_H
#define TCP_PAIR_H

#include <arpa/inet.h>
#include <sys/socket.h>
#include <unistd.h>

/* ret[0] is the accepted end, and does not block. Both are the caller's. */
static inline void tcp_pair(int ret[2])
{
	struct sockaddr_in address = {.sin_family = AF_INET};
	socklen_t length = sizeof(address);
	int listener = socket(AF_INET, SOCK_STREAM, 0);

	address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	assert_int_equal(bind(listener, (struct sockaddr *)&address, sizeof(address)), 0);
	assert_int_equal(listen(listener, 1), 0);
	assert_int_equal(getsockname(listener, (struct sockaddr *)&address, &length), 0);
	ret[1] = socket(AF_INET, SOCK_STREAM, 0);
	assert_int_equal(connect(ret[1], (struct sockaddr *)&address, sizeof(address)), 0);
	ret[0] = accept4(listener, NULL, NULL, SOCK_NONBLOCK);
	assert_true(ret[0] >= 0);
	close(listener);
}

#endif
