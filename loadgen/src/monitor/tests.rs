//! Monitoring without a whole run.

use std::{net::TcpListener, sync::Arc};

use super::Monitor;
use crate::{cli::Cli, ledger::Ledger, plan::Plan};

fn monitor(arguments: &str) -> Monitor {
    let cli = Cli::of(arguments);
    let plan = Arc::new(Plan::new(1, 1, 1, cli.load.length()));
    let ledger = Arc::new(Ledger::new(plan.events()));
    Monitor::new(&cli, &plan, &ledger, None).expect("the servers are there")
}

// The memory of slow readers used to be missing without any note.
#[tokio::test]
async fn missing_metrics_of_a_node_are_noted_once() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let url = format!("http://{}/metrics", listener.local_addr().expect("it is bound"));
    drop(listener);
    let this = std::process::id();
    let mut monitor = monitor(&format!("--server-pid {this} --server-metrics {url}"));
    for _ in 0..3 {
        assert_eq!(monitor.own_memory().await, None);
    }
    assert_eq!(monitor.notes.len(), 1, "{:?}", monitor.notes);
    assert!(
        monitor.notes[0].contains("the nodes' memory for records") && monitor.notes[0].contains(&url),
        "{:?}",
        monitor.notes
    );
}
