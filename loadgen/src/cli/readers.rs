//! Who receives: connections, their channels and their delivery mode.

use clap::{Args, ValueEnum};
use tailcast_client::Subprotocol;

use super::Load;

/// Who receives.
#[derive(Debug, Clone, Args)]
pub(crate) struct Readers {
    /// How many WebSocket connections.
    #[arg(long, default_value_t = 1000, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=200_000))]
    pub(crate) connections: u32,

    /// How many channels (consecutive keys or prefixes) each connection subscribes to.
    #[arg(long, default_value_t = 1, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub(crate) channels_per_connection: u32,

    /// What a channel is: one key, the keys with a prefix, or the whole topic.
    #[arg(long, value_enum, default_value_t = ChannelForm::Exact, value_name = "FORM")]
    pub(crate) channel_form: ChannelForm,

    /// How many keys begin with the same prefix, for --channel-form prefix.
    #[arg(long, default_value_t = 10, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    pub(crate) keys_per_prefix: u32,

    /// What a subscription that is behind gets: every record, or the latest of each key.
    #[arg(long, value_enum, default_value_t = Mode::Lossless, value_name = "MODE")]
    pub(crate) mode: Mode,

    /// At most so many deliveries per key and second, for --mode conflated.
    #[arg(long, value_name = "DELIVERIES/S", value_parser = max_rate)]
    pub(crate) max_rate: Option<f64>,

    /// Connections opened per second.
    #[arg(long, default_value_t = 1000, value_name = "N/S", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub(crate) connect_rate: u32,

    /// The form of WebSocket messages.
    #[arg(long, value_enum, default_value_t = Form::Proto, value_name = "FORM")]
    pub(crate) subprotocol: Form,

    /// How many addresses of 127.0.0.0/8 connections to 127.0.0.1 come from [default: one for each 25,000].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1000))]
    pub(crate) source_addresses: Option<u16>,

    /// How many processes hold the connections, for more than one process may open files for. With 1 it is this one.
    #[arg(long, default_value_t = 1, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=64))]
    pub(crate) processes: u16,

    /// Threads of each process. Without it: one per CPU.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=256))]
    pub(crate) threads: Option<u16>,

    /// Which of the processes this one is; set by the first of them.
    #[arg(long, hide = true, value_name = "INDEX", requires = "run")]
    pub(crate) worker: Option<u16>,

    /// The number by which events of this run are told from those of others; set by the first of the processes.
    #[arg(long, hide = true, value_name = "NUMBER")]
    pub(crate) run: Option<u64>,
}

/// What a channel is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ChannelForm {
    /// One key.
    Exact,
    /// The keys with a prefix.
    Prefix,
    /// The whole topic.
    All,
}

/// What a subscription that is behind gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Mode {
    /// Every record, in order.
    Lossless,
    /// The latest record of each key, and how many were skipped.
    Conflated,
}

/// The form of WebSocket messages.
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
            return Err("--max-rate is for --mode conflated".into());
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

/// The bounds of the contract.
fn max_rate(text: &str) -> Result<f64, String> {
    let rate: f64 = text.parse().map_err(|_| "not a number".to_owned())?;
    if (0.1..=1000.0).contains(&rate) { Ok(rate) } else { Err("a rate is from 0.1 to 1000".to_owned()) }
}
