"""Publishes one message with Python's grpcio: publish.py HOST:PORT TOPIC KEY VALUE

Prints `topic/partition/offset` when Kafka has it. Its stubs were generated from the contract by grpcio-tools.
"""

import sys

import grpc
from tailcast.ingest.v1 import ingest_pb2, ingest_pb2_grpc


def main(address, topic, key, value):
    with grpc.insecure_channel(address) as channel:
        ingest = ingest_pb2_grpc.IngestServiceStub(channel)
        message = ingest_pb2.Message(topic=topic, key=key.encode(), value=value.encode(), content_type="text/plain")
        response = ingest.Publish(ingest_pb2.PublishRequest(messages=[message]), timeout=20)
        [outcome] = response.outcomes
        result = outcome.WhichOneof("result")
        if result != "acknowledged":
            sys.exit(f"not acknowledged: {outcome}")
        at = outcome.acknowledged
        print(f"{at.topic}/{at.partition}/{at.offset}")


def refused(address):
    """A batch that is not valid is refused with what was wrong, in a form that Python reads without our help."""
    with grpc.insecure_channel(address) as channel:
        ingest = ingest_pb2_grpc.IngestServiceStub(channel)
        try:
            ingest.Publish(ingest_pb2.PublishRequest(), timeout=20)
        except grpc.RpcError as error:
            print(error.code().name)
            return
    sys.exit("an empty batch was taken")


if __name__ == "__main__":
    match sys.argv[1:]:
        case [address, "--refused"]:
            refused(address)
        case [address, topic, key, value]:
            main(address, topic, key, value)
        case _:
            sys.exit(__doc__)
