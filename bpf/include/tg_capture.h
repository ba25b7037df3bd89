/* Capture addresses: where captured connections are sent inside the pod's own netns. An enum cannot hold 128 bits,
 * so both are spelled as text, for Python and docs, and as network-order bytes, for C and BPF; test_abi compares them. */
#ifndef TG_CAPTURE_H
#define TG_CAPTURE_H
/* 127.77.0.0/16 and fd74:6964:6567:6174::/64 ("tidegat" in ASCII): listeners are on 127.77.0.1 and ::1 (fast path), on
 * 127.77.0.2 and ::2 (Envoy). Connections go to an address by what was dialled, from which sk_lookup leads them to the
 * listener (core/addr_core.h): 127.77.0.3 to .127.255 and PREFIX:0:2:0:1 and on to the fast path, 127.77.128.3 to .255.255
 * and PREFIX:0:3:0:1 and on to Envoy. */
/* Resolvers are told apart by slots: 127.78.0.1 to .32 and PREFIX:0:5:0:1 to ::20 (core/dns_core.h). The node's DNS listens
 * on 127.78.1.1 and PREFIX::3. Envoy takes what comes to the pod on 127.77.0.0 and PREFIX::4: no tier has these, so nobody
 * gets there by dialling them. */
#define TG_CAPTURE4_PREFIX "127.77.0.0/16"
#define TG_CAPTURE6_PREFIX "fd74:6964:6567:6174::/64"
/* clang-format off */
#define TG_CAPTURE4_FASTPATH_IP "127.77.0.1"
#define TG_CAPTURE4_ENVOY_IP "127.77.0.2"
#define TG_CAPTURE4_INBOUND_IP "127.77.0.0"
#define TG_CAPTURE6_FASTPATH_IP "fd74:6964:6567:6174::1"
#define TG_CAPTURE6_ENVOY_IP "fd74:6964:6567:6174::2"
#define TG_CAPTURE6_INBOUND_IP "fd74:6964:6567:6174::4"
#define TG_DNS4_PREFIX "127.78.0.0/16"
#define TG_DNS4_IP "127.78.1.1"
#define TG_DNS6_IP "fd74:6964:6567:6174::3"
#define TG_CAPTURE4_FASTPATH { { 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 127, 77, 0, 1 } }
#define TG_CAPTURE4_ENVOY { { 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 127, 77, 0, 2 } }
#define TG_CAPTURE4_INBOUND { { 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 127, 77, 0, 0 } }
#define TG_CAPTURE6_FASTPATH { { 0xfd, 0x74, 0x69, 0x64, 0x65, 0x67, 0x61, 0x74, 0, 0, 0, 0, 0, 0, 0, 1 } }
#define TG_CAPTURE6_ENVOY { { 0xfd, 0x74, 0x69, 0x64, 0x65, 0x67, 0x61, 0x74, 0, 0, 0, 0, 0, 0, 0, 2 } }
#define TG_CAPTURE6_INBOUND { { 0xfd, 0x74, 0x69, 0x64, 0x65, 0x67, 0x61, 0x74, 0, 0, 0, 0, 0, 0, 0, 4 } }
#define TG_DNS4 { { 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 127, 78, 0, 0 } }
/* clang-format on */
#endif
