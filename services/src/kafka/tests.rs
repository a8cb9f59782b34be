//! Settings as data: input and result.

use super::{Role, Settings, Standing, properties};

fn settings(lines: &[(&str, &str)]) -> Settings {
    let mut settings = Settings::at("127.0.0.1:9092");
    settings.properties.extend(lines.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())));
    settings
}

#[track_caller]
fn refused(lines: &[(&str, &str)], expected: &str) {
    let error = settings(lines).producer().expect_err("these settings cannot be right");
    assert_eq!(error.to_string(), expected);
}

#[test]
fn every_role_gets_properties_that_librdkafka_takes() {
    let settings = settings(&[]);
    let producer = settings.producer().expect("it is taken");
    assert_eq!(producer.get("acks"), Some("all"));
    assert_eq!(producer.get("partitioner"), Some("murmur2_random"));
    assert_eq!(producer.get("group.id"), None);
    // Only consumers had it, and librdkafka's producers create topics unless configured otherwise.
    assert_eq!(producer.get("allow.auto.create.topics"), Some("false"));
    let tail = settings.tail().expect("it is taken");
    assert_eq!(tail.get("auto.offset.reset"), Some("error"));
    assert_eq!(tail.get("queued.max.messages.kbytes"), Some("32768"));
    let reader = settings.reader().expect("it is taken");
    assert_eq!(reader.get("enable.partition.eof"), Some("true"));
    assert_eq!(reader.get("queued.max.messages.kbytes"), Some("4096"));
    let directory = settings.directory().expect("it is taken");
    assert_eq!(directory.get("allow.auto.create.topics"), Some("false"));
    assert_eq!(directory.get("group.id"), None);
}

#[test]
fn a_preset_gives_way_to_what_a_person_sets_also_under_its_other_name() {
    let producer = settings(&[("queue.buffering.max.ms", "20")]).producer().expect("it is taken");
    assert_eq!(producer.get("linger.ms"), Some("20"));
    assert_eq!(producer.get("queue.buffering.max.ms"), None);
}

#[test]
fn properties_of_the_other_kind_of_client_are_left_out() {
    let settings = settings(&[("compression.codec", "zstd"), ("fetch.min.bytes", "1"), ("client.rack", "a")]);
    let producer = settings.producer().expect("it is taken");
    assert_eq!((producer.get("compression.codec"), producer.get("fetch.min.bytes")), (Some("zstd"), None));
    let tail = settings.tail().expect("it is taken");
    assert_eq!((tail.get("compression.codec"), tail.get("fetch.min.bytes")), (None, Some("1")));
    assert_eq!((producer.get("client.rack"), tail.get("client.rack")), (Some("a"), Some("a")));
}

#[test]
fn an_owned_property_is_refused_with_its_reason() {
    refused(
        &[("request.required.acks", "1")],
        "kafka.properties: \"request.required.acks\" cannot be set: an acknowledged publish survives the loss \
         of any one broker (P1)",
    );
    refused(
        &[("bootstrap.servers", "b:9092")],
        "kafka.properties: \"bootstrap.servers\" cannot be set: set kafka.brokers instead",
    );
    for property in properties().iter().filter(|property| property.standing == Standing::Owned) {
        let error = settings(&[(property.name, "1")]).directory().expect_err(property.name);
        assert!(error.to_string().ends_with(property.reason), "{error}");
    }
}

#[test]
fn librdkafka_says_what_is_wrong_with_a_property_that_it_does_not_take() {
    refused(
        &[("linger.msec", "1")],
        "kafka.properties: \"linger.msec\" = \"[redacted]\": No such configuration property: \"linger.msec\"",
    );
    let error = settings(&[("linger.ms", "soon")]).producer().expect_err("it is no number");
    assert!(error.to_string().starts_with("kafka.properties: \"linger.ms\" = \"soon\": "), "{error}");
}

#[test]
fn errors_do_not_repeat_values_that_may_be_secrets() {
    // The value was repeated under every name that did not look like a secret's.
    refused(
        &[("sasl.pasword", "hunter2")],
        "kafka.properties: \"sasl.pasword\" = \"[redacted]\": No such configuration property: \"sasl.pasword\"",
    );
    let jaas = settings(&[("sasl.jaas.config", "PlainLoginModule required password=hunter2;")]);
    let error = jaas.producer().expect_err("librdkafka is not Java").to_string();
    assert!(
        error.contains("Java JAAS configuration is not supported") && !error.contains("hunter2"),
        "{error}"
    );
}

#[test]
fn properties_that_do_not_fit_together_are_found_without_a_broker() {
    // Each of them is taken alone, so only the start of a service found out, with exit code 70.
    let check = |lines: &[(&str, &str)], role, expected: &str| {
        let error = settings(lines).check(&[role]).expect_err("these do not fit together").to_string();
        assert!(error.contains(expected), "{error}");
    };
    let encrypted = ("security.protocol", "sasl_ssl");
    check(&[encrypted], Role::Directory, "cannot create the directory client");
    check(&[encrypted, ("sasl.mechanisms", "PLAIN")], Role::Tail, "sasl.username");
    check(&[("message.timeout.ms", "5"), ("linger.ms", "1000")], Role::Producer, "linger.ms");
    settings(&[]).check(&[Role::Producer, Role::Tail, Role::Reader, Role::Directory]).expect("presets fit");
}

#[test]
fn two_names_of_one_property_cannot_both_be_set() {
    refused(
        &[("linger.ms", "1"), ("queue.buffering.max.ms", "2")],
        "kafka.properties: \"queue.buffering.max.ms\" is an alias of \"linger.ms\", which is also set; remove one of them",
    );
}

#[test]
fn brokers_have_to_be_addresses() {
    let mut settings = settings(&[]);
    settings.brokers = vec!["kafka-1:9092".into(), "kafka-2".into()];
    let error = settings.tail().expect_err("there is no port");
    assert_eq!(error.to_string(), "kafka.brokers: \"kafka-2\": expected HOST:PORT");
    settings.brokers.clear();
    let error = settings.tail().expect_err("no broker is configured");
    assert!(error.to_string().starts_with("kafka.brokers is empty"), "{error}");
}

#[test]
fn secrets_are_never_printed() {
    let settings = settings(&[("sasl.password", "hunter2"), ("sasl.username", "tailcast")]);
    let shown = format!("{settings:?}");
    assert!(
        !shown.contains("hunter2") && shown.contains("[redacted]") && shown.contains("\"tailcast\""),
        "{shown}"
    );
}

#[test]
fn compression_encryption_and_authentication_are_built_in() {
    for codec in ["gzip", "snappy", "lz4", "zstd"] {
        settings(&[("compression.codec", codec)]).producer().expect(codec);
    }
    for mechanism in ["PLAIN", "SCRAM-SHA-512"] {
        let secure = [("security.protocol", "sasl_ssl"), ("sasl.mechanism", mechanism)];
        let credentials = [("sasl.username", "tailcast"), ("sasl.password", "hunter2")];
        settings(&[secure, credentials].concat()).check(&[Role::Tail]).expect(mechanism);
    }
}

#[test]
fn every_property_has_a_reason() {
    for property in properties() {
        assert!(property.reason.len() > 15, "{} has no reason", property.name);
        assert!(!property.reason.ends_with('.'), "{}: reasons are clauses", property.name);
    }
}
