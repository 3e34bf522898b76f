"""One edit each that opens a shipped configuration, and what has to be found then."""

from dataclasses import dataclass
from typing import Final

from watchword_server.inspection.findings import Code


@dataclass(frozen=True, slots=True)
class Edit:
    """In a file below `deploy/`, `old`, which stands there once, becomes `new`, and `with_it` `instead`.

    `besides`: what else follows.
    """

    file: str
    what: str
    code: Code
    old: str
    new: str = ""
    with_it: str = ""
    instead: str = ""
    besides: frozenset[Code] = frozenset()

    def __str__(self) -> str:
        return f"{self.file}: {self.what}"


_NGINX: Final = "nginx/nginx.conf"
_ENVOY: Final = "envoy/envoy.yaml"
_ENVOY_HTTP: Final = "envoy/envoy-http.yaml"
_ENVOY_TCP: Final = "envoy/envoy-tcp.yaml"
_CADDY: Final = "caddy/Caddyfile"
_TRAEFIK: Final = "traefik/traefik.yml"
_ROUTERS: Final = "traefik/dynamic.yml"
_HAPROXY: Final = "haproxy/haproxy.cfg"
_HAPROXY_LUA: Final = "haproxy/haproxy-lua.cfg"
_SPOE: Final = "haproxy/spoe.conf"

_LOCATION: Final = "        location / {\n            proxy_pass http://application;\n"
_DENY: Final = "http-request return status 403 content-type application/json"
_UNLESS: Final = "hdr Cache-Control no-store unless { var(txn.watchword.allow) -m bool }"
_ANOTHER: Final = "frontend web\n    bind 0.0.0.0:80\n"

EDITS: Final = (
    # ---- nginx ----
    Edit(_NGINX, "nothing asks", Code.NOT_ASKED, "        auth_request /_watchword;\n"),
    Edit(_NGINX, "a location switches it off", Code.NOT_ASKED, _LOCATION, f"{_LOCATION}            auth_request off;\n"),
    Edit(
        _NGINX,
        "another server beside it",
        Code.NOT_ASKED,
        "    server {\n        listen 0.0.0.0:443",
        "    server { listen 0.0.0.0:8443; location / { root /srv; } }\n    server {\n        listen 0.0.0.0:443",
    ),
    Edit(
        _NGINX, "files of a location", Code.NOT_ASKED, _LOCATION, f"        location /files {{ auth_request off; }}\n{_LOCATION}"
    ),
    Edit(
        _NGINX,
        "an if that leads elsewhere",
        Code.ANSWER_HEADER_FORGEABLE,
        _LOCATION,
        "        location /a {\n            proxy_set_header A b;\n            if ($arg_a) { proxy_pass http://application; }\n"
        f"            return 404;\n        }}\n{_LOCATION}",
    ),
    Edit(
        _NGINX, "connections of `stream`", Code.NOT_ASKED, "events {", "stream { server { listen 1; proxy_pass a:1; } }\nevents {"
    ),
    Edit(
        _NGINX,
        "another location answers",
        Code.ASKS_NOBODY,
        "location = /_watchword {",
        "location = /_watchman {",
        besides=frozenset({Code.ANSWER_HEADER_FORGEABLE, Code.CERTIFICATE_PASSED_ON}),  # it is one like any other now
    ),
    Edit(
        _NGINX,
        "the question answers itself",
        Code.ASKS_NOBODY,
        "proxy_pass http://watchword/v1/authz/auth-request;",
        "return 204;",
    ),
    Edit(_NGINX, "somebody else is asked", Code.ASKS_NOBODY, "/v1/authz/auth-request", "/api/verify"),
    Edit(
        _NGINX,
        "an argument of the client's",
        Code.ANSWER_HEADER_FORGEABLE,
        "X-Watchword-User $watchword_user;",
        "X-Watchword-User $arg_user;",
    ),
    Edit(
        _NGINX,
        "files for a network",
        Code.NOT_ASKED,
        _LOCATION,
        f"        location /r {{ auth_request off; allow 10.0.0.0/8; deny all; }}\n{_LOCATION}",
    ),
    Edit(
        _NGINX,
        "files for all but one",
        Code.NOT_ASKED,
        _LOCATION,
        f"        location /r {{ auth_request off; deny 192.0.2.1; }}\n{_LOCATION}",
    ),
    Edit(
        _NGINX,
        "a page in place of an answer",
        Code.FAILS_OPEN,
        "            internal;\n",
        "            internal;\n            error_page 502 504 = @open;\n",
    ),
    Edit(
        _NGINX,
        "a success in place of an answer",
        Code.FAILS_OPEN,
        "            internal;\n",
        "            internal;\n            error_page 502 =200 /open;\n",
    ),
    Edit(
        _NGINX,
        "a host of the client's",
        Code.ANOTHER_REQUEST,
        "        proxy_set_header Host $host;\n",
        "        proxy_set_header Host $http_host;\n",
    ),
    Edit(
        _NGINX,
        "a user by way of a map",
        Code.CLIENT_HEADER_BELIEVED,
        "            proxy_set_header X-Authenticated-Email $remote_user;\n",
        "            proxy_set_header X-Authenticated-Email $sso;\n",
        with_it="    server_tokens off;\n",
        instead="    map $http_x_sso $first { default $http_x_sso; }\n    map $first $sso { default $first; }\n",
    ),
    Edit(
        _NGINX,
        "a user by way of a variable",
        Code.CLIENT_HEADER_BELIEVED,
        "            proxy_set_header X-Authenticated-Email $remote_user;\n",
        "            set $who $http_x_sso;\n            proxy_set_header X-Authenticated-Email $who;\n",
    ),
    Edit(_NGINX, "everybody is a proxy", Code.CLIENT_HEADER_BELIEVED, "server_tokens off;", "set_real_ip_from 0.0.0.0/0;"),
    Edit(_NGINX, "satisfy any", Code.DENIAL_UNDONE, _LOCATION, f"{_LOCATION}            satisfy any;\n"),
    Edit(_NGINX, "a denial becomes a page", Code.DENIAL_UNDONE, _LOCATION, f"        error_page 403 =200 /denied;\n{_LOCATION}"),
    Edit(_NGINX, "answers are cached", Code.ANSWER_CACHED, "internal;", "internal;\n            proxy_cache answers;"),
    Edit(_NGINX, "answers are cached everywhere", Code.ANSWER_CACHED, "    server_tokens off;", "    proxy_cache answers;"),
    Edit(_NGINX, "clients may ask", Code.QUESTION_OPEN, "            internal;\n"),
    Edit(_NGINX, "the decoded path", Code.ANOTHER_REQUEST, "$scheme://$host$request_uri", "$scheme://$host$uri"),
    Edit(
        _NGINX,
        "a client's certificate",
        Code.CLIENT_HEADER_BELIEVED,
        "            proxy_set_header X-Client-Cert $ssl_client_escaped_cert;  # URL-encoded PEM; empty, and so absent: none\n",
    ),
    Edit(
        _NGINX,
        "a client's address",
        Code.CLIENT_HEADER_BELIEVED,
        "X-Original-URL $scheme://$host$request_uri;\n            proxy_set_header X-Forwarded-For $remote_addr",
        "X-Original-URL $scheme://$host$request_uri;\n            proxy_set_header X-Forwarded-For $http_x_forwarded_for",
    ),
    Edit(_NGINX, "no password asked for", Code.CLIENT_HEADER_BELIEVED, _LOCATION, f"{_LOCATION}            auth_basic off;\n"),
    Edit(
        _NGINX,
        "a header that Watchword answers",
        Code.ANSWER_HEADER_FORGEABLE,
        "        proxy_set_header X-Watchword-User $watchword_user;\n",
    ),
    Edit(
        _NGINX,
        "a header of a location's own",
        Code.ANSWER_HEADER_FORGEABLE,
        _LOCATION,
        f"{_LOCATION}            proxy_set_header X-Request-Start $msec;\n",
    ),
    Edit(
        _NGINX,
        "FastCGI has parameters instead",
        Code.ANSWER_HEADER_FORGEABLE,
        _LOCATION,
        f"        location /php {{ fastcgi_pass 127.0.0.1:9000; }}\n{_LOCATION}",
    ),
    Edit(_NGINX, "names with underscores", Code.UNDERSCORED_NAMES, "server_tokens off;", "underscores_in_headers on;"),
    Edit(
        _NGINX,
        "a certificate nobody verified",
        Code.CERTIFICATE_PASSED_ON,
        "        proxy_set_header Host $host;\n",
        "        proxy_set_header Host $host;\n        proxy_set_header X-Certificate $ssl_client_s_dn;\n",
    ),
    Edit(_NGINX, "a minute of waiting", Code.SLOW_TO_DENY, "            proxy_read_timeout 500ms;\n"),
    Edit(_NGINX, "a file that is not there", Code.NOT_READ, "caller-secret.conf;", "elsewhere.conf;"),
    Edit(_NGINX, "a brace too few", Code.NOT_READ, "location = /_watchword {", "location = /_watchword"),
    # ---- Envoy ----
    Edit(_ENVOY, "failures allow", Code.FAILS_OPEN, "failure_mode_allow: false", "failure_mode_allow: true"),
    Edit(_ENVOY, "failures allow, in JSON's style", Code.FAILS_OPEN, "failure_mode_allow: false", "failureModeAllow: true"),
    Edit(
        _ENVOY,
        "the filter is off",
        Code.NOT_ASKED,
        "- name: envoy.filters.http.ext_authz\n",
        "- name: envoy.filters.http.ext_authz\n                    disabled: true\n",
    ),
    Edit(
        _ENVOY, "another filter in its place", Code.NOT_ASKED, "filters.http.ext_authz.v3.ExtAuthz", "filters.http.rbac.v3.RBAC"
    ),
    Edit(
        _ENVOY,
        "a route leaves it out",
        Code.NOT_ASKED,
        "                          route: { cluster: application }\n",
        "                          route: { cluster: application }\n"
        "                          typed_per_filter_config:\n"
        '                            envoy.filters.http.ext_authz: { "@type": type.googleapis.com/'
        "envoy.extensions.filters.http.ext_authz.v3.ExtAuthzPerRoute, disabled: true }\n",
    ),
    Edit(
        _ENVOY,
        "a host leaves it out",
        Code.NOT_ASKED,
        "                    - name: application\n",
        "                    - name: application\n                      typed_per_filter_config:\n"
        '                        envoy.filters.http.ext_authz: { "@type": type.googleapis.com/'
        "envoy.config.route.v3.FilterConfig, disabled: true }\n",
    ),
    Edit(
        _ENVOY,
        "one in two",
        Code.PARTLY_ASKED,
        "transport_api_version: V3",
        "transport_api_version: V3\n                      filter_enabled: { default_value: { numerator: 50 } }",
    ),
    Edit(
        _ENVOY,
        "certificates are not told",
        Code.CERTIFICATE_NOT_VERIFIED,
        "include_peer_certificate: true",
        "include_peer_certificate: false",
    ),
    Edit(
        _ENVOY,
        "and the application believes them",
        Code.CERTIFICATE_PASSED_ON,
        "forward_client_cert_details: SANITIZE",
        "forward_client_cert_details: SANITIZE_SET",
    ),
    Edit(
        _ENVOY,
        "a client's certificate",
        Code.CLIENT_HEADER_BELIEVED,
        "forward_client_cert_details: SANITIZE",
        "forward_client_cert_details: ALWAYS_FORWARD_ONLY",
        besides=frozenset({Code.CERTIFICATE_PASSED_ON}),
    ),
    Edit(
        _ENVOY,
        "a client's user",
        Code.CLIENT_HEADER_BELIEVED,
        "- remove_on_match: { key_matcher: { prefix: x-authenticated- } }",
        "- remove: x-nothing",
        "                      forward_username_header: x-authenticated-email\n",
    ),
    Edit(
        _ENVOY,
        "names with underscores",
        Code.UNDERSCORED_NAMES,
        "headers_with_underscores_action: DROP_HEADER",
        "headers_with_underscores_action: ALLOW",
    ),
    Edit(
        _ENVOY,
        "half a minute",
        Code.SLOW_TO_DENY,
        "timeout: 0.5s\n                        envoy_grpc",
        "timeout: 30s\n                        envoy_grpc",
    ),
    Edit(
        _ENVOY,
        "its admin interface",
        Code.ADMIN_OPEN,
        "static_resources:\n",
        "admin: { address: { socket_address: { address: 0.0.0.0, port_value: 9901 } } }\n\nstatic_resources:\n",
    ),
    Edit(
        _ENVOY,
        "routes from elsewhere",
        Code.NOT_READ,
        "                route_config:\n",
        "                rds: { route_config_name: a }\n                route_config:\n",
    ),
    Edit(_ENVOY, "no YAML", Code.NOT_READ, "static_resources:\n", "static_resources: }\n"),
    Edit(
        _ENVOY_HTTP,
        "a header that the answer leaves out",
        Code.ANSWER_HEADER_FORGEABLE,
        "- remove_on_match: { key_matcher: { prefix: x-watchword } }",
        "- remove: x-watchword-user",
    ),
    Edit(_ENVOY_HTTP, "certificates of others", Code.CERTIFICATE_NOT_VERIFIED, "cert: true", "cert: false"),
    Edit(
        _ENVOY_HTTP,
        "and the application believes them",
        Code.CERTIFICATE_PASSED_ON,
        "                            - x-forwarded-client-cert\n",
    ),
    Edit(_ENVOY_HTTP, "failures allow", Code.FAILS_OPEN, "failure_mode_allow: false", "failure_mode_allow: true"),
    Edit(_ENVOY_TCP, "nothing asks", Code.NOT_ASKED, "filters.network.ext_authz.v3.ExtAuthz", "filters.network.rbac.v3.RBAC"),
    Edit(_ENVOY_TCP, "failures allow", Code.FAILS_OPEN, "failure_mode_allow: false", "failure_mode_allow: true"),
    Edit(
        _ENVOY_TCP,
        "the service speaks first",
        Code.SPEAKS_BEFORE_ALLOWED,
        "upstream_connect_mode: ON_DOWNSTREAM_DATA",
        "upstream_connect_mode: IMMEDIATE",
    ),
    Edit(
        _ENVOY_TCP, "certificates are not told", Code.CERTIFICATE_NOT_VERIFIED, "                include_peer_certificate: true\n"
    ),
    # ---- Caddy ----
    Edit(_CADDY, "nothing asks", Code.NOT_ASKED, "uri /v1/authz/forward-auth\n", "uri /elsewhere\n"),
    Edit(
        _CADDY,
        "before it is asked",
        Code.NOT_ASKED,
        "		# 1. Who the user is.",
        "		handle /assets/* {\n			file_server\n		}\n		# 1. Who the user is.",
    ),
    Edit(
        _CADDY,
        "when Watchword does not answer",
        Code.NOT_ASKED,
        "	# `route`: in this order",
        "	handle_errors {\n		request_header -*_*\n		reverse_proxy 127.0.0.1:8080\n	}\n	# `route`: in this order",
    ),
    Edit(
        _CADDY,
        "another site",
        Code.NOT_ASKED,
        ":443 {\n",
        "wiki.corp.example {\n	request_header -*_*\n	file_server\n}\n\n:443 {\n",
    ),
    Edit(
        _CADDY,
        "some paths",
        Code.PARTLY_ASKED,
        "forward_auth http://127.0.0.1:7401",
        "forward_auth /secret/* http://127.0.0.1:7401",
        besides=frozenset({Code.NOT_ASKED}),
    ),
    Edit(
        _CADDY,
        "the application answers in place of a denial",
        Code.DENIAL_UNDONE,
        "uri /v1/authz/forward-auth\n",
        "uri /v1/authz/forward-auth\n			handle_response {\n				reverse_proxy 127.0.0.1:8080\n			}\n",
    ),
    Edit(_CADDY, "a header that Watchword answers", Code.ANSWER_HEADER_FORGEABLE, " X-Watchword-User X-", " X-"),
    Edit(
        _CADDY,
        "a client's user",
        Code.CLIENT_HEADER_BELIEVED,
        "header_up X-Authenticated-Email {http.auth.user.id}",
        "header_up X-Authenticated-Email {http.request.header.X-User}",
    ),
    Edit(
        _CADDY,
        "clients are proxies",
        Code.CLIENT_HEADER_BELIEVED,
        "		protocols h1 h2\n",
        "		protocols h1 h2\n		trusted_proxies static 0.0.0.0/0\n",
    ),
    Edit(_CADDY, "names with underscores", Code.UNDERSCORED_NAMES, "		request_header -*_*\n"),
    Edit(
        _CADDY,
        "a certificate nobody verified",
        Code.CERTIFICATE_PASSED_ON,
        "			header_up -Device-Token\n",
        "			header_up -Device-Token\n			header_up X-Certificate {http.request.tls.client.subject}\n",
    ),
    Edit(_CADDY, "its admin interface", Code.ADMIN_OPEN, "	admin off\n", "	admin 0.0.0.0:2019\n"),
    Edit(_CADDY, "half a minute", Code.SLOW_TO_DENY, "response_header_timeout 500ms", "response_header_timeout 30s"),
    Edit(_CADDY, "another order", Code.NOT_READ, "	admin off\n", "	admin off\n	order file_server first\n"),
    Edit(_CADDY, "a file that is not there", Code.NOT_READ, "caddy/caller-secret\n", "caddy/elsewhere\n"),
    Edit(_CADDY, "a brace too few", Code.NOT_READ, ":443 {\n", ":443\n"),
    # ---- Traefik ----
    Edit(
        _ROUTERS, "a router without it", Code.NOT_ASKED, "certificate, secret, watchword, spent]", "certificate, secret, spent]"
    ),
    Edit(_ROUTERS, "somebody else is asked", Code.NOT_ASKED, "7409/v1/authz/forward-auth/traefik", "7409/api/verify"),
    Edit(
        _ROUTERS,
        "another router",
        Code.NOT_ASKED,
        "    decisions:\n",
        '    other: { rule: "Host(`wiki.corp.example`)", entryPoints: [public], service: application }\n    decisions:\n',
    ),
    Edit(
        _ROUTERS,
        "connections",
        Code.NOT_ASKED,
        "tls:\n  certificates",
        'tcp:\n  routers:\n    any:\n      rule: "HostSNI(`*`)"\n      service: a\n\ntls:\n  certificates',
    ),
    Edit(
        _ROUTERS,
        "a middleware from elsewhere",
        Code.NOT_READ,
        "middlewares: [clean,",
        "middlewares: [single-sign-on@docker, clean,",
    ),
    Edit(_ROUTERS, "a client's user", Code.CLIENT_HEADER_BELIEVED, "middlewares: [clean, users,", "middlewares: ["),
    Edit(
        _ROUTERS, "the certificate is dropped", Code.CERTIFICATE_DROPPED, "trustForwardHeader: true", "trustForwardHeader: false"
    ),
    Edit(_ROUTERS, "a header that Watchword answers", Code.ANSWER_HEADER_FORGEABLE, "          - X-Watchword-User\n"),
    Edit(_ROUTERS, "a certificate nobody verified", Code.CERTIFICATE_PASSED_ON, '          X-Forwarded-Tls-Client-Cert: ""\n'),
    Edit(_ROUTERS, "options of another name", Code.TLS_OPTIONS_IGNORED, "      tls: {}\n", "      tls: { options: strict }\n"),
    Edit(
        _ROUTERS,
        "asked directly",
        Code.SLOW_TO_DENY,
        "http://127.0.0.1:7409/v1/authz/forward-auth/traefik",
        "http://127.0.0.1:7401/v1/authz/forward-auth/traefik",
    ),
    Edit(_TRAEFIK, "clients are proxies", Code.CLIENT_HEADER_BELIEVED, "insecure: false", "insecure: true"),
    Edit(
        _TRAEFIK,
        "everybody is a proxy",
        Code.CLIENT_HEADER_BELIEVED,
        "      insecure: false\n",
        '      insecure: false\n      trustedIPs: ["0.0.0.0/0"]\n',
    ),
    Edit(_TRAEFIK, "names with underscores", Code.UNDERSCORED_NAMES, "      aliasHeadersStrategy: delete\n"),
    Edit(_TRAEFIK, "its API", Code.ADMIN_OPEN, "global:\n", "api:\n  insecure: true\n\nglobal:\n"),
    Edit(_TRAEFIK, "routers from containers", Code.NOT_READ, "providers:\n", "providers:\n  docker: {}\n"),
    # ---- HAProxy ----
    Edit(_HAPROXY, "nothing asks", Code.NOT_ASKED, "    http-request send-spoe-group watchword decide\n"),
    Edit(
        _HAPROXY,
        "some are let in before",
        Code.NOT_ASKED,
        "    # 1. Who",
        "    http-request allow if { path_beg /public }\n    # 1. Who",
    ),
    Edit(
        _HAPROXY,
        "another frontend",
        Code.NOT_ASKED,
        "\nbackend application\n",
        f"\n{_ANOTHER}    default_backend application\n\nbackend application\n",
    ),
    Edit(
        _HAPROXY, "connections", Code.NOT_ASKED, "\nbackend application\n", f"\n{_ANOTHER}    mode tcp\n\nbackend application\n"
    ),
    Edit(_HAPROXY, "nothing denies", Code.NOT_DENIED, _DENY, f"# {_DENY}"),
    Edit(_HAPROXY, "some are not denied", Code.NOT_DENIED, _UNLESS, f"{_UNLESS} || {{ path_beg /public }}"),
    Edit(_HAPROXY, "another variable", Code.NOT_DENIED, _UNLESS, _UNLESS.replace("txn.watchword.", "txn.")),
    Edit(
        _HAPROXY,
        "an answer of its own",
        Code.DENIAL_UNDONE,
        "    http-request send-spoe-group watchword decide\n",
        "    http-request send-spoe-group watchword decide\n    http-request set-var(txn.watchword.allow) bool(true)\n",
    ),
    Edit(
        _HAPROXY,
        "headers that Watchword answers",
        Code.ANSWER_HEADER_FORGEABLE,
        "    http-request del-header x-watchword- -m beg\n",
    ),
    Edit(_HAPROXY, "names with underscores", Code.UNDERSCORED_NAMES, "    option http-restrict-req-hdr-names delete\n"),
    Edit(
        _HAPROXY,
        "a certificate nobody verified",
        Code.CERTIFICATE_PASSED_ON,
        "    http-request set-header X-Forwarded-Proto https\n",
        "    http-request set-header X-Forwarded-Proto https\n    http-request set-header X-Certificate %[ssl_c_s_dn]\n",
    ),
    Edit(_HAPROXY, "a file that is not there", Code.NOT_READ, "haproxy/spoe.conf\n", "haproxy/elsewhere.conf\n"),
    Edit(_HAPROXY, "a quote that is never closed", Code.NOT_READ, "realm Watchword", 'realm "Watchword'),
    Edit(
        _HAPROXY,
        "statistics for all",
        Code.ADMIN_OPEN,
        "\nbackend application\n",
        f"\n{_ANOTHER}    stats enable\n\nbackend application\n",
    ),
    Edit(
        _HAPROXY,
        "connections by other defaults",
        Code.NOT_ASKED,
        "\nfrontend public\n",
        "\ndefaults plain\n    mode tcp\n\ndefaults\n    mode http\n    timeout client 1s\n\nfrontend public from plain\n",
    ),
    Edit(_SPOE, "a client's user", Code.CLIENT_HEADER_BELIEVED, "identity=http_auth_user", "identity=req.fhdr(x-user)"),
    Edit(_SPOE, "for ever", Code.SLOW_TO_DENY, "    timeout processing 500ms\n"),
    Edit(_SPOE, "variables of another name", Code.NOT_DENIED, "option var-prefix watchword", "option var-prefix other"),
    Edit(_HAPROXY_LUA, "nothing asks", Code.NOT_ASKED, "    http-request lua.watchword\n"),
    Edit(_HAPROXY_LUA, "nothing denies", Code.NOT_DENIED, _DENY, f"# {_DENY}"),
)

# What opens nothing, put in front of something that stands in a file once.
_SERVER: Final = "    server {\n        listen 0.0.0.0:443"
_ROUTER: Final = "    decisions:\n"
_BACKEND: Final = "\nbackend application\n"
_TO_BACKEND: Final = "    default_backend application\n"
HARMLESS: Final = (
    (_NGINX, _SERVER, "    server { listen 80; return 301 https://$host$request_uri; }\n"),
    (
        _NGINX,
        _SERVER,
        "    server { listen 80; location /.well-known/acme-challenge/ { root /srv; } location / { return 301 /; } }\n",
    ),
    (_NGINX, _SERVER, "    server { listen 80; rewrite ^ https://$host$request_uri? permanent; }\n"),
    (_NGINX, _SERVER, "    server { listen 127.0.0.1:81; location / { root /srv; } }\n"),
    (_NGINX, _SERVER, "    server { listen 444 ssl; ssl_reject_handshake on; }\n"),
    (_NGINX, _LOCATION, "        location = /denied.html { internal; auth_request off; root /srv; }\n"),
    (_NGINX, _LOCATION, "        location = /status { auth_request off; stub_status; }\n"),
    (_NGINX, _LOCATION, "        location /mine { auth_request off; allow 127.0.0.1; deny all; }\n"),
    (_NGINX, _LOCATION, "        error_page 502 504 /50x.html;\n"),
    (_CADDY, ":443 {\n", ":80 {\n	redir https://{host}{uri}\n}\n\n"),
    (
        _CADDY,
        "	# `route`: in this order",
        "	handle_errors {\n		rewrite * /{err.status_code}.html\n		file_server\n	}\n",
    ),
    (
        _ROUTERS,
        _ROUTER,
        '    plain: { rule: "PathPrefix(`/`)", entryPoints: [public], middlewares: [https], service: application }\n',
    ),
    (
        _HAPROXY,
        _BACKEND,
        f"\n{_ANOTHER}    http-request redirect scheme https unless {{ path_beg /.well-known/acme-challenge/ }}\n{_TO_BACKEND}",
    ),
    (_HAPROXY, _BACKEND, f"\n{_ANOTHER}    redirect scheme https if !{{ ssl_fc }}\n{_TO_BACKEND}"),
    (_HAPROXY, _BACKEND, f"\n{_ANOTHER}    stats enable\n    stats auth admin:secret\n"),
)
