// Publishes one message with Node's @grpc/grpc-js: publish.mjs HOST:PORT TOPIC KEY VALUE
//
// PROTO is the folder of Tailcast's `proto/`; the stub is made from it when the program starts.
import grpc from '@grpc/grpc-js';
import { loadSync } from '@grpc/proto-loader';
import { getProtoPath } from 'google-proto-files';
import protobuf from 'protobufjs';

const contract = loadSync('tailcast/ingest/v1/ingest.proto', { includeDirs: [process.env.PROTO], oneofs: true });
const { IngestService } = grpc.loadPackageDefinition(contract).tailcast.ingest.v1;

function publish(address, topic, key, value) {
    const ingest = new IngestService(address, grpc.credentials.createInsecure());
    const message = { topic, key: Buffer.from(key), value: Buffer.from(value), contentType: 'text/plain' };
    const deadline = Date.now() + 20_000;
    return new Promise((resolve, reject) => {
        ingest.publish({ messages: [message] }, { deadline }, (error, response) => {
            ingest.close();
            if (error) reject(error);
            else resolve(response.outcomes);
        });
    });
}

const seconds = ({ seconds, nanos }) => Number(seconds) + nanos / 1e9;

// The code of an error, its reason, whether the messages were refused or are unknown, and the invalid fields.
function explain(error) {
    const google = new protobuf.Root();
    google.resolvePath = (_, path) => (path.startsWith('google/') ? getProtoPath('..', path) : path);
    google.loadSync(['google/rpc/status.proto', 'google/rpc/error_details.proto']);
    const words = [grpc.status[error.code]];
    const [bytes] = error.metadata?.get('grpc-status-details-bin') ?? [];
    for (const { type_url, value } of bytes ? google.lookupType('google.rpc.Status').decode(bytes).details : []) {
        const detail = google.lookupType(type_url.split('/').pop()).decode(value);
        if (type_url.endsWith('ErrorInfo')) words.push(detail.reason, detail.metadata.outcome);
        if (type_url.endsWith('BadRequest')) words.push(...detail.fieldViolations.map(({ field }) => field));
        if (type_url.endsWith('RetryInfo')) words.push(`retry after ${seconds(detail.retryDelay)} s`);
    }
    return words.join(' ');
}

try {
    // OK does not mean that every message of a batch was published: check each outcome.
    for (const { acknowledged: at, ...failed } of await publish(...process.argv.slice(2))) {
        if (!at) throw new Error(`not acknowledged: ${JSON.stringify(failed)}`);
        console.log(`${at.topic}/${at.partition ?? 0}/${at.offset ?? 0}`);
    }
} catch (error) {
    console.error(error.code === undefined ? error.message : explain(error));
    process.exitCode = 1;
}
