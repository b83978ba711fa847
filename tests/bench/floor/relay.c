/* The least that a TCP relay can do on epoll(7): one thread, one listener, one backend.
 *
 *     relay LISTEN_PORT BACKEND_PORT [splice]
 *
 * It balances nothing, counts nothing, limits nothing and times nothing out: what it costs is the
 * kernel's price, and what a balancer costs above it is the balancer's own. Bytes are copied
 * through one buffer, or moved by splice(2) through a pipe for each direction.
 *
 * All descriptors are edge-triggered and registered once. A read that does not fill the buffer has
 * emptied the socket (epoll(7)), which saves the read that would say EAGAIN. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

enum { EVENTS = 256, BUFFER = 64 * 1024, PIPE = 256 * 1024 };

/* One socket of a pair, and the bytes read from it that its peer has not taken yet. */
struct side {
    int fd;
    int pipe[2];
    struct side *peer;
    char *held;
    size_t held_from, held_to;
    size_t piped;
    int ended; /* read to its end, and the end passed on */
};

/* Both sides are one allocation, freed after the events that may still name them. */
struct pair {
    struct side client, backend;
    struct pair *next_dead;
    int dead;
};

static char buffer[BUFFER];
static struct pair *dead_pairs;
static int splicing;

static void fail(const char *what)
{
    perror(what);
    exit(1);
}

static struct pair *pair_of(struct side *side)
{
    return side < side->peer ? (struct pair *)side : (struct pair *)side->peer;
}

static void end_pair(struct pair *pair)
{
    if (pair->dead)
        return;
    pair->dead = 1;
    pair->next_dead = dead_pairs;
    dead_pairs = pair;
    struct side *sides[] = {&pair->client, &pair->backend};
    for (int n = 0; n < 2; n++) {
        close(sides[n]->fd);
        free(sides[n]->held);
        if (splicing) {
            close(sides[n]->pipe[0]);
            close(sides[n]->pipe[1]);
        }
    }
}

/* Whether an error means "later". */
static int again(void) { return errno == EAGAIN || errno == ENOTCONN || errno == EINTR; }

/* What was read and not taken goes first. 1: nothing is held any more; 0: later; -1: broken. */
static int flush(struct side *from)
{
    while (from->piped) {
        ssize_t n = splice(from->pipe[0], NULL, from->peer->fd, NULL, from->piped,
                           SPLICE_F_MOVE | SPLICE_F_NONBLOCK);
        if (n <= 0)
            return n < 0 && again() ? 0 : -1;
        from->piped -= n;
    }
    while (from->held_from < from->held_to) {
        ssize_t n = send(from->peer->fd, from->held + from->held_from,
                         from->held_to - from->held_from, MSG_NOSIGNAL);
        if (n < 0)
            return again() ? 0 : -1;
        from->held_from += n;
    }
    return 1;
}

/* Reads once into the pipe or the buffer, and offers it to the peer. */
static ssize_t move(struct side *from)
{
    if (splicing) {
        ssize_t n = splice(from->fd, NULL, from->pipe[1], NULL, PIPE,
                           SPLICE_F_MOVE | SPLICE_F_NONBLOCK);
        if (n > 0)
            from->piped = n;
        return n;
    }
    ssize_t n = recv(from->fd, buffer, BUFFER, 0);
    if (n <= 0)
        return n;
    ssize_t sent = send(from->peer->fd, buffer, n, MSG_NOSIGNAL);
    if (sent < 0 && !again())
        return -1;
    if (sent < 0)
        sent = 0;
    if (sent < n) {
        if (!from->held && !(from->held = malloc(BUFFER)))
            fail("malloc");
        memcpy(from->held, buffer + sent, n - sent);
        from->held_from = 0;
        from->held_to = n - sent;
    }
    return n;
}

/* Carries bytes one way until there are none, or the peer takes no more. */
static void pump(struct side *from, int to_the_end)
{
    struct pair *pair = pair_of(from);
    while (!pair->dead && !from->ended) {
        int flushed = flush(from);
        if (flushed < 0)
            return end_pair(pair);
        if (!flushed)
            return;
        ssize_t n = move(from);
        if (n < 0) {
            if (!again())
                end_pair(pair);
            return;
        }
        if (n == 0) {
            from->ended = 1;
            shutdown(from->peer->fd, SHUT_WR);
            if (from->peer->ended)
                end_pair(pair);
            return;
        }
        if (!splicing && n < BUFFER && !to_the_end && from->held_from == from->held_to)
            return;
    }
}

static void watch(int epoll, int fd, void *what, unsigned events)
{
    struct epoll_event event = {.events = events, .data.ptr = what};
    if (epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event))
        fail("epoll_ctl");
}

static void take(int epoll, int client, struct sockaddr_in *backend)
{
    struct pair *pair = calloc(1, sizeof *pair);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0), on = 1;
    if (!pair || fd < 0)
        fail("socket");
    pair->client = (struct side){.fd = client, .peer = &pair->backend};
    pair->backend = (struct side){.fd = fd, .peer = &pair->client};
    setsockopt(client, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    struct side *sides[] = {&pair->client, &pair->backend};
    for (int n = 0; splicing && n < 2; n++) {
        if (pipe2(sides[n]->pipe, O_NONBLOCK))
            fail("pipe2");
        fcntl(sides[n]->pipe[0], F_SETPIPE_SZ, PIPE);
    }
    if (connect(fd, (struct sockaddr *)backend, sizeof *backend) && errno != EINPROGRESS)
        return end_pair(pair);
    watch(epoll, client, &pair->client, EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET);
    watch(epoll, fd, &pair->backend, EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET);
}

static void serve(struct side *side, unsigned events)
{
    struct pair *pair = pair_of(side);
    if (!pair->dead && events & (EPOLLIN | EPOLLRDHUP))
        pump(side, events & EPOLLRDHUP);
    if (!pair->dead && events & EPOLLOUT)
        pump(side->peer, 1);
    if (!pair->dead && events & (EPOLLERR | EPOLLHUP))
        end_pair(pair);
}

int main(int count, char **args)
{
    if (count < 3)
        return 2;
    splicing = count > 3 && !strcmp(args[3], "splice");
    struct rlimit files;
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
    signal(SIGPIPE, SIG_IGN);

    struct sockaddr_in front = {.sin_family = AF_INET, .sin_port = htons(atoi(args[1]))};
    struct sockaddr_in back = {.sin_family = AF_INET, .sin_port = htons(atoi(args[2]))};
    front.sin_addr.s_addr = back.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0), on = 1;
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (bind(listener, (struct sockaddr *)&front, sizeof front) || listen(listener, 4096))
        fail("listen");
    int epoll = epoll_create1(0);
    watch(epoll, listener, NULL, EPOLLIN);

    for (;;) {
        struct epoll_event events[EVENTS];
        int ready = epoll_wait(epoll, events, EVENTS, -1);
        for (int n = 0; n < ready; n++) {
            if (events[n].data.ptr) {
                serve(events[n].data.ptr, events[n].events);
                continue;
            }
            int client = accept4(listener, NULL, NULL, SOCK_NONBLOCK);
            if (client >= 0)
                take(epoll, client, &back);
        }
        while (dead_pairs) {
            struct pair *gone = dead_pairs;
            dead_pairs = gone->next_dead;
            free(gone);
        }
    }
}
