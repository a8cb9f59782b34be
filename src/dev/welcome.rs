//! The banner of `tailcast dev`: all addresses, and the next commands to try.

use std::fmt;

use super::Addresses;

/// The banner.
#[derive(Debug)]
pub(super) struct Welcome<'a> {
    /// The name of this program, for commands to copy.
    pub(super) command: &'a str,
    /// The addresses of the listeners.
    pub(super) addresses: Addresses,
    /// The address of Kafka.
    pub(super) kafka: &'a str,
    /// Whether Kafka is in this process.
    pub(super) in_process: bool,
}

impl fmt::Display for Welcome<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { command, addresses: Addresses { ingest, push, admin }, kafka, in_process } = self;
        // The default addresses need no flags.
        let moved = push.port() != 8080;
        let (url, to) = if moved {
            (format!(" --url ws://{push}"), format!(" --ingest {ingest}"))
        } else {
            (String::new(), String::new())
        };
        if *in_process {
            writeln!(f, "Tailcast is running, with a Kafka broker inside this process.")?;
            writeln!(f, "Data is in memory and lost on exit; --kafka HOST:PORT uses a real Kafka.")?;
            writeln!(f, "--topic NAME[:PARTITIONS] creates a topic of your own.")?;
        } else {
            writeln!(f, "Tailcast is running, with the Kafka at {kafka}.")?;
        }
        // Kafka's own clients wait for ever for the list of its APIs, and it has no topic ids,
        // which push and ingest nodes need.
        let only = if *in_process {
            " (for kcat and librdkafka; Kafka's Java tools, and push and ingest nodes, need a real Kafka)"
        } else {
            ""
        };
        write!(
            f,
            "
  page     http://{push}/
  push     ws://{push}/v1/connect
  ingest   {ingest} (gRPC, with reflection)
  admin    http://{admin}/
  kafka    {kafka}{only}

In another terminal:

  {command} sub 'quotes/*' --count 10{url}
  {command} sub chat/lobby --from earliest{url}
  {command} pub chat lobby 'hello from a terminal'{to}
  grpcurl -plaintext -d '{{\"messages\": [{{\"topic\": \"chat\", \"key\": \"bG9iYnk=\", \"value\": \"aGVsbG8=\"}}]}}' \\
    {ingest} tailcast.ingest.v1.IngestService/Publish

Ctrl-C ends it."
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn welcome(push: u16, in_process: bool) -> String {
        let at = |port: u16| ([127, 0, 0, 1], port).into();
        let addresses = Addresses { ingest: at(push + 1010), push: at(push), admin: at(push + 1020) };
        Welcome { command: "tailcast", addresses, kafka: "127.0.0.1:9092", in_process }.to_string()
    }

    #[test]
    fn the_banner_warns_that_data_is_lost_on_exit() {
        assert!(welcome(8080, true).contains("Data is in memory and lost on exit"));
        assert!(!welcome(8080, false).contains("lost"), "a real Kafka keeps it");
    }

    #[test]
    fn the_in_process_broker_is_not_offered_to_tools_that_hang() {
        // It was offered for "tools": `kafka-topics.sh --list` and `--create` hang.
        assert!(
            welcome(8080, true).contains("Kafka's Java tools, and push and ingest nodes, need a real Kafka")
        );
        assert!(!welcome(8080, false).contains("Java"), "a real Kafka has them all");
    }

    #[test]
    fn the_next_commands_name_the_addresses_where_those_are_not_the_default() {
        assert!(welcome(8080, true).contains("tailcast sub 'quotes/*' --count 10\n"));
        let moved = welcome(8180, true);
        assert!(moved.contains("tailcast sub 'quotes/*' --count 10 --url ws://127.0.0.1:8180\n"), "{moved}");
        assert!(moved.contains("'hello from a terminal' --ingest 127.0.0.1:9190\n"), "{moved}");
        assert!(moved.contains("http://127.0.0.1:8180/"), "{moved}");
    }
}
