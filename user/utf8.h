/* SPDX-License-Identifier: BSD-2-Clause */
/* Which bytes are UTF-8 (RFC 3629). Texts are cut to a size by bytes, and names of files are any bytes;
 * JSON takes neither, and the journal shows a line with either as "blob data". */
#ifndef UTF8_H
#define UTF8_H

#include <stddef.h>
#include <string.h>

/* The length of the sequence at `text` of two bytes and more, 0 when there is no valid one; `left` > 0. */
static inline size_t utf8_length(const unsigned char *text, size_t left)
{
	unsigned char low = 0x80, high = 0xbf;
	size_t length = text[0] >= 0xf0 ? 4 : text[0] >= 0xe0 ? 3 : 2;

	/* 0xc0 and 0xc1 could begin overlong forms alone. */
	if (text[0] < 0xc2 || text[0] > 0xf4 || left < length)
		return 0;
	if (text[0] == 0xe0)
		low = 0xa0; /* overlong */
	if (text[0] == 0xed)
		high = 0x9f; /* surrogates */
	if (text[0] == 0xf0)
		low = 0x90; /* overlong */
	if (text[0] == 0xf4)
		high = 0x8f; /* above U+10FFFF */
	if (text[1] < low || text[1] > high)
		return 0;
	for (size_t i = 2; i < length; i++)
		if ((text[i] & 0xc0) != 0x80)
			return 0;
	return length;
}

/* Puts '?' in the place of each byte that is no part of a character. */
static inline void utf8_mend(char *text)
{
	size_t left = strlen(text);

	while (left > 0) {
		size_t length = (unsigned char)*text < 0x80
					? 1 : utf8_length((const unsigned char *)text, left);

		if (length == 0)
			*text = '?';
		length += length == 0;
		text += length;
		left -= length;
	}
}

#endif
