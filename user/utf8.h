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

/* How many bytes at `text` are one character that a terminal would obey, or that turns the line round or
 * hides a part of it (UTR 36, 2.10.3); 0: it is harmless. Those are C0 and C1; U+061C; U+FEFF; U+200B to
 * 200F, U+2028 to 202E, U+2060 to 206F. A NUL ends the text: no byte behind it is looked at. */
static inline size_t utf8_unsafe(const char *text)
{
	const unsigned char *at = (const unsigned char *)text;

	if (*at < 0x20 || *at == 0x7f)
		return 1;
	if ((at[0] == 0xc2 && at[1] < 0xa0) || (at[0] == 0xd8 && at[1] == 0x9c))
		return at[1] ? 2 : 1;
	if (at[0] == 0xef && at[1] == 0xbb && at[2] == 0xbf)
		return 3;
	if (at[0] != 0xe2)
		return 0;
	if (at[1] == 0x80 && ((at[2] >= 0x8b && at[2] <= 0x8f) || (at[2] >= 0xa8 && at[2] <= 0xae)))
		return 3;
	return at[1] == 0x81 && at[2] >= 0xa0 && at[2] <= 0xaf ? 3 : 0;
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

/* A text in a bottle's hands becomes one harmless line: '?' for each such character, and for each byte
 * that is no part of one. Gets no longer. */
static inline void utf8_tame(char *text)
{
	char *to = text;
	size_t unsafe;

	utf8_mend(text);
	for (; *text; text += unsafe ? unsafe : 1) {
		unsafe = utf8_unsafe(text);
		*to++ = (char)(unsafe ? '?' : *text);
	}
	*to = '\0';
}

#endif
