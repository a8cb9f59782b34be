//! The promises of Tailcast, as scenarios. The names of the tests are the specification.
//!
//! Each scenario runs on the broker inside this process and on Apache Kafka: `in_process::NAME` and
//! `apache_kafka::NAME`. Without Java, Maven or `flock` the second half is skipped, with a line of
//! output, unless `TAILCAST_TEST_KAFKA=required`.

mod p1_durable;

mod p2_outcomes;

mod p3_order;

mod p4_resume;

mod p4_matrix;

mod p4_quiet;

mod p5_gaps;

mod p5_conflation;

mod p5_conflated_resume;

mod p6_isolation;

mod p7_drain;

mod p7_ingest;

mod p7_restart;

mod p8_overload;

mod p8_throttle;

mod p8_feed;

mod channels;

mod last_values;

mod snapshot;

mod client;

mod kafka_gone;

mod protocol;

mod bad_publish;

mod bad_subscribe;

mod bad_websocket;

mod tidy;
