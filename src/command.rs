//! The command line, with one subcommand per file.
//!
//! In every subcommand stdout has the data and stderr the messages. A command ends with one of the
//! exit codes of `Exit`.

mod completions;

mod config;

mod dev;

mod ingest;

mod publish;

mod push;

mod signal;

mod subscribe;

mod version;

use std::{ffi::OsString, future::Future, process::ExitCode, time::Duration};

use clap::{CommandFactory, Parser, Subcommand};
use tokio::runtime;

use crate::{
    exit::{self, Exit, Failure, OrExit},
    output,
};

/// Maximum time that the exit waits for blocked threads: a read from a terminal may never return.
const RUNTIME_END_WITHIN: Duration = Duration::from_millis(200);

/// Pushes Kafka topics to WebSocket clients.
#[derive(Debug, Parser)]
#[command(name = "tailcast", version, after_help = exit::HELP, arg_required_else_help = true, max_term_width = 120)]
struct Tailcast {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Dev(dev::Dev),
    Ingest(ingest::Ingest),
    Push(push::Push),
    #[command(name = "pub")]
    Publish(publish::Publish),
    #[command(name = "sub")]
    Subscribe(subscribe::Subscribe),
    Config(config::Config),
    Version(version::Version),
    Completions(completions::Completions),
}

/// Runs a command line, and returns the exit code.
pub fn run(command_line: impl IntoIterator<Item = OsString>) -> ExitCode {
    let command = match Tailcast::try_parse_from(command_line) {
        Ok(Tailcast { command }) => command,
        Err(error) => {
            // Requested help is data and goes to stdout; errors go to stderr.
            let _nobody_reads = error.print();
            return if error.use_stderr() { Exit::Usage.into() } else { Exit::Done.into() };
        }
    };
    command
        .run()
        .unwrap_or_else(|failure| {
            output::report(format_args!("tailcast: {failure}"));
            failure.exit()
        })
        .into()
}

impl Command {
    fn run(self) -> Result<Exit, Failure> {
        match self {
            Self::Dev(dev) => wait_for(dev.run()),
            Self::Ingest(ingest) => wait_for(ingest.run()),
            Self::Push(push) => wait_for(push.run()),
            Self::Publish(publish) => wait_for(publish.run()),
            Self::Subscribe(subscribe) => wait_for(subscribe.run()),
            Self::Config(config) => config.run(),
            Self::Version(version) => version.run(),
            Self::Completions(completions) => completions.run(&mut Tailcast::command()),
        }
    }
}

/// Runs an asynchronous command.
fn wait_for(command: impl Future<Output = Result<Exit, Failure>>) -> Result<Exit, Failure> {
    let runtime = runtime::Builder::new_multi_thread().enable_all().build().or_exit(Exit::Internal)?;
    let ended = runtime.block_on(command);
    runtime.shutdown_timeout(RUNTIME_END_WITHIN);
    ended
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(line: &str, expected: &str) {
        let found = match Tailcast::try_parse_from(line.split(' ')) {
            Ok(_) => "ok".to_owned(),
            Err(error) => error.to_string(),
        };
        assert!(found.contains(expected), "{line:?}: expected {expected:?}, found {found:?}");
    }

    #[test]
    fn the_command_line_is_consistent() {
        Tailcast::command().debug_assert();
    }

    #[test]
    fn every_command_that_can_fail_documents_its_exit_codes() {
        for name in ["dev", "ingest", "push", "pub", "sub", "config"] {
            let mut command = Tailcast::command();
            let command = command.find_subcommand_mut(name).expect("it is a subcommand");
            let help = command.render_long_help().to_string();
            assert!(help.contains(exit::HELP), "tailcast {name} --help has no exit codes");
        }
    }

    #[test]
    fn documented_command_lines_parse() {
        check("tailcast dev", "ok");
        check("tailcast dev --port-offset 100 --rate 2 --kafka 127.0.0.1:9092", "ok");
        check("tailcast dev --topic orders:8,last-values --topic users", "ok");
        check("tailcast ingest --config tailcast.toml --listen 127.0.0.1:9091 --set log.filter=debug", "ok");
        check("tailcast push --kafka a:9092,b:9092", "ok");
        check("tailcast pub chat lobby hello --header a=b", "ok");
        check("tailcast pub chat lobby", "ok");
        check("tailcast pub quotes --key-separator =", "ok");
        check("tailcast pub temps berlin -5", "ok");
        check("tailcast pub temps berlin -- -x", "ok");
        check("tailcast pub logs --no-key", "ok");
        check("tailcast pub logs --no-key value", "ok");
        check("tailcast pub invoices 4711 --file invoice.json", "ok");
        check("tailcast pub invoices 4711 --file -", "ok");
        check("tailcast pub chat lobby --tombstone", "ok");
        check("tailcast sub quotes/* --from 5m --count 10 --json", "ok");
        check("tailcast sub quotes/AAPL --from ASNFZ4mrze_-3LqYdlQyEA/4@0:123", "ok");
        check("tailcast sub quotes/AAPL --from latest --timestamps --raw", "ok");
        check("tailcast sub quotes/AAPL --json --parse --url ws://a --url ws://b", "ok");
        check("tailcast config show --config tailcast.toml", "ok");
        check("tailcast config default", "ok");
        check("tailcast version", "ok");
        check("tailcast completions bash", "ok");
    }

    #[test]
    fn an_invalid_command_line_is_refused_with_the_valid_form() {
        check("tailcast sub quotes", "a channel is topic/key");
        check("tailcast sub", "<CHANNEL>");
        check("tailcast sub quotes/a --count 0", "a whole number, 1 or more");
        check("tailcast sub quotes/a --count -1", "a whole number, 1 or more");
        check("tailcast sub quotes/a --conflated --max-rate -1", "--max-rate");
        check("tailcast sub quotes/a --from 02:20", "is ambiguous");
        check("tailcast sub quotes/a --parse", "--json");
        check("tailcast sub quotes/a --from yesterday", "a start is `live`");
        check("tailcast pub chat", "<KEY>");
        check("tailcast pub __internal a b", "__internal");
        check("tailcast pub chat lobby -x", "to pass '-x' as a value, use '-- -x'");
        check("tailcast pub chat lobby hello --file a", "cannot be used with");
        check("tailcast pub chat lobby hello --tombstone", "cannot be used with");
        check("tailcast pub chat lobby hello --header a", "a header is NAME=VALUE");
        check("tailcast push --set push.listen", "is written KEY=VALUE");
        check("tailcast dev --rate -1", "--rate");
        check("tailcast dev --topic orders:0", "is not a number of partitions");
    }
}
