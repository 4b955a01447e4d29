// SPDX-License-Identifier: BSD-2-Clause
/* Memory of a feed that a taken worker wrote what it liked into. Its readers come to an end, get no line that is
 * too long, and another worker's line in time; a refusal that is taken has valid texts, and is found again;
 * and what the worker behind it writes is read. */
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "feed_merge.h"
#include "fuzz_main.h"
#include "pending.h"

#define BEFORE 64 /* a line's text, with its record's head */
#define LINES_MAX ((4 << 20) / 24 + 16) /* of the largest ring, in the smallest records */

static const char *const texts[FEED_RINGS] = {"{\"of\":\"all\"}", "{\"of\":\"refused\"}", "of pending"};
static struct feed *hostile, *sane;
static uint8_t *memory, *places[FEED_RINGS + 1]; /* of its positions; and of each ring's first lines */
static size_t memory_size;

static void write_lines(struct feed *feed)
{
	struct refusal refusal = {.id = 7, .reason = EGRESS_PATH_NOT_ALLOWED, .port = 443};
	char packed[REFUSAL_PACKED_MAX];

	refusal.protocol = SPAN("https");
	refusal.host = SPAN("a.test");
	refusal.method = SPAN("GET");
	refusal.path = SPAN("/x");
	for (int ring = 0; ring < FEED_RINGS; ring++)
		feed_write(feed, ring, 5, span_from(texts[ring]));
	feed_write(feed, FEED_PENDING, 5, (struct span){packed, refusal_pack(&refusal, packed)});
}

static void set_up(void)
{
	int fd = feed_memory();
	struct stat status;

	REQUIRE(fd >= 0 && fstat(fd, &status) == 0);
	memory_size = (size_t)status.st_size;
	memory = mmap(NULL, memory_size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	hostile = feed_open(fd, "7f3a-");
	sane = feed_open(feed_memory(), "7f3b-");
	REQUIRE(hostile && sane && memory != MAP_FAILED);
	write_lines(hostile);
	write_lines(sane);
	places[FEED_RINGS] = memory;
	for (int ring = 0; ring < FEED_RINGS; ring++) {
		places[ring] = memmem(memory, memory_size, texts[ring], strlen(texts[ring]));
		REQUIRE(places[ring]);
		places[ring] -= BEFORE;
	}
}

static void check_refusal(const struct feed_event *event, struct pending *pending)
{
	const struct pending_sample *sample;
	struct refusal refusal;

	if (!refusal_unpack((struct span){event->line, event->length}, &refusal))
		return;
	REQUIRE(refusal.host.length == 0 || refusal_host_valid(refusal.host));
	REQUIRE(refusal.method.length == 0 || refusal_method_valid(refusal.method));
	REQUIRE(refusal.path.length == 0 || refusal_path_valid(refusal.path));
	REQUIRE(pending_add(pending, &refusal, event->time_ms, false));
	REQUIRE(pending_find(pending, refusal.id, false, &sample) && sample->id == refusal.id);
}

static void read_ring(enum feed_ring ring, struct pending *pending)
{
	const struct feed_list list = {.feeds = {hostile, sane}, .count = 2};
	struct feed_merge *merge = feed_merge_new(&list, ring, false);
	const struct feed_event *event;
	unsigned lines = 0, others = 0;

	while ((event = feed_merge_next(merge))) {
		struct span text = {event->line, event->length};

		REQUIRE(++lines <= LINES_MAX && event->length <= FEED_LINE_MAX);
		others += span_equal(text, span_from(texts[ring]));
		if (ring == FEED_PENDING)
			check_refusal(event, pending);
	}
	REQUIRE(others >= 1);
	feed_merge_free(merge);
}

static void follow(enum feed_ring ring)
{
	struct feed_cursor cursor = feed_end(hostile, ring);
	static struct feed_event event;

	feed_write(hostile, ring, 6, SPAN("{\"behind\":1}"));
	REQUIRE(feed_next(hostile, ring, &cursor, &event) && event.time_ms == 6);
	REQUIRE(span_equal((struct span){event.line, event.length}, SPAN("{\"behind\":1}")));
	REQUIRE(!feed_next(hostile, ring, &cursor, &event));
}

/* Pieces: where, how far from there in words, how long, and what. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct pending *pending = pending_new();
	uint64_t counts[FEED_BUCKETS];

	if (!memory)
		set_up();
	REQUIRE(pending && madvise(memory, memory_size, MADV_REMOVE) == 0);
	write_lines(hostile);
	while (size > 3) {
		size_t length = data[2] < size - 3 ? data[2] : size - 3;

		memcpy(places[data[0] % (FEED_RINGS + 1)] + (size_t)data[1] * 8, data + 3, length);
		data += 3 + length;
		size -= 3 + length;
	}
	for (int ring = 0; ring < FEED_RINGS; ring++)
		read_ring(ring, pending);
	for (int ring = 0; ring < FEED_RINGS; ring++)
		follow(ring);
	feed_latencies(hostile, 0, counts);
	(void)feed_quantile(counts, 0.5);
	pending_free(pending);
	return 0;
}
