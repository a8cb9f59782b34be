//! `tailcast sub`: prints the records of channels as they arrive.
//!
//! The client resumes by itself after a disconnect, and opens its next connection before it leaves
//! a node that drains. Everything but records goes to standard error. The last line there is the
//! command that continues from the last positions.

mod connect;

mod json;

mod line;

mod reasons;

mod record;

mod resume;

mod start;

use std::{
    collections::{HashMap, HashSet},
    io::{self, IsTerminal},
    num::NonZeroU64,
    sync::Arc,
    time::SystemTime,
};

use tailcast_client::{Client, Delivery, Ended, Event, MaxRate, Mode, Refused, Subscription};
use tailcast_proto::{
    Channel,
    push::v1::{ErrorCode, SkipReason},
};

use self::{
    connect::connect,
    line::{Controls, Form},
    reasons::{end_reason, is_of_another_log, skip_reason, started},
    record::Record,
    resume::Resume,
    start::StartOf,
};
use crate::{
    command::signal,
    exit::{Exit, Failure, OrExit},
    output::{Output, Reader, report},
};

const EXAMPLES: &str = "\
Examples:
  tailcast sub quotes/AAPL chat/lobby
  tailcast sub 'quotes/*' --from 5m --json | jq .value
  tailcast sub 'quotes/A*' --count 10";

/// Prints the records of channels as they arrive.
///
/// A line has channel, partition, offset and value, separated by tabs. The channel contains the
/// record's own key, also in a subscription to many keys. On a terminal, control characters are
/// escaped. Ends after --count records, at Ctrl-C, or when the output is closed. In the first two
/// cases the last line on standard error is the command that continues from there.
#[derive(Debug, clap::Args)]
#[command(after_help = format!("{EXAMPLES}\n\n{}", crate::exit::HELP))]
pub(super) struct Subscribe {
    /// Channels to subscribe to: topic/key, topic/prefix* or topic/*.
    #[arg(required = true, value_name = "CHANNEL")]
    channels: Vec<Channel>,
    /// Print records as JSON with their headers, one object per line.
    #[arg(long)]
    json: bool,
    /// With --json, print values that are JSON as JSON instead of as strings.
    #[arg(long, requires = "json")]
    parse: bool,
    /// Begin each line with the time of the record, in UTC.
    #[arg(long, conflicts_with = "json")]
    timestamps: bool,
    /// Print control characters and line breaks in values unchanged.
    #[arg(long, conflicts_with = "json")]
    raw: bool,
    /// End after this many records.
    #[arg(long, value_name = "N", value_parser = count, allow_negative_numbers = true)]
    count: Option<NonZeroU64>,
    /// Print only the latest record of each key whenever the output is behind.
    #[arg(long)]
    conflated: bool,
    /// With --conflated, print at most this many records per second and key, always the latest.
    #[arg(long, value_name = "N", requires = "conflated", value_parser = max_rate, allow_negative_numbers = true)]
    max_rate: Option<MaxRate>,
    /// Where to start: live (or latest), earliest, snapshot (the latest record of each key, then
    /// live), a position, a time (RFC 3339), or how long ago (5m). CHANNEL=START for one channel;
    /// may be repeated.
    #[arg(long = "from", value_name = "START")]
    starts: Vec<StartOf>,
    /// URL of a push node; may be repeated. After a disconnect, the next one continues from the
    /// same position.
    #[arg(
        long = "url",
        value_name = "URL",
        env = "TAILCAST_URL",
        value_delimiter = ',',
        default_value = "ws://127.0.0.1:8080/v1/connect"
    )]
    urls: Vec<String>,
}

/// The subscriptions of one run.
struct Run {
    client: Client,
    output: Output,
    form: Form,
    /// How many more records to print.
    remaining: Option<u64>,
    /// Number of subscriptions that have not ended.
    active: usize,
    refused: bool,
    /// The last reported error of each channel.
    reported: HashMap<Option<Arc<Channel>>, ErrorCode>,
    /// The channels whose positions belong to a log that no longer exists.
    log_lost: HashSet<Arc<Channel>>,
}

/// Whether a run continues.
enum Next {
    Continue,
    End,
}

impl Subscribe {
    /// Prints records until the run ends.
    pub(super) async fn run(self) -> Result<Exit, Failure> {
        let subscriptions = start::subscriptions(&self.channels, &self.starts, SystemTime::now());
        let subscriptions = subscriptions.or_exit(Exit::Usage)?;
        let mode = if self.conflated { Mode::Conflated { max_rate: self.max_rate } } else { Mode::Lossless };
        let client = connect(&self.urls).await?;
        let active = subscriptions.len();
        for subscription in subscriptions {
            let subscription = Subscription { headers: self.json, ..subscription.mode(mode) };
            client.subscribe(subscription).await.or_exit(Exit::Internal)?;
        }
        let remaining = self.count.map(NonZeroU64::get);
        let output = Output::standard();
        let (reported, log_lost) = (HashMap::new(), HashSet::new());
        let mut run =
            Run { client, output, form: self.form(), remaining, active, refused: false, reported, log_lost };
        let ended = run.until_end().await;
        let resume = Resume::new(&self.channels, &self.urls, mode, |channel| {
            run.client.position(channel).filter(|_| !run.log_lost.contains(channel))
        });
        run.client.close().await;
        // If the output was closed, the last record that was read is unknown.
        if let Some(resume) = resume
            && !matches!(ended, Ok(Reader::Gone))
        {
            report(format_args!("to continue: {resume}"));
        }
        let _reader = ended?;
        Ok(if run.refused { Exit::Refused } else { Exit::Done })
    }

    /// Returns the output format of records.
    fn form(&self) -> Form {
        if self.json {
            return Form::Json { parse: self.parse };
        }
        let controls = match (self.raw, io::stdout().is_terminal()) {
            (true, _) => Controls::Raw,
            (false, true) => Controls::Escaped,
            (false, false) => Controls::LineBreaksEscaped,
        };
        Form::Text { timestamps: self.timestamps, controls }
    }
}

impl Run {
    /// Runs to the end, and returns whether the output still has a reader.
    async fn until_end(&mut self) -> Result<Reader, Failure> {
        let interrupted = signal::interrupted();
        tokio::pin!(interrupted);
        let mut unflushed = false;
        loop {
            let event = tokio::select! {
                // The signal first, so that a flood of records cannot delay it.
                biased;
                () = &mut interrupted => return self.output.flush(),
                event = self.client.next() => event,
                // No event is pending, so the buffer is flushed.
                () = std::future::ready(()), if unflushed => {
                    if self.output.flush()? == Reader::Gone {
                        return Ok(Reader::Gone);
                    }
                    unflushed = false;
                    continue;
                }
            };
            unflushed |= matches!(event, Some(Event::Delivery(_)));
            let Some(event) = event else { return self.output.flush() };
            if let Next::End = self.apply(event)? {
                return self.output.flush();
            }
        }
    }

    fn apply(&mut self, event: Event) -> Result<Next, Failure> {
        match event {
            Event::Delivery(delivery) => return self.print(&delivery),
            Event::Subscribed(subscribed) => {
                self.reported.remove(&Some(Arc::clone(&subscribed.channel)));
                report(started(&subscribed));
            }
            // Conflation was requested, so skips are not reported each time.
            Event::Skipped(skipped) if skipped.reason == SkipReason::Conflated => {}
            Event::Skipped(skipped) => report(format_args!(
                "{}: partition {}: offsets {} to {} were skipped: {}",
                skipped.channel,
                skipped.partition,
                skipped.first,
                skipped.next,
                skip_reason(skipped.reason)
            )),
            Event::SnapshotEnd(end) => {
                report(format_args!("{}: live after a snapshot of {} values", end.channel, end.values));
            }
            Event::Reconnecting(event) => {
                report(format_args!("{}; reconnecting in {} ms", event.cause, event.after.as_millis()));
            }
            Event::Reconnected(event) => report(format_args!("reconnected to {}", event.node)),
            Event::Moved(moved) => {
                report(format_args!("the node is draining; moved to {}", moved.node));
            }
            Event::Error(error) => return Ok(self.refused(error)),
            Event::Unsubscribed(ended) => {
                report(format_args!(
                    "{}: the subscription has ended: {}",
                    ended.channel,
                    end_reason(ended.reason)
                ));
                if is_of_another_log(ended.reason) {
                    self.log_lost.insert(ended.channel);
                }
                return Ok(self.subscription_ended());
            }
            Event::Ended(Ended::Requested) => return Ok(Next::End),
            Event::Ended(ended) => return Err(Failure::new(Exit::Refused, ended)),
            Event::Heartbeat(_) => {}
        }
        Ok(Next::Continue)
    }

    fn print(&mut self, delivery: &Delivery) -> Result<Next, Failure> {
        let record = Record::from(delivery);
        if self.output.line(record.line(self.form).as_bytes())? == Reader::Gone {
            return Ok(Next::End);
        }
        self.remaining = self.remaining.map(|remaining| remaining - 1);
        Ok(if self.remaining == Some(0) { Next::End } else { Next::Continue })
    }

    /// Reports an error. The client retries temporary ones, which are reported once and not at
    /// every attempt.
    fn refused(&mut self, error: Refused) -> Next {
        let retries = error.retry_after.is_some();
        let line = error.to_string();
        if self.reported.insert(error.channel, error.code) != Some(error.code) {
            let advice = if retries { "; retrying until it succeeds" } else { "" };
            report(format_args!("{line}{advice}"));
        }
        if retries { Next::Continue } else { self.subscription_ended() }
    }

    /// Counts a subscription that has ended and is not retried.
    fn subscription_ended(&mut self) -> Next {
        self.refused = true;
        self.active = self.active.saturating_sub(1);
        if self.active == 0 { Next::End } else { Next::Continue }
    }
}

/// Parses `--count`.
fn count(text: &str) -> Result<NonZeroU64, &'static str> {
    text.parse().map_err(|_| "the number of records must be a whole number, 1 or more")
}

/// Parses `--max-rate`.
fn max_rate(text: &str) -> Result<MaxRate, String> {
    text.parse().map_err(|error| format!("{error}"))
}
