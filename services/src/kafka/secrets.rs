//! Redacts values of properties that may be secrets, also in librdkafka's messages.
//!
//! Invariant: only properties known to be harmless are shown. An unknown name may be a misspelt
//! secret, or a property of Java clients, such as `sasl.jaas.config`.

use rdkafka::ClientConfig;
use rdkafka::error::KafkaError;
use rdkafka::types::RDKafkaConfRes;

use super::names;

/// The text shown in place of a secret.
pub const REDACTED: &str = "[redacted]";

/// Properties of all clients that may be shown, under the preferred names. Not listed are
/// passwords, keys, properties that contain them (`sasl.oauthbearer.config`,
/// `sasl.kerberos.kinit.cmd`) or may contain them (URLs, claims, extensions), and all PEM texts.
const HARMLESS: &[&str] = &[
    "allow.auto.create.topics",
    "api.version.fallback.ms",
    "api.version.request",
    "api.version.request.timeout.ms",
    "bootstrap.servers",
    "broker.address.family",
    "broker.address.ttl",
    "broker.version.fallback",
    "client.dns.lookup",
    "client.id",
    "client.rack",
    "connections.max.idle.ms",
    "debug",
    "enable.metrics.push",
    "enable.random.seed",
    "enable.sasl.oauthbearer.unsecure.jwt",
    "enable.ssl.certificate.verification",
    "enabled_events",
    "https.ca.location",
    "internal.termination.signal",
    "log.connection.close",
    "log.queue",
    "log.thread.name",
    "log_level",
    "max.in.flight.requests.per.connection",
    "message.copy.max.bytes",
    "message.max.bytes",
    "metadata.max.age.ms",
    "metadata.recovery.rebootstrap.trigger.ms",
    "metadata.recovery.strategy",
    "plugin.library.paths",
    "receive.message.max.bytes",
    "reconnect.backoff.jitter.ms",
    "reconnect.backoff.max.ms",
    "reconnect.backoff.ms",
    "retry.backoff.max.ms",
    "retry.backoff.ms",
    "sasl.kerberos.keytab",
    "sasl.kerberos.min.time.before.relogin",
    "sasl.kerberos.principal",
    "sasl.kerberos.service.name",
    "sasl.mechanisms",
    "sasl.oauthbearer.assertion.algorithm",
    "sasl.oauthbearer.assertion.file",
    "sasl.oauthbearer.assertion.jwt.template.file",
    "sasl.oauthbearer.assertion.private.key.file",
    "sasl.oauthbearer.client.id",
    "sasl.oauthbearer.grant.type",
    "sasl.oauthbearer.metadata.authentication.type",
    "sasl.oauthbearer.method",
    "sasl.oauthbearer.scope",
    "sasl.username",
    "security.protocol",
    "socket.blocking.max.ms",
    "socket.connection.setup.timeout.ms",
    "socket.keepalive.enable",
    "socket.max.fails",
    "socket.nagle.disable",
    "socket.receive.buffer.bytes",
    "socket.send.buffer.bytes",
    "socket.timeout.ms",
    "ssl.ca.certificate.stores",
    "ssl.ca.location",
    "ssl.certificate.location",
    "ssl.cipher.suites",
    "ssl.crl.location",
    "ssl.curves.list",
    "ssl.endpoint.identification.algorithm",
    "ssl.engine.id",
    "ssl.engine.location",
    "ssl.key.location",
    "ssl.keystore.location",
    "ssl.providers",
    "ssl.sigalgs.list",
    "statistics.interval.ms",
    "topic.blacklist",
    "topic.metadata.propagation.max.ms",
    "topic.metadata.refresh.fast.cnt",
    "topic.metadata.refresh.fast.interval.ms",
    "topic.metadata.refresh.interval.ms",
    "topic.metadata.refresh.sparse",
];

/// Returns whether the value of this property must not be shown: it is a secret, or the property is
/// unknown.
pub(super) fn is_secret(name: &str) -> bool {
    let canonical = names::canonical(name);
    !(HARMLESS.contains(&canonical) || names::of_one_kind(canonical))
}

/// Returns whether the value of this configuration key must not be shown. Only `[kafka.properties]`
/// has secrets.
pub fn is_secret_at(path: &[impl AsRef<str>]) -> bool {
    let path: Vec<&str> = path.iter().map(AsRef::as_ref).collect();
    match path.as_slice() {
        // The section should be a table; a value of another type may contain all of its secrets.
        ["kafka", "properties"] => true,
        ["kafka", "properties", name @ ..] => is_secret(&name.join(".")),
        _ => false,
    }
}

/// The value for display.
pub(super) fn shown<'a>(name: &str, value: &'a str) -> &'a str {
    if is_secret(name) { REDACTED } else { value }
}

/// The part of librdkafka's error `sentence` about a property that may be shown.
pub(super) fn complaint(name: &str, refusal: RDKafkaConfRes, sentence: String) -> String {
    // An error about an unknown name repeats only the name.
    if refusal == RDKafkaConfRes::RD_KAFKA_CONF_UNKNOWN || !is_secret(name) {
        return sentence;
    }
    // The error may quote the value. The error for an empty value cannot.
    match ClientConfig::new().set(name, "").create_native_config() {
        Err(KafkaError::ClientConfig(_, sentence, ..)) => sentence,
        _ => "librdkafka rejects this value".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_keys_and_unknown_names_are_secret_and_places_are_not() {
        for name in [
            "sasl.password",
            "ssl.key.password",
            "ssl.keystore.password",
            "ssl.key.pem",
            "sasl.oauthbearer.client.secret",
            "sasl.oauthbearer.client.credentials.client.secret",
            "sasl.oauthbearer.config",
            "sasl.oauthbearer.assertion.private.key.passphrase",
            // These two, and every misspelt name, were shown: only known secrets were hidden.
            "sasl.jaas.config",
            "sasl.pasword",
        ] {
            assert!(is_secret(name), "{name} is shown");
        }
        for name in [
            "ssl.ca.location",
            "ssl.key.location",
            "sasl.username",
            "sasl.mechanism",
            "security.protocol",
            "linger.ms",
            "fetch.min.bytes",
        ] {
            assert!(!is_secret(name), "{name} is hidden");
        }
    }

    #[test]
    fn nothing_outside_kafkas_properties_is_secret() {
        assert!(!is_secret_at(&["push", "listen"]));
        assert!(!is_secret_at(&["kafka", "brokers"]));
        assert!(!is_secret_at(&["kafka", "properties", "linger.ms"]));
        assert!(is_secret_at(&["kafka", "properties", "sasl.password"]));
        assert!(is_secret_at(&["kafka", "properties", "sasl", "password"]));
        assert!(is_secret_at(&["kafka", "properties"]));
    }

    #[test]
    fn what_is_called_harmless_is_a_property() {
        for name in HARMLESS {
            let known = match ClientConfig::new().set(*name, "").create_native_config() {
                Err(KafkaError::ClientConfig(refusal, ..)) => {
                    refusal != RDKafkaConfRes::RD_KAFKA_CONF_UNKNOWN
                }
                _ => true,
            };
            assert!(known, "librdkafka has no {name}");
        }
    }
}
