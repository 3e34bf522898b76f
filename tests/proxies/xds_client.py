"""Asks as Envoy does, with Envoy's own messages. Runs in an interpreter that has xds-protos and nothing of ours.

python xds_client.py TARGET SECRET < request.json > response.json     # the messages in protobuf's JSON form
"""

import json
import sys
from typing import Any

import grpc
from envoy.service.auth.v3 import (
    external_auth_pb2,
    external_auth_pb2_grpc,
)
from google.protobuf import json_format, unknown_fields


def main() -> None:
    target, secret = sys.argv[1:]
    request = json_format.Parse(sys.stdin.read(), external_auth_pb2.CheckRequest())
    with grpc.insecure_channel(target) as channel:
        stub = external_auth_pb2_grpc.AuthorizationStub(channel)
        response = stub.Check(request, timeout=10, metadata=[("x-watchword-caller-secret", secret)])
    json.dump({"response": json_format.MessageToDict(response), "unknown": unknown(response)}, sys.stdout)


def unknown(message: Any) -> int:
    """Fields that Envoy's messages do not have: what we wrote under a wrong number."""
    count = len(unknown_fields.UnknownFieldSet(message))
    for field, value in message.ListFields():
        if field.type == field.TYPE_MESSAGE:
            for each in value if isinstance(value, (list, tuple)) or hasattr(value, "add") else [value]:
                count += unknown(each)
    return count


if __name__ == "__main__":
    main()
