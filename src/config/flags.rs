//! Flags for the most common keys; `--set` sets any key.
//!
//! A flag's help names its environment variable, which is derived from the key, and its default,
//! which is read from the file of defaults.

use std::{fmt, marker::PhantomData, path::PathBuf};

use clap::{Arg, ArgAction, ArgMatches, Args, Command, FromArgMatches, builder::ValueHint, value_parser};
use serde_json::Value;
use tailcast_services::config::{FlagValue, PREFIX};

use super::{Layers, layers::tree_of_defaults};

/// A flag that sets a key.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Flag {
    /// Its name, with the dashes.
    pub(crate) flag: &'static str,
    /// The key that it sets.
    pub(crate) key: &'static str,
    /// The name of its value in the help. Empty: the flag has no value and sets the key to true.
    pub(crate) value: &'static str,
    /// Its help.
    pub(crate) help: &'static str,
}

/// The flags of a command: a type, because clap needs them before there is a value.
pub(crate) trait Flags: fmt::Debug + Clone + 'static {
    /// The flags.
    const FLAGS: &'static [Flag];
}

/// The part of a command line that sets the configuration: `--config`, the flags of `F`, and
/// `--set`.
#[derive(Debug, Clone)]
pub(crate) struct Overrides<F: Flags> {
    file: Option<PathBuf>,
    values: Vec<FlagValue>,
    flags: PhantomData<F>,
}

/// No flags: only `--config` and `--set`.
#[derive(Debug, Clone)]
pub(crate) struct NoFlags;

/// The flags of `tailcast ingest`.
#[derive(Debug, Clone)]
pub(crate) struct IngestFlags;

/// The flags of `tailcast push`.
#[derive(Debug, Clone)]
pub(crate) struct PushFlags;

const fn flag(flag: &'static str, key: &'static str, value: &'static str, help: &'static str) -> Flag {
    Flag { flag, key, value, help }
}

const KAFKA: Flag = flag("--kafka", "kafka.brokers", "HOST:PORT,…", "Kafka brokers to bootstrap from");
const ADMIN: Flag =
    flag("--admin-listen", "admin.listen", "ADDRESS", "Address of the listener for probes and metrics");
const LOG_FILTER: Flag = flag(
    "--log-filter",
    "log.filter",
    "FILTER",
    "Filter of the log, for example info or tailcast_push=debug",
);
const LOG_FORMAT: Flag =
    flag("--log-format", "log.format", "FORMAT", "Format of the log: auto, pretty or json");
const DRAIN: Flag =
    flag("--drain-within", "drain.within", "DURATION", "Time limit for draining after SIGTERM");

impl Flags for NoFlags {
    const FLAGS: &'static [Flag] = &[];
}

impl Flags for IngestFlags {
    const FLAGS: &'static [Flag] = &[
        flag("--listen", "ingest.listen", "ADDRESS", "Address of the gRPC listener"),
        KAFKA,
        ADMIN,
        flag(
            "--insecure",
            "ingest.insecure",
            "",
            "Allow an address that other machines can reach, without authentication",
        ),
        flag("--reflection", "ingest.reflection", "", "Serve gRPC reflection"),
        flag(
            "--in-flight-bytes-max",
            "ingest.in_flight_bytes_max",
            "BYTES",
            "Maximum size of unacknowledged messages",
        ),
        flag(
            "--in-flight-messages-max",
            "ingest.in_flight_messages_max",
            "N",
            "Maximum number of unacknowledged messages",
        ),
        flag("--message-bytes-max", "ingest.message_bytes_max", "BYTES", "Maximum size of a message"),
        flag("--connections-max", "ingest.connections_max", "N", "Maximum number of connections"),
        DRAIN,
        LOG_FILTER,
        LOG_FORMAT,
    ];
}

impl Flags for PushFlags {
    const FLAGS: &'static [Flag] = &[
        flag("--listen", "push.listen", "ADDRESS", "Address of the WebSocket listener"),
        KAFKA,
        ADMIN,
        flag(
            "--insecure",
            "push.insecure",
            "",
            "Allow an address that other machines can reach, without authentication",
        ),
        flag(
            "--origins",
            "push.origins",
            "ORIGIN,…",
            "Allowed origins of web pages, besides this address; * for all",
        ),
        flag(
            "--node",
            "push.node",
            "NAME",
            "Name of the node, shown to clients and in logs; empty: the host name",
        ),
        flag("--sessions-max", "push.sessions.count_max", "N", "Maximum number of sessions"),
        flag(
            "--subscriptions-max",
            "push.sessions.subscriptions_max",
            "N",
            "Maximum number of subscriptions of a session",
        ),
        flag("--window-bytes-max", "push.windows.bytes_max", "BYTES", "Maximum memory for recent records"),
        flag(
            "--drain-spread",
            "push.drain.spread",
            "DURATION",
            "Time over which reconnects are spread when draining",
        ),
        DRAIN,
        LOG_FILTER,
        LOG_FORMAT,
    ];
}

impl<F: Flags> Overrides<F> {
    /// Returns the layers over the defaults, including the environment of this process.
    pub(crate) fn layers(self) -> Layers {
        Layers { file: self.file, flags: self.values, ..Layers::of_environment() }
    }
}

impl<F: Flags> Args for Overrides<F> {
    fn augment_args(command: Command) -> Command {
        let defaults = tree_of_defaults();
        let config = Arg::new("config")
            .long("config")
            .value_name("FILE")
            .value_parser(value_parser!(PathBuf))
            .value_hint(ValueHint::FilePath)
            .help("A TOML file with changes to the defaults (see `tailcast config default`)");
        let set = Arg::new("set")
            .long("set")
            .value_name("KEY=VALUE")
            .action(ArgAction::Append)
            .value_parser(assignment)
            .help("Set any key of the configuration; may be repeated");
        command.arg(config).args(F::FLAGS.iter().map(|flag| flag.arg(&defaults))).arg(set)
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl<F: Flags> FromArgMatches for Overrides<F> {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let mut values: Vec<FlagValue> = F::FLAGS.iter().filter_map(|flag| flag.value(matches)).collect();
        let sets = matches.get_many::<(String, String)>("set").into_iter().flatten();
        values.extend(sets.map(|(key, value)| FlagValue {
            flag: "--set",
            key: key.clone(),
            value: value.clone(),
        }));
        Ok(Self { file: matches.get_one("config").cloned(), values, flags: PhantomData })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

impl Flag {
    fn arg(&self, defaults: &Value) -> Arg {
        let name = self.flag.trim_start_matches("--");
        let help = format!(
            "{} [env: {}] [default: {}]",
            self.help,
            variable(self.key),
            self.default(defaults).unwrap_or_default()
        );
        let arg = Arg::new(name).long(name).help(help);
        if self.value.is_empty() { arg.action(ArgAction::SetTrue) } else { arg.value_name(self.value) }
    }

    fn value(&self, matches: &ArgMatches) -> Option<FlagValue> {
        let name = self.flag.trim_start_matches("--");
        let value = if self.value.is_empty() {
            matches.get_flag(name).then(|| "true".to_owned())
        } else {
            matches.get_one::<String>(name).cloned()
        };
        value.map(|value| FlagValue { flag: self.flag, key: self.key.to_owned(), value })
    }

    /// Returns the default in the form of a command line. `None`: there is no such key.
    fn default(&self, defaults: &Value) -> Option<String> {
        let found = self.key.split('.').try_fold(defaults, |value, part| value.get(part))?;
        let text = match found {
            Value::String(text) => text.clone(),
            Value::Array(parts) => parts.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(","),
            other => other.to_string(),
        };
        Some(if text.is_empty() { "\"\"".to_owned() } else { text })
    }
}

/// Returns the environment variable of a key.
pub(crate) fn variable(key: &str) -> String {
    format!("{PREFIX}{}", key.replace('.', "__").to_uppercase())
}

/// Parses `KEY=VALUE`.
fn assignment(text: &str) -> Result<(String, String), &'static str> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("a setting is written KEY=VALUE, for example push.listen=127.0.0.1:8081"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_flag_sets_a_key_that_exists() {
        let defaults = tree_of_defaults();
        for flag in IngestFlags::FLAGS.iter().chain(PushFlags::FLAGS) {
            assert!(
                flag.default(&defaults).is_some(),
                "{} sets {}, which does not exist",
                flag.flag,
                flag.key
            );
        }
    }

    #[test]
    fn the_help_names_the_environment_variable_and_the_default() {
        let mut command = Overrides::<IngestFlags>::augment_args(Command::new("ingest"));
        let help = command.render_long_help().to_string();
        let words = help.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(words.contains("[env: TAILCAST__INGEST__LISTEN] [default: 127.0.0.1:9090]"), "{help}");
    }

    #[test]
    fn a_setting_is_a_key_and_a_value() {
        assert_eq!(assignment("a.b=c=d"), Ok(("a.b".to_owned(), "c=d".to_owned())));
        assert!(assignment("a.b").is_err());
        assert!(assignment("=c").is_err());
    }
}
