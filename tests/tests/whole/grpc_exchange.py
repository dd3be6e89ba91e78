"""Sends a signed request with grpcio over mutual TLS, as raw bytes, and keeps the answer's bytes."""

import sys

import grpc

address, ca, key, chain, request, response = sys.argv[1:]


def read(path):
    with open(path, "rb") as file:
        return file.read()


member = grpc.ssl_channel_credentials(read(ca), read(key), read(chain))
with grpc.secure_channel(address, member) as channel:
    grpc.channel_ready_future(channel).result(timeout=30)
    answer = channel.unary_unary("/yiwang.v1.ExchangeService/Exchange")(read(request), timeout=30)
    with open(response, "wb") as file:
        file.write(answer)

    # ServerReflectionRequest{list_services: "*"}: the door says what it serves.
    reflection = channel.stream_stream("/grpc.reflection.v1.ServerReflection/ServerReflectionInfo")
    listed = b"".join(reflection(iter([b"\x3a\x01*"]), timeout=30))
    if b"yiwang.v1.ExchangeService" not in listed:
        sys.exit(f"reflection lists {listed!r}")

    # HealthCheckResponse{status: SERVING}.
    health = channel.unary_unary("/grpc.health.v1.Health/Check")(b"", timeout=30)
    if health != b"\x08\x01":
        sys.exit(f"health says {health!r}")

with grpc.secure_channel(address, grpc.ssl_channel_credentials(read(ca))) as stranger:
    try:
        stranger.unary_unary("/yiwang.v1.ExchangeService/Exchange")(read(request), timeout=30)
    except grpc.RpcError:
        print("answered")
    else:
        sys.exit("a client without a certificate was served")
