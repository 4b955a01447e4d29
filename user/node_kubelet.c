// SPDX-License-Identifier: BSD-2-Clause
/* In a process of its own, for two reasons: the agent's loop must not wait for a kubelet that is slow,
 * and a flaw in TLS, HTTP or JSON parsing must not be one in a process with the node's rights. */
#include "node_kubelet.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "bytes.h"
#include "libcurl.h"
#include "node_fork.h"
#include "node_pods.h"
#include "privileges.h"

#define NOBODY 65534
#define ANSWER_MAX ((size_t)64 << 20) /* 250 pods of 100 KiB are a third of it */
#define FILE_MAX ((size_t)1 << 20)
#define CONNECT_SECONDS 3L

struct ask {
	const struct node_kubelet *kubelet;
	const struct libcurl *api;
	CURL *handle;
	struct curl_slist *headers, *connect_to;
	struct bytes ca, token, answer;
};

int node_kubelet_check(const struct node_kubelet *kubelet, struct error *error)
{
	const char *host = kubelet->url + strlen("https://");

	if (strncmp(kubelet->url, "https://", strlen("https://")) != 0 || *host == '\0' ||
	    strpbrk(host, "/?#@ "))
		return error_set(error, "--kubelet %s: would be right: https://NODE:10250, without a "
				 "path", kubelet->url);
	if (kubelet->address && (strlen(kubelet->address) > 200 || strpbrk(kubelet->address, " /")))
		return error_set(error, "--kubelet-address %s: not an address or a name",
				 kubelet->address);
	return 0;
}

/* ---- the request ------------------------------------------------------------------------------ */

static int read_whole(const char *path, struct bytes *ret, struct error *error)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC), result;

	if (fd < 0)
		return error_set(error, "%s: %s", path, strerror(errno));
	result = bytes_read(ret, fd, FILE_MAX);
	if (result < 0)
		error_set(error, "%s: %s", path, strerror(errno));
	close(fd);
	return result;
}

/* While we are root. A token is one line; what else a header may not hold is refused. */
static int read_files(struct ask *ask, struct error *error)
{
	const struct node_kubelet *kubelet = ask->kubelet;
	struct span token;

	if (kubelet->ca_file && read_whole(kubelet->ca_file, &ask->ca, error) < 0)
		return -1;
	if (kubelet->ca_file && ask->ca.length == 0)
		return error_set(error, "%s is empty", kubelet->ca_file);
	if (!kubelet->token_file)
		return 0;
	if (read_whole(kubelet->token_file, &ask->token, error) < 0)
		return -1;
	token = bytes_span(&ask->token);
	while (token.length > 0 && token.data[token.length - 1] == '\n')
		token.length--;
	ask->token.length = token.length;
	for (size_t i = 0; i < token.length; i++)
		if (token.data[i] <= ' ' || token.data[i] > '~')
			return error_set(error, "%s holds no token: more than one line, or no text",
					 kubelet->token_file);
	return token.length ? 0 : error_set(error, "%s is empty", kubelet->token_file);
}

/* A kubelet, or who poses as one, may send without end. */
static size_t keep_answer(char *data, size_t size, size_t count, void *context)
{
	struct bytes *answer = context;

	if (answer->length + size * count > ANSWER_MAX ||
	    !bytes_append(answer, data, size * count))
		return 0; /* libcurl's word for: break it off */
	return size * count;
}

/* libcurl keeps a copy of its own, until this process ends in a moment. */
static bool add_token(struct ask *ask)
{
	struct bytes header = {0};
	bool done = true;

	if (ask->token.length == 0)
		return true;
	done = bytes_append_text(&header, "Authorization: Bearer ") &&
	       bytes_append(&header, bytes_span(&ask->token).data, ask->token.length) &&
	       bytes_append(&header, "", 1);
	if (done)
		ask->headers = ask->api->slist_append(NULL, bytes_span(&header).data);
	bytes_wipe(&header);
	return done && ask->headers &&
	       ask->api->easy_setopt(ask->handle, CURLOPT_HTTPHEADER, ask->headers) == CURLE_OK;
}

/* "HOST:PORT:TO:PORT" with empty parts: any host and port, to there, the port as it was. The name
 * stays the one that the certificate has to prove. */
static bool connect_elsewhere(struct ask *ask)
{
	const char *address = ask->kubelet->address;
	char text[256];

	if (!address)
		return true;
	snprintf(text, sizeof(text), strchr(address, ':') && address[0] != '[' ? "::[%s]:" : "::%s:",
		 address);
	ask->connect_to = ask->api->slist_append(NULL, text);
	return ask->connect_to && ask->api->easy_setopt(ask->handle, CURLOPT_CONNECT_TO,
							ask->connect_to) == CURLE_OK;
}

/* In the place of the roots that libcurl was built with, which are a file and a directory: the latter
 * would be asked as well. */
static bool trust_only(struct ask *ask)
{
	struct curl_blob ca = {(void *)bytes_span(&ask->ca).data, ask->ca.length, CURL_BLOB_NOCOPY};

	return ask->api->easy_setopt(ask->handle, CURLOPT_CAPATH, NULL) == CURLE_OK &&
	       ask->api->easy_setopt(ask->handle, CURLOPT_CAINFO_BLOB, &ca) == CURLE_OK;
}

/* Neither a redirect nor a proxy of the environment gets to see the token. */
static bool prepare(struct ask *ask)
{
	const struct libcurl *api = ask->api;
	char url[1024];

	if (snprintf(url, sizeof(url), "%s/pods", ask->kubelet->url) >= (int)sizeof(url))
		return false;
	return api->easy_setopt(ask->handle, CURLOPT_URL, url) == CURLE_OK &&
	       api->easy_setopt(ask->handle, CURLOPT_PROTOCOLS_STR, "https") == CURLE_OK &&
	       api->easy_setopt(ask->handle, CURLOPT_NOPROXY, "*") == CURLE_OK &&
	       api->easy_setopt(ask->handle, CURLOPT_NOSIGNAL, 1L) == CURLE_OK &&
	       api->easy_setopt(ask->handle, CURLOPT_CONNECTTIMEOUT, CONNECT_SECONDS) == CURLE_OK &&
	       api->easy_setopt(ask->handle, CURLOPT_TIMEOUT, (long)NODE_KUBELET_SECONDS) ==
		       CURLE_OK &&
	       api->easy_setopt(ask->handle, CURLOPT_WRITEFUNCTION, keep_answer) == CURLE_OK &&
	       api->easy_setopt(ask->handle, CURLOPT_WRITEDATA, &ask->answer) == CURLE_OK &&
	       (!ask->kubelet->ca_file || trust_only(ask)) && add_token(ask) && connect_elsewhere(ask);
}

/* Words of our own for what one meets most: the kubelet's body is not shown to anybody. */
static int perform(struct ask *ask, struct error *error)
{
	CURLcode code = ask->api->easy_perform(ask->handle);
	long status = 0;

	if (code == CURLE_OK)
		code = ask->api->easy_getinfo(ask->handle, CURLINFO_RESPONSE_CODE, &status);
	if (code == CURLE_PEER_FAILED_VERIFICATION)
		return error_set(error, "its certificate is not signed by %s, or is of another name "
				 "(a kubelet that signs its own: --kubelet-ca with the node's "
				 "/var/lib/kubelet/pki/kubelet.crt)",
				 ask->kubelet->ca_file ? "--kubelet-ca" : "the system's roots");
	if (code != CURLE_OK)
		return error_set(error, "%s", ask->api->easy_strerror(code));
	if (status == 401)
		return error_set(error, "it does not know our token (status 401)");
	if (status == 403)
		return error_set(error, "our account may not get nodes/pods (nodes/proxy before "
				 "Kubernetes 1.33; status 403)");
	return status == 200 ? 0 : error_set(error, "it answers with status %ld", status);
}

/* What was read is in memory before we are nobody; what comes from the network is read after. */
static int ask_it(struct ask *ask, struct bytes *ret, struct error *error)
{
	struct node_records records = {0};
	int result = -1;

	if (read_files(ask, error) < 0 || libcurl_load("the kubelet", true, &ask->api, error) < 0 ||
	    privileges_drop(NOBODY, NOBODY, -1, error) < 0)
		return -1;
	ask->handle = ask->api->easy_init();
	if (!ask->handle || !prepare(ask))
		return error_set(error, "cannot make the request");
	if (perform(ask, error) == 0 && node_pods_parse(bytes_span(&ask->answer), &records, error) == 0)
		result = node_pods_write(&records, ret);
	node_records_free(&records);
	bytes_wipe(&ask->token);
	return result;
}

/* ---- its process ------------------------------------------------------------------------------ */

/* alarm(2) ends what no timeout of libcurl's does, a look-up of a name for one. */
static void NORETURN run(const struct node_kubelet *kubelet, pid_t agent)
{
	struct ask ask = {.kubelet = kubelet};
	struct error error = {0};
	struct bytes lines = {0};

	if (prctl(PR_SET_PDEATHSIG, SIGKILL) < 0 || getppid() != agent)
		_exit(1);
	alarm(2 * NODE_KUBELET_SECONDS);
	if (ask_it(&ask, &lines, &error) < 0) {
		bytes_free(&lines);
		(void)!bytes_printf(&lines, "error %s\n", error.text);
	}
	_exit(span_write(bytes_span(&lines), STDOUT_FILENO) < 0);
}

pid_t node_kubelet_ask(const struct node_kubelet *kubelet, int *ret_fd, struct error *error)
{
	const pid_t agent = getpid();
	int ends[2];
	pid_t pid;

	if (pipe2(ends, O_CLOEXEC) < 0)
		return error_set(error, "pipe: %s", strerror(errno));
	pid = node_fork();
	if (pid == 0) {
		/* Other pods' namespaces, pins and policies are open in the agent: nothing that
		 * reads a network is to hold them. */
		if (dup2(ends[1], STDOUT_FILENO) < 0 || close_range(3, ~0u, 0) < 0)
			_exit(1);
		run(kubelet, agent);
	}
	close(ends[1]);
	if (pid < 0) {
		close(ends[0]);
		return error_set(error, "fork: %s", strerror(errno));
	}
	*ret_fd = ends[0];
	return pid;
}
