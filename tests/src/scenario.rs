//! Runs a scenario once on each kind of Kafka.

use tailcast_services::in_process::InProcess;
use tokio::runtime::Builder;

use crate::apache_kafka::ApacheKafka;
use crate::broker::Broker;

/// Makes tests of scenarios: `async fn(Broker)` in the module that calls this.
///
/// `everywhere` makes two tests of each, `in_process::NAME` and `apache_kafka::NAME`. The other two
/// lists are for scenarios that only work on one of them, with the reason beside the name.
#[macro_export]
macro_rules! scenarios {
    (
        everywhere { $($both:ident)* }
        $( in_process { $($mock:ident)* } )?
        $( apache_kafka { $($real:ident)* } )?
    ) => {
        mod in_process {
            $( #[test] fn $both() { $crate::scenario::in_process(super::$both); } )*
            $( $( #[test] fn $mock() { $crate::scenario::in_process(super::$mock); } )* )?
        }
        mod apache_kafka {
            $( #[test] fn $both() { $crate::scenario::apache_kafka(super::$both); } )*
            $( $( #[test] fn $real() { $crate::scenario::apache_kafka(super::$real); } )* )?
        }
    };
}

/// Runs a scenario on a broker in this process.
pub fn in_process<F: Future<Output = ()>>(scenario: impl FnOnce(Broker) -> F) {
    run(async {
        let broker = InProcess::start(1).expect("the in-process broker starts");
        scenario(Broker::InProcess(broker)).await;
    });
}

/// Runs a scenario on the Apache Kafka of this process, or skips it if there is none.
pub fn apache_kafka<F: Future<Output = ()>>(scenario: impl FnOnce(Broker) -> F) {
    if let Some(kafka) = ApacheKafka::shared() {
        run(scenario(Broker::Shared(kafka)));
    }
}

/// Runs a scenario that needs no Kafka.
pub fn alone<F: Future<Output = ()>>(scenario: impl FnOnce() -> F) {
    run(scenario());
}

fn run(scenario: impl Future<Output = ()>) {
    crate::log::init();
    // More than one thread, so that a scenario may block while its nodes run.
    let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build();
    runtime.expect("a runtime starts").block_on(scenario);
}
