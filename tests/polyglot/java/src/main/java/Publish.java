import com.google.protobuf.Any;
import com.google.protobuf.ByteString;
import com.google.protobuf.InvalidProtocolBufferException;
import com.google.rpc.BadRequest;
import com.google.rpc.ErrorInfo;
import com.google.rpc.RetryInfo;
import io.grpc.ManagedChannel;
import io.grpc.ManagedChannelBuilder;
import io.grpc.StatusRuntimeException;
import io.grpc.protobuf.StatusProto;
import java.util.concurrent.TimeUnit;
import tailcast.ingest.v1.IngestServiceGrpc;
import tailcast.ingest.v1.Message;
import tailcast.ingest.v1.Outcome;
import tailcast.ingest.v1.PublishRequest;

/** Publishes one message with Java: Publish HOST:PORT TOPIC KEY VALUE */
class Publish {
    static void publish(ManagedChannel channel, String topic, String key, String value) {
        var message = Message.newBuilder()
                .setTopic(topic)
                .setKey(ByteString.copyFromUtf8(key))
                .setValue(ByteString.copyFromUtf8(value))
                .setContentType("text/plain");
        var ingest = IngestServiceGrpc.newBlockingStub(channel).withDeadlineAfter(20, TimeUnit.SECONDS);
        var response = ingest.publish(PublishRequest.newBuilder().addMessages(message).build());
        // OK does not mean that every message of a batch was published: check each outcome.
        for (Outcome outcome : response.getOutcomesList()) {
            if (!outcome.hasAcknowledged()) {
                throw new IllegalStateException("not acknowledged: " + outcome);
            }
            var at = outcome.getAcknowledged();
            System.out.println(at.getTopic() + "/" + at.getPartition() + "/" + at.getOffset());
        }
    }

    /** The code of an error, its reason, whether the messages were refused or are unknown, and the invalid fields. */
    static String explain(StatusRuntimeException error) throws InvalidProtocolBufferException {
        var text = new StringBuilder(error.getStatus().getCode().name());
        for (Any detail : StatusProto.fromThrowable(error).getDetailsList()) {
            if (detail.is(ErrorInfo.class)) {
                var info = detail.unpack(ErrorInfo.class);
                text.append(" " + info.getReason() + " " + info.getMetadataOrDefault("outcome", ""));
            } else if (detail.is(BadRequest.class)) {
                detail.unpack(BadRequest.class).getFieldViolationsList().forEach(at -> text.append(" " + at.getField()));
            } else if (detail.is(RetryInfo.class)) {
                var delay = detail.unpack(RetryInfo.class).getRetryDelay();
                text.append(" retry after " + (delay.getSeconds() + delay.getNanos() / 1e9) + " s");
            }
        }
        return text.toString();
    }

    public static void main(String[] args) throws InvalidProtocolBufferException {
        var channel = ManagedChannelBuilder.forTarget(args[0]).usePlaintext().build();
        try {
            publish(channel, args[1], args[2], args[3]);
        } catch (StatusRuntimeException error) {
            System.err.println(explain(error));
            System.exit(1);
        } finally {
            channel.shutdownNow();
        }
    }
}
