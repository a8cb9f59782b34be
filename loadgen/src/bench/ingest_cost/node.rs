//! The node that is measured: a `tailcast ingest` of its own, or one that runs already.

use std::{
    env, io,
    io::{Read as _, Write as _},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    path::PathBuf,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};
use procfs::process::Process;

use super::cli::Cli;
use crate::process;

/// How long it may take until it is ready.
const READY_WITHIN: Duration = Duration::from_secs(30);

/// Between two questions whether it is.
const AGAIN: Duration = Duration::from_millis(50);

/// How long an answer may take.
const ANSWER_WITHIN: Duration = Duration::from_secs(2);

/// A node that takes events.
pub(super) struct Node {
    /// HOST:PORT of its gRPC.
    pub(super) address: String,
    process: Process,
    /// Ended with this.
    child: Option<Child>,
}

/// Says whether there is a node to measure: the program, or the process that runs already.
pub(super) fn check(cli: &Cli) -> Result<()> {
    match cli.ingest_pid {
        Some(pid) => process::open(pid).map(|_| ()).context("--ingest-pid"),
        None => program(cli).map(|_| ()),
    }
}

impl Node {
    /// Takes the node that was named, or starts one and waits until it is ready.
    ///
    /// # Errors
    ///
    /// When there is no such program, or it does not become ready.
    pub(super) fn take_or_start(cli: &Cli) -> Result<Self> {
        if let Some((address, pid)) = cli.ingest.clone().zip(cli.ingest_pid) {
            return Ok(Self { address, process: process::open(pid)?, child: None });
        }
        let program = program(cli)?;
        let (listen, admin) = (free_port()?, free_port()?);
        let child = Command::new(&program)
            .args(["ingest", "--kafka", cli.kafka(), "--log-filter", "warn"])
            .args(["--listen", &listen.to_string(), "--admin-listen", &admin.to_string()])
            .stdin(Stdio::null())
            // Standard output is for results.
            .stdout(Stdio::null())
            .spawn()
            .with_context(|| format!("{} cannot be started", program.display()))?;
        let process = process::open(child.id())?;
        let mut node = Self { address: listen.to_string(), process, child: Some(child) };
        node.await_ready(admin)?;
        Ok(node)
    }

    /// Returns the CPU time that it has used.
    pub(super) fn cpu(&self) -> Result<Duration> {
        process::cpu(&self.process)
    }

    fn await_ready(&mut self, admin: SocketAddr) -> Result<()> {
        let start = Instant::now();
        loop {
            if let Some(status) = self.child.as_mut().map(Child::try_wait).transpose()?.flatten() {
                bail!("tailcast ingest ended ({status}) before it was ready; it said why");
            }
            let answer = ask(admin, "/readyz");
            if matches!(&answer, Ok(answer) if answer.split(' ').nth(1) == Some("200")) {
                return Ok(());
            }
            ensure!(start.elapsed() < READY_WITHIN, "tailcast ingest does not become ready: {answer:?}");
            thread::park_timeout(AGAIN);
        }
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        // Both fail when it has ended, which is what they are for.
        if let Some(child) = &mut self.child {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Returns the `tailcast` that was named, or the one beside this program.
fn program(cli: &Cli) -> Result<PathBuf> {
    let program = match &cli.tailcast {
        Some(program) => program.clone(),
        None => {
            env::current_exe().context("the program does not know where it is")?.with_file_name("tailcast")
        }
    };
    ensure!(
        program.is_file(),
        "{} is not there: build it as this program was built, or name one with --tailcast",
        program.display()
    );
    Ok(program)
}

/// Finds a port that is free, for somebody who takes it in a moment.
fn free_port() -> Result<SocketAddr> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("no port is free")?;
    listener.local_addr().context("the port is not known")
}

fn ask(address: SocketAddr, path: &str) -> io::Result<String> {
    let mut stream = TcpStream::connect_timeout(&address, ANSWER_WITHIN)?;
    stream.set_read_timeout(Some(ANSWER_WITHIN))?;
    write!(stream, "GET {path} HTTP/1.0\r\nHost: {address}\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}
