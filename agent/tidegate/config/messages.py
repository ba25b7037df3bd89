"""Every sentence that validation can say: code, slug, level, text. `docs/messages.md` is generated from this table.

A code keeps its meaning for ever; texts may become better. TG01 shape of a document, TG02 values, TG03 what routes
mean, TG04 other kinds, TG05 objects beside others, TG06 sources, TG07 who workloads are, TG072 a cluster as a source.
"""

from __future__ import annotations

from dataclasses import dataclass

from tidegate.model.mesh import Severity


@dataclass(frozen=True, slots=True)
class Said:
    """A message with its arguments filled in."""

    code: str
    severity: Severity
    text: str


@dataclass(frozen=True, slots=True)
class Message:
    """One row of the table. Call it with the template's arguments, by name."""

    code: str
    slug: str
    severity: Severity
    template: str

    def __call__(self, **arguments: object) -> Said:
        return Said(self.code, self.severity, self.template.format(**arguments))


class Wrong(ValueError):
    """A value that cannot be used, raised where pydantic calls us."""

    def __init__(self, said: Said) -> None:
        super().__init__(said.text)
        self.said = said


MESSAGES: list[Message] = []


def _row(code: str, slug: str, severity: Severity, template: str) -> Message:
    MESSAGES.append(Message(code, slug, severity, template))
    return MESSAGES[-1]


def _error(code: str, slug: str, template: str) -> Message:
    return _row(code, slug, Severity.ERROR, template)


def _warning(code: str, slug: str, template: str) -> Message:
    return _row(code, slug, Severity.WARNING, template)


# TG01: shape of a document
UNKNOWN_FIELD = _error("TG0101", "unknown-field", "unknown field{suggestion}")
MISSING = _error("TG0102", "missing-field", "is missing")
NOT_TEXT = _error("TG0103", "not-text", 'must be text: write "{given}" with quotes')
WRONG_TYPE = _error("TG0104", "wrong-type", "must be {wanted}")
NOT_ONE_OF = _error("TG0105", "not-one-of", "{given} is none of {known}{suggestion}")
OUT_OF_BOUNDS = _error("TG0106", "out-of-bounds", "{detail}")
UNSUPPORTED_FIELD = _warning("TG0107", "unsupported-field", "is not supported yet, ignored")
NOT_YAML = _error("TG0108", "not-yaml", "is not YAML: {detail}")
TOO_LARGE = _error("TG0109", "too-large", "is too large or too deep once its aliases are expanded")
NO_OBJECT = _error("TG0110", "no-object", "is no object: it needs apiVersion, kind and metadata")
NO_TYPE = _error("TG0111", "no-type", "is missing or no text")
UNKNOWN_VERSION = _error("TG0112", "unknown-version", "{kind} has no version {version}; known: {known}")
UNKNOWN_KIND = _error("TG0113", "unknown-kind", "{group} has no kind {kind}{suggestion}")
WRONG_GROUP = _error("TG0114", "wrong-group", "{kind} is not in {version}; write {right}")
UNSUPPORTED_KIND = _warning("TG0115", "unsupported-kind", "{kind} is not supported yet, ignored")
FOREIGN_KIND = _warning("TG0116", "foreign-kind", "{kind} of {version} has no effect on the mesh, ignored")
EXCLUSIVE = _error("TG0117", "exclusive-fields", "{first} and {second} exclude each other")
NEEDS_ONE_OF = _error("TG0118", "needs-one-of", "needs one of {names}")
READ_AS = _warning("TG0119", "old-spelling", "read as {new}")
IGNORED_BESIDE = _warning("TG0120", "ignored-beside", '"{old}" is ignored because "{new}" is there')
NO_EFFECT = _warning("TG0121", "no-effect", "has no effect: {why}")
KEY_TWICE = _error("TG0123", "key-twice", "key {key!r} appears twice (first in line {line})")
KEY_NO_WORD = _error("TG0124", "key-no-word", "a key must be a word")
MERGE = _error("TG0125", "merge-needs-mapping", "<< needs a mapping")
LONG_NUMBER = _error("TG0126", "number-too-long", "{given!r}... is too long for a number")
NO_NUMBER = _error("TG0127", "no-number", "{given!r} is no {kind}")
UPPER_CASE = _warning("TG0122", "upper-case-name", "{name!r} has upper-case letters, which Kubernetes refuses")
ANNOTATION = _warning("TG0128", "annotation", "has no effect: {why}")

# TG02: values
NO_DURATION = _error(
    "TG0201", "no-duration", '{given} is no duration: write a number with a unit (h, m, s, ms), for example "5s"'
)
TOO_LONG_DURATION = _error("TG0202", "duration-too-long", "{given} is too long")
FINE_DURATION = _error("TG0203", "duration-too-fine", "{given!r}: durations are whole milliseconds, at least 1ms")
ZERO_DURATION = _error("TG0204", "duration-zero", "{given!r}: must be at least 1ms")
WHOLE_SECONDS = _error("TG0205", "whole-seconds", "must be whole seconds")
LONG_REGEX = _error("TG0206", "regex-too-long", "expression longer than {most} characters")
NO_REGEX = _error(
    "TG0207", "no-regex", "expression {given!r} is not RE2: {reason} (RE2 has no look-around and no back-references)"
)
LONE_STAR = _error("TG0208", "regex-lone-star", 'expression "*" is not RE2: nothing to repeat; write ".*"')
ONE_MATCH = _error("TG0209", "one-match", "needs exactly one of exact, prefix, regex")
EMPTY_MATCH = _error("TG0210", "empty-match", "must not be empty")
NO_ADDRESS = _error("TG0211", "no-address", "{given!r} is no IP address")
NO_HOST = _error("TG0212", "no-host", "{given!r} is no host name")
TWICE = _error("TG0213", "twice", "{what} appears twice")
NO_HEADER = _error("TG0214", "no-header-name", "{name!r} is no header name")
TARGET_PORT = _error("TG0215", "target-port", "must be 1..65535 or the name of a container port")
SMALL_PERCENTAGE = _error("TG0216", "percentage-too-small", "must be 0 or at least 0.0001")
NO_LABEL = _error("TG0217", "no-label", "{name!r} is no {what} name: lower-case letters, digits and '-'")
LINE_BREAK = _error("TG0218", "line-break", "has {what}, which no header of HTTP can hold")
NOT_PRIME = _error("TG0219", "not-prime", "must be a prime number, which {given} is not")
NO_COOKIE = _error("TG0220", "no-cookie-name", "{name!r} is no name of a cookie")
NO_BASE64 = _error("TG0221", "no-base64", "is no base64: {reason}")
BIG_REGEX = _error("TG0222", "regex-too-big", "expression {given!r} is too costly: {size} steps, at most {most}")
NO_NAME = _error("TG0224", "no-name", "{name!r} is no name: letters, digits, '-' and '.', at most {most} of them")
PODS_OWN = _error(
    "TG0225",
    "pods-own-address",
    "{given!r} is another host in each pod: loopback, unspecified and multicast addresses, and the prefix of capture, "
    "can be nobody's address",
)
PARAMETER_NAME = _error("TG0223", "parameter-name", "the name of a parameter has 1 to {most} bytes")

# TG03: what routes mean
ONE_ACTION = _error("TG0301", "one-action", "{what}: write exactly one of route, redirect, directResponse, delegate")
NO_DESTINATION = _error("TG0302", "no-destination", "needs a destination")
NO_WEIGHT = _error("TG0303", "no-weight", "with several destinations at least one weight must be above 0")
NOT_WITH_ACTION = _error("TG0304", "not-with-action", "cannot be combined with {action}")
PREFIX_REWRITE = _error("TG0305", "prefix-rewrite", "needs prefix in every uri condition of the match")
ONE_SERVICE = _error("TG0306", "one-service", "{host!r} is no destination: one service must be named")
PORT_BY_NAME = _error("TG0307", "port-by-name", "ports are chosen by number today; write port.number")
GATEWAY_STAR = _error("TG0308", "host-star", '"*" is only for gateways: name the services')
LIST_OF_ONE = _warning("TG0311", "list-of-one", "is a list; read as a list of one")
PROTECTED_HEADER = _error("TG0312", "protected-header", "header {name!r} cannot be changed here")
UNKNOWN_OPERATOR = _error(
    "TG0313",
    "lone-percent",
    "{given!r} is no field that can be filled in here; a % that is meant as such is written %%",
)
TOKEN_CLAIM = _error("TG0314", "token-claim", "conditions on token claims are not supported yet")
PSEUDO_HEADER = _warning("TG0315", "pseudo-header", 'is ignored here; write it as "{name}" of the match itself')
REDIRECT_CODE = _error("TG0316", "redirect-code", "{given} is none of 301, 302, 303, 307, 308")
NO_ATTEMPTS = _error("TG0317", "no-attempts", "0 switches retries off, so nothing else may be said about them")
RETRY_ON = _error("TG0318", "retry-on", "{word!r} is no retry condition and no status code")
OLD_FAULT = _error("TG0319", "unsupported-fault", "is not supported; write {new}")
NO_PERCENTAGE = _warning(
    "TG0320", "no-percentage", "without percentage no request is affected (Istio 1.0 meant all of them)"
)
GRPC_STATUS = _error("TG0321", "grpc-status", "{name!r} is no gRPC status name such as UNAVAILABLE")
NO_ABORT = _warning("TG0322", "no-abort", "neither httpStatus nor grpcStatus: nothing is aborted")
EXPORT_NOWHERE = _error("TG0323", "export-nowhere", '"~" is not possible here')
EXPORT_STAR = _error("TG0324", "export-star", '"*" must stand alone')
HEAVY = _error("TG0325", "weights-too-large", "all weights together are {total}, at most {most}")
NEVER_REACHED = _warning("TG0327", "never-reached", "is never reached: the route in line {line} takes every request")
NO_PATH = _warning("TG0328", "no-path", "no request has the path {given!r}: {why}")
ODD_REWRITE = _warning("TG0330", "odd-rewrite", "{given!r}: {why}")
NO_SUBNET = _error("TG0331", "no-subnet", "{given!r} is no IP address and no prefix such as 10.1.0.0/16")
NO_SNI_HOSTS = _error("TG0332", "no-sni-hosts", "needs a name")
SNI_OF_OTHERS = _error("TG0333", "sni-of-others", "{name!r} is under none of the hosts of this rule ({hosts})")
SNI_ADDRESS = _warning("TG0334", "sni-address", "{given!r}: clients ask for names, never for addresses (RFC 6066)")
NO_TLS_MATCH = _error("TG0335", "no-tls-match", "is missing: a tls route says for which sniHosts it is")
NO_CONTENT = _error(
    "TG0337",
    "no-content",
    "an answer of {status} ends with its headers (RFC 9110, 6.4.1): clients would take {what} for the next answer",
)
PARTIAL_SNI = _error(
    "TG0338", "partial-sni", "{given!r}: of a name in TLS whole labels can be left open only, as in *.example.com"
)
NO_DELAY = _warning("TG0339", "no-delay", "no fixedDelay: nothing is delayed")
MORE_SPECIAL = _warning(
    "TG0336",
    "more-special",
    "{what} goes here and not to the route in line {line}: the more special condition wins, whatever stands first",
)
IN_DELEGATE = _error(
    "TG0351",
    "in-delegate",
    "a VirtualService without hosts is there for others to delegate to: it can have no {what} of its own",
)
LOWER_METHOD = _warning("TG0329", "lower-method", "{given!r}: methods are compared as they stand; write {right!r}")

# TG04: other kinds
NO_EXTERNAL_NAME = _error("TG0401", "no-external-name", "ExternalName needs externalName")
NO_PORTS = _error("TG0402", "no-ports", "ports are missing")
PORT_NAME = _error("TG0403", "port-name", "each port of a service with several needs a name of its own")
SELECTOR = _error("TG0404", "selector", "selects {label}={value}, which the template's labels do not have")
NO_ENDPOINT_ADDRESS = _error(
    "TG0406",
    "no-endpoint-address",
    "{given!r} cannot be an endpoint: loopback, link-local, multicast and unspecified addresses mean another host "
    "wherever they are dialled",
)
OTHER_FAMILY = _error("TG0407", "other-family", "{given!r} is no {family} address; write one slice per addressType")
NO_PROTOCOL = _error(
    "TG0411",
    "no-protocol",
    "{given!r} is none of HTTP, HTTP2, GRPC, GRPC-WEB, HTTPS, TLS, TCP, MONGO, REDIS, MYSQL, UDP",
)
ENTRY_STAR = _error("TG0412", "entry-star", '"*" would be every host there is: name a domain, such as "*.example.com"')
WILDCARD_BY_NAME = _error(
    "TG0413", "wildcard-by-name", "{host} cannot be resolved: write endpoints, or resolution: NONE or STATIC"
)
HOSTS_OF_TCP = _error(
    "TG0414",
    "hosts-of-tcp",
    "several hosts with a port on which only the address tells them apart: write one ServiceEntry for each host, "
    "or resolution: NONE",
)
RANGE_BY_NAME = _error("TG0415", "range-by-name", "{given} is a range, which is possible with NONE and STATIC only")
ENDPOINTS_OF_NONE = _error(
    "TG0417", "endpoints-of-none", "resolution: NONE goes where the application dials: write STATIC or DNS"
)
ROUND_ROBIN_ENDPOINTS = _error("TG0418", "round-robin-endpoints", "DNS_ROUND_ROBIN has one endpoint at most")
ENDPOINT_PORT = _error("TG0419", "endpoint-port", "no port of the ServiceEntry is called {name!r} (it has {names})")
NAME_OF_STATIC = _error("TG0420", "name-of-static", "{given!r} is no IP address: write resolution: DNS for names")
NO_WORKLOAD_ADDRESS = _error("TG0421", "no-workload-address", "address is missing")
NO_SOCKET = _error(
    "TG0422",
    "no-socket",
    "{given!r} is no unix socket: write unix:///PATH or unix://@NAME, at most 107 bytes and no slash at its end",
)
SOCKET_PORTS = _error("TG0423", "socket-ports", "a unix socket has no ports")
SOCKET_NOT_STATIC = _error("TG0424", "socket-not-static", "a unix socket needs resolution: STATIC")
SOCKET_ONE_PORT = _error("TG0425", "socket-one-port", "in front of a unix socket the ServiceEntry has exactly one port")
SOCKET_NOT_ALLOWED = _warning(
    "TG0426",
    "socket-not-allowed",
    "{given!r} is ignored: whoever runs the node allows sockets by --unix-endpoints DIR, and this one is in none",
)
SOCKET_OF_TCP = _warning("TG0427", "socket-of-tcp", "unix sockets are reached from HTTP ports only, so far")
HALF_PAIR = _error("TG0481", "half-pair", "has {have} and no {lacks}: a certificate and its key come together")
NO_CERTIFICATE = _error("TG0482", "no-certificate", "{name} cannot be used: {reason}")
UNLISTED = _warning(
    "TG0621",
    "unlisted-authority",
    "has no list of {authority}: every certificate that it signed is refused (each authority on the way needs a list)",
)
NO_PRIVATE_KEY = _error("TG0483", "no-private-key", "{name} cannot be used: {reason}")
NO_BIND = _error(
    "TG0484",
    "no-bind",
    "{given!r} is no address: write an IP address, unix:///PATH or unix://@NAME, of at most 107 bytes",
)
NO_SERVER_PORT = _error("TG0485", "no-server-port", "needs a number from 1 to 65535 (only a bind to a path has none)")
NEEDS_TLS = _error("TG0486", "needs-tls", "a server of protocol {protocol} needs tls")
TLS_OF_PLAIN = _error("TG0487", "tls-of-plain", "a server of protocol {protocol} has no tls; write protocol TLS")
TLS_OF_HTTP = _error(
    "TG0488", "tls-of-http", "a server of HTTP may only say httpsRedirect here; write protocol HTTPS for the rest"
)
SHORT_HOST = _error("TG0489", "short-host", "{given!r} is a short name: write the whole one, or *")
LATER_MODE = _warning("TG0490", "later-mode", "mode {mode} is not supported yet: this server is left out")
NO_SERVER_CERTIFICATE = _error(
    "TG0491",
    "no-server-certificate",
    "mode {mode} needs a certificate: write credentialName, or serverCertificate and privateKey",
)
NO_AUTHORITIES = _error(
    "TG0492", "no-authorities", "mode {mode} needs to know who signs clients: write credentialName or caCertificates"
)
NO_DIGEST = _error("TG0493", "no-digest", "{given!r} is no SHA-256")
VERSIONS_CROSS = _error("TG0494", "versions-cross", "is above maxProtocolVersion")
NO_CIPHER = _warning("TG0495", "no-cipher", "{given!r} is left out: it is no cipher suite that can be chosen")
CREDENTIAL_NAME = _warning(
    "TG0463",
    "credential-name",
    "is for gateways only, as a Secret of their namespace, because the rule has no workloadSelector: pods begin TLS "
    "without a certificate, and trust whom the system trusts",
)
NO_TLS_FILE = _error(
    "TG0464", "no-tls-file", "{given!r} is no path: files of a namespace's rules are below a folder of that namespace"
)
NEEDS_BESIDE = _error("TG0465", "needs-beside", 'needs "{other}" beside it')
NO_LOCALITY = _error(
    "TG0466", "no-locality", "{given!r} is no REGION[/ZONE[/SUBZONE]], of which the last part may be *"
)
LOCALITIES_OVERLAP = _error("TG0467", "localities-overlap", "{first!r} and {second!r} overlap")
NOT_ALL_OF_IT = _error("TG0468", "not-all-of-it", "percents must be 100 together, not {given}")
REGION_ONLY = _error("TG0469", "region-only", "{given!r}: only a region can be named here, without / and *")
NO_PRIORITY_LABEL = _error(
    "TG0471", "no-priority-label", "{given!r} is no label of a pod: write KEY, or KEY=VALUE for a value of its own"
)
SAME_REGION = _error("TG0470", "same-region", "{given!r} cannot take over from itself")

EMPTY_SIDECAR = _error("TG0431", "empty-sidecar", "says nothing: write egress or outboundTrafficPolicy")
EGRESS_HOST = _error(
    "TG0432",
    "egress-host",
    '{given!r} is no NAMESPACE/HOST: the namespace is a name, "." (its own) or "*", the host a full name, perhaps with '
    '"*" in front; "~/*" means nothing at all',
)
EGRESS_LAST = _error(
    "TG0433", "egress-last", "the listener without a port stands for all other ports: write one, as the last"
)
NO_LABEL_KEY = _error("TG0434", "no-label-key", "{key!r} is no key of a label")
NO_LABEL_VALUE = _error("TG0435", "no-label-value", "{value!r} is no value of a label")
NO_ENVOY_MESSAGE = _error("TG0451", "no-envoy-message", "{reason}")
NOT_IN_A_LIST = _error("TG0452", "not-in-a-list", "{operation} is not possible for {what}")
FILTER_WITHOUT_NAME = _error("TG0453", "filter-without-name", "a filter that is added needs a name")
OWN_NAMESPACE = _warning(
    "TG0454",
    "own-namespace",
    "is for pods of namespace {namespace} only, as today; in Istio 1.0 it was for the whole mesh: write it in {root}",
)

# TG05: objects beside others
DEFINED_TWICE = _warning("TG0501", "defined-twice", "also defined at {place}; the definition here is used")
NO_SERVICE = _warning("TG0502", "no-service", "service {host} does not exist: requests get 503")
NO_SERVICE_PORT = _warning("TG0503", "no-service-port", "service {host} has no TCP port {port}: requests get 503")
NO_SUBSET = _warning("TG0504", "no-subset", 'no DestinationRule defines subset "{subset}" of {host}: requests get 503')
SHARED_HOST = _warning(
    "TG0505", "shared-host", "host {host} belongs to the older {owner}: the routes here are not used for it"
)
NO_SLICE_SERVICE = _warning("TG0506", "no-slice-service", "service {service} does not exist: nothing leads here")
NO_SLICE_PORT = _warning(
    "TG0507",
    "no-slice-port",
    "no port here has the name of a TCP port of {service} (it has {names}): none of these endpoints is used",
)
NO_ZONES = _warning(
    "TG0508",
    "no-zones",
    "no Node has the label topology.kubernetes.io/zone, so no endpoint is in a nearer zone than another",
)
ALIAS_OUTSIDE = _warning(
    "TG0513",
    "alias-outside",
    "{host} is an alias of {alias}, outside of the mesh: what is sent there goes past it, the rule has no effect",
)
NO_HTTP_PORT = _warning(
    "TG0514",
    "no-http-port",
    "service {host} has no port that says that it is HTTP, so no route here is used: "
    'name the port http, http2 or grpc (or "http-..."), or write its appProtocol',
)
NO_L4_PORT = _warning(
    "TG0515",
    "no-l4-port",
    "service {host} has no port for {what} routes, so none here is used: {how}",
)
NOWHERE_ON_TCP = _warning("TG0517", "nowhere-on-tcp", "{what}: connections are reset")
IDLE_ON_TCP = _warning("TG0509", "idle-on-tcp", "has no effect on TCP port {port} of {service}: {why}")
RULE_FOR_NOBODY = _warning("TG0510", "rule-for-nobody", "service {host} does not exist: the rule has no effect")
PORT_OF_NOBODY = _warning("TG0511", "port-of-nobody", "service {host} has no TCP port {port}: the field has no effect")
OLDER_RULE = _warning("TG0512", "older-rule", "has no effect: the older {owner} says this for the same host")
ADDRESS_TAKEN = _warning("TG0572", "address-taken", "{address} belongs to {owner}: connections there do not come here")
RANGE_TAKEN = _warning(
    "TG0571",
    "range-taken",
    "port {port} of {range} belongs to the older {owner}, by which it is {speech}: connections there are not for these "
    "hosts",
)
HOST_TAKEN = _warning("TG0521", "host-taken", "host {host} belongs to {owner}: what is said of it here is not used")
NO_GATEWAY = _warning("TG0525", "no-gateway", "gateway {gateway} does not exist: nobody comes to these routes there")
NO_SECRET = _warning("TG0526", "no-secret", "no Secret {name} exists: until there is one the server is left out")
NOT_AT_GATEWAY = _warning(
    "TG0527", "not-at-gateway", "no server of gateway {gateway} is for {host}: nobody comes to it there"
)
CREDENTIAL_FORM = _warning(
    "TG0581", "credential-form", "{given!r} is no name of a Secret, and nothing else is read: requests get 503"
)
NO_CLIENT_SECRET = _warning(
    "TG0582", "no-client-secret", "no Secret {name} holds {what}: until there is one connections cannot be made"
)
IDLE_ON_HTTP = _warning("TG0583", "idle-on-http", "has no effect on HTTP port {port} of {service}: {why}")
MIXED_TUNNELS = _warning(
    "TG0584",
    "mixed-tunnels",
    "connections are reset: {first} and {second} of this route are not reached through the same tunnel",
)
OLDER_SIDECAR = _warning("TG0551", "older-sidecar", "has no effect: the older {owner} is for the same workloads")
NO_SUCH_HOST = _warning(
    "TG0552", "no-such-host", "no service and no VirtualService has host {host}: nothing is imported"
)
NO_DELEGATE = _warning("TG0553", "no-delegate", "VirtualService {name} does not exist: the route is left out")
DELEGATE_WITH_HOSTS = _warning(
    "TG0554", "delegate-with-hosts", "VirtualService {name} has hosts of its own, so it is no delegate: left out"
)
DELEGATE_HIDDEN = _warning(
    "TG0555", "delegate-hidden", "exportTo of VirtualService {name} does not show it to {namespace}: left out"
)
NOT_DELEGATED = _warning("TG0556", "not-delegated", "has no hosts, and nobody delegates to it: it has no effect")
INGRESS_ENDPOINT = _error(
    "TG0561",
    "ingress-endpoint",
    "{given!r} is no server of the pod: write 127.0.0.1:PORT or [::1]:PORT for its localhost, 0.0.0.0:PORT or"
    " [::]:PORT for its own address",
)
INGRESS_PROTOCOL = _error(
    "TG0562",
    "ingress-protocol",
    "{given!r} is nothing that is spoken over TCP here: write HTTP, HTTP2, GRPC, TLS or TCP",
)

# TG06: sources
UNREADABLE = _error("TG0601", "unreadable", "cannot be read: {reason}")
TOO_BIG_FILE = _error("TG0602", "file-too-big", "is larger than {most} MiB, ignored")
NO_UTF8 = _error("TG0603", "no-utf8", "is no UTF-8 text (byte {byte}): save it as UTF-8")
ABSENT = _error("TG0604", "absent", "does not exist")
ODD_FILE = _error("TG0605", "odd-file", "is {sort} and no file, ignored")
BROKEN_TEXT = _error("TG0606", "broken-text", "begins as {encoding} and is none (byte {byte}): save it as UTF-8")
TOO_MANY_NAMES = _error("TG0607", "too-many-names", "has more than {most} names below it, some are not read")

# TG07: who workloads are
MESH_HAS_ITS_OWN = _error(
    "TG0701",
    "mesh-has-its-own",
    "mode ISTIO_MUTUAL uses the certificate that the mesh gives to each workload: remove it, or write mode MUTUAL",
)
NO_TRUST_DOMAIN = _error(
    "TG0702", "no-trust-domain", "{given!r} is no trust domain: use lower-case letters, digits, '.', '-' and '_'"
)

# TG072: a cluster as a source
KUBE_DENIED = _error(
    "TG0721", "kube-denied", "{resource}: may not be read ({reason}): grant get, list and watch; what is known serves"
)
KUBE_UNKNOWN = _error(
    "TG0722", "kube-not-logged-in", "{resource}: the API server does not know us ({reason}): look at the token"
)
KUBE_FAILING = _error("TG0723", "kube-failing", "{resource}: cannot be read ({reason}); what is known serves")

# TG08: who may connect to workloads
NOT_ENFORCED = _warning(
    "TG0801",
    "not-enforced",
    "is not in force for what it asks of requests: nobody looks at them yet, so every connection, HTTP too, is decided "
    "as one that is not HTTP",
)
NEEDS_SELECTOR = _error(
    "TG0802", "needs-selector", "needs a selector with labels: ports are those of the workloads that it chooses"
)
SELECTOR_IN_ROOT = _warning(
    "TG0803",
    "selector-in-root",
    "has no effect: in the root namespace {root} only a PeerAuthentication without labels counts, for the whole mesh; "
    "write this one in the namespace of its workloads",
)
NO_POLICY_PORT = _error("TG0804", "no-policy-port", "{given!r} is no port from {least} to 65535")
NEVER_TRIGGERED = _error(
    "TG0805", "never-triggered", "action {action} without rules does nothing; the rule {{}} stands for every connection"
)
NOTHING_ASKED = _error("TG0806", "nothing-asked", "says nothing: leave it out, or write what is asked for")
ACCOUNTS_ALONE = _error(
    "TG0807", "accounts-alone", "cannot stand beside principals or namespaces, which say the same of a client"
)
NO_ACCOUNT = _error("TG0808", "no-account", "{given!r} is no service account: write NAME or NAMESPACE/NAME, without *")
NO_ATTRIBUTE = _error("TG0809", "no-attribute", "{key!r} is no attribute of a connection or a request{suggestion}")
NO_BRACKETS = _error("TG0810", "no-brackets", "{key!r} needs a name in brackets, such as request.headers[x-token]")
HTTP_DENIES_ALL = _warning(
    "TG0811",
    "http-denies-all",
    "asks of requests only, which a connection that is not HTTP has none of: all of those are denied by it; "
    "name ports to spare the others",
)
HTTP_NOT_ALLOWED = _warning(
    "TG0812",
    "http-not-allowed",
    "asks for {what}, which only requests of HTTP have: the rule does nothing for connections that are not HTTP",
)
HTTP_LEFT_OUT = _warning(
    "TG0813",
    "http-left-out",
    "asks for {what}, which only requests of HTTP have: of other connections the rest of the rule is asked, so more "
    "are denied than is written",
)
NOBODYS_PRINCIPAL = _warning("TG0814", "nobodys-principal", "{given!r} is nobody's: {why}")
LATER_ACTION = _warning("TG0815", "later-action", "action {action} is not supported yet: the policy does nothing")
PROVIDER_OF_OTHERS = _error("TG0816", "provider-of-others", "is for action CUSTOM, and this is {action}")
NO_PROVIDER = _error("TG0817", "no-provider", "action CUSTOM needs provider.name: who is asked")
LATER_TARGETS = _warning(
    "TG0818",
    "later-targets",
    "waypoints, and services behind them, are not supported yet: the policy does nothing",
)
NOT_WITH_CUSTOM = _error("TG0819", "not-with-custom", "cannot be asked for with action CUSTOM")
OLDER_AUTHENTICATION = _warning(
    "TG0820", "older-authentication", "has no effect: the older {owner} is for the same workloads"
)
PATH_TEMPLATE = _error(
    "TG0821",
    "path-template",
    "{given!r}: in a template each segment is text, {{*}}, or, as the last of its kind, {{**}}",
)
NO_TRIAL = _warning("TG0822", "no-trial", "{given!r} is neither true nor false, so the policy is in force")
NEAR_IDENTITIES = _warning(
    "TG0823",
    "near-identities",
    "asks who a client is, which is known of clients on the workload's own node only: all others are taken for nobody",
)


def as_markdown() -> str:
    """The text of docs/messages.md."""
    lines = [
        "# Messages",
        "",
        "What validation says: `tidegate validate`, `tidegate status`, `tidegate lab apply`. A code keeps its meaning;",
        "words in braces are for what was found. Written by `make messages` from `agent/tidegate/config/messages.py`.",
        "",
        "| code | name | level | text |",
        "|---|---|---|---|",
    ]
    for row in MESSAGES:
        text = row.template.replace("!r}", "}").replace("|", "\\|")
        lines.append(f"| {row.code} | `{row.slug}` | {row.severity.value} | {text} |")
    return "\n".join(lines) + "\n"
