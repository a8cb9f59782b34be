//! The readers: connections, their channels and their delivery mode.

use clap::{Args, ValueEnum};
use tailcast_client::Subprotocol;

use super::Load;

/// The readers.
#[derive(Debug, Clone, Args)]
pub(crate) struct Readers {
    /// The number of WebSocket connections.
    #[arg(long, default_value_t = 1000, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=200_000))]
    pub(crate) connections: u32,

    /// The number of channels (consecutive keys or prefixes) that each connection subscribes to.
    #[arg(long, default_value_t = 1, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub(crate) channels_per_connection: u32,

    /// What a channel covers: one key, the keys with a prefix, or the whole topic.
    #[arg(long, value_enum, default_value_t = ChannelForm::Exact, value_name = "FORM")]
    pub(crate) channel_form: ChannelForm,

    /// The number of keys per prefix, for --channel-form prefix.
    #[arg(long, default_value_t = 10, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    pub(crate) keys_per_prefix: u32,

    /// What a subscription receives when it falls behind: every record, or the latest of each key.
    #[arg(long, value_enum, default_value_t = Mode::Lossless, value_name = "MODE")]
    pub(crate) mode: Mode,

    /// The maximum number of deliveries per key and second, for --mode conflated.
    #[arg(long, value_name = "DELIVERIES/S", value_parser = max_rate)]
    pub(crate) max_rate: Option<f64>,

    /// Connections opened per second.
    #[arg(long, default_value_t = 1000, value_name = "N/S", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub(crate) connect_rate: u32,

    /// The encoding of WebSocket messages.
    #[arg(long, value_enum, default_value_t = Form::Proto, value_name = "FORM")]
    pub(crate) subprotocol: Form,

    /// The number of 127.0.0.0/8 source addresses for connections to 127.0.0.1 [default: one per
    /// 25,000 connections].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1000))]
    pub(crate) source_addresses: Option<u16>,

    /// The number of processes that hold the connections, for more connections than one process may
    /// open files. With 1, this process holds them.
    #[arg(long, default_value_t = 1, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=64))]
    pub(crate) processes: u16,

    /// Threads per process [default: one per CPU].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=256))]
    pub(crate) threads: Option<u16>,

    /// The index of this worker process; set by the main process.
    #[arg(long, hide = true, value_name = "INDEX", requires = "run")]
    pub(crate) worker: Option<u16>,

    /// The number that identifies this run's events; set by the main process.
    #[arg(long, hide = true, value_name = "NUMBER")]
    pub(crate) run: Option<u64>,
}

/// What a channel covers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ChannelForm {
    /// One key.
    Exact,
    /// The keys with a prefix.
    Prefix,
    /// The whole topic.
    All,
}

/// What a subscription receives when it falls behind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Mode {
    /// Every record, in order.
    Lossless,
    /// The latest record of each key, and the number of skipped records.
    Conflated,
}

/// The encoding of WebSocket messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Form {
    /// Protobuf in binary messages.
    Proto,
    /// ProtoJSON in text messages.
    Json,
}

impl Readers {
    pub(super) fn check(&self, load: &Load) -> Result<(), String> {
        let channels = self.channels_per_connection;
        let (available, of) = match self.channel_form {
            ChannelForm::Exact => (load.keys, format!("keys, and --keys is {}", load.keys)),
            ChannelForm::Prefix => {
                let prefixes = load.keys.div_ceil(self.keys_per_prefix);
                (prefixes, format!("prefixes, and {} keys have {prefixes}", load.keys))
            }
            ChannelForm::All => (1, "topics: --channel-form all is one channel".to_owned()),
        };
        if channels > available {
            return Err(format!("--channels-per-connection {channels} needs as many {of}"));
        }
        if self.max_rate.is_some() && self.mode != Mode::Conflated {
            return Err("--max-rate requires --mode conflated".into());
        }
        Ok(())
    }
}

impl From<Form> for Subprotocol {
    fn from(form: Form) -> Self {
        match form {
            Form::Proto => Self::Proto,
            Form::Json => Self::Json,
        }
    }
}

/// The limits of the protocol.
fn max_rate(text: &str) -> Result<f64, String> {
    let rate: f64 = text.parse().map_err(|_| "not a number".to_owned())?;
    if (0.1..=1000.0).contains(&rate) { Ok(rate) } else { Err("expected 0.1 to 1000".to_owned()) }
}
