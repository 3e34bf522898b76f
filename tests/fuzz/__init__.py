"""What somebody who has not authenticated can make the server read: only typed errors come out, and the next one is served.

| who can reach it | what is read | where it is fuzzed |
|---|---|---|
| anybody, agents' port | `EnrollRequest`, `AttestRequest` as bytes | `test_agents_door.py` |
| anybody, agents' port | the order of messages, envelopes, Hello's device id | `test_agents_door.py` |
| anybody, agents' port | enrollment token, `EnrollInit.public_key` | `test_agents_door.py`; the key: `core/test_keys.py` |
| anybody with a key of their own | the enrollment statement it signed | `test_agents_door.py`; alone: `core/test_codec.py` |
| a registered device | evidence, its certificates and OCSP responses | `core/test_codec.py`, `core/test_certificates.py` |
| anybody, decisions' port | the secret and other headers of a caller nobody knows | `test_decision_doors.py` |
| anybody behind a proxy | method, URL, host, address, user, service token | `test_decision_doors.py`, `doors/test_ext_authz.py` |
| anybody behind a proxy | the TLS certificate, URL-encoded PEM | `test_decision_doors.py`; its DER: `core/test_certificates.py` |
| anybody behind Envoy | `CheckRequest` as bytes, well formed and damaged | `test_decision_doors.py`, `doors/test_ext_authz.py` |
| a caller that reports facts | its JSON header | `doors/test_facts.py` |
| anybody, operators' port | path, method, `Authorization`, `Content-Length`, a body | `test_operators_door.py` |
| operators | rule files, rules, expressions | `configuration/`, `language/` |

The HTTP and gRPC framing below these is uvicorn's and grpcio's. `WATCHWORD_SOAK=1` tries fifty times as much (`make soak`).
"""
