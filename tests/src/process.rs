//! A push node in its own process: the command as users run it, with real signals and an exit code.
//!
//! Its addresses are read from its log, which goes to a file, so that nothing has to read a pipe.

use std::fs::File;
use std::io::Read as _;
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};

use serde_json::Value;
use tempfile::NamedTempFile;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::broker::Broker;
use crate::deadline::{eventually, within};
use crate::metrics::sum_of;

/// A running process. Dropping it kills it.
#[derive(Debug)]
pub struct Process {
    child: Child,
    log: NamedTempFile,
    address: SocketAddr,
    admin: SocketAddr,
}

/// A signal to a process.
#[derive(Debug, Clone, Copy)]
pub enum Signal {
    /// SIGTERM: drain and end.
    Terminate,
    /// SIGSTOP: pause, as if the machine had no processor for it.
    Stop,
    /// SIGCONT: continue.
    Continue,
}

impl Process {
    /// Starts `tailcast push` at `listen`, with keys of the configuration set to values, and waits
    /// until it is ready. `program` is the command's file.
    ///
    /// # Panics
    ///
    /// When it does not become ready; with its log.
    pub async fn push(program: &str, broker: &Broker, listen: SocketAddr, values: &[(&str, &str)]) -> Self {
        let log = NamedTempFile::new().expect("a file for the log can be made");
        let mut command = Command::new(program);
        command.args(["push", "--kafka", &broker.bootstrap(), "--listen", &listen.to_string()]);
        command.args(["--admin-listen", "127.0.0.1:0", "--log-format", "json"]);
        for (key, value) in values {
            command.args(["--set", &format!("{key}={value}")]);
        }
        let stderr = log.reopen().expect("the log can be opened again");
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(stderr).spawn();
        let child = child.unwrap_or_else(|error| panic!("{program}: {error}"));
        let unknown = SocketAddr::from(([127, 0, 0, 1], 0));
        let mut process = Self { child, log, address: unknown, admin: unknown };
        (process.address, process.admin) = process.addresses().await;
        let answer = async || process.get("/readyz").await;
        let _ready = eventually("the process is ready", answer, |it| it.starts_with("HTTP/1.0 200")).await;
        process
    }

    /// Returns the address for clients.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Returns the sum of a metric over its labels; 0 when there is none.
    ///
    /// # Panics
    ///
    /// When the process does not answer.
    pub async fn metric(&self, name: &str) -> f64 {
        sum_of(&self.get("/metrics").await, name, "")
    }

    /// Returns the kernel's figure for its peak memory, in bytes.
    ///
    /// # Panics
    ///
    /// When the kernel does not report it.
    pub fn peak_memory_bytes(&self) -> u64 {
        let path = format!("/proc/{}/status", self.child.id());
        let status = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kilobytes = line.and_then(|line| line.trim().strip_suffix(" kB")?.parse::<u64>().ok());
        kilobytes.unwrap_or_else(|| panic!("no VmHWM in {status}")) * 1_024
    }

    /// Sends it a signal.
    ///
    /// # Panics
    ///
    /// When that fails.
    pub fn signal(&self, signal: Signal) {
        let name = match signal {
            Signal::Terminate => "-TERM",
            Signal::Stop => "-STOP",
            Signal::Continue => "-CONT",
        };
        let sent = Command::new("kill").args([name, &self.child.id().to_string()]).status();
        assert!(sent.as_ref().is_ok_and(std::process::ExitStatus::success), "kill {name}: {sent:?}");
    }

    /// Waits until it has ended.
    ///
    /// # Panics
    ///
    /// When it does not end, or not with exit code 0; with its log.
    pub async fn ended(mut self) {
        let look = async || self.child.try_wait().expect("the child can be waited for");
        let status = eventually("the process ends", look, Option::is_some).await.expect("it has ended");
        assert_eq!(status.code(), Some(0), "{}", self.logged());
    }

    /// Sends a request to the admin listener, and returns the answer or the error.
    async fn get(&self, path: &str) -> String {
        let exchange = async {
            let mut stream = TcpStream::connect(self.admin).await?;
            stream.write_all(format!("GET {path} HTTP/1.0\r\nHost: admin\r\n\r\n").as_bytes()).await?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer).await?;
            Ok::<_, std::io::Error>(answer)
        };
        let answer = within(format_args!("an answer to {path}"), exchange).await;
        answer.unwrap_or_else(|error| format!("{path}: {error}\n{}", self.logged()))
    }

    /// Waits for the line of the log with the addresses of push and of the admin listener.
    async fn addresses(&self) -> (SocketAddr, SocketAddr) {
        let addresses = |line: &str| {
            let line: Value = serde_json::from_str(line).ok()?;
            let address = |part: &str| line.get(part)?.as_str()?.parse::<SocketAddr>().ok();
            Some((address("push")?, address("admin")?))
        };
        let look = async || self.logged();
        let found = |log: &String| log.lines().any(|line| addresses(line).is_some());
        let logged = eventually("the process logs its addresses", look, found).await;
        logged.lines().find_map(addresses).expect("the log was searched before")
    }

    fn logged(&self) -> String {
        let mut log = String::new();
        let read = File::open(self.log.path()).and_then(|mut file| file.read_to_string(&mut log));
        read.map_or_else(|error| format!("no log: {error}"), |_| log)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended before. A paused process ends too.
        let _killed = self.child.kill();
        let _status = self.child.wait();
    }
}
