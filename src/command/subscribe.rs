//! `tailcast sub`: prints the records of channels as they come.
//!
//! The client resumes by itself after a drop, and moves to another connection before it leaves a node that drains.
//! Everything but records goes to standard error. The last line there is the command that continues from the last
//! positions.

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
    reasons::{because, is_of_another_log, skipped_because, started},
    record::Record,
    resume::Resume,
    start::StartOf,
};
use crate::{
    command::signal,
    exit::{Exit, Failure, OrExit},
    output::{Output, Reader, say},
};

const EXAMPLES: &str = "\
Examples:
  tailcast sub quotes/AAPL chat/lobby
  tailcast sub 'quotes/*' --from 5m --json | jq .value
  tailcast sub 'quotes/A*' --count 10";

/// Prints the records of channels as they come.
///
/// One line per record: channel, partition, offset and value, with tabs between. On a terminal, control characters of a
/// value are printed as escapes. The channel is the record's own, so that
/// its key is seen under a subscription to many. Ends at --count, at Ctrl-C, or when the reader of the output has gone.
#[derive(Debug, clap::Args)]
#[command(after_help = format!("{EXAMPLES}\n\n{}", crate::exit::HELP))]
pub(super) struct Subscribe {
    /// Channels to subscribe to: topic/key, topic/prefix* or topic/*.
    #[arg(required = true, value_name = "CHANNEL")]
    channels: Vec<Channel>,
    /// Print records as JSON with their headers, one object per line.
    #[arg(long)]
    json: bool,
    /// With --json, print values that are JSON as JSON and not as strings.
    #[arg(long, requires = "json")]
    parse: bool,
    /// Begin each line of text with the time of the record.
    #[arg(long, conflicts_with = "json")]
    timestamps: bool,
    /// Print values of text lines as they are, with control characters and line breaks.
    #[arg(long, conflicts_with = "json")]
    raw: bool,
    /// End after this many records.
    #[arg(long, value_name = "N", value_parser = count, allow_negative_numbers = true)]
    count: Option<NonZeroU64>,
    /// Print the latest record of each key where the output is behind, instead of every record.
    #[arg(long)]
    conflated: bool,
    /// Print at most this many records per key and second, always the latest.
    #[arg(long, value_name = "N", requires = "conflated", value_parser = max_rate, allow_negative_numbers = true)]
    max_rate: Option<MaxRate>,
    /// Where to start: live (or latest), earliest, snapshot (the latest record of each key, then live), a position, a time (RFC 3339),
    /// or how long ago (5m). CHANNEL=START for one channel; may be repeated.
    #[arg(long = "from", value_name = "START")]
    starts: Vec<StartOf>,
    /// A push node; may be repeated. Any of them can continue where another one stopped.
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
    /// How many records are still wanted.
    wanted: Option<u64>,
    /// How many subscriptions there are.
    active: usize,
    refused: bool,
    /// The last reported refusal of each channel.
    told: HashMap<Option<Arc<Channel>>, ErrorCode>,
    /// The channels whose positions are of a log that is gone.
    gone: HashSet<Arc<Channel>>,
}

/// Whether a run continues.
enum Next {
    Go,
    End,
}

impl Subscribe {
    /// Prints until it is enough.
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
        let wanted = self.count.map(NonZeroU64::get);
        let output = Output::standard();
        let (told, gone) = (HashMap::new(), HashSet::new());
        let mut run = Run { client, output, form: self.form(), wanted, active, refused: false, told, gone };
        let ended = run.until_end().await;
        let resume = Resume::new(&self.channels, &self.urls, mode, |channel| {
            run.client.position(channel).filter(|_| !run.gone.contains(channel))
        });
        run.client.close().await;
        // The position of a reader that left early is not known here.
        if let Some(resume) = resume
            && !matches!(ended, Ok(Reader::Gone))
        {
            say(format_args!("to continue: {resume}"));
        }
        let _reader = ended?;
        Ok(if run.refused { Exit::Refused } else { Exit::Done })
    }

    /// How records are printed.
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
    /// Runs until it is enough, and returns whether anybody has read it all.
    async fn until_end(&mut self) -> Result<Reader, Failure> {
        let interrupted = signal::interrupted();
        tokio::pin!(interrupted);
        let mut unflushed = false;
        loop {
            let event = tokio::select! {
                // The signal first, so that a flood of records cannot keep the command from ending.
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
                self.told.remove(&Some(Arc::clone(&subscribed.channel)));
                say(started(&subscribed));
            }
            // Conflation was requested, so skips are not reported each time.
            Event::Skipped(skipped) if skipped.reason == SkipReason::Conflated => {}
            Event::Skipped(skipped) => say(format_args!(
                "{}: partition {}: offsets {} to {} were skipped: {}",
                skipped.channel,
                skipped.partition,
                skipped.first,
                skipped.next,
                skipped_because(skipped.reason)
            )),
            Event::SnapshotEnd(end) => {
                say(format_args!("{}: live after {} latest values", end.channel, end.values));
            }
            Event::Reconnecting(gone) => {
                say(format_args!("{}; reconnecting in {} ms", gone.cause, gone.after.as_millis()));
            }
            Event::Reconnected(again) => say(format_args!("reconnected to {}", again.node)),
            Event::Moved(moved) => {
                say(format_args!("the node is draining; moved to {}", moved.node));
            }
            Event::Error(error) => return Ok(self.refused(error)),
            Event::Unsubscribed(gone) => {
                say(format_args!("{}: the subscription has ended: {}", gone.channel, because(gone.reason)));
                if is_of_another_log(gone.reason) {
                    self.gone.insert(gone.channel);
                }
                return Ok(self.lost_one());
            }
            Event::Ended(Ended::Requested) => return Ok(Next::End),
            Event::Ended(ended) => return Err(Failure::new(Exit::Refused, ended)),
            Event::Heartbeat(_) => {}
        }
        Ok(Next::Go)
    }

    fn print(&mut self, delivery: &Delivery) -> Result<Next, Failure> {
        let record = Record::from(delivery);
        if self.output.line(record.line(self.form).as_bytes())? == Reader::Gone {
            return Ok(Next::End);
        }
        self.wanted = self.wanted.map(|wanted| wanted - 1);
        Ok(if self.wanted == Some(0) { Next::End } else { Next::Go })
    }

    /// Reports a refusal. The client retries temporary ones, which are reported once and not at every attempt.
    fn refused(&mut self, error: Refused) -> Next {
        let goes_on = error.retry_after.is_some();
        let line = error.to_string();
        if self.told.insert(error.channel, error.code) != Some(error.code) {
            let then = if goes_on { "; retrying until it succeeds" } else { "" };
            say(format_args!("{line}{then}"));
        }
        if goes_on { Next::Go } else { self.lost_one() }
    }

    /// A subscription that the client does not begin again by itself has ended.
    fn lost_one(&mut self) -> Next {
        self.refused = true;
        self.active = self.active.saturating_sub(1);
        if self.active == 0 { Next::End } else { Next::Go }
    }
}

/// Parses how many records are wanted.
fn count(text: &str) -> Result<NonZeroU64, &'static str> {
    text.parse().map_err(|_| "the number of records is a whole number, 1 or more")
}

/// Parses how often a key may be printed.
fn max_rate(text: &str) -> Result<MaxRate, String> {
    text.parse().map_err(|error| format!("{error}"))
}
