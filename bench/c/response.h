/* An HTTP/1.1 response as it comes in pieces: its head, then its body in any framing. */
#ifndef BENCH_RESPONSE_H
#define BENCH_RESPONSE_H

#define _GNU_SOURCE
#include <stdlib.h>
#include <string.h>
#include <strings.h>

enum { MOST_HEAD_BYTES = 16384, UNTIL_CLOSE = -1 };
typedef enum { AT_HEAD, AT_BODY } response_place;
typedef enum { AT_SIZE, AT_DATA, AFTER_DATA, AT_TRAILERS } chunk_place;
typedef enum { GARBLED = -1, MORE_TO_COME = 0, COMPLETE = 1 } response_state;

typedef struct {
    response_place place;
    int status, chunked, closes;
    long left; /* of a body whose length is known, else UNTIL_CLOSE */
    chunk_place chunk_place;
    long chunk_left;
    char head[MOST_HEAD_BYTES];
    int head_length;
    char line[32]; /* of the framing of chunks */
    int line_length;
} response;

typedef void (*body_taker)(void *whose, const char *bytes, size_t n);

static size_t least(size_t a, size_t b)
{
    return a < b ? a : b;
}

static void expect_response(response *r)
{
    r->place = AT_HEAD;
    r->head_length = r->line_length = 0;
}

static void read_head(response *r, const char *end)
{
    r->status = atoi(r->head + 9);
    r->chunked = r->closes = 0;
    r->left = UNTIL_CLOSE;
    r->chunk_place = AT_SIZE;
    r->line_length = 0;
    for (const char *line = r->head; line < end;) {
        const char *next = memchr(line, '\n', end - line);
        size_t length = (next ? next : end) - line;
        if (strncasecmp(line, "content-length:", 15) == 0)
            r->left = atol(line + 15);
        else if (strncasecmp(line, "transfer-encoding:", 18) == 0)
            r->chunked = 1;
        else if (strncasecmp(line, "connection:", 11) == 0 && memmem(line, length, "lose", 4))
            r->closes = 1;
        line = next ? next + 1 : end;
    }
    if (!r->chunked && r->left == UNTIL_CLOSE)
        r->closes = 1;
}

/* How many of the *n* bytes belong to the head; GARBLED if it does not end. */
static long take_head(response *r, const char *bytes, size_t n)
{
    int before = r->head_length;
    size_t taken = least(n, sizeof r->head - 1 - before);
    memcpy(r->head + before, bytes, taken);
    r->head_length += taken;
    r->head[r->head_length] = 0;
    const char *end = memmem(r->head, r->head_length, "\r\n\r\n", 4);
    if (end == NULL)
        return r->head_length >= MOST_HEAD_BYTES - 1 ? GARBLED : (long)taken;
    read_head(r, end + 2);
    if (r->status == 100)
        r->head_length = 0; /* the real one is still to come */
    else
        r->place = AT_BODY;
    return end + 4 - r->head - before;
}

/* A byte between the data of chunks. COMPLETE after the last trailer. */
static response_state take_framing(response *r, char byte)
{
    if (byte == '\r')
        return MORE_TO_COME;
    if (byte != '\n') {
        if (r->line_length < (int)sizeof r->line - 1)
            r->line[r->line_length++] = byte;
        return MORE_TO_COME;
    }
    int length = r->line_length;
    r->line[length] = 0;
    r->line_length = 0;
    if (r->chunk_place == AFTER_DATA) {
        r->chunk_place = AT_SIZE;
    } else if (r->chunk_place == AT_TRAILERS) {
        return length ? MORE_TO_COME : COMPLETE;
    } else {
        r->chunk_left = strtol(r->line, NULL, 16);
        r->chunk_place = r->chunk_left ? AT_DATA : AT_TRAILERS;
    }
    return MORE_TO_COME;
}

static response_state take_chunks(response *r, const char *bytes, size_t n, body_taker take,
                                  void *whose)
{
    while (n) {
        if (r->chunk_place != AT_DATA) {
            n--;
            if (take_framing(r, *bytes++) == COMPLETE)
                return COMPLETE;
            continue;
        }
        size_t taken = least(n, r->chunk_left);
        take(whose, bytes, taken);
        bytes += taken;
        n -= taken;
        r->chunk_left -= taken;
        if (r->chunk_left == 0)
            r->chunk_place = AFTER_DATA;
    }
    return MORE_TO_COME;
}

static response_state take_response(response *r, const char *bytes, size_t n, body_taker take,
                                    void *whose)
{
    while (r->place == AT_HEAD) {
        if (n == 0)
            return MORE_TO_COME;
        long used = take_head(r, bytes, n);
        if (used == GARBLED)
            return GARBLED;
        bytes += used;
        n -= used;
    }
    if (r->chunked)
        return take_chunks(r, bytes, n, take, whose);
    if (r->left == UNTIL_CLOSE) {
        take(whose, bytes, n);
        return MORE_TO_COME;
    }
    size_t taken = least(n, r->left);
    take(whose, bytes, taken);
    r->left -= taken;
    return r->left ? MORE_TO_COME : COMPLETE;
}

#endif
