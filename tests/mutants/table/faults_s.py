"""Values that look right and are not: refused at their place, or read as Kubernetes and upstream read them."""

from __future__ import annotations

from tests.mutants.mutant import Group, Mutant

CONFIG = "agent/tidegate/config"
STRANGE = "tests/unit/config/test_strange_values.py"
WEIGHTS = "tests/unit/compile/envoy/test_weights.py"

_VALUES = Group(
    "what fits nowhere is refused before anything is compiled",
    (
        Mutant(
            "target-port-of-any-size",
            "a targetPort of 70000 with quotes stops every change of TCP services on the node",
            f"{CONFIG}/kinds/service.py",
            "and not 0 <= value <= 65535) or not",
            "and not 0 <= value <= 99999) or not",
            (f"{STRANGE}::test_a_target_port_is_a_port_or_the_name_of_one",),
        ),
        Mutant(
            "cluster-ip-of-loopback",
            "a Service at 127.0.0.1 is accepted, and does nothing or takes a pod's own localhost",
            f"{CONFIG}/shapes/metadata.py",
            "if not dialled or not is_pods_own(address):",
            "if True:",
            (f"{STRANGE}::test_no_object_has_an_address_that_is_each_pods_own",),
        ),
        Mutant(
            "range-of-loopback",
            "a ServiceEntry at 127.0.0.0/8 is accepted and does nothing",
            f"{CONFIG}/kinds/service_entry.py",
            "if is_pods_own(network):",
            "if is_pods_own(network) and is_address(text):",
            (f"{STRANGE}::test_no_range_is_each_pods_own",),
        ),
        Mutant(
            "capture-prefix-for-sale",
            "a Service within the prefix of capture is accepted, and every connection to it is refused",
            "agent/tidegate/model/capture.py",
            "return own or within(IPv6Network(where), CAPTURE6_PREFIX) if where.version == 6 else own",
            "return own",
            (f"{STRANGE}::test_no_object_has_an_address_that_is_each_pods_own",),
        ),
        Mutant(
            "v6-spelling-of-v4",
            "a range of IPv4 addresses in IPv6 spelling is a row that the kernel tells back as another one",
            f"{CONFIG}/kinds/service_entry.py",
            "            network = parse_network(text)\n",
            "            network = __import__('ipaddress').ip_network(text, strict=False)\n",
            (f"{STRANGE}::test_a_v4_range_in_v6_spelling_is_the_v4_range",),
        ),
        Mutant(
            "control-characters-in-headers",
            "a header with a control character is sent, and servers refuse every request of the route",
            f"{CONFIG}/shapes/envoy_text.py",
            r"[\x00-\x08\x0a-\x1f\x7f]",
            r"[\x00\x0a\x0d]",
            (f"{STRANGE}::test_no_control_character_gets_into_a_message",),
        ),
        Mutant(
            "header-set-twice",
            "of two spellings of a header one is sent, by chance",
            f"{CONFIG}/shapes/http_action.py",
            "Counter(n.lower() for n in values)",
            "Counter(n for n in values)",
            (f"{STRANGE}::test_a_header_is_set_once_however_it_is_spelt",),
        ),
        Mutant(
            "body-of-any-length",
            "a long direct response costs who asks over xDS every route of the port",
            "agent/tidegate/model/routing.py",
            "LONGEST_BODY = 1 << 20",
            "LONGEST_BODY = 1 << 22",
            (f"{STRANGE}::test_a_body_is_said_once_and_is_no_longer_than_everybody_takes",),
        ),
        Mutant(
            "cookie-path-with-attributes",
            "the path of a cookie can say other attributes of it",
            f"{CONFIG}/shapes/load_balancer.py",
            'if ";" in self.path:',
            "if False:",
            (f"{STRANGE}::test_a_path_of_a_cookie_ends_where_its_attribute_ends",),
        ),
        Mutant(
            "socket-path-of-any-length",
            "a path that no socket can have is accepted, and the listener or service behind it never works",
            "agent/tidegate/model/sockets.py",
            "_LONGEST = 107 ",
            "_LONGEST = 200 ",
            (f"{STRANGE}::test_a_path_of_a_socket_fits_into_an_address",),
        ),
        Mutant(
            "weights-of-many-owners",
            "three heavy WorkloadEntries leave a service without endpoints",
            "agent/tidegate/compile/envoy/weights.py",
            "    if total <= MOST:",
            "    if total:",
            (f"{WEIGHTS}::test_workloads_of_several_owners_cannot_be_too_heavy_together",),
        ),
        Mutant(
            "names-open-within-a-label",
            "one rule's sniHosts costs everybody the servers of a gateway's port",
            f"{CONFIG}/shapes/l4_route.py",
            "elif is_partial(written):",
            "elif not written:",
            (f"{STRANGE}::test_no_name_of_tls_is_open_within_a_label",),
        ),
        Mutant(
            "headers-of-any-number",
            "a rule that changes more headers than Envoy takes is accepted, and has no effect",
            f"{CONFIG}/limits.py",
            "HEADERS_CHANGED = 500",
            "HEADERS_CHANGED = 600",
            (f"{STRANGE}::test_so_many_headers_are_changed_as_envoy_takes",),
        ),
        Mutant(
            "body-behind-no-content",
            "a rule answers 204 with a body, which clients take for the next answer",
            f"{CONFIG}/limits.py",
            "BODILESS = frozenset({204, 304})",
            "BODILESS = frozenset({304})",
            (f"{STRANGE}::test_an_answer_that_ends_with_its_headers_has_nothing_behind_them",),
        ),
        Mutant(
            "rules-that-frame",
            "a rule sets Content-Length, and the rest of a message becomes the next one",
            f"{CONFIG}/shapes/http_action.py",
            "protected | _FRAMING",
            "protected",
            (f"{STRANGE}::test_no_rule_says_where_a_message_ends",),
        ),
        Mutant(
            "empty-host-does-nothing",
            "a rule that sets an empty Host is accepted and does nothing",
            f"{CONFIG}/shapes/http_action.py",
            "if name.lower() in HOST and not value:",
            "if not name:",
            (f"{STRANGE}::test_a_request_has_a_host",),
        ),
        Mutant(
            "ranges-written-out",
            "three lines of a ServiceEntry fill the kernel's table, and other services find no room",
            f"{CONFIG}/kinds/service_entry.py",
            "if addresses * len(spec.ports) <= MOST_ROWS else 1",
            "if addresses else 1",
            (f"{STRANGE}::test_a_few_lines_do_not_fill_the_kernels_table",),
        ),
        Mutant(
            "rows-of-any-number",
            "one object fills the kernel's table, and other services find no room",
            f"{CONFIG}/limits.py",
            "MOST_ROWS = 4096",
            "MOST_ROWS = 8192",
            (f"{STRANGE}::test_what_would_fill_the_kernels_table_is_refused",),
        ),
        Mutant(
            "light-ones-get-nothing",
            "beside heavy endpoints a light one gets no request at all",
            "agent/tidegate/compile/envoy/weights.py",
            "weight and max(1, weight * room // total)",
            "weight * room // total",
            (f"{WEIGHTS}::test_proportions_stay",),
        ),
    ),
)

_DIALECT = Group(
    "documents mean what they mean to Kubernetes",
    (
        Mutant(
            "hosts-with-part-of-a-label",
            "*-a.example.com, which upstream takes, is refused",
            f"{CONFIG}/shapes/envoy_text.py",
            r"(\*-?)?{_LABEL}",
            r"\*?{_LABEL}",
            (f"{STRANGE}::test_hosts_are_what_upstream_takes_for_one",),
        ),
        Mutant(
            "labels-of-any-length",
            "a host with a label that no name server can answer is accepted",
            f"{CONFIG}/shapes/envoy_text.py",
            "[-a-z0-9_]{0,61}",
            "[-a-z0-9_]*",
            (f"{STRANGE}::test_hosts_are_what_upstream_takes_for_one",),
        ),
        Mutant(
            "times-are-numbers",
            "a label 12:30:45 is refused as the number 45045",
            f"{CONFIG}/tree.py",
            'if ":" not in text or kind not in ("int", "float") else "str"',
            'if text else "str"',
            (f"{STRANGE}::test_numbers_are_those_of_kubernetes",),
        ),
        Mutant(
            "whole-floats-refused",
            "weight: 50.0 is refused",
            f"{CONFIG}/tree.py",
            "number.is_integer() and abs(number) < _WHOLE",
            "number.is_integer() and abs(number) < 1",
            (f"{STRANGE}::test_numbers_are_those_of_kubernetes",),
        ),
        Mutant(
            "odd-escapes-silent",
            "a substitution that the library does not take leaves every path as it is, and nobody says so",
            f"{CONFIG}/shapes/http_action.py",
            "_ESCAPE.search(regex",
            "_DOLLAR.search(regex",
            (f"{STRANGE}::test_a_substitution_that_the_library_does_not_take_is_told",),
        ),
        Mutant(
            "targets-that-no-server-takes",
            "a rewrite to a path with a space makes every request a bad one, and nobody says so",
            f"{CONFIG}/shapes/envoy_text.py",
            'if text.isascii() and text.isprintable() and " " not in text and',
            "if text.isascii() and",
            (f"{STRANGE}::test_what_no_server_takes_is_told",),
        ),
        Mutant(
            "authorities-that-nobody-has",
            "a rewrite to a host that nobody can be is accepted, and nobody says so",
            f"{CONFIG}/shapes/envoy_text.py",
            'return "" if is_host(host) and not host.startswith("*") else "no host has this name"',
            'return "" if host else "no host has this name"',
            (f"{STRANGE}::test_what_no_server_takes_is_told",),
        ),
        Mutant(
            "paths-with-controls-silent",
            "a condition on a path with a zero byte in it is never fulfilled, and nobody says so",
            f"{CONFIG}/shapes/http_match.py",
            "not path.isascii() or not path.isprintable()",
            "not path.isascii()",
            (f"{STRANGE}::test_no_request_has_a_path_with_a_zero_byte",),
        ),
    ),
)
_REDIRECTS = Group(
    "where a redirect leads is written as in an address bar",
    (
        Mutant(
            "redirects-of-gateways-as-plain",
            "behind TLS a gateway sends people to https://x:443/",
            "agent/tidegate/compile/gateway/routes.py",
            'scheme = "https" if any(',
            'scheme = "http" if any(',
            (
                "tests/unit/compile/gateway/test_gateway_tls.py"
                "::test_a_redirect_leaves_out_the_default_port_of_the_scheme_that_was_asked_for",
            ),
        ),
        Mutant(
            "redirects-without-brackets",
            "a redirect to an IPv6 address leads nowhere",
            "agent/tidegate/compile/envoy/http_action.py",
            'authority = f"[{authority}]"',
            'authority = f"{authority}"',
            ("tests/envoy/test_redirects.py::test_a_redirect_has_no_default_port",),
        ),
    ),
)
_SERVED = Group(
    "who is dialled, and who serves, is as without a mesh",
    (
        Mutant(
            "entries-take-addresses",
            "a ServiceEntry of any namespace takes a Service's address, and with it its requests",
            "agent/tidegate/model/kube.py",
            "return self.external is not None, self.age, self.id",
            "return False, self.age, self.id",
            (
                "tests/unit/compile/outbound/test_taken_addresses.py::test_no_service_entry_takes_the_address_of_a_service",
            ),
        ),
        Mutant(
            "taken-address-silent",
            "nobody says that an address belongs to somebody else",
            f"{CONFIG}/named_services.py",
            "if first.id.fqdn == mine.id.fqdn or first.origin == mine.origin:",
            "if first:",
            (
                "tests/unit/compile/outbound/test_taken_addresses.py::test_of_two_services_at_one_address_the_younger_is_told",
            ),
        ),
        Mutant(
            "last-pod-refused-early",
            "a service is refused while its last pod ends and serves still",
            "agent/tidegate/compile/registry.py",
            "tuple(found or _of_pods(pair for pair in pods if pair[0].draining))",
            "tuple(found)",
            ("tests/unit/compile/test_ending_pods.py::test_the_last_pod_serves_until_it_is_gone",),
        ),
        Mutant(
            "soft-limit-of-a-shell",
            "an agent that a shell started has 1 024 descriptors, and pods come to nothing beyond some hundred",
            "agent/tidegate/linux/descriptors.py",
            "RLIMIT_NOFILE, (hard, hard))",
            "RLIMIT_CORE, (0, 0))",
            ("tests/unit/linux/test_descriptors.py::test_what_a_shell_leaves_is_used",),
        ),
        Mutant(
            "too-few-descriptors-untold",
            "with too few descriptors the agent fails somewhere, and names the kernel",
            "agent/tidegate/linux/descriptors.py",
            "if hard < least:",
            "if hard < 1:",
            ("tests/unit/linux/test_descriptors.py::test_too_few_are_told_before_anything_is_opened",),
        ),
    ),
)
_STARTS = Group(
    "whoever starts an agent decides nothing by what it leaves to it",
    (
        Mutant(
            "blocked-signals-stay",
            "an agent that something with blocked signals started never hears SIGTERM",
            "agent/tidegate/linux/inherited.py",
            "    signal.pthread_sigmask(signal.SIG_SETMASK, ())\n",
            "    signal.pthread_sigmask(signal.SIG_BLOCK, ())\n",
            ("tests/unit/linux/test_inherited.py::test_signals_arrive_and_files_are_as_they_are_meant",),
        ),
        Mutant(
            "umask-of-others",
            "with an odd umask the agent cannot read what it wrote",
            "agent/tidegate/linux/inherited.py",
            "    os.umask(_UMASK)\n",
            "",
            ("tests/unit/linux/test_inherited.py::test_signals_arrive_and_files_are_as_they_are_meant",),
        ),
        Mutant(
            "full-disk-traceback",
            "a full disk is a traceback",
            "agent/tidegate/cli/main.py",
            "if error.errno not in EXHAUSTED:",
            "if error.errno:",
            ("tests/unit/cli/test_main.py::test_a_full_disk_is_one_line",),
            raises=("OSError",),
        ),
        Mutant(
            "run-directory-of-any-length",
            "a long --run-dir is a traceback somewhere in the start",
            "agent/tidegate/settings.py",
            'len("/relay/4194304.sock")',
            'len("/")',
            ("tests/unit/test_settings.py::test_each_socket_in_a_run_directory_has_an_address",),
        ),
        Mutant(
            "run-directory-that-is-a-file",
            "a --run-dir that is a file is a traceback",
            "agent/tidegate/observe/life.py",
            '    except OSError as error:\n        why = f"cannot',
            '    except NotADirectoryError as error:\n        why = f"cannot',
            ("tests/unit/observe/test_life.py::test_a_run_directory_that_is_a_file_is_told_with_what_to_do",),
            raises=("FileExistsError",),
        ),
    ),
)
_DNS = Group(
    "the node's DNS is shared evenly",
    (
        Mutant(
            "questions-without-room",
            "three pods that ask without end leave no descriptor for others' questions",
            "agent/tidegate/dns/room.py",
            "more <= self.free and mine + more <= _PART * self.free",
            "more <= self.free",
            ("tests/unit/dns/test_handing.py::test_each_pod_that_comes_finds_room",),
        ),
        Mutant(
            "room-never-given-back",
            "after so many questions none is handed on any more",
            "agent/tidegate/dns/handing.py",
            "        self._room.give()\n",
            "",
            ("tests/unit/dns/test_handing.py::test_each_pod_that_comes_finds_room",),
        ),
    ),
)
GROUPS = (_VALUES, _DIALECT, _REDIRECTS, _SERVED, _STARTS, _DNS)
