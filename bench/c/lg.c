/* A load generator of HTTP/1.1 for chat completions in OpenAI's form (one thread, epoll).
 *
 *   lg -p PORT [-a ADDR] [-u PATH] [-c CONNS] [-d SECS] [-w WARMUP_SECS] [-s] [-m MODEL]
 *      [-r RATE] [-b EXTRA_BODY_BYTES] [-k KEY] [-H 'Name: value'] [-n MAX_REQUESTS]
 *      [-R RAMP_SECS] [-M NAME] [-l PERCENT] [-G]
 *
 *   Without -r a closed loop: CONNS connections, the next request as soon as the last has ended.
 *   -r RATE     an open loop: RATE requests/s, evenly spaced, over at most CONNS connections;
 *               latency counts from when a request was due (no coordinated omission)
 *   -s          streams ("stream": true): time to the first chunk, gaps, and how long each chunk
 *               was on its way, by the T<ns> that stub.c puts into it
 *   -R          the connections begin in the course of RAMP_SECS, so streams are not in step
 *   -M NAME     NAME is the model, and the word of -m stands at the beginning of the message
 *   -k KEY      is shown as a bearer token
 *   -l PERCENT  so many of the streams are left in the middle: the connection is closed
 *   -G          GET PATH, without a body, in place of POST
 *
 * Prints one JSON object, with times in microseconds. What happens counts if it does so in the
 * window [WARMUP_SECS, WARMUP_SECS + SECS].
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
#include "histogram.h"
#include "response.h"

enum { MOST_STATUSES = 1000, LONGEST_LINE = 65536, READ_BYTES = 1 << 18, MOST_BEFORE_LEAVING = 20 };
typedef enum { CLOSED, CONNECTING, IDLE, SENDING, READING } connection_state;

typedef struct {
    int fd, waits_for_room;
    connection_state state;
    size_t sent;
    int64_t due_ns, last_chunk_ns;
    int n_chunks, done_seen;
    int leaves_after, leaving; /* so many chunks; 0: stays */
    response response;
    char line[LONGEST_LINE];
    int line_length;
} connection;

static struct {
    const char *address, *path, *model, *named, *key;
    char headers[4096];
    int port, n_connections, streams, get;
    double window_s, warmup_s, ramp_s, rate, leaving_percent;
    long body_bytes, most_requests;
} asked = {.address = "127.0.0.1",
           .path = "/v1/chat/completions",
           .model = "stub",
           .port = 8000,
           .n_connections = 1,
           .window_s = 3,
           .warmup_s = 1};

static struct {
    uint64_t ok, bad, errors, refused, chunks, bytes, incomplete, started, left;
    int statuses[MOST_STATUSES];
    histogram latency, first_chunk, gap, delivery;
} seen;

static int epoll;
static struct sockaddr_in server;
static char *request;
static size_t request_length;
static int64_t began_ns, window_begins_ns, window_ends_ns;
static int64_t read_at_ns; /* when the bytes that are looked at came */
static connection *connections;
static int *idle, n_idle, n_opened;
static int64_t *due; /* when requests of an open loop are due; those from due_begun on wait */
static size_t due_begun, due_noted, due_room;

static int in_window(int64_t ns)
{
    return ns >= window_begins_ns && ns < window_ends_ns;
}

/* ---- connections */

static void hang_up(connection *c)
{
    if (c->fd >= 0)
        close(c->fd);
    c->fd = -1;
    c->state = CLOSED;
    c->waits_for_room = 0;
}

static void dial(connection *c)
{
    int one = 1;
    c->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    if (connect(c->fd, (void *)&server, sizeof server) < 0 && errno != EINPROGRESS) {
        seen.refused++;
        hang_up(c);
        return;
    }
    watch(epoll, EPOLL_CTL_ADD, c->fd, EPOLLIN | EPOLLOUT, c);
    c->waits_for_room = 1;
    c->state = CONNECTING;
}

static void redial(connection *c)
{
    hang_up(c);
    if (now_ns() < window_ends_ns)
        dial(c);
}

static void fail(connection *c)
{
    if (c->state != CLOSED && in_window(now_ns()))
        seen.errors++;
    redial(c);
}

static void wait_for_room(connection *c, int wanted)
{
    if (c->waits_for_room == wanted)
        return;
    c->waits_for_room = wanted;
    watch(epoll, EPOLL_CTL_MOD, c->fd, EPOLLIN | (wanted ? EPOLLOUT : 0), c);
}

static void send_request(connection *c)
{
    while (c->sent < request_length) {
        ssize_t n = send(c->fd, request + c->sent, request_length - c->sent, MSG_NOSIGNAL);
        if (n < 0 && errno == EAGAIN) {
            wait_for_room(c, 1);
            return;
        }
        if (n < 0) {
            fail(c);
            return;
        }
        c->sent += n;
    }
    wait_for_room(c, 0);
    c->state = READING;
}

/* After how many chunks the next stream is to be left; 0: it is not. */
static int leaves_after(void)
{
    static uint32_t random = 2463534242; /* xorshift: every run is the same */
    random ^= random << 13;
    random ^= random >> 17;
    random ^= random << 5;
    if (random % 10000 >= asked.leaving_percent * 100)
        return 0;
    return 1 + random / 10000 % MOST_BEFORE_LEAVING;
}

static void begin(connection *c, int64_t due_ns)
{
    seen.started++;
    c->due_ns = due_ns;
    c->last_chunk_ns = 0;
    c->sent = 0;
    c->n_chunks = c->done_seen = c->line_length = c->leaving = 0;
    c->leaves_after = asked.streams ? leaves_after() : 0;
    c->state = SENDING;
    expect_response(&c->response);
    send_request(c);
}

static void next_request(connection *c)
{
    int64_t t = now_ns();
    c->state = IDLE;
    if (t >= window_ends_ns)
        return;
    if (asked.most_requests && (long)seen.started >= asked.most_requests)
        return;
    if (asked.rate <= 0)
        begin(c, t);
    else if (due_begun < due_noted)
        begin(c, due[due_begun++]);
    else
        idle[n_idle++] = c - connections;
}

static void be_idle_no_more(const connection *c)
{
    for (int i = 0; i < n_idle; i++) {
        if (&connections[idle[i]] == c) {
            idle[i] = idle[--n_idle];
            return;
        }
    }
}

/* ---- what comes back */

static void note_delivery(const connection *c)
{
    const char *end = c->line + c->line_length, *p = c->line;
    while ((p = memmem(p, end - p, "\"T", 2)) != NULL) {
        p += 2;
        if (*p < '0' || *p > '9')
            continue;
        int64_t written_ns = strtoll(p, NULL, 10);
        if (written_ns > 1000000)
            note(&seen.delivery, read_at_ns - written_ns);
        return;
    }
}

static void on_line(connection *c)
{
    if (c->line_length < 5 || memcmp(c->line, "data:", 5) != 0)
        return;
    c->line[c->line_length] = 0;
    if (memmem(c->line, least(c->line_length, 16), "[DONE]", 6)) {
        c->done_seen = 1;
        return;
    }
    int first = c->n_chunks++ == 0;
    if (in_window(read_at_ns)) {
        seen.chunks++;
        if (first)
            note(&seen.first_chunk, read_at_ns - c->due_ns);
        else
            note(&seen.gap, read_at_ns - c->last_chunk_ns);
        note_delivery(c);
    }
    c->last_chunk_ns = read_at_ns;
    if (c->n_chunks == c->leaves_after)
        c->leaving = 1;
}

static void on_body(void *whose, const char *bytes, size_t n)
{
    connection *c = whose;
    if (in_window(read_at_ns))
        seen.bytes += n;
    if (!asked.streams)
        return;
    while (n) {
        const char *line_end = memchr(bytes, '\n', n);
        size_t length = line_end ? (size_t)(line_end - bytes) : n;
        size_t kept = least(length, sizeof c->line - 1 - c->line_length);
        memcpy(c->line + c->line_length, bytes, kept);
        c->line_length += kept;
        if (line_end == NULL)
            return;
        on_line(c);
        c->line_length = 0;
        bytes += length + 1;
        n -= length + 1;
    }
}

static void on_end(connection *c)
{
    int status = c->response.status;
    if (in_window(read_at_ns)) {
        if (status >= 0 && status < MOST_STATUSES)
            seen.statuses[status]++;
        if (status == 200 && (!asked.streams || c->done_seen)) {
            seen.ok++;
            note(&seen.latency, read_at_ns - c->due_ns);
        } else {
            seen.bad++;
            seen.incomplete += asked.streams && status == 200;
        }
    }
    if (c->response.closes)
        redial(c);
    else
        next_request(c);
}

static void on_hang_up(connection *c)
{
    const response *r = &c->response;
    int answering = c->state == READING;
    if (answering && r->place == AT_BODY && !r->chunked && r->left == UNTIL_CLOSE) {
        on_end(c);
    } else if (c->state == IDLE) {
        be_idle_no_more(c);
        redial(c);
    } else {
        fail(c);
    }
}

static void on_readable(connection *c)
{
    static char bytes[READ_BYTES];
    ssize_t n = read(c->fd, bytes, sizeof bytes);
    if (n < 0 && errno == EAGAIN)
        return;
    read_at_ns = now_ns();
    if (n <= 0) {
        on_hang_up(c);
        return;
    }
    response_state state =
        c->state == READING ? take_response(&c->response, bytes, n, on_body, c) : GARBLED;
    if (c->leaving) {
        seen.left++;
        redial(c);
    } else if (state == GARBLED) {
        fail(c);
    } else if (state == COMPLETE) {
        on_end(c);
    }
}

static void on_connected(connection *c, uint32_t events)
{
    int error = 0;
    socklen_t length = sizeof error;
    getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &error, &length);
    if (error) {
        seen.refused++;
        usleep(100);
        redial(c);
    } else if (events & EPOLLOUT) {
        wait_for_room(c, 0);
        next_request(c);
    }
}

static void on_event(connection *c, uint32_t events)
{
    if (c->fd < 0)
        return;
    if (c->state == CONNECTING) {
        on_connected(c, events);
        return;
    }
    if (events & EPOLLOUT && c->state == SENDING)
        send_request(c);
    if (c->fd >= 0 && events & (EPOLLIN | EPOLLHUP | EPOLLERR) && c->state != CONNECTING)
        on_readable(c);
}

/* ---- when requests begin */

static int64_t next_due_ns(void)
{
    return began_ns + (int64_t)(due_noted / asked.rate * 1e9);
}

static void begin_what_is_due(int64_t t)
{
    for (int64_t ns; due_noted < due_room && (ns = next_due_ns()) <= t;)
        due[due_noted++] = ns;
    while (due_begun < due_noted && n_idle) {
        connection *c = &connections[idle[--n_idle]];
        if (c->state == IDLE)
            begin(c, due[due_begun++]);
    }
    for (size_t waiting = due_noted - due_begun; waiting && n_opened < asked.n_connections;
         waiting--)
        dial(&connections[n_opened++]);
}

/* How many connections there are to be by now. */
static int wanted_connections(int64_t t)
{
    if (asked.ramp_s <= 0)
        return asked.n_connections;
    double wanted = (t - began_ns) / 1e9 / asked.ramp_s * asked.n_connections + 1;
    return wanted < asked.n_connections ? (int)wanted : asked.n_connections;
}

static int64_t look_again_ns(int64_t t)
{
    int64_t at_ns = window_ends_ns;
    if (asked.rate > 0 && next_due_ns() < at_ns)
        at_ns = next_due_ns();
    if (asked.rate <= 0 && n_opened < asked.n_connections && t + 1000000 < at_ns)
        at_ns = t + 1000000;
    return at_ns;
}

static void run(void)
{
    struct epoll_event events[EVENTS_AT_ONCE];
    for (int64_t t; (t = now_ns()) < window_ends_ns;) {
        if (asked.rate > 0)
            begin_what_is_due(t);
        else
            for (int wanted = wanted_connections(t); n_opened < wanted;)
                dial(&connections[n_opened++]);
        struct timespec wait = wait_of(look_again_ns(t) - now_ns());
        int n = epoll_pwait2(epoll, events, EVENTS_AT_ONCE, &wait, NULL);
        for (int i = 0; i < n; i++)
            on_event(events[i].data.ptr, events[i].events);
    }
}

/* ---- before and after */

static char *make_body(void)
{
    char *fill = sure(malloc(asked.body_bytes + 1));
    char *body = sure(malloc(asked.body_bytes + 2048));
    memset(fill, 'x', asked.body_bytes);
    fill[asked.body_bytes] = 0;
    sprintf(body,
            "{\"model\":\"%s\",\"messages\":[{\"role\":\"system\",\"content\":\"You are a helpful "
            "assistant.\"},{\"role\":\"user\",\"content\":\"%s%sSay something about load balancing "
            "of language models. %s\"}],\"max_tokens\":128,\"temperature\":0.7,\"stream\":%s}",
            asked.named ? asked.named : asked.model, asked.named ? asked.model : "",
            asked.named ? " " : "", fill, asked.streams ? "true" : "false");
    free(fill);
    return body;
}

static void make_request(void)
{
    char common[8192];
    snprintf(common, sizeof common, "%s HTTP/1.1\r\nHost: %s:%d\r\n%s%s%s%s", asked.path,
             asked.address, asked.port, asked.key ? "Authorization: Bearer " : "",
             asked.key ? asked.key : "", asked.key ? "\r\n" : "", asked.headers);
    char *body = make_body();
    request = sure(malloc(strlen(common) + strlen(body) + 256));
    if (asked.get)
        request_length = sprintf(request, "GET %s\r\n", common);
    else
        request_length = sprintf(request,
                                 "POST %sUser-Agent: lg\r\nAccept: */*\r\nContent-Type: "
                                 "application/json\r\nContent-Length: %zu\r\n\r\n%s",
                                 common, strlen(body), body);
    free(body);
}

static void add_header(const char *header)
{
    size_t length = strlen(asked.headers);
    snprintf(asked.headers + length, sizeof asked.headers - length, "%s\r\n", header);
}

static int read_options(int argc, char **argv)
{
    int option;
    while ((option = getopt(argc, argv, "a:p:u:c:d:w:sm:r:b:k:H:n:R:GM:l:")) > 0) {
        switch (option) {
        case 'a': asked.address = optarg; break;
        case 'p': asked.port = atoi(optarg); break;
        case 'u': asked.path = optarg; break;
        case 'c': asked.n_connections = atoi(optarg); break;
        case 'd': asked.window_s = atof(optarg); break;
        case 'w': asked.warmup_s = atof(optarg); break;
        case 's': asked.streams = 1; break;
        case 'm': asked.model = optarg; break;
        case 'r': asked.rate = atof(optarg); break;
        case 'b': asked.body_bytes = atol(optarg); break;
        case 'k': asked.key = optarg; break;
        case 'H': add_header(optarg); break;
        case 'n': asked.most_requests = atol(optarg); break;
        case 'R': asked.ramp_s = atof(optarg); break;
        case 'G': asked.get = 1; break;
        case 'M': asked.named = optarg; break;
        case 'l': asked.leaving_percent = atof(optarg); break;
        default: return 0;
        }
    }
    return 1;
}

static void prepare(void)
{
    signal(SIGPIPE, SIG_IGN);
    allow_many_files();
    server.sin_family = AF_INET;
    server.sin_port = htons(asked.port);
    inet_pton(AF_INET, asked.address, &server.sin_addr);
    make_request();
    epoll = epoll_create1(0);
    connections = sure(calloc(asked.n_connections, sizeof *connections));
    idle = sure(calloc(asked.n_connections + 1, sizeof *idle));
    for (int i = 0; i < asked.n_connections; i++)
        connections[i].fd = -1;
    if (asked.rate > 0) {
        due_room = (size_t)((asked.warmup_s + asked.window_s) * asked.rate) + 16;
        due = sure(malloc(due_room * sizeof *due));
    }
    began_ns = now_ns();
    window_begins_ns = began_ns + asked.warmup_s * 1e9;
    window_ends_ns = window_begins_ns + asked.window_s * 1e9;
}

static void print_count(const char *name, uint64_t n)
{
    printf("\"%s\":%llu,", name, (unsigned long long)n);
}

static double seconds_of(struct timeval t)
{
    return t.tv_sec + t.tv_usec / 1e6;
}

static void print_seen(void)
{
    struct rusage used;
    getrusage(RUSAGE_SELF, &used);
    printf("{\"secs\":%.3f,\"conns\":%d,", asked.window_s, asked.n_connections);
    print_count("ok", seen.ok);
    print_count("bad", seen.bad);
    print_count("err", seen.errors);
    print_count("refused", seen.refused);
    printf("\"rps\":%.1f,", seen.ok / asked.window_s);
    print_count("chunks", seen.chunks);
    printf("\"chunks_s\":%.1f,", seen.chunks / asked.window_s);
    print_count("bytes", seen.bytes);
    print_count("incomplete", seen.incomplete);
    print_count("left", seen.left);
    print_count("started", seen.started);
    print_count("backlog", due_noted - due_begun);
    printf("\"lg_cpu\":%.3f,\"statuses\":{", seconds_of(used.ru_utime) + seconds_of(used.ru_stime));
    const char *comma = "";
    for (int i = 0; i < MOST_STATUSES; i++) {
        if (seen.statuses[i]) {
            printf("%s\"%d\":%d", comma, i, seen.statuses[i]);
            comma = ",";
        }
    }
    printf("},");
    print_histogram("lat", &seen.latency, ",");
    print_histogram("ttft", &seen.first_chunk, ",");
    print_histogram("gap", &seen.gap, ",");
    print_histogram("deliv", &seen.delivery, "}\n");
}

int main(int argc, char **argv)
{
    if (!read_options(argc, argv))
        return 2;
    prepare();
    run();
    print_seen();
}
