//! The documents are true, and the sources follow their rules.

mod imports;
mod limits;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use tailcast_tests::broker::Broker;
use tailcast_tests::cluster::Cluster;
use tailcast_tests::configuration::Configuration;
use tailcast_tests::start::live;

/// Documents outside of `docs`.
const DOCUMENTS: [&str; 5] =
    ["README.md", "ARCHITECTURE.md", "BENCHMARKS.md", "CONTRIBUTING.md", "proto/PROTOCOL.md"];

const COMMENT_COLUMNS_MAX: usize = 100;

/// The folders that each package may depend on, besides those inside its own. `ingest` and `push`
/// share nothing but Kafka.
const ARROWS: [(&str, &[&str]); 6] = [
    ("proto", &[]),
    ("services", &["proto"]),
    ("ingest", &["proto", "services"]),
    ("push", &["proto", "services"]),
    ("clients/rust", &["proto"]),
    ("loadgen", &["clients/rust", "proto", "services", "push"]),
];

tailcast_tests::scenarios! {
    everywhere {}
    in_process {
        // The set of metrics does not depend on Kafka.
        every_metric_is_documented
    }
}

#[test]
fn every_path_that_a_document_names_exists() {
    let mut missing = Vec::new();
    for document in documents() {
        let text = read(&document);
        let beside = root().join(&document);
        let beside = beside.parent().expect("a document is in a directory");
        for path in code_spans(&text).filter_map(as_path) {
            if !root().join(path).exists() {
                missing.push(format!("{document}: `{path}`"));
            }
        }
        for path in links(&text) {
            if !beside.join(path).exists() {
                missing.push(format!("{document}: ({path})"));
            }
        }
    }
    assert!(missing.is_empty(), "documents name missing paths or scenarios:\n{}", missing.join("\n"));
}

#[test]
fn every_scenario_that_a_document_names_exists() {
    let mut missing = Vec::new();
    for document in documents() {
        let text = read(&document);
        for (module, name) in code_spans(&text).filter_map(|span| span.split_once("::")) {
            let file = root().join(format!("tests/scenarios/{module}.rs"));
            let Ok(scenarios) = fs::read_to_string(file) else { continue };
            if !scenarios.contains(&format!("fn {name}(")) {
                missing.push(format!("{document}: `{module}::{name}`"));
            }
        }
    }
    assert!(missing.is_empty(), "documents name missing paths or scenarios:\n{}", missing.join("\n"));
}

#[test]
fn every_document_is_linked_from_its_index() {
    for (folder, index) in [("docs/decisions/", "docs/decisions/README.md"), ("", "README.md")] {
        let text = read(index);
        let links: BTreeSet<_> = links(&text).collect();
        let documents = documents();
        let missing: Vec<_> = documents
            .iter()
            .filter(|document| *document != index)
            .filter_map(|document| document.strip_prefix(folder))
            // A decision is linked from its own index.
            .filter(|document| !document.starts_with("docs/decisions/0"))
            .filter(|document| !links.contains(*document))
            .collect();
        assert!(missing.is_empty(), "{index} does not link {missing:?}");
    }
}

/// A newcomer reads it from beginning to end; details are in `docs`.
#[test]
fn the_architecture_has_20_kb_at_most() {
    let bytes = read("ARCHITECTURE.md").len();
    assert!(bytes <= 20_000, "ARCHITECTURE.md has {bytes} bytes");
}

async fn every_metric_is_documented(broker: Broker) {
    let cluster = Cluster::on(&broker).start().await;
    let quotes = broker.create_topic("quotes", 1).await;
    // A metric with labels exists only after its first event.
    let mut subscriber = cluster.subscriber(0).await;
    subscriber.subscribe(&quotes.channel("AAPL"), live()).await;
    cluster.publisher().publish(&quotes, "AAPL", ["value"]).await;
    subscriber.expect(["value"]).await;
    subscriber.leave().await;

    let documented = read("docs/metrics.md");
    let nodes = cluster.ingest.iter().chain(&cluster.push);
    let metrics: BTreeSet<_> = nodes
        .flat_map(|node| node.metrics().lines().filter_map(as_metric).collect::<Vec<_>>())
        .filter(|name| name.starts_with("tailcast_"))
        .collect();
    assert!(metrics.len() > 10, "only {metrics:?}");
    let undocumented: Vec<_> =
        metrics.iter().filter(|name| !documented.contains(&format!("`{name}"))).collect();
    assert!(undocumented.is_empty(), "docs/metrics.md does not name {undocumented:#?}");
}

#[test]
fn dependencies_point_one_way() {
    let workspace = read("Cargo.toml");
    let folders: BTreeMap<_, _> = workspace
        .lines()
        .filter_map(|line| {
            let (name, rest) = line.split_once(" = { path = \"")?;
            Some((name, rest.split_once('"')?.0))
        })
        .collect();
    for (package, allowed) in ARROWS {
        let manifest = read(&format!("{package}/Cargo.toml"));
        let dependencies =
            manifest.lines().filter_map(|line| line.split_once(".workspace")).map(|(name, _)| name);
        let not_allowed: Vec<_> = dependencies
            .filter_map(|name| folders.get(name))
            .filter(|folder| !allowed.contains(folder) && !folder.starts_with(&format!("{package}/")))
            .collect();
        assert!(not_allowed.is_empty(), "{package} must not depend on {not_allowed:?}");
    }
    assert!(
        folders.contains_key("tailcast-push"),
        "the workspace's own packages were not found: {folders:?}"
    );
}

#[test]
fn the_defaults_are_a_configuration() {
    let _configuration = Configuration::with(&[]);
}

#[test]
fn sources_keep_to_the_rules() {
    // Split, so that this file follows the rule too.
    let forbidden = [
        concat!(".unw", "rap()"),
        concat!("TO", "DO"),
        concat!("FIX", "ME"),
        concat!("unbounded_", "channel("),
    ];
    let mut found = BTreeMap::<String, Vec<String>>::new();
    for path in sources() {
        let text = fs::read_to_string(&path).expect("a source is text");
        let mut note = |what: String| {
            let path = path.strip_prefix(root()).expect("it is in the workspace").display().to_string();
            found.entry(path).or_default().push(what);
        };
        for (number, line) in text.lines().enumerate() {
            for forbidden in forbidden.iter().filter(|forbidden| line.contains(**forbidden)) {
                note(format!("line {} has {forbidden}", number + 1));
            }
            // rustfmt does not wrap comments.
            let columns = line.chars().count();
            if line.trim_start().starts_with("//") && columns > COMMENT_COLUMNS_MAX {
                note(format!("line {} is a comment of {columns} columns", number + 1));
            }
        }
        if !text.starts_with("//!") {
            note("it does not begin with a description (`//!`)".to_owned());
        }
        if path.ends_with("mod.rs") {
            note("modules are `name.rs` beside `name/`".to_owned());
        }
        // One idea per file.
        let lines = text.lines().count();
        if lines > 500 {
            note(format!("{lines} lines"));
        }
    }
    assert!(found.is_empty(), "{found:#?}");
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("tests/ is in the workspace").to_owned()
}

#[track_caller]
fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// The paths of all documents.
fn documents() -> Vec<String> {
    let mut documents: Vec<_> = DOCUMENTS.map(str::to_owned).into();
    let under_docs = files_under(root().join("docs"), "md");
    assert!(under_docs.len() > 2, "docs has only {under_docs:?}");
    documents.extend(
        under_docs
            .iter()
            .map(|path| path.strip_prefix(root()).expect("it is in the workspace").display().to_string()),
    );
    documents
}

/// Every Rust file of the workspace.
fn sources() -> Vec<PathBuf> {
    let sources: Vec<_> = ["proto", "services", "ingest", "push", "clients", "loadgen", "tests", "src"]
        .into_iter()
        .flat_map(|folder| files_under(root().join(folder), "rs"))
        .collect();
    assert!(sources.len() > 50, "only {} sources were found", sources.len());
    sources
}

/// All files with this extension in a directory and those below it.
fn files_under(directory: PathBuf, extension: &str) -> Vec<PathBuf> {
    let mut files = Vec::new();
    let mut directories = vec![directory];
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(&directory).expect("it is a directory") {
            let path = entry.expect("a directory can be read").path();
            if path.is_dir() {
                directories.push(path);
            } else if path.extension().is_some_and(|of| of == extension) {
                files.push(path);
            }
        }
    }
    files
}

/// The text in backticks on one line, outside of fenced blocks.
fn code_spans(text: &str) -> impl Iterator<Item = &str> {
    let mut fenced = false;
    text.lines()
        .filter(move |line| {
            let fence = line.trim_start().starts_with("```");
            fenced ^= fence;
            !fence && !fenced
        })
        .flat_map(|line| line.split('`').skip(1).step_by(2))
}

/// A code span that is a path of this repository: it begins with one of its folders.
fn as_path(span: &str) -> Option<&str> {
    let (folder, _) = span.split_once('/')?;
    let folders =
        [".ci", "clients", "docs", "ingest", "k8s", "loadgen", "proto", "push", "services", "src", "tests"];
    let is_path = folders.contains(&folder) && !span.contains(['*', '{', ' ', '<']);
    is_path.then_some(span)
}

/// The targets of links into this repository.
fn links(text: &str) -> impl Iterator<Item = &str> {
    text.split("](")
        .skip(1)
        .filter_map(|rest| rest.split([')', '#']).next())
        .filter(|target| !target.is_empty() && !target.contains("://"))
}

/// The name in a `# TYPE` line.
fn as_metric(line: &str) -> Option<String> {
    line.strip_prefix("# TYPE ")?.split(' ').next().map(str::to_owned)
}
