/* What the kernel is asked and told of one TCP socket, by number: options, and what epoll has not told yet. What is told
 * cannot fail on a TCP socket, and without it everything is right, later or with more packets. */
#ifndef FP_TCP_H
#define FP_TCP_H
#include "base.h"

/* The error of which it died; 0 = none, or it was told before. */
int fp_tcp_error(int fd);
/* Whether the next byte to be received is an urgent one. */
bool fp_tcp_at_mark(int fd);
/* Whether connect() has come to a connection by now, and nothing else. */
bool fp_tcp_is_open(int fd);
/* Whether bytes wait to be received, and nothing else has happened: no urgent one among them, no end, no death. */
bool fp_tcp_has_bytes(int fd);
/* Before connect(): the acknowledgement that ends the handshake goes with the first bytes, for which the kernel waits 200 ms. */
void fp_tcp_hold_ack(int fd);
/* After those: what comes from here on is acknowledged at once, as on any new connection. */
void fp_tcp_ack_at_once(int fd);
/* No byte waits for an acknowledgement of earlier ones. */
void fp_tcp_send_at_once(int fd);
/* So many bytes at most wait in it for the peer's window. Not SO_SNDBUF: that would bound what is on its way as well, and so the
 * rate over a long way. 0 or a negative errno. */
int fp_tcp_bound_unsent(int fd, int bytes);
/* Probes tell of a peer that is gone, after the system's time. */
void fp_tcp_keep_alive(int fd);
/* Or after so many seconds, as long between two. */
void fp_tcp_probe(int fd, int seconds);
#endif
