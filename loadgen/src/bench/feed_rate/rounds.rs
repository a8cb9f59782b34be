//! Who reads when: the feed and the bare consumer in turn, so that both have the same machine.

use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, ensure};

use super::{
    backlog,
    cli::{Cli, Watch},
    read::Cost,
};
use crate::bench::topic::Topic;

/// One measurement of each.
#[derive(Debug, Clone, Copy)]
pub(super) struct Round {
    pub(super) feed: Cost,
    pub(super) bare: Cost,
}

/// Publishes the backlog, has it read, and returns the rounds for each thing that was watched.
///
/// # Errors
///
/// When Kafka does not answer, or a record does not come.
pub(super) fn measure(cli: &Cli) -> Result<Vec<(Watch, Vec<Round>)>> {
    let topic = Topic::take_or_create(cli.kafka(), None)?;
    backlog::publish(cli.kafka(), &topic.name, cli.backlog)?;
    // Once for nothing: what was written is in the broker's memory then, as what is read while it is new.
    read(cli, &topic, None)?;
    let rounds = |watch| {
        let rounds = (0..cli.rounds).map(|number| round(cli, &topic, watch, number));
        Ok((watch, rounds.collect::<Result<_>>()?))
    };
    let all = cli.watches.iter().copied().map(rounds).collect::<Result<_>>()?;
    topic.leave()?;
    Ok(all)
}

fn round(cli: &Cli, topic: &Topic, watch: Watch, number: u8) -> Result<Round> {
    // Each goes first as often as second, but for one.
    if number.is_multiple_of(2) {
        let feed = read(cli, topic, Some(watch))?;
        Ok(Round { feed, bare: read(cli, topic, None)? })
    } else {
        let bare = read(cli, topic, None)?;
        Ok(Round { bare, feed: read(cli, topic, Some(watch))? })
    }
}

/// Has another process read everything.
fn read(cli: &Cli, topic: &Topic, feed: Option<Watch>) -> Result<Cost> {
    let program = std::env::current_exe().context("the program does not know where it is")?;
    let partitions = topic.partitions.context("the topic was created here")?;
    let mut command = Command::new(program);
    command.args(["read", "--from", cli.kafka(), "--topic", &topic.name]);
    command.args(["--partitions", &partitions.to_string()]);
    command.args(["--records", &cli.backlog.records.to_string(), "--keys", &cli.backlog.keys.to_string()]);
    if let Some(watch) = feed {
        command.args(["--feed", watch.name()]);
    }
    let output = command.stdin(Stdio::null()).stderr(Stdio::inherit()).output();
    let output = output.context("the reading process cannot be started")?;
    ensure!(output.status.success(), "the reading process failed ({})", output.status);
    serde_json::from_slice(&output.stdout).context("the reading process did not tell what it cost")
}
