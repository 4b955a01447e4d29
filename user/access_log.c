// SPDX-License-Identifier: BSD-2-Clause
#include "access_log.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "address.h"
#include "diag.h"
#include "refusal.h"
#include "utf8.h"
#include "verdicts.h"

#define LINE_SIZE 32768
#define GATHER_SIZE 8192 /* 20 lines or so; more would only push others out of the processor's cache */
#define FILE_PATH_LIMIT 16384 /* bytes of the escaped path */
#define FIELD_LIMIT 600
/* A pipe takes up to PIPE_BUF (4096) bytes whole or not at all: pipe(7). */
#define PIPE_PATH_LIMIT 1000

enum kind { NOTHING, REGULAR, SOCKET, NON_BLOCKING, BLOCKING };

/* The line being made, behind one byte of room for a line break in front of it. What does not fit is
 * left out; LINE_SIZE is above the sum of the limits. */
struct line {
	size_t length;
	char text[LINE_SIZE];
};

/* Whole lines for regular files, behind the same room. */
struct gathered {
	size_t length;
	unsigned count;
	char text[LINE_SIZE];
};

struct access_log {
	int fd;
	int own_fd; /* the same pipe, opened again to be non-blocking; -1: none */
	enum kind kind;
	bool log_query;
	bool cut; /* the last line was written in part */
	uint64_t lost;
	uint64_t told; /* of `lost`, in what is written next */
	bool failing;  /* the file cannot be written, and somebody was told */
	time_t failing_since;
	struct verdicts *verdicts;
	struct feed *feed;
	int also_fd; /* -1: none */
	uint64_t also_limit;
	time_t second;
	char second_text[32];
	char *bottle;
	access_log_gathered_fn notify; /* NULL: nothing is gathered */
	void *context;
	struct gathered gathered;
	struct line line;
};

/* ---- JSON ----------------------------------------------------------------------------------- */

static void put(struct line *line, const char *text, size_t length)
{
	if (length > sizeof(line->text) - line->length)
		return;
	memcpy(line->text + line->length, text, length);
	line->length += length;
}

static void put_number(struct line *line, uint64_t number)
{
	char digits[20];
	size_t at = sizeof(digits);

	do
		digits[--at] = (char)('0' + number % 10);
	while (number /= 10);
	put(line, digits + at, sizeof(digits) - at);
}

static void put_thousandths(struct line *line, unsigned thousandths)
{
	const char text[4] = {'.', (char)('0' + thousandths / 100 % 10),
			      (char)('0' + thousandths / 10 % 10), (char)('0' + thousandths % 10)};

	put(line, text, sizeof(text));
}

/* Of two or three bytes of UTF-8. */
static unsigned code_point(const unsigned char *text, size_t length)
{
	return length == 2 ? (text[0] & 0x1fu) << 6 | (text[1] & 0x3fu)
			   : (text[0] & 0x0fu) << 12 | (text[1] & 0x3fu) << 6 | (text[2] & 0x3fu);
}

/* One character that is not plain ASCII, escaped into `ret`. Returns how many bytes of `text` it
 * took. People read logs on terminals: C1 controls are escaped too, and what turns a line round. */
static size_t escape(const unsigned char *text, size_t left, char ret[8])
{
	size_t length;

	if (text[0] == '"' || text[0] == '\\') {
		snprintf(ret, 8, "\\%c", text[0]);
		return 1;
	}
	if (text[0] < 0x80) {
		snprintf(ret, 8, "\\u%04x", text[0]);
		return 1;
	}
	length = utf8_length(text, left);
	if (length == 0) {
		memcpy(ret, "\xef\xbf\xbd", 4); /* U+FFFD */
		return 1;
	}
	if (utf8_unsafe((const char *)text))
		snprintf(ret, 8, "\\u%04x", code_point(text, length));
	else
		snprintf(ret, 8, "%.*s", (int)length, (const char *)text);
	return length;
}

/* ASCII but for controls, '"' and '\'. A table, since each byte of each line is looked up here. */
static const bool is_plain[256] = {
	[' ' ... '!'] = true, ['#' ... '['] = true, [']' ... '~'] = true,
};

/* Eight at a time: none is below ' ', '"', '\\', DEL, or above it. */
static bool are_plain(uint64_t word)
{
	const uint64_t ones = 0x0101010101010101u, high = ones << 7;
	uint64_t quote = word ^ (ones * '"'), slash = word ^ (ones * '\\'), del = word ^ (ones * 0x7f);

	return !((word | (word - ones * ' ') | (quote - ones) | (slash - ones) | (del - ones)) & high);
}

static size_t plain_run(struct span text, size_t from)
{
	size_t at = from;
	uint64_t word;

	/* Most of what is logged is plain, and the few bytes around what is not are looked up. */
	for (; at + sizeof(word) <= text.length; at += sizeof(word)) {
		memcpy(&word, text.data + at, sizeof(word));
		if (!are_plain(word))
			break;
	}
	while (at < text.length && is_plain[(unsigned char)text.data[at]])
		at++;
	return at - from;
}

/* The content of a string; ends in "..." when there is more than `limit` bytes of it. */
static void put_escaped(struct line *line, struct span text, size_t limit)
{
	size_t end = line->length + limit, at = 0;

	while (at < text.length) {
		size_t run = plain_run(text, at), room = end - line->length;
		char escaped[8];

		if (run > 0) {
			put(line, text.data + at, run < room ? run : room);
			at += run < room ? run : room;
			if (run > room)
				break;
		} else {
			run = escape((const unsigned char *)text.data + at, text.length - at,
				     escaped);
			if (strlen(escaped) > room)
				break;
			put(line, escaped, strlen(escaped));
			at += run;
		}
	}
	if (at < text.length)
		put(line, "...", 3);
}

/* `key` with its punctuation: ,"key": */
#define KEY(name) SPAN(",\"" name "\":")
#define PUT(line, literal) put(line, literal, sizeof(literal) - 1)

static void put_span(struct line *line, struct span key, struct span text, size_t limit)
{
	if (text.length == 0)
		return;
	put(line, key.data, key.length);
	PUT(line, "\"");
	put_escaped(line, text, limit);
	PUT(line, "\"");
}

static void put_string(struct line *line, struct span key, const char *text, size_t limit)
{
	if (text)
		put_span(line, key, span_from(text), limit);
}

/* A word of our own, which needs no escape. */
static void put_word(struct line *line, struct span key, const char *word)
{
	if (!word)
		return;
	put(line, key.data, key.length);
	PUT(line, "\"");
	put(line, word, strlen(word));
	PUT(line, "\"");
}

static void put_integer(struct line *line, struct span key, uint64_t number)
{
	put(line, key.data, key.length);
	put_number(line, number);
}

/* ---- a record ------------------------------------------------------------------------------- */

/* RFC 3339 in UTC with milliseconds; the seconds' text is made once a second. */
static void put_time(struct access_log *log, const struct timespec *now)
{
	struct tm tm;

	if (now->tv_sec != log->second) {
		log->second = now->tv_sec;
		gmtime_r(&now->tv_sec, &tm);
		strftime(log->second_text, sizeof(log->second_text), "%Y-%m-%dT%H:%M:%S", &tm);
	}
	PUT(&log->line, "{\"time\":\"");
	put(&log->line, log->second_text, strlen(log->second_text));
	put_thousandths(&log->line, (unsigned)(now->tv_nsec / 1000000));
	PUT(&log->line, "Z\"");
}

static void put_process(struct line *line, const struct egress_process *process)
{
	if (!process)
		return;
	put_integer(line, KEY("pid"), process->tgid);
	put_span(line, KEY("command"),
		 (struct span){process->comm, strnlen(process->comm, sizeof(process->comm))},
		 FIELD_LIMIT);
}

/* Where a target's path begins: absolute and authority forms may hold a password. */
static struct span without_authority(struct span target)
{
	const char *from = target.data, *end = target.data + target.length, *at;

	if (*from == '/')
		return target;
	at = memmem(from, target.length, "://", 3);
	if (at) {
		from = memchr(at + 3, '/', (size_t)(end - at - 3));
		return from ? (struct span){from, (size_t)(end - from)} : SPAN("/");
	}
	at = memrchr(from, '@', target.length);
	return at ? (struct span){at + 1, (size_t)(end - at - 1)} : target;
}

static void put_path(struct access_log *log, struct span target, size_t limit)
{
	const char *query;
	struct span path;

	if (!target.data || target.length == 0)
		return;
	path = without_authority(target);
	/* Queries hold tokens and signatures; log_query is for whoever wants them all the same. */
	query = log->log_query ? NULL : memchr(path.data, '?', path.length);
	if (query)
		path.length = (size_t)(query - path.data);
	put_span(&log->line, KEY("path"), path, limit);
}

/* HOST (FILE:LINE) */
static void put_route(struct line *line, const struct access_record *record)
{
	struct span key = KEY("route");

	if (!record->route)
		return;
	put(line, key.data, key.length);
	PUT(line, "\"");
	put_escaped(line, span_from(record->route), FIELD_LIMIT / 2);
	if (record->route_file) {
		PUT(line, " (");
		put_escaped(line, span_from(record->route_file), FIELD_LIMIT / 2);
		PUT(line, ":");
		put_number(line, record->route_line);
		PUT(line, ")");
	}
	PUT(line, "\"");
}

static void put_milliseconds(struct line *line, uint64_t microseconds)
{
	put_integer(line, KEY("ms"), microseconds / 1000);
	put_thousandths(line, (unsigned)(microseconds % 1000));
}

static void put_outcome(struct line *line, const struct access_record *record)
{
	bool allowed = record->reason == EGRESS_ALLOWED;

	put_word(line, KEY("verdict"), allowed ? "allowed" : "refused");
	put_word(line, KEY("reason"), reason_name(record->reason));
	if (record->audited != EGRESS_ALLOWED)
		put_word(line, KEY("audit"), reason_name(record->audited));
	put_string(line, KEY("detail"), record->detail, FIELD_LIMIT);
	if (record->status)
		put_integer(line, KEY("status"), (uint64_t)record->status);
	put_integer(line, KEY("bytes_up"), record->bytes_up);
	put_integer(line, KEY("bytes_down"), record->bytes_down);
	put_milliseconds(line, record->microseconds);
	if (record->reused)
		PUT(line, ",\"reused\":true");
}

static void put_id(struct access_log *log, uint64_t id)
{
	char text[FEED_ID_SIZE];

	if (id == 0)
		return;
	access_log_id_text(log, id, text);
	put_word(&log->line, KEY("id"), text);
}

static void format(struct access_log *log, const struct access_record *record, uint64_t id,
		   const struct timespec *now, size_t path_limit)
{
	struct line *line = &log->line;
	char text[ADDRESS_TEXT_SIZE];

	/* In front is room for the line break of write_lines(). */
	line->length = 1;
	put_time(log, now);
	put_id(log, id);
	put_string(line, KEY("bottle"), log->bottle, FIELD_LIMIT / 2);
	put_word(line, KEY("source"), record->source);
	put_process(line, record->process);
	put_string(line, KEY("host"), record->host, FIELD_LIMIT);
	if (record->address)
		put_word(line, KEY("address"), address_format(record->address, text));
	if (record->port)
		put_integer(line, KEY("port"), record->port);
	put_word(line, KEY("protocol"), record->protocol);
	put_span(line, KEY("method"), record->method, FIELD_LIMIT / 4);
	put_path(log, record->target, path_limit);
	put_route(line, record);
	put_outcome(line, record);
	/* Once, with the first of those that are written together. */
	if (log->lost && (log->kind != REGULAR || log->gathered.length == 0)) {
		put_integer(line, KEY("lost"), log->lost);
		log->told = log->lost;
	}
	PUT(line, "}\n");
}

/* ---- writing -------------------------------------------------------------------------------- */

/* Never blocks. */
static ssize_t write_text(const struct access_log *log, const char *text, size_t length)
{
	struct pollfd ready = {.fd = log->fd, .events = POLLOUT};

	switch (log->kind) {
	case SOCKET:
		return send(log->fd, text, length, MSG_DONTWAIT | MSG_NOSIGNAL);
	case BLOCKING:
		/* Good for one line of PIPE_BUF: poll(2) says yes only when there is room for it.
		 */
		if (poll(&ready, 1, 0) != 1 || !(ready.revents & POLLOUT))
			return -1;
		return write(log->fd, text, length);
	default:
		return write(log->own_fd >= 0 ? log->own_fd : log->fd, text, length);
	}
}

static unsigned count_lines(const char *text, size_t length)
{
	const char *end = text + length;
	unsigned count = 0;

	while (text < end && (text = memchr(text, '\n', (size_t)(end - text)))) {
		text++;
		count++;
	}
	return count;
}

/* Of a file alone: readers of pipes come and go. Once, and again when it works; where that changes at
 * each write, once in so many seconds. */
#define TELL_EVERY_S 60
static void tell_result(struct access_log *log, int error)
{
	struct timespec now;

	if (log->kind != REGULAR || log->failing == (error != 0))
		return;
	if (!error) {
		diag_warning("%s: the log is written again; %" PRIu64 " records are missing before this",
			     log->bottle ? log->bottle : "-", log->told);
		log->failing = false;
		return;
	}
	clock_gettime(CLOCK_MONOTONIC, &now);
	if (log->failing_since && now.tv_sec - log->failing_since < TELL_EVERY_S)
		return;
	log->failing = true;
	log->failing_since = now.tv_sec;
	diag_warning("%s: the log cannot be written (%s): records are LOST, what is decided stays the same",
		     log->bottle ? log->bottle : "-", strerror(error));
}

/* Counted for the next line that is written, and for who asks for the status. */
static void lose(struct access_log *log, unsigned count)
{
	log->lost += count;
	if (log->feed && count > 0)
		__atomic_fetch_add(&feed_tallies(log->feed)[TALLY_LOG_LOST], count, __ATOMIC_RELAXED);
}

/* Writes `count` whole lines, which stand at text + 1. */
static void write_lines(struct access_log *log, char *text, size_t length, unsigned count)
{
	unsigned whole = 0;
	ssize_t written;

	/* What was cut off must not swallow the first. */
	text[0] = '\n';
	if (!log->cut)
		text++;
	else
		length++;
	written = write_text(log, text, length);
	if (written == (ssize_t)length)
		whole = count;
	else if (written > 0)
		whole = count_lines(text, (size_t)written) - log->cut;
	/* Half a write has no errno: the next one will. */
	if (written < 0 || whole == count)
		tell_result(log, written < 0 ? errno : 0);
	if (written > 0)
		log->cut = text[written - 1] != '\n';
	if (whole > 0)
		log->lost -= log->told;
	lose(log, count - whole);
	log->told = 0;
}

void access_log_also(struct access_log *log, int fd, uint64_t limit)
{
	log->also_fd = fd;
	log->also_limit = limit;
}

/* How many bytes of `text` are whole lines and at most `limit`. */
static size_t whole_lines(const char *text, size_t length, uint64_t limit)
{
	const char *end;

	if (length <= limit)
		return length;
	end = memrchr(text, '\n', (size_t)limit);
	return end ? (size_t)(end - text) + 1 : 0;
}

/* Of the file's own size: others write to it, too, and share the limit. */
static uint64_t also_left(const struct access_log *log)
{
	off_t size = lseek(log->also_fd, 0, SEEK_END);

	return size >= 0 && (uint64_t)size < log->also_limit ? log->also_limit - (uint64_t)size : 0;
}

static void write_also(struct access_log *log, const char *text, size_t length)
{
	static const char full[] = "{\"lost\":1}\n";
	size_t fits;

	if (log->also_fd < 0)
		return;
	fits = whole_lines(text, length, also_left(log));
	if (fits > 0 && write(log->also_fd, text, fits) != (ssize_t)fits) {
		log->also_fd = -1;
		return;
	}
	if (fits < length) {
		/* journal.c adds it up: a report made of this says that something is missing. */
		(void)!write(log->also_fd, full, sizeof(full) - 1);
		log->also_fd = -1;
	}
}

void access_log_gather(struct access_log *log, access_log_gathered_fn notify, void *context)
{
	log->notify = notify;
	log->context = context;
}

void access_log_flush(struct access_log *log)
{
	struct gathered *g = &log->gathered;
	size_t length = g->length;

	if (length == 0)
		return;
	g->length = 0;
	write_also(log, g->text + 1, length);
	if (log->kind == REGULAR)
		write_lines(log, g->text, length, g->count);
	g->count = 0;
	/* Behind the writing: who is killed between has written them twice, not lost them. */
	if (log->feed)
		feed_set_logged(log->feed, feed_end(log->feed, FEED_ALL));
}

static void gather(struct access_log *log)
{
	struct gathered *g = &log->gathered;
	size_t length = log->line.length - 1;

	if (g->length + length > GATHER_SIZE)
		access_log_flush(log);
	memcpy(g->text + 1 + g->length, log->line.text + 1, length);
	g->length += length;
	g->count++;
}

/* Once the feed has the line, too. */
static void see_to_gathered(struct access_log *log)
{
	if (!log->notify)
		access_log_flush(log);
	else if (log->gathered.count == 1)
		log->notify(log->context);
}

/* As fields, for who answers `pending`: no line of the bottle's is parsed there. */
static void write_pending(struct access_log *log, const struct access_record *record, uint64_t id,
			  uint64_t ms)
{
	char text[ADDRESS_TEXT_SIZE] = "", packed[REFUSAL_PACKED_MAX];
	struct refusal refusal = {
		.id = id,
		.reason = record->reason,
		.port = record->port,
		.protocol = span_from(record->protocol ? record->protocol : ""),
		.host = span_from(record->host ? record->host : ""),
		.method = record->method,
		.path = record->target,
	};

	if (!refusal_is_pending(record->reason) || (!record->host && !record->address))
		return;
	if (record->address)
		refusal.address = span_from(address_format(record->address, text));
	feed_write(log->feed, FEED_PENDING, ms,
		   (struct span){packed, refusal_pack(&refusal, packed)});
}

static uint64_t ms_of(const struct timespec *time)
{
	return (uint64_t)time->tv_sec * 1000 + (uint64_t)time->tv_nsec / 1000000;
}

static void feed_line(const struct access_log *log, uint64_t ms, bool refused)
{
	const struct span line = {log->line.text + 1, log->line.length - 2}; /* no line breaks */

	feed_write(log->feed, FEED_ALL, ms, line);
	if (refused)
		feed_write(log->feed, FEED_REFUSED, ms, line);
}

/* Last of all: a line that is too long for the feed is made anew. */
static void write_feed(struct access_log *log, const struct access_record *record, uint64_t id,
		       const struct timespec *now)
{
	const uint64_t ms = ms_of(now);
	/* This line is the feed's alone: what format() says in it about losses has not been told
	 * in the log. */
	const uint64_t told = log->told;

	if (log->line.length > FEED_LINE_MAX)
		format(log, record, id, now, PIPE_PATH_LIMIT);
	log->told = told;
	if (record->added_us > 0)
		feed_add_latency(log->feed, record->host_id, record->added_us);
	feed_line(log, ms, record->reason != EGRESS_ALLOWED || record->audited != EGRESS_ALLOWED);
	write_pending(log, record, id, ms);
}

/* Lines of one pass of the loop go to a file together. A pipe gets each by itself: more than PIPE_BUF at
 * once may be taken in part. */
static void write_line(struct access_log *log)
{
	if (log->kind == REGULAR || log->also_fd >= 0)
		gather(log);
	if (log->kind != REGULAR && log->kind != NOTHING)
		write_lines(log, log->line.text, log->line.length - 1, 1);
}

void access_log_write(struct access_log *log, const struct access_record *record)
{
	/* Taken before, where the client was told it. */
	const uint64_t id = record->id ? record->id : access_log_take_id(log);
	struct timespec now;

	/* First: the counters are right even where nothing else is written. */
	if (log->verdicts)
		verdicts_count(log->verdicts, record->reason, record->host_id, record->bytes_up,
			       record->bytes_down);
	if (log->kind == NOTHING && log->also_fd < 0 && !log->feed)
		return;
	clock_gettime(CLOCK_REALTIME, &now);
	format(log, record, id, &now, log->kind == REGULAR ? FILE_PATH_LIMIT : PIPE_PATH_LIMIT);
	write_line(log);
	if (log->feed)
		write_feed(log, record, id, &now);
	see_to_gathered(log);
}

void access_log_missed(struct access_log *log, const char *source, uint64_t count)
{
	struct line *line = &log->line;
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	line->length = 1;
	put_time(log, &now);
	put_string(line, KEY("bottle"), log->bottle, FIELD_LIMIT / 2);
	put_word(line, KEY("source"), source);
	put_integer(line, KEY("lost"), count);
	PUT(line, "}\n");
	write_line(log);
	if (log->feed)
		feed_line(log, ms_of(&now), true);
	see_to_gathered(log);
}

static void recover_line(struct access_log *log, const struct feed_event *event)
{
	char text[1 + FEED_LINE_MAX + 1];
	const size_t length = event->length + 1;

	if (event->length < 2 || event->line[0] != '{' || event->line[event->length - 1] != '}' ||
	    memchr(event->line, '\n', event->length)) {
		lose(log, 1);
		return;
	}
	memcpy(text + 1, event->line, event->length);
	text[length] = '\n';
	write_also(log, text + 1, length);
	if (log->kind == REGULAR)
		write_lines(log, text, length, 1);
}

void access_log_recover(struct access_log *log, struct feed *feed)
{
	struct feed_cursor cursor = feed_logged(feed);
	struct feed_event event;

	/* Others' lines were each written at once. */
	while ((log->kind == REGULAR || log->also_fd >= 0) && feed_next(feed, FEED_ALL, &cursor, &event)) {
		lose(log, (unsigned)event.lost);
		recover_line(log, &event);
	}
	feed_set_logged(feed, feed_end(feed, FEED_ALL));
}

void access_log_count_in(struct access_log *log, struct verdicts *verdicts)
{
	log->verdicts = verdicts;
}

void access_log_feed(struct access_log *log, struct feed *feed)
{
	log->feed = feed;
}

uint64_t access_log_take_id(struct access_log *log)
{
	return log->feed ? feed_take_id(log->feed) : 0;
}

void access_log_id_text(const struct access_log *log, uint64_t id, char ret[FEED_ID_SIZE])
{
	ret[0] = '\0';
	if (log->feed && id)
		feed_id_text(log->feed, id, ret);
}

/* ---- life ----------------------------------------------------------------------------------- */

/* A pipe is opened a second time, since O_NONBLOCK on the borrowed descriptor would reach all who
 * share it. Where that cannot be, poll(2) goes before each write. */
static enum kind find_kind(int fd, int *ret_own_fd)
{
	char path[32];
	struct stat st;
	int flags;

	if (fd < 0 || fstat(fd, &st) < 0)
		return NOTHING;
	if (S_ISREG(st.st_mode))
		return REGULAR;
	if (S_ISSOCK(st.st_mode))
		return SOCKET;
	flags = fcntl(fd, F_GETFL);
	if (flags >= 0 && (flags & O_NONBLOCK))
		return NON_BLOCKING;
	if (!S_ISFIFO(st.st_mode))
		return BLOCKING;
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	*ret_own_fd = open(path, O_WRONLY | O_APPEND | O_NONBLOCK | O_CLOEXEC);
	return *ret_own_fd >= 0 ? NON_BLOCKING : BLOCKING;
}

struct access_log *access_log_new(int fd, const char *bottle, bool log_query)
{
	struct access_log *log = calloc(1, sizeof(*log));

	if (!log)
		return NULL;
	log->fd = fd;
	log->also_fd = -1;
	log->own_fd = -1;
	/* None yet: 0 is a second like any other. */
	log->second = -1;
	log->log_query = log_query;
	log->bottle = bottle ? strdup(bottle) : NULL;
	if (bottle && !log->bottle) {
		free(log);
		return NULL;
	}
	log->kind = find_kind(fd, &log->own_fd);
	return log;
}

void access_log_free(struct access_log *log)
{
	if (!log)
		return;
	access_log_flush(log);
	if (log->own_fd >= 0)
		close(log->own_fd);
	free(log->bottle);
	free(log);
}
