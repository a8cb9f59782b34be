//! Scenarios: TOML files whose keys are flags, applied before those of the command line.
//!
//! A file is turned into arguments, so that only the command line knows each value, its default and
//! its limits. A flag on the command line replaces the scenario's value, even a flag that may be
//! given several times.

use std::{collections::BTreeMap, fs, io};

use clap::{ArgAction, CommandFactory as _};
use toml_edit::{ImDocument, Item, Value};

use crate::cli::Cli;

/// The built-in scenarios.
const BUILT_IN: [(&str, &str); 9] = [
    ("steady", include_str!("../scenarios/steady.toml")),
    ("hot_key", include_str!("../scenarios/hot_key.toml")),
    ("fan_out", include_str!("../scenarios/fan_out.toml")),
    ("many_channels", include_str!("../scenarios/many_channels.toml")),
    ("slow_readers", include_str!("../scenarios/slow_readers.toml")),
    ("reconnect_storm", include_str!("../scenarios/reconnect_storm.toml")),
    ("rolling_drain", include_str!("../scenarios/rolling_drain.toml")),
    ("idle", include_str!("../scenarios/idle.toml")),
    ("soak", include_str!("../scenarios/soak.toml")),
];

/// Flags that a scenario cannot set.
const EXCLUDED: [&str; 5] = ["scenario", "worker", "run", "help", "version"];

/// A scenario as arguments.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Scenario {
    /// The file's name, for error messages.
    pub(crate) file: String,
    /// The arguments of each flag, with its line in the file.
    flags: BTreeMap<String, (usize, Vec<String>)>,
}

/// Why a scenario cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ScenarioError {
    /// There is neither a file nor a built-in scenario of this name.
    #[error("--scenario {name}: {source}; built-in scenarios: {}", BUILT_IN.map(|(name, _)| name).join(", "))]
    Absent { name: String, source: io::Error },
    /// It is not TOML.
    #[error("{file}: {reason}")]
    Syntax { file: String, reason: String },
    /// A key is not a flag.
    #[error("{file}:{line}: unknown key {key:?}; keys are loadgen's flags, as in --help")]
    Key { file: String, line: usize, key: String },
    /// A value has the wrong type.
    #[error("{file}:{line}: {key} takes {expected}")]
    Value { file: String, line: usize, key: String, expected: &'static str },
}

impl Scenario {
    /// Reads the scenario that the arguments name, if any.
    pub(crate) fn of(arguments: &[String]) -> Result<Option<Self>, ScenarioError> {
        let named = arguments.iter().zip(arguments.iter().skip(1));
        let apart = named.filter(|(flag, _)| *flag == "--scenario").map(|(_, name)| name.as_str());
        let joined = arguments.iter().filter_map(|argument| argument.strip_prefix("--scenario="));
        let Some(name) = apart.chain(joined).last() else { return Ok(None) };
        match BUILT_IN.iter().find(|(built_in, _)| *built_in == name) {
            Some((_, text)) => Self::parse(&format!("scenario {name}"), text).map(Some),
            None => match fs::read_to_string(name) {
                Ok(text) => Self::parse(name, &text).map(Some),
                Err(source) => Err(ScenarioError::Absent { name: name.to_owned(), source }),
            },
        }
    }

    fn parse(file: &str, text: &str) -> Result<Self, ScenarioError> {
        let document = ImDocument::parse(text)
            .map_err(|error| ScenarioError::Syntax { file: file.to_owned(), reason: error.to_string() })?;
        let command = Cli::command();
        let mut flags = BTreeMap::new();
        for (key, item) in document.iter() {
            let span = document.as_table().key(key).and_then(toml_edit::Key::span);
            let before = span.and_then(|span| text.get(..span.start)).unwrap_or_default();
            let (file, line) = (file.to_owned(), before.matches('\n').count() + 1);
            let flag = key.replace('_', "-");
            let known = command.get_arguments().find(|known| known.get_long() == Some(&flag));
            let Some(known) = known.filter(|_| !EXCLUDED.contains(&flag.as_str())) else {
                return Err(ScenarioError::Key { file, line, key: key.to_owned() });
            };
            let arguments = arguments(&flag, item, known.get_action())
                .map_err(|expected| ScenarioError::Value { file, line, key: key.to_owned(), expected })?;
            flags.insert(flag, (line, arguments));
        }
        Ok(Self { file: file.to_owned(), flags })
    }

    /// Returns its arguments, without flags that are given on the command line.
    pub(crate) fn arguments(&self, given: &[String]) -> Vec<String> {
        let is_given = |flag: &str| {
            let flag = format!("--{flag}");
            given.iter().any(|argument| {
                argument.strip_prefix(&flag).is_some_and(|rest| rest.is_empty() || rest.starts_with('='))
            })
        };
        let own = self.flags.iter().filter(|(flag, _)| !is_given(flag));
        own.flat_map(|(_, (_, arguments))| arguments.iter().cloned()).collect()
    }

    /// Returns file and line of a rejected flag (`--rate <EVENTS/S>`), if the scenario set it.
    pub(crate) fn place(&self, complaint: &str) -> Option<String> {
        let flag = complaint.strip_prefix("--")?.split([' ', '=']).next()?;
        self.flags.get(flag).map(|(line, _)| format!("{}:{line}", self.file))
    }
}

/// A flag without a value is present or absent.
fn arguments(flag: &str, item: &Item, action: &ArgAction) -> Result<Vec<String>, &'static str> {
    if matches!(action, ArgAction::SetTrue) {
        let is_set = item.as_bool().ok_or("true or false")?;
        return Ok(is_set.then(|| format!("--{flag}")).into_iter().collect());
    }
    let values = values(item, matches!(action, ArgAction::Append))?;
    Ok(values.iter().map(|value| format!("--{flag}={value}")).collect())
}

fn values(item: &Item, several: bool) -> Result<Vec<String>, &'static str> {
    match item {
        Item::Value(Value::Array(list)) if several => list.iter().map(value).collect(),
        Item::Value(Value::Array(_)) => Err("one value"),
        Item::Value(one) => Ok(vec![value(one)?]),
        _ => Err("a value, not a table"),
    }
}

fn value(value: &Value) -> Result<String, &'static str> {
    match value {
        Value::String(text) => Ok(text.value().clone()),
        Value::Integer(number) => Ok(number.value().to_string()),
        Value::Float(number) => Ok(number.value().to_string()),
        _ => Err("text or a number, or a list of those where the flag may be given several times"),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;

    fn strings(text: &str) -> Vec<String> {
        text.split_whitespace().map(str::to_owned).collect()
    }

    #[track_caller]
    fn check(toml: &str, given: &str, expected: &str) {
        let found = match Scenario::parse("a.toml", toml) {
            Ok(scenario) => scenario.arguments(&strings(given)).join(" "),
            Err(error) => error.to_string(),
        };
        assert!(found.starts_with(expected), "{toml:?}: expected {expected:?}, found {found:?}");
    }

    #[test]
    fn keys_become_flags_and_the_command_line_takes_precedence() {
        check("rate = 5\nconnect_rate = 7\nwarmup = \"1s\"", "", "--connect-rate=7 --rate=5 --warmup=1s");
        check("rate = 5\nconnect_rate = 7", "--rate 9", "--connect-rate=7");
        check("rate = 5\nconnect_rate = 7", "--rate=9 --connect-rate 1", "");
        check("threshold = [\"lost==0\", \"p99<1s\"]", "", "--threshold=lost==0 --threshold=p99<1s");
        check("threshold = [\"lost==0\"]", "--threshold p50<1s", "");
        check("compare_kafka = true\nrate = 5", "", "--compare-kafka --rate=5");
        check("compare_kafka = false\nrate = 5", "", "--rate=5");
    }

    #[test]
    fn errors_have_key_file_and_line() {
        check("# comment\n\nspeed = 5", "", "a.toml:3: unknown key \"speed\"");
        check("worker = 1", "", "a.toml:1: unknown key \"worker\"");
        check("scenario = \"x\"", "", "a.toml:1: unknown key \"scenario\"");
        check("compare_kafka = 1", "", "a.toml:1: compare_kafka takes true or false");
        check("rate = [1, 2]", "", "a.toml:1: rate takes one value");
        check("keys = 1\n[rate]\nx = 1", "", "a.toml:2: rate takes a value, not a table");
        check("rate = ", "", "a.toml: TOML parse error at line 1");
        let error = Scenario::of(&strings("--scenario nothing_like_it")).expect_err("there is none");
        assert!(error.to_string().contains("reconnect_storm"), "{error}");
    }

    #[test]
    fn a_rejected_value_is_traced_to_its_line() {
        let scenario = Scenario::parse("a.toml", "keys = 1\nrate = 0").expect("the keys are flags");
        let arguments = scenario.arguments(&[]);
        let all = ["loadgen", "--kafka=k:1"].into_iter().chain(arguments.iter().map(String::as_str));
        let error = Cli::try_parse_from(all).expect_err("a rate is at least 1");
        let complaint =
            error.get(clap::error::ContextKind::InvalidArg).expect("it names the flag").to_string();
        assert_eq!(scenario.place(&complaint).as_deref(), Some("a.toml:2"));
    }

    #[test]
    fn the_built_in_scenarios_are_valid() {
        for (name, text) in BUILT_IN {
            let scenario = Scenario::parse(name, text).unwrap_or_else(|error| panic!("{error}"));
            let arguments = scenario.arguments(&[]);
            let all = ["loadgen", "--kafka=k:1"].into_iter().chain(arguments.iter().map(String::as_str));
            let cli = Cli::try_parse_from(all).unwrap_or_else(|error| panic!("{name}: {error}"));
            assert_eq!(crate::consistency::check(&cli), Ok(()), "{name}");
            assert!(!cli.output.thresholds.is_empty(), "{name} has no thresholds");
        }
    }
}
