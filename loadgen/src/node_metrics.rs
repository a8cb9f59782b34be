//! Push nodes' own metrics, from their metrics pages.

use std::{collections::BTreeMap, str::FromStr, time::Duration};

use anyhow::{Context as _, Result, bail, ensure};
use tokio::time::timeout;

use crate::http;

/// How long a node may take to answer.
const TIMEOUT: Duration = Duration::from_secs(2);

/// The URL of a node's metrics page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct MetricsUrl {
    /// HOST:PORT.
    authority: String,
    path: String,
}

impl FromStr for MetricsUrl {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let rest = text.strip_prefix("http://").ok_or("expected http://HOST:PORT/metrics")?;
        let (authority, path) = rest.split_once('/').unwrap_or((rest, "metrics"));
        if !authority.contains(':') {
            return Err(format!("{authority} has no port; expected http://HOST:PORT/metrics"));
        }
        Ok(Self { authority: authority.to_owned(), path: format!("/{path}") })
    }
}

/// Returns the sum of an unlabelled counter over all nodes. A node that does not answer is an
/// error, because a partial sum would be misleading.
pub(crate) async fn sum(nodes: &[MetricsUrl], metric: &str) -> Result<u64> {
    let mut all = 0;
    for node in nodes {
        let page = page(node).await?;
        all += value(&page, metric).with_context(|| format!("{} has no metric {metric}", node.authority))?;
    }
    Ok(all)
}

/// A counter of each node, by the value of its only label.
pub(crate) type Labelled = Vec<BTreeMap<String, u64>>;

/// Returns a counter of each node, by the value of its only label.
pub(crate) async fn by_label(nodes: &[MetricsUrl], metric: &str) -> Result<Labelled> {
    let mut all = Vec::with_capacity(nodes.len());
    for node in nodes {
        all.push(labelled(&page(node).await?, metric));
    }
    Ok(all)
}

/// Returns how much counters grew, over all nodes. A smaller value than before means that the node
/// was restarted.
pub(crate) fn growth(before: &Labelled, after: &Labelled) -> BTreeMap<String, u64> {
    let mut all = BTreeMap::new();
    for (before, after) in before.iter().zip(after) {
        for (label, after) in after {
            let before = before.get(label).copied().unwrap_or_default();
            let grown = after.checked_sub(before).unwrap_or(*after);
            if grown > 0 {
                *all.entry(label.clone()).or_default() += grown;
            }
        }
    }
    all
}

/// Returns the metrics page of a node.
pub(crate) async fn page(node: &MetricsUrl) -> Result<String> {
    let reading = async {
        let (status, page) = http::get(&node.authority, &node.path).await?;
        ensure!(status == "200", "status {status}");
        Ok(page)
    };
    let page = timeout(TIMEOUT, reading).await.unwrap_or_else(|_| bail!("no answer"));
    page.with_context(|| format!("the metrics at http://{}{}", node.authority, node.path))
}

/// Returns the value of an unlabelled metric on a page: name, white space, value, possibly written
/// as a float.
pub(crate) fn value(page: &str, metric: &str) -> Option<u64> {
    let rest = page.lines().find_map(|line| line.strip_prefix(metric)?.strip_prefix(' '))?;
    let whole = rest.split_whitespace().next()?.split('.').next()?;
    whole.parse().ok()
}

fn labelled(page: &str, metric: &str) -> BTreeMap<String, u64> {
    let samples = page.lines().filter_map(|line| {
        let (labels, value) = line.strip_prefix(metric)?.strip_prefix('{')?.split_once("} ")?;
        let (_, label) = labels.split_once("=\"")?;
        let whole = value.split_whitespace().next()?.split('.').next()?;
        Some((label.trim_end_matches('"').to_owned(), whole.parse().ok()?))
    });
    samples.collect()
}

#[cfg(test)]
mod tests {
    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _},
        net::TcpListener,
    };

    use super::*;

    #[test]
    fn a_counter_is_found_among_others() {
        let page = "# TYPE a_total counter\na_total{x=\"1\"} 3\na_total_more 4\na_total 5\nb 6.0 123\n";
        assert_eq!(value(page, "a_total"), Some(5));
        assert_eq!(value(page, "b"), Some(6));
        assert_eq!(value(page, "c"), None);
    }

    #[test]
    fn labelled_counters_may_restart_with_their_node() {
        let read = |text: &str| labelled(text, "closes_total");
        let before =
            read("closes_total{code=\"1006\"} 3\ncloses_total{code=\"4508\"} 2.0\nother{code=\"1\"} 9\n");
        assert_eq!(before.clone().into_iter().collect::<Vec<_>>(), [("1006".into(), 3), ("4508".into(), 2)]);
        let later = read("closes_total{code=\"1006\"} 5\ncloses_total{code=\"4508\"} 2\n");
        let afresh = read("closes_total{code=\"4508\"} 1\n");
        let grown = growth(&vec![before.clone(), before], &vec![later, afresh]);
        assert_eq!(grown.into_iter().collect::<Vec<_>>(), [("1006".into(), 2), ("4508".into(), 1)]);
    }

    #[test]
    fn a_url_has_a_port_and_may_leave_out_the_path() {
        let url: MetricsUrl = "http://127.0.0.1:9100".parse().expect("a URL");
        assert_eq!(url, "http://127.0.0.1:9100/metrics".parse().expect("a URL"));
        assert!("127.0.0.1:9100".parse::<MetricsUrl>().is_err());
        assert!("http://localhost/metrics".parse::<MetricsUrl>().is_err());
    }

    #[tokio::test]
    async fn a_node_that_does_not_answer_is_named() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
        let address = listener.local_addr().expect("it is bound");
        let url: MetricsUrl = format!("http://{address}/metrics").parse().expect("a URL");
        let answer = async {
            let (mut stream, _) = listener.accept().await.expect("somebody asks");
            let mut request = [0; 512];
            assert!(stream.read(&mut request).await.expect("it asks") > 0);
            stream.write_all(b"HTTP/1.0 200 OK\r\n\r\nreads_total 42\n").await.expect("it reads");
        };
        let (sum_of_one, ()) = tokio::join!(sum(std::slice::from_ref(&url), "reads_total"), answer);
        assert_eq!(sum_of_one.expect("it answered"), 42);
        drop(listener);
        let error = sum(&[url], "reads_total").await.expect_err("nobody listens");
        assert!(format!("{error:#}").contains(&address.to_string()), "{error:#}");
    }
}
