//! Layers as data: the layers above the defaults, and the result.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;

use super::{FlagValue, Mistakes, Source, load, source_of};

const DEFAULTS: &str = r#"
[push]
# Where clients connect.
listen = "127.0.0.1:8080"
window_bytes_max = 1024
ratio = 0.5
json = true
[push.ping]
every = "20s"
[kafka]
brokers = ["127.0.0.1:9092"]
[kafka.properties]
"#;

/// The expected form of `push.window_bytes_max`.
const BYTES: &str =
    "a number of bytes, or a size such as \"256MiB\" (B, kB, MB, GB, KiB, MiB, GiB); the default is 1024";

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Config {
    push: Push,
    kafka: Kafka,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Push {
    #[serde(deserialize_with = "super::address")]
    listen: SocketAddr,
    #[serde(deserialize_with = "super::bytes")]
    window_bytes_max: u32,
    ratio: f64,
    json: bool,
    ping: Ping,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Ping {
    #[serde(with = "humantime_serde")]
    every: Duration,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Kafka {
    brokers: Vec<String>,
    properties: BTreeMap<String, String>,
}

#[derive(Default)]
struct Given {
    file: Option<(tempfile::TempDir, PathBuf)>,
    environment: Vec<(String, String)>,
    flags: Vec<FlagValue>,
}

fn given() -> Given {
    Given::default()
}

impl Given {
    fn file(mut self, text: &str) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("tailcast.toml");
        std::fs::write(&path, text).expect("it is writable");
        self.file = Some((directory, path));
        self
    }

    fn variable(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    fn flag(mut self, flag: &'static str, key: &str, value: &str) -> Self {
        self.flags.push(FlagValue { flag, key: key.to_owned(), value: value.to_owned() });
        self
    }

    fn load(&self) -> Result<Config, Mistakes> {
        let path = self.file.as_ref().map(|(_, path)| path.as_path());
        load(DEFAULTS, path, self.environment.clone(), &self.flags)
    }

    #[track_caller]
    fn source_of(&self, key: &str) -> Source {
        let path = self.file.as_ref().map(|(_, path)| path.as_path());
        let source = source_of(key, DEFAULTS, path, self.environment.clone(), &self.flags);
        source.map_err(|error| error.to_string()).expect("these layers can be read")
    }

    #[track_caller]
    fn loads(&self) -> Config {
        self.load().map_err(|error| error.to_string()).expect("these layers are right")
    }

    #[track_caller]
    fn fails(&self, expected: &str) {
        assert_eq!(self.error(), expected);
    }

    /// Each of these mistakes is found, in whatever order.
    #[track_caller]
    fn fails_with(&self, expected: &[&str]) {
        let error = self.error();
        let mut found: Vec<&str> = error.lines().collect();
        found.sort_unstable();
        assert_eq!(found, expected);
    }

    /// The file's path is shortened to its name.
    #[track_caller]
    fn error(&self) -> String {
        let error = self.load().expect_err("these layers are wrong").to_string();
        match &self.file {
            Some((directory, _)) => error.replace(&format!("{}/", directory.path().display()), ""),
            None => error,
        }
    }
}

#[test]
fn without_layers_the_defaults_hold() {
    let config = given().loads();
    assert_eq!(config.push.listen.port(), 8080);
    assert_eq!(config.push.ping.every, Duration::from_secs(20));
    assert!(config.push.json && config.kafka.properties.is_empty());
    assert_eq!(config.push.ratio, 0.5);
}

#[test]
fn flags_go_over_the_environment_over_the_file_over_the_defaults() {
    let layers = given()
        .file("[push]\nlisten = '127.0.0.1:1'\nwindow_bytes_max = 1\nratio = 1.5")
        .variable("TAILCAST__PUSH__LISTEN", "127.0.0.1:2")
        .variable("TAILCAST__PUSH__WINDOW_BYTES_MAX", "2")
        .flag("--listen", "push.listen", "127.0.0.1:3");
    let push = layers.loads().push;
    assert_eq!((push.listen.port(), push.window_bytes_max, push.ratio, push.json), (3, 2, 1.5, true));
}

#[test]
fn text_takes_the_type_of_the_default() {
    let config = given()
        .variable("TAILCAST__PUSH__JSON", "false")
        .variable("TAILCAST__PUSH__RATIO", "2")
        .variable("TAILCAST__PUSH__PING__EVERY", "250ms")
        .variable("TAILCAST__KAFKA__BROKERS", "a:1, b:2")
        .loads();
    assert!(!config.push.json);
    assert_eq!(config.push.ratio, 2.0);
    assert_eq!(config.push.ping.every, Duration::from_millis(250));
    assert_eq!(config.kafka.brokers, ["a:1", "b:2"]);
}

#[test]
fn names_with_dots_may_be_written_as_each_layer_likes() {
    let config = given()
        .file("[kafka.properties]\nlinger.ms = 2\n\"socket.keepalive.enable\" = true\nclient.id = 'file'")
        .variable("TAILCAST__KAFKA__PROPERTIES__SASL_PASSWORD", "12345")
        .variable("TAILCAST__KAFKA__PROPERTIES__security.protocol", "ssl")
        .flag("--set", "kafka.properties.\"client.id\"", "flag")
        .flag("--set", "kafka.properties.debug", "all")
        .flag("--set", "kafka.properties.batch.size", "5")
        .loads();
    let properties: Vec<_> =
        config.kafka.properties.iter().map(|(name, value)| format!("{name}={value}")).collect();
    assert_eq!(
        properties,
        [
            "batch.size=5",
            "client.id=flag",
            "debug=all",
            "linger.ms=2",
            "sasl.password=12345",
            "security.protocol=ssl",
            "socket.keepalive.enable=true",
        ]
    );
}

#[test]
fn a_wrong_value_in_a_file_is_reported_with_its_line() {
    given()
        .file("[push]\n\nwindow_bytes_max = \"much\"")
        .fails(&format!("tailcast.toml:3: push.window_bytes_max: \"much\": expected {BYTES}"));
    given()
        .file("[push]\nwindow_bytes_max = -1")
        .fails(&format!("tailcast.toml:2: push.window_bytes_max: -1: expected {BYTES}"));
    given().file("[kafka]\nbrokers = 'a:1'").fails(
        "tailcast.toml:2: kafka.brokers: \"a:1\": expected a sequence; the default is [\"127.0.0.1:9092\"]",
    );
    given().file("push = { listen = 'localhost' }").fails(
        "tailcast.toml:1: push.listen: \"localhost\": expected HOST:PORT; the default is \"127.0.0.1:8080\"",
    );
}

#[test]
fn a_wrong_value_in_the_environment_or_a_flag_is_reported_with_its_name() {
    given()
        .variable("TAILCAST__PUSH__WINDOW_BYTES_MAX", "much")
        .fails("TAILCAST__PUSH__WINDOW_BYTES_MAX: push.window_bytes_max: \"much\": expected an integer");
    given().variable("TAILCAST__PUSH__WINDOW_BYTES_MAX", "5000000000").fails(&format!(
        "TAILCAST__PUSH__WINDOW_BYTES_MAX: push.window_bytes_max: 5000000000: expected {BYTES}"
    ));
    given().flag("--json", "push.json", "yes").fails("--json: push.json: \"yes\": expected true or false");
    given()
        .flag("--ping-every", "push.ping.every", "soon")
        .fails("--ping-every: push.ping.every: \"soon\": expected a duration; the default is \"20s\"");
    given()
        .variable("TAILCAST__PUSH", "1")
        .fails("TAILCAST__PUSH: push: a section cannot have a value; set one of its keys");
}

#[test]
fn every_mistake_is_reported() {
    // Only the first was, so that a file with five of them took five attempts.
    given()
        .file("[push]\nlisten = 'nowhere'\ncolour = 'blue'\n[kafka]\nbrokers = 'a:1'")
        .variable("TAILCAST__PUSH__JSON", "maybe")
        .variable("TAILCAST__PUSH__RATIO", "0.25")
        .flag("--set", "push.ping.every", "soon")
        .flag("--set", "push..jsn", "true")
        .fails_with(&[
            "--set: invalid key \"push..jsn\" (example: push.listen)",
            "--set: push.ping.every: \"soon\": expected a duration; the default is \"20s\"",
            "TAILCAST__PUSH__JSON: push.json: \"maybe\": expected true or false",
            "tailcast.toml:2: push.listen: \"nowhere\": expected HOST:PORT; the default is \"127.0.0.1:8080\"",
            "tailcast.toml:3: unknown key push.colour; known keys: listen, window_bytes_max, ratio, json, ping",
            "tailcast.toml:5: kafka.brokers: \"a:1\": expected a sequence; the default is [\"127.0.0.1:9092\"]",
        ]);
}

#[test]
fn addresses_may_be_names_and_sizes_may_have_units() {
    let file = given().file("[push]\nlisten = 'localhost:18080'\nwindow_bytes_max = '256MiB'").loads();
    assert_eq!(file.push.listen.to_string(), "127.0.0.1:18080");
    assert_eq!(file.push.window_bytes_max, 256 << 20);
    let text = given().variable("TAILCAST__PUSH__WINDOW_BYTES_MAX", "64KiB").flag(
        "--listen",
        "push.listen",
        "localhost:1",
    );
    assert_eq!((text.loads().push.window_bytes_max, text.loads().push.listen.port()), (65_536, 1));
}

#[test]
fn an_unknown_key_is_an_error_in_every_layer() {
    given().file("[push]\njson = true\ncolour = 'blue'").fails(
        "tailcast.toml:3: unknown key push.colour; known keys: listen, window_bytes_max, ratio, json, ping",
    );
    given().file("[pusj]\njson = true").fails("tailcast.toml:1: unknown key pusj; did you mean `push`?");
    given()
        .variable("TAILCAST__PUSH__LISEN", "127.0.0.1:1")
        .fails("TAILCAST__PUSH__LISEN: unknown key push.lisen; did you mean `listen`?");
    given().flag("--set", "push.jsn", "true").fails("--set: unknown key push.jsn; did you mean `json`?");
    given()
        .flag("--set", "push..jsn", "true")
        .fails("--set: invalid key \"push..jsn\" (example: push.listen)");
}

#[test]
fn variables_that_are_not_ours_are_left_alone() {
    given().variable("TAILCAST_PORT", "tcp://10.0.0.1:8080").variable("PUSH__LISTEN", "nonsense").loads();
}

#[test]
fn a_file_that_is_not_toml_is_reported_with_its_line_and_without_its_text() {
    let error =
        given().file("[kafka.properties]\nsasl.password = hunter2").load().expect_err("it is not TOML");
    let error = error.to_string();
    assert!(error.contains("tailcast.toml:2: invalid TOML: "), "{error}");
    assert!(!error.contains("hunter2"), "{error}");
}

#[test]
fn a_missing_file_is_reported_with_its_name() {
    let error = load::<Config>(DEFAULTS, Some(Path::new("/nonexistent/tailcast.toml")), [], &[])
        .expect_err("there is no such file");
    assert_eq!(error.to_string(), "/nonexistent/tailcast.toml: No such file or directory (os error 2)");
}

#[test]
fn a_secret_is_not_repeated_in_an_error() {
    let error = given()
        .file("[kafka.properties]\nsasl.password = ['hunter2']")
        .load()
        .expect_err("a list is no password")
        .to_string();
    assert!(error.contains("kafka.properties.sasl.password") && !error.contains("hunter2"), "{error}");
}

#[test]
fn the_source_of_a_key_is_known_even_if_the_value_is_its_default() {
    let same = "[kafka]\nbrokers = ['127.0.0.1:9092']";
    let file = given().file(same);
    assert!(matches!(file.source_of("kafka.brokers"), Source::File(_)));
    assert_eq!(file.source_of("push.listen"), Source::Defaults);
    let flag = file.variable("TAILCAST__KAFKA__BROKERS", "a:1").flag("--kafka", "kafka.brokers", "b:1");
    assert_eq!(flag.source_of("kafka.brokers"), Source::Flag("--kafka"));
    assert_eq!(given().source_of("kafka.brokers"), Source::Defaults);
}
