/* The least that a UDP relay can do with batches: one thread, one socket in front, one connected
 * socket a client behind.
 *
 *     udp_relay LISTEN_PORT BACKEND_PORT [gso]
 *
 * Datagrams are read by recvmmsg(2) and written by sendmmsg(2). With `gso`, the kernel joins
 * datagrams on receipt (UDP_GRO) and cuts them on sending (UDP_SEGMENT, udp(7)). Nothing is
 * balanced, counted or forgotten. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/udp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#ifndef UDP_SEGMENT
#define UDP_SEGMENT 103
#endif
#ifndef UDP_GRO
#define UDP_GRO 104
#endif

enum { BATCH = 64, EVENTS = 64, SESSIONS = 65536, SMALL = 2048, LARGE = 65535, CONTROL = 64 };

/* A client, and the socket whose port the backend sees in its place. */
struct session {
    struct sockaddr_in client;
    int fd;
};

/* By the client's port: on loopback all clients have one address. */
static struct session sessions[SESSIONS];

static struct mmsghdr messages[BATCH];
static struct iovec vectors[BATCH];
static struct sockaddr_in names[BATCH];
static char control[BATCH][CONTROL];
static int joining, batch;
static size_t room;

static void fail(const char *what)
{
    perror(what);
    exit(1);
}

/* The socket of a client; its backend's side is opened at the first datagram. */
static struct session *session_of(struct sockaddr_in *client, struct sockaddr_in *back, int epoll)
{
    struct session *session = &sessions[ntohs(client->sin_port)];
    if (session->client.sin_port)
        return session;
    session->client = *client;
    session->fd = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK, 0);
    if (session->fd < 0 || connect(session->fd, (struct sockaddr *)back, sizeof *back))
        fail("connect");
    if (joining) {
        int on = 1;
        setsockopt(session->fd, IPPROTO_UDP, UDP_GRO, &on, sizeof on);
    }
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = session};
    if (epoll_ctl(epoll, EPOLL_CTL_ADD, session->fd, &event))
        fail("epoll_ctl");
    return session;
}

static int receive(int fd)
{
    for (int n = 0; n < batch; n++) {
        vectors[n].iov_len = room;
        messages[n].msg_hdr = (struct msghdr){.msg_name = &names[n],
                                              .msg_namelen = sizeof names[n],
                                              .msg_iov = &vectors[n],
                                              .msg_iovlen = 1,
                                              .msg_control = joining ? control[n] : NULL,
                                              .msg_controllen = joining ? CONTROL : 0};
    }
    return recvmmsg(fd, messages, batch, MSG_DONTWAIT, NULL);
}

/* Turns what was received into what is to be sent: its length, and where the kernel is to cut. */
static void readdress(int n, struct sockaddr_in *to)
{
    struct msghdr *header = &messages[n].msg_hdr;
    uint16_t segment = 0;
    for (struct cmsghdr *c = joining ? CMSG_FIRSTHDR(header) : NULL; c; c = CMSG_NXTHDR(header, c))
        if (c->cmsg_level == IPPROTO_UDP && c->cmsg_type == UDP_GRO)
            segment = *(int *)CMSG_DATA(c);
    vectors[n].iov_len = messages[n].msg_len;
    header->msg_name = to;
    header->msg_namelen = to ? sizeof *to : 0;
    header->msg_control = NULL;
    header->msg_controllen = 0;
    if (segment && segment < messages[n].msg_len) {
        header->msg_control = control[n];
        header->msg_controllen = CMSG_SPACE(sizeof segment);
        struct cmsghdr *c = CMSG_FIRSTHDR(header);
        c->cmsg_level = IPPROTO_UDP;
        c->cmsg_type = UDP_SEGMENT;
        c->cmsg_len = CMSG_LEN(sizeof segment);
        memcpy(CMSG_DATA(c), &segment, sizeof segment);
    }
}

/* Sends what stands from `start` to `end`; what the kernel does not take is lost, as by UDP. */
static void transmit(int fd, int start, int end)
{
    while (start < end) {
        int sent = sendmmsg(fd, messages + start, end - start, MSG_DONTWAIT);
        start += sent > 0 ? sent : 1;
    }
}

/* Neighbours from one client leave in one call. */
static void from_clients(int front, struct sockaddr_in *back, int epoll)
{
    int count = receive(front);
    for (int start = 0, end; start < count; start = end) {
        struct session *session = session_of(&names[start], back, epoll);
        for (end = start; end < count && names[end].sin_port == session->client.sin_port; end++)
            readdress(end, NULL);
        transmit(session->fd, start, end);
    }
}

static void from_backend(int front, struct session *session)
{
    int count = receive(session->fd);
    for (int n = 0; n < count; n++)
        readdress(n, &session->client);
    transmit(front, 0, count);
}

int main(int count, char **args)
{
    if (count < 3)
        return 2;
    joining = count > 3 && !strcmp(args[3], "gso");
    room = joining ? LARGE : SMALL;
    batch = joining ? 8 : BATCH;
    for (int n = 0; n < batch; n++)
        if (!(vectors[n].iov_base = malloc(room)))
            fail("malloc");

    struct sockaddr_in here = {.sin_family = AF_INET, .sin_port = htons(atoi(args[1]))};
    struct sockaddr_in back = {.sin_family = AF_INET, .sin_port = htons(atoi(args[2]))};
    here.sin_addr.s_addr = back.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int front = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK, 0), on = 1;
    if (bind(front, (struct sockaddr *)&here, sizeof here))
        fail("bind");
    if (joining)
        setsockopt(front, IPPROTO_UDP, UDP_GRO, &on, sizeof on);
    int epoll = epoll_create1(0);
    struct epoll_event event = {.events = EPOLLIN};
    if (epoll_ctl(epoll, EPOLL_CTL_ADD, front, &event))
        fail("epoll_ctl");

    for (;;) {
        struct epoll_event events[EVENTS];
        int ready = epoll_wait(epoll, events, EVENTS, -1);
        for (int n = 0; n < ready; n++) {
            if (events[n].data.ptr)
                from_backend(front, events[n].data.ptr);
            else
                from_clients(front, &back, epoll);
        }
    }
}
