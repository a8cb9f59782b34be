"""Publishes one message with Python's grpcio: publish.py HOST:PORT TOPIC KEY VALUE"""

import sys

import grpc
from google.rpc import error_details_pb2 as details_pb2
from grpc_status import rpc_status
from tailcast.ingest.v1 import ingest_pb2, ingest_pb2_grpc


def publish(address, topic, key, value):
    message = ingest_pb2.Message(topic=topic, key=key.encode(), value=value.encode(), content_type="text/plain")
    with grpc.insecure_channel(address) as channel:
        ingest = ingest_pb2_grpc.IngestServiceStub(channel)
        response = ingest.Publish(ingest_pb2.PublishRequest(messages=[message]), timeout=20)
    # OK does not mean that every message of a batch was published: check each outcome.
    for outcome in response.outcomes:
        if outcome.WhichOneof("result") != "acknowledged":
            sys.exit(f"not acknowledged: {outcome}")
        at = outcome.acknowledged
        print(f"{at.topic}/{at.partition}/{at.offset}")


def explain(error):
    """The code of an error, its reason, whether the messages were refused or are unknown, and the invalid fields."""
    words = [error.code().name]
    status = rpc_status.from_call(error)
    for detail in status.details if status else ():
        info, request, retry = details_pb2.ErrorInfo(), details_pb2.BadRequest(), details_pb2.RetryInfo()
        if detail.Unpack(info):
            words += [info.reason, info.metadata["outcome"]]
        elif detail.Unpack(request):
            words += [violation.field for violation in request.field_violations]
        elif detail.Unpack(retry):
            words.append(f"retry after {retry.retry_delay.ToTimedelta().total_seconds()} s")
    return " ".join(words)


if __name__ == "__main__":
    try:
        publish(*sys.argv[1:])
    except grpc.RpcError as error:
        sys.exit(explain(error))
