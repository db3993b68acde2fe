//! A server of the program, and a client for it.

#![allow(dead_code, reason = "every test program uses another part")]

use super::workspace::command;
use fewstep_data::image::{Image, decode};
use serde_json::Value;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, ChildStdout, ExitStatus, Stdio};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// A running server, which ends with the test.
pub(crate) struct Server {
    child: Child,
    out: BufReader<ChildStdout>,
    /// What it writes about its work, read as it comes.
    err: Option<JoinHandle<String>>,
    /// Where it listens.
    pub(crate) address: String,
    /// What requests have in `Authorization`.
    pub(crate) authorization: Option<String>,
}

/// An answer.
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// All headers, with names in lower case.
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
}

impl Server {
    /// Starts it on a free port, with these words too.
    pub(crate) fn start(folder: &Path, words: &[&str]) -> Self {
        let all = [&["serve", "--address", "127.0.0.1:0"], words].concat();
        let mut child = command(folder, &all)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program starts");
        let mut err = child.stderr.take().expect("piped");
        let err = std::thread::spawn(move || {
            let mut text = vec![];
            let _ = err.read_to_end(&mut text);
            String::from_utf8_lossy(&text).into_owned()
        });
        let mut out = BufReader::new(child.stdout.take().expect("piped"));
        let mut line = String::new();
        out.read_line(&mut line).expect("a line");
        let address = line.trim().strip_prefix("fewstep serves on http://");
        let Some(address) = address.and_then(|address| address.strip_suffix('/')) else {
            let message = err.join().expect("read");
            panic!("the server does not start: {line}{message}");
        };
        Self {
            address: address.into(),
            err: Some(err),
            child,
            out,
            authorization: None,
        }
    }

    /// Connects and sends a request. The connection is closed after the answer.
    pub(crate) fn send(&self, head: &str, headers: &[(&str, &str)], body: &[u8]) -> TcpStream {
        let mut stream = TcpStream::connect(&self.address).expect("connected");
        let patience = Some(Duration::from_secs(60));
        stream.set_read_timeout(patience).expect("set");
        let mut text = format!("{head} HTTP/1.1\r\nConnection: close\r\n");
        let is_given = |name: &str| headers.iter().any(|(given, _)| *given == name);
        if !is_given("Host") {
            text += &format!("Host: {}\r\n", self.address);
        }
        if let Some(authorization) = &self.authorization {
            text += &format!("Authorization: {authorization}\r\n");
        }
        for (name, value) in headers {
            text += &format!("{name}: {value}\r\n");
        }
        text += &format!("Content-Length: {}\r\n\r\n", body.len());
        stream.write_all(text.as_bytes()).expect("sent");
        // A server that refuses a large body does not read all of it.
        let _ = stream.write_all(body);
        stream
    }

    pub(crate) fn request(&self, head: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
        Answer::read(self.send(head, headers, body))
    }

    pub(crate) fn get(&self, path: &str) -> Answer {
        self.request(&format!("GET {path}"), &[], &[])
    }

    pub(crate) fn delete(&self, path: &str) -> Answer {
        self.request(&format!("DELETE {path}"), &[], &[])
    }

    pub(crate) fn post(&self, path: &str, body: &Value) -> Answer {
        Answer::read(self.send_json(path, body))
    }

    pub(crate) fn send_json(&self, path: &str, body: &Value) -> TcpStream {
        let kind = [("Content-Type", "application/json")];
        self.send(&format!("POST {path}"), &kind, body.to_string().as_bytes())
    }

    /// Generates through the server's own API.
    pub(crate) fn generate(&self, body: &Value) -> Value {
        self.post("/api/v1/generate", body).ok()
    }

    /// A number of the metrics.
    pub(crate) fn metric(&self, name: &str) -> f64 {
        let text = self.get("/metrics").text();
        let mut lines = text.lines();
        let value = lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        value.map_or(0.0, |value| value.parse().expect("a number"))
    }

    /// Waits until the metric has this value.
    pub(crate) fn wait_for(&self, name: &str, value: f64) {
        let start = Instant::now();
        while self.metric(name) != value {
            let waited = start.elapsed();
            assert!(waited < Duration::from_secs(20), "{name} is never {value}");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Tells it to stop.
    pub(crate) fn terminate(&self) {
        let pid = i32::try_from(self.child.id()).expect("a process");
        // SAFETY: kill only sends a signal, to a child that has not been waited for.
        unsafe { libc::kill(pid, libc::SIGTERM) };
    }

    /// Waits for its end. Returns how it ended and the rest of its output.
    pub(crate) fn ended(mut self) -> (ExitStatus, String, String) {
        let mut out = String::new();
        self.out.read_to_string(&mut out).expect("read");
        let err = self.err.take().expect("once").join().expect("read");
        (self.child.wait().expect("ended"), out, err)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Answer {
    pub(crate) fn read(mut stream: TcpStream) -> Self {
        let mut bytes = vec![];
        // The connection of a refused body may be reset after the answer.
        let _ = stream.read_to_end(&mut bytes);
        let end = bytes.windows(4).position(|four| four == b"\r\n\r\n");
        let (head, body) = bytes.split_at(end.expect("a head") + 4);
        let head = String::from_utf8_lossy(head).to_lowercase();
        let status = head[9..12].parse().expect("a status");
        let body = match head.contains("transfer-encoding: chunked") {
            true => dechunked(body),
            false => body.to_vec(),
        };
        Self { status, head, body }
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).expect("JSON")
    }

    /// The JSON of an answer that is no error.
    pub(crate) fn ok(&self) -> Value {
        assert_eq!(self.status / 100, 2, "{}", self.text());
        self.json()
    }

    /// Checks that this is an error of this status whose message has this part.
    pub(crate) fn refused(&self, status: u16, part: &str) {
        assert_eq!(self.status, status, "{}", self.text());
        let body = self.json();
        let message = body["error"]["message"].as_str().expect("a message");
        assert!(message.contains(part), "no `{part}` in: {message}");
    }

    /// The server-sent events: names and data.
    pub(crate) fn events(&self) -> Vec<(String, Value)> {
        let text = self.text();
        let mut events = vec![];
        for block in text.split("\n\n") {
            let field = |name: &str| block.lines().find_map(|line| line.strip_prefix(name));
            if let Some(data) = field("data: ") {
                let data = serde_json::from_str(data).unwrap_or(Value::Null);
                events.push((field("event: ").unwrap_or("").into(), data));
            }
        }
        events
    }
}

fn dechunked(mut rest: &[u8]) -> Vec<u8> {
    let mut body = vec![];
    while let Some(end) = rest.windows(2).position(|two| two == b"\r\n") {
        let size = String::from_utf8_lossy(&rest[..end]).into_owned();
        let size = usize::from_str_radix(size.trim(), 16).expect("a size");
        if size == 0 {
            break;
        }
        body.extend(&rest[end + 2..end + 2 + size]);
        rest = &rest[end + 2 + size + 2..];
    }
    body
}

/// The bytes of a text in base64.
pub(crate) fn bytes_of(base64: &Value) -> Vec<u8> {
    use base64::Engine as _;
    let text = base64.as_str().expect("a text");
    let decoded = base64::engine::general_purpose::STANDARD.decode(text);
    decoded.expect("base64")
}

/// Bytes in base64.
pub(crate) fn base64_of(bytes: &[u8]) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.encode(bytes)
}

/// An image of an answer.
pub(crate) fn image_of(base64: &Value, channels: usize) -> Image {
    decode(&bytes_of(base64), "an answer", None, channels).expect("an image")
}
