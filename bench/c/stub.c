/* A very cheap imitation of an OpenAI-compatible inference server (one thread, epoll).
 *
 *   stub [-p PORT] [-k NPORTS] [-a ADDR] [-m NMODELS]    listens on PORT .. PORT+NPORTS-1
 *
 * GET  anything  -> the list of models; -m lists stub-x0 .. stub-x<NMODELS-1> as well
 * POST anything  -> a chat completion; "stream":true in the body makes it a stream
 *
 * How a request is answered is said by tokens in the name of its model, so it passes unchanged
 * through every proxy, as in "model":"stub-n100-i10000-s200-d0" (for proxies that insist on a
 * name they know, the same word may stand at the beginning of a message instead):
 *   n  chunks with content (100)                i  interval between chunks in us (0: as fast as
 *   s  bytes of each event (200)                   the peer reads, one write() per chunk)
 *   d  delay before the first byte in us (0)    e  answer with this HTTP status (e503)
 * Each content begins with T<19 digits>, CLOCK_MONOTONIC in ns when it was written, so that a load
 * generator on the same machine can tell how long each chunk was on its way.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common.h"
#include "timers.h"

enum { READ_ROOM = 65536, MOST_GONE = 4096, MOST_EVENT_BYTES = 8000 };

typedef struct {
    char *bytes;
    size_t length, room;
} buffer;

typedef struct {
    int fd, is_listener, waits_for_room;
    buffer in, out;
    size_t out_sent;
    /* the answer in progress */
    int busy, stream, status, keep_alive;
    long n, sent, interval_us, size, delay_us; /* sent is -1 while the delay lasts */
    timer timer;
    int eager_place; /* among the streams without an interval, or NOWHERE */
} connection;

static int epoll;
static connection **eager; /* streams that write whenever their peer reads */
static int n_eager, eager_room;
static connection *gone[MOST_GONE]; /* closed in this turn: events of it may still name them */
static int n_gone;

/* ---- connections */

static void be_eager(connection *c)
{
    if (c->eager_place != NOWHERE)
        return;
    if (n_eager == eager_room) {
        eager_room = eager_room ? eager_room * 2 : 1024;
        eager = sure(realloc(eager, sizeof *eager * eager_room));
    }
    c->eager_place = n_eager;
    eager[n_eager++] = c;
}

static void stop_being_eager(connection *c)
{
    if (c->eager_place == NOWHERE)
        return;
    eager[c->eager_place] = eager[--n_eager];
    eager[c->eager_place]->eager_place = c->eager_place;
    c->eager_place = NOWHERE;
}

static void close_connection(connection *c)
{
    if (c->fd < 0)
        return;
    stop_timer(&c->timer);
    stop_being_eager(c);
    close(c->fd);
    c->fd = -1;
    if (n_gone < MOST_GONE)
        gone[n_gone++] = c;
}

static void free_the_gone(void)
{
    for (int i = 0; i < n_gone; i++) {
        free(gone[i]->in.bytes);
        free(gone[i]->out.bytes);
        free(gone[i]);
    }
    n_gone = 0;
}

static void wait_for_room(connection *c, int wanted)
{
    if (c->waits_for_room == wanted || c->fd < 0)
        return;
    c->waits_for_room = wanted;
    watch(epoll, EPOLL_CTL_MOD, c->fd, EPOLLIN | (wanted ? EPOLLOUT : 0), c);
}

/* 1: all is written, 0: the peer has to read first, -1: it is gone. */
static int flush(connection *c)
{
    while (c->out_sent < c->out.length) {
        const char *rest = c->out.bytes + c->out_sent;
        ssize_t n = send(c->fd, rest, c->out.length - c->out_sent, MSG_NOSIGNAL);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && errno == EAGAIN) {
            wait_for_room(c, 1);
            return 0;
        }
        if (n < 0)
            return -1;
        c->out_sent += n;
    }
    c->out.length = c->out_sent = 0;
    wait_for_room(c, 0);
    return 1;
}

/* ---- what is written */

static void make_room(buffer *b, size_t n)
{
    if (b->length + n <= b->room)
        return;
    b->room = (b->length + n) * 2 + 1024;
    b->bytes = sure(realloc(b->bytes, b->room));
}

static void put(connection *c, const char *bytes, size_t n)
{
    make_room(&c->out, n);
    memcpy(c->out.bytes + c->out.length, bytes, n);
    c->out.length += n;
}

static void put_text(connection *c, const char *text)
{
    put(c, text, strlen(text));
}

static void put_http_chunk(connection *c, const char *bytes, size_t n)
{
    char size[20];
    put(c, size, sprintf(size, "%zx\r\n", n));
    put(c, bytes, n);
    put(c, "\r\n", 2);
}

static void put_json(connection *c, int status, const char *more_headers, const char *json)
{
    char head[256];
    int n = sprintf(head,
                    "HTTP/1.1 %d %s\r\ncontent-type: application/json\r\n%s"
                    "content-length: %zu\r\n\r\n",
                    status, status == 200 ? "OK" : "Stub", more_headers, strlen(json));
    put(c, head, n);
    put_text(c, json);
}

#define CHUNK_HEAD                                                                                 \
    "data: {\"id\":\"chatcmpl-stub\",\"object\":\"chat.completion.chunk\",\"created\":1700000000," \
    "\"model\":\"stub\",\"choices\":[{\"index\":0,\"delta\":{"
#define USAGE "\"usage\":{\"prompt_tokens\":9,\"completion_tokens\":100,\"total_tokens\":109}"

static void put_content(connection *c)
{
    static const char end[] = "\"},\"finish_reason\":null}]}\n\n";
    const long end_length = sizeof end - 1;
    char event[MOST_EVENT_BYTES + 512];
    long size = c->size > MOST_EVENT_BYTES ? MOST_EVENT_BYTES : c->size;
    long n = sprintf(event, "%s%s\"content\":\"T%019lld ", CHUNK_HEAD,
                     c->sent ? "" : "\"role\":\"assistant\",", (long long)now_ns());
    while (n + end_length < size)
        event[n++] = 'x';
    memcpy(event + n, end, end_length);
    put_http_chunk(c, event, n + end_length);
    c->sent++;
}

static void put_end_of_stream(connection *c)
{
    static const char last[] = CHUNK_HEAD "},\"finish_reason\":\"stop\"}]," USAGE "}\n\n";
    static const char done[] = "data: [DONE]\n\n";
    put_http_chunk(c, last, sizeof last - 1);
    put_http_chunk(c, done, sizeof done - 1);
    put_text(c, "0\r\n\r\n");
    c->busy = 0;
    stop_timer(&c->timer);
    stop_being_eager(c);
}

static char *list_of_models;
static char plain_answer[2048];

/* The names that the benchmark uses, for proxies that ask what there is. */
static void make_list_of_models(int n_more)
{
    static const char *const names[] = {
        "stub",           "stub-n100-i0",    "stub-n100-i10000",
        "stub-n40-i50000", "stub-n100-i50000", "stub-n100-i1000000",
    };
    static const char model[] =
        "%s{\"id\":\"%s\",\"object\":\"model\",\"created\":1700000000,\"owned_by\":\"stub\"}";
    const int n_names = sizeof names / sizeof *names;
    list_of_models = sure(malloc((n_names + n_more) * 128 + 64));
    int n = sprintf(list_of_models, "{\"object\":\"list\",\"data\":[");
    for (int i = 0; i < n_names + n_more; i++) {
        char more[32];
        sprintf(more, "stub-x%d", i - n_names);
        n += sprintf(list_of_models + n, model, i ? "," : "", i < n_names ? names[i] : more);
    }
    strcpy(list_of_models + n, "]}");
}

static void make_plain_answer(void)
{
    char text[301];
    memset(text, 'a', sizeof text - 1);
    text[sizeof text - 1] = 0;
    sprintf(plain_answer,
            "{\"id\":\"chatcmpl-stub\",\"object\":\"chat.completion\",\"created\":1700000000,"
            "\"model\":\"stub\",\"choices\":[{\"index\":0,\"message\":{\"role\":\"assistant\","
            "\"content\":\"%s\"},\"logprobs\":null,\"finish_reason\":\"stop\"}]," USAGE
            ",\"system_fingerprint\":\"fp_stub\"}",
            text);
}

/* ---- requests and their answers */

static void begin_stream(connection *c)
{
    put_text(c, "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\n"
                "cache-control: no-cache\r\nx-request-id: stub\r\n"
                "transfer-encoding: chunked\r\n\r\n");
    if (c->n > 0)
        put_content(c);
    if (c->sent >= c->n)
        put_end_of_stream(c);
    else if (c->interval_us)
        start_timer(&c->timer, now_ns() + c->interval_us * 1000);
    else
        be_eager(c);
}

static void answer(connection *c)
{
    if (c->status == 200 && c->stream) {
        begin_stream(c);
        return;
    }
    c->busy = 0;
    if (c->status == 200)
        put_json(c, 200, "x-request-id: stub\r\n", plain_answer);
    else
        put_json(c, c->status, "",
                 "{\"error\":{\"message\":\"stub error\",\"type\":\"server_error\",\"code\":null}}");
}

/* The number behind -*key* in the word that begins at *word*. */
static long token(const char *word, const char *end, char key, long otherwise)
{
    for (; word + 2 < end && *word != '"' && *word != ' '; word++)
        if (word[0] == '-' && word[1] == key && word[2] >= '0' && word[2] <= '9')
            return strtol(word + 2, NULL, 10);
    return otherwise;
}

static int wants_stream(const char *body, size_t length)
{
    const char *end = body + length, *p = memmem(body, length, "\"stream\"", 8);
    if (p == NULL)
        return 0;
    for (p += 8; p < end && (*p == ' ' || *p == ':'); p++)
        ;
    return p < end && *p == 't';
}

static void on_request(connection *c, const char *head, size_t head_length, const char *body,
                       size_t length)
{
    c->keep_alive = memmem(head, head_length, "onnection: close", 16) == NULL;
    if (strncmp(head, "GET", 3) == 0) {
        put_json(c, 200, "", list_of_models);
        return;
    }
    const char *end = body + length, *word = memmem(body, length, "stub-", 5);
    word = word ? word + 4 : end;
    c->stream = wants_stream(body, length);
    c->n = token(word, end, 'n', 100);
    c->interval_us = token(word, end, 'i', 0);
    c->size = token(word, end, 's', 200);
    c->delay_us = token(word, end, 'd', 0);
    c->status = token(word, end, 'e', 200);
    c->sent = 0;
    c->busy = 1;
    if (c->delay_us) {
        c->sent = -1;
        start_timer(&c->timer, now_ns() + c->delay_us * 1000);
    } else {
        answer(c);
    }
}

typedef struct {
    long length; /* of the body, as far as a header says */
    int chunked;
} framing;

static framing framing_of(const char *head, const char *end)
{
    framing f = {0, 0};
    for (const char *line = head; line < end;) {
        if (strncasecmp(line, "content-length:", 15) == 0)
            f.length = strtol(line + 15, NULL, 10);
        else if (strncasecmp(line, "transfer-encoding:", 18) == 0)
            f.chunked = 1;
        const char *next = memchr(line, '\n', end - line);
        line = next ? next + 1 : end;
    }
    return f;
}

/* Takes the chunks from *begin* on apart into *body*; where they end, or NULL if more must come. */
static const char *unchunk(const char *begin, const char *end, char *body, size_t *length)
{
    *length = 0;
    for (const char *p = begin;;) {
        const char *line_end = memmem(p, end - p, "\r\n", 2);
        if (line_end == NULL)
            return NULL;
        long size = strtol(p, NULL, 16);
        p = line_end + 2;
        if (size < 0 || end - p < size + 2)
            return NULL;
        memcpy(body + *length, p, size);
        *length += size;
        p += size + 2;
        if (size == 0)
            return p;
    }
}

/* Answers the first request if it is there; how many bytes it had, 0 if more must come. */
static size_t take_request(connection *c)
{
    char *begin = c->in.bytes, *end = begin + c->in.length;
    char *head_end = memmem(begin, c->in.length, "\r\n\r\n", 4);
    if (head_end == NULL)
        return 0;
    char *body = head_end + 4;
    size_t head_length = body - begin;
    framing f = framing_of(begin, body);
    if (!f.chunked) {
        size_t length = f.length > 0 ? f.length : 0;
        if (c->in.length < head_length + length)
            return 0;
        on_request(c, begin, head_length, body, length);
        return head_length + length;
    }
    size_t length;
    char *whole = sure(malloc(c->in.length + 1));
    const char *after = unchunk(body, end, whole, &length);
    if (after != NULL)
        on_request(c, begin, head_length, whole, length);
    free(whole);
    return after ? after - begin : 0;
}

/* Answers what has come, until an answer takes time. -1: the connection is to be closed. */
static int take_requests(connection *c)
{
    while (!c->busy && c->in.length) {
        size_t used = take_request(c);
        if (used == 0)
            return 0;
        memmove(c->in.bytes, c->in.bytes + used, c->in.length - used);
        c->in.length -= used;
        if (flush(c) < 0 || (!c->keep_alive && !c->busy))
            return -1;
    }
    return 0;
}

/* After a part of an answer: goes on with what waits behind it. -1 as above. */
static int go_on(connection *c)
{
    if (c->busy)
        return 0;
    return c->keep_alive ? take_requests(c) : -1;
}

/* ---- events */

static void accept_all(connection *listener)
{
    int fd, one = 1;
    while ((fd = accept4(listener->fd, NULL, NULL, SOCK_NONBLOCK)) >= 0) {
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        connection *c = sure(calloc(1, sizeof *c));
        c->fd = fd;
        c->timer = (timer){.place = NOWHERE, .whose = c};
        c->eager_place = NOWHERE;
        watch(epoll, EPOLL_CTL_ADD, fd, EPOLLIN, c);
    }
}

static int on_writable(connection *c)
{
    int written = flush(c);
    if (written != 1)
        return written;
    if (c->busy && c->stream && !c->interval_us && c->sent >= 0)
        be_eager(c);
    return go_on(c);
}

static int on_readable(connection *c)
{
    make_room(&c->in, READ_ROOM);
    ssize_t n = read(c->fd, c->in.bytes + c->in.length, c->in.room - c->in.length);
    if (n == 0 || (n < 0 && errno != EAGAIN))
        return -1;
    if (n < 0)
        return 0;
    c->in.length += n;
    return take_requests(c);
}

static void on_event(connection *c, uint32_t events)
{
    if (c->fd < 0)
        return;
    if (c->is_listener) {
        accept_all(c);
        return;
    }
    int result = 0;
    if (events & EPOLLOUT)
        result = on_writable(c);
    if (result >= 0 && events & (EPOLLIN | EPOLLHUP | EPOLLERR))
        result = on_readable(c);
    if (result < 0)
        close_connection(c);
}

static void on_timer(connection *c)
{
    int64_t due_ns = c->timer.due_ns;
    stop_timer(&c->timer);
    if (c->sent < 0) {
        c->sent = 0;
        answer(c);
    } else {
        put_content(c);
        if (c->sent >= c->n)
            put_end_of_stream(c);
        else /* from when it was due, not from now: the rate is kept */
            start_timer(&c->timer, due_ns + c->interval_us * 1000);
    }
    if (flush(c) < 0 || go_on(c) < 0)
        close_connection(c);
}

static void run_timers(void)
{
    int64_t until_ns = n_timers ? now_ns() : 0;
    while (n_timers && timers[0]->due_ns <= until_ns)
        on_timer(timers[0]->whose);
}

/* One chunk of each stream that has no interval. */
static void run_eager(void)
{
    for (int i = 0; i < n_eager;) {
        connection *c = eager[i];
        put_content(c);
        if (c->sent >= c->n)
            put_end_of_stream(c);
        int written = flush(c);
        if (written < 0 || (written == 1 && go_on(c) < 0))
            close_connection(c);
        else if (written == 0)
            stop_being_eager(c);
        if (i < n_eager && eager[i] == c)
            i++; /* else another one has taken its place */
    }
}

static void listen_on(const char *address, int port)
{
    connection *c = sure(calloc(1, sizeof *c));
    struct sockaddr_in name = {.sin_family = AF_INET, .sin_port = htons(port)};
    int one = 1;
    inet_pton(AF_INET, address, &name.sin_addr);
    c->is_listener = 1;
    c->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    setsockopt(c->fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (bind(c->fd, (void *)&name, sizeof name) || listen(c->fd, 4096)) {
        perror("bind");
        exit(1);
    }
    watch(epoll, EPOLL_CTL_ADD, c->fd, EPOLLIN, c);
}

static void serve(void)
{
    struct epoll_event events[EVENTS_AT_ONCE];
    for (;;) {
        struct timespec wait = {0, 0}, *bound = NULL; /* epoll_pwait2 takes ns */
        if (n_eager || n_timers)
            bound = &wait;
        if (n_timers && !n_eager)
            wait = wait_of(timers[0]->due_ns - now_ns());
        int n = epoll_pwait2(epoll, events, EVENTS_AT_ONCE, bound, NULL);
        for (int i = 0; i < n; i++)
            on_event(events[i].data.ptr, events[i].events);
        run_timers();
        run_eager();
        free_the_gone();
    }
}

int main(int argc, char **argv)
{
    int port = 9100, n_ports = 1, n_models = 0, option;
    const char *address = "127.0.0.1";
    while ((option = getopt(argc, argv, "p:k:a:m:")) > 0) {
        switch (option) {
        case 'p': port = atoi(optarg); break;
        case 'k': n_ports = atoi(optarg); break;
        case 'a': address = optarg; break;
        case 'm': n_models = atoi(optarg); break;
        default: return 2;
        }
    }
    signal(SIGPIPE, SIG_IGN);
    allow_many_files();
    make_plain_answer();
    make_list_of_models(n_models);
    epoll = epoll_create1(0);
    for (int i = 0; i < n_ports; i++)
        listen_on(address, port + i);
    fprintf(stderr, "stub: listening on %s:%d..%d\n", address, port, port + n_ports - 1);
    serve();
}
