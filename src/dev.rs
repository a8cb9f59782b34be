//! `tailcast dev`: both services in one process, a broker, a simulated market, and a page that
//! shows it.
//!
//! The services are the same as in production, and they meet in Kafka here too: the market and the
//! page's chat publish over gRPC, the page subscribes over a WebSocket. [`configure`] lists the
//! differences.

mod market;

mod page;

mod quotes;

mod topic;

mod topics;

mod welcome;

use std::{net::SocketAddr, sync::Arc, time::Duration};

use tailcast_proto::TopicName;
use tailcast_services::{
    in_process::{InProcess, InProcessError},
    kafka,
    topics::Epochs,
};

pub(crate) use self::topic::Topic;
use self::{page::Page, quotes::Quotes, welcome::Welcome};
use crate::{
    config::{Config, defaults},
    exit::{Exit, Failure, OrExit},
    process::{Process, Remedies},
    publisher::Publisher,
};

/// The topic with market data; the key is the symbol.
const QUOTES: &str = "quotes";

/// The topic of the chat.
const CHAT: &str = "chat";

/// The key of the chat's only room.
const LOBBY: &str = "lobby";

/// Partitions of the topics: several for the one with many keys, to demonstrate the general case.
const PARTITIONS: [(&str, u16); 2] = [(QUOTES, 4), (CHAT, 1)];

/// Timeout of a publish by the market or the page.
const PUBLISH_WITHIN: Duration = Duration::from_secs(5);

/// Short, because there is no other node to which clients could reconnect.
const DRAIN_SPREAD: Duration = Duration::from_millis(200);

/// Advice for a port in use.
const REMEDY: &str = "--port-offset 100 moves all three ports";
const REMEDIES: Remedies = Remedies { admin: REMEDY, service: REMEDY };

/// The options of the command line.
#[derive(Debug, Clone)]
pub(crate) struct Options {
    /// Offset of the three ports.
    pub(crate) port_offset: u16,
    /// The Kafka to use.
    pub(crate) kafka: Kafka,
    /// Trades per second and symbol.
    pub(crate) rate: f64,
    /// Topics to create in addition to those of the demonstration.
    pub(crate) topics: Vec<Topic>,
}

/// The Kafka to use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kafka {
    /// The configured brokers.
    Configured,
    /// A broker in this process.
    InProcess,
}

/// The running broker, services and market.
pub(crate) struct Dev {
    process: Process,
    addresses: Addresses,
    brokers: String,
    /// The in-process broker, which ends when this is dropped. `None`: an external Kafka is used.
    in_process: Option<InProcess>,
}

/// The addresses of the listeners.
#[derive(Debug, Clone, Copy)]
struct Addresses {
    ingest: SocketAddr,
    push: SocketAddr,
    admin: SocketAddr,
}

impl Dev {
    /// Starts everything.
    pub(crate) async fn start(config: Config, options: &Options) -> Result<Self, Failure> {
        let mut config = configure(config, options)?;
        config.check_ingest().and_then(|()| config.check_push()).or_exit(Exit::Usage)?;
        let topics = topics(&options.topics)?;
        let mut process = Process::begin(&config, REMEDIES).await?;
        let in_process = match options.kafka {
            Kafka::Configured => {
                topics::create_missing(&config.kafka, &topics).await.or_exit(Exit::Unavailable)?;
                None
            }
            Kafka::InProcess => Some(start_broker(&mut config.kafka, &topics).or_exit(Exit::Internal)?),
        };
        let epochs = in_process.as_ref().map_or(Epochs::Kafka, InProcess::epochs);
        let brokers = config.kafka.brokers.join(",");

        let ingest = process.ingest(&config, epochs, REMEDIES).await?;
        let push = process.push(&config, epochs, REMEDIES).await?;
        let ingest_addr = ingest.local_addr().or_exit(Exit::Internal)?;
        let addresses =
            Addresses { ingest: ingest_addr, push: push.local_addr(), admin: process.admin_addr() };
        let publisher = Publisher::connect_lazily(&ingest_addr.to_string(), PUBLISH_WITHIN);
        let publisher = publisher.or_exit(Exit::Internal)?;

        let lifecycle = process.lifecycle();
        ingest.serve(lifecycle);
        push.with_fallback(Arc::new(Page::new(publisher.clone()))).serve();
        let market = Quotes::new(publisher, options.rate);
        lifecycle.spawn("quotes", market.run(lifecycle.clone()));
        Ok(Self { process, addresses, brokers, in_process })
    }

    /// Returns the banner with all addresses and the next commands to try; `command` is the name of
    /// this program.
    pub(crate) fn welcome(&self, command: &str) -> String {
        let in_process = self.in_process.is_some();
        Welcome { command, addresses: self.addresses, kafka: &self.brokers, in_process }.to_string()
    }

    /// Serves until a signal arrives or a service fails, then drains. The broker ends last.
    pub(crate) async fn run(self) -> Result<Exit, Failure> {
        let ended = self.process.run().await;
        drop(self.in_process);
        ended
    }
}

/// Returns the topics of the demonstration and the requested ones, each once.
fn topics(requested: &[Topic]) -> Result<Vec<Topic>, Failure> {
    let own = PARTITIONS.map(|(name, partitions)| Topic {
        name: TopicName::parse(name).expect("the names of the topics are valid"),
        partitions,
        last_values: false,
    });
    let mut topics = Vec::from(own);
    for topic in requested {
        if topics.iter().any(|other| other.name == topic.name) {
            let name = &topic.name;
            let why = if PARTITIONS.iter().any(|(own, _)| *own == name.as_str()) {
                "is a topic of the demonstration and always created"
            } else {
                "is given twice"
            };
            return Err(Failure::message(Exit::Usage, format_args!("--topic {name}: {name} {why}")));
        }
        topics.push(topic.clone());
    }
    Ok(topics)
}

/// Starts the broker with its topics, and points `kafka` at it.
fn start_broker(kafka: &mut kafka::Settings, topics: &[Topic]) -> Result<InProcess, InProcessError> {
    let broker = InProcess::start(1)?;
    for Topic { name, partitions, .. } in topics {
        broker.create_topic(name, *partitions)?;
    }
    let settings = broker.settings();
    kafka.brokers = settings.brokers;
    // Explicitly configured properties stay.
    for (name, value) in settings.properties {
        kafka.properties.entry(name).or_insert(value);
    }
    Ok(broker)
}

/// Applies the differences to production: a common port offset, reflection, a quick drain, loopback
/// origins, last values, and a quieter log.
fn configure(mut config: Config, options: &Options) -> Result<Config, Failure> {
    let listeners = [&mut config.ingest.listen, &mut config.push.listen, &mut config.admin.listen];
    for listen in listeners {
        let port = listen.port().checked_add(options.port_offset).ok_or_else(|| {
            let port = listen.port();
            Failure::message(
                Exit::Usage,
                format_args!(
                    "--port-offset: {port} + {} exceeds the largest port, 65535",
                    options.port_offset
                ),
            )
        })?;
        listen.set_port(port);
    }
    config.ingest.reflection = true;
    config.push.drain.spread = DRAIN_SPREAD;
    // A page under development is often served from another port of this machine.
    config.push.origins.allow_loopback();
    let quotes = TopicName::parse(QUOTES).expect("the names of the topics are valid");
    config.push.keep_last_values(quotes);
    for topic in options.topics.iter().filter(|topic| topic.last_values) {
        config.push.keep_last_values(topic.name.clone());
    }
    if config.log.filter == defaults().log.filter {
        // The banner has the addresses; a log line per connection would push it off the screen.
        config.log.filter = "warn".to_owned();
    }
    Ok(config)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(port_offset: u16) -> Options {
        Options { port_offset, kafka: Kafka::InProcess, rate: 6.0, topics: Vec::new() }
    }

    #[test]
    fn the_offset_applies_to_all_three_ports() {
        let config = configure(defaults(), &options(100))
            .map_err(|error| error.to_string())
            .expect("the ports are valid");
        let ports =
            [config.ingest.listen, config.push.listen, config.admin.listen].map(|listen| listen.port());
        assert_eq!(ports, [9190, 8180, 9200]);
    }

    #[test]
    fn a_topic_is_created_once() {
        let topics = |asked: &[&str]| {
            let asked: Vec<_> =
                asked.iter().map(|topic| topic.parse().expect("the test names a topic")).collect();
            topics(&asked).map(|topics| topics.len()).map_err(|failure| failure.to_string())
        };
        assert_eq!(topics(&["orders:4", "users"]), Ok(4));
        assert_eq!(topics(&["orders", "orders:2"]), Err("--topic orders: orders is given twice".to_owned()));
        let own = topics(&["quotes"]).expect_err("it is one of the demonstration's");
        assert!(own.contains("and always created"), "{own}");
    }

    #[test]
    fn last_values_are_kept_of_a_topic_that_asks_for_them() {
        let asked = ["orders,last-values", "users"].map(|topic| topic.parse().expect("a topic"));
        let options = Options { topics: asked.to_vec(), ..options(0) };
        let config = configure(defaults(), &options).map_err(|error| error.to_string()).expect("ports");
        let kept = format!("{:?}", config.push.topic);
        assert!(kept.contains("orders") && !kept.contains("users"), "{kept}");
    }

    #[test]
    fn a_port_beyond_the_last_is_refused() {
        let refused = configure(defaults(), &options(60_000)).expect_err("there are 65,535 ports");
        assert!(
            refused.to_string().starts_with("--port-offset: 9090 + 60000 exceeds the largest port, 65535"),
            "{refused}"
        );
        assert_eq!(refused.exit(), Exit::Usage);
    }

    #[test]
    fn a_configured_log_filter_is_kept() {
        let mut chosen = defaults();
        chosen.log.filter = "debug".to_owned();
        let config =
            configure(chosen, &options(0)).map_err(|error| error.to_string()).expect("the ports are valid");
        assert_eq!(config.log.filter, "debug");
    }
}
