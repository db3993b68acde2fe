//! A small server that speaks S3, fails when it is told to, and remembers what it was asked.

#![allow(dead_code, reason = "every test program uses another part")]

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::process::Command;
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread;
use std::time::Duration;

/// What the server knows and does.
#[derive(Default)]
pub(crate) struct State {
    /// Objects by bucket and name.
    pub(crate) objects: BTreeMap<String, Vec<u8>>,
    uploads: BTreeMap<String, BTreeMap<usize, Vec<u8>>>,
    /// Requests so far: method and address.
    pub(crate) requests: Vec<String>,
    /// Of so many requests one is answered with 503, and another one broken off.
    pub(crate) fails_every: usize,
    /// Requests for what has this in its name wait, and are never answered.
    pub(crate) holds: Option<&'static str>,
    /// Requests with this in their name are answered after so long.
    pub(crate) delays: Option<(&'static str, Duration)>,
    /// What every request is answered with, if anything.
    pub(crate) refuses: Option<(u16, &'static str)>,
}

pub(crate) struct Server {
    address: String,
    state: Arc<Mutex<State>>,
}

/// The credentials of its clients; it checks none.
pub(crate) const SECRET: &str = "hunter2hunter2";

impl Server {
    pub(crate) fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("bound").to_string();
        let state = Arc::<Mutex<State>>::default();
        let shared = state.clone();
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let state = shared.clone();
                thread::spawn(move || answer(stream, &state));
            }
        });
        Self { address, state }
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("whole")
    }

    /// Names of the objects of a bucket, without it.
    pub(crate) fn names(&self, start: &str) -> Vec<String> {
        let state = self.state();
        let names = state.objects.keys();
        names
            .filter(|name| name.starts_with(start))
            .cloned()
            .collect()
    }

    /// Lets a program use it.
    pub(crate) fn used_by(&self, command: &mut Command) {
        command
            .env("AWS_ENDPOINT_URL", format!("http://{}", self.address))
            .env("AWS_ACCESS_KEY_ID", "someone")
            .env("AWS_SECRET_ACCESS_KEY", SECRET)
            .env("AWS_REGION", "us-east-1");
    }
}

/// Answers requests of one connection until it ends.
fn answer(mut stream: TcpStream, state: &Mutex<State>) {
    let mut reader = BufReader::new(stream.try_clone().expect("cloned"));
    while let Some(request) = read(&mut reader) {
        let mut known = state.lock().expect("whole");
        let asked = format!("{} {}", request.method, request.path);
        let is_held = known.holds.is_some_and(|part| asked.contains(part));
        let delay = known.delays.filter(|(part, _)| asked.contains(part));
        known.requests.push(asked);
        if is_held {
            drop(known);
            while state.lock().expect("whole").holds.is_some() {
                thread::sleep(Duration::from_millis(5));
            }
            return;
        }
        let (count, every) = (known.requests.len(), known.fails_every);
        let turn = if every > 0 { count % every } else { 0 };
        let object = known.objects.get(request.path.trim_start_matches('/'));
        let tag = object.map_or("\"e\"".into(), |object| tag(object));
        let (status, body) = match known.refuses {
            Some((status, said)) => (status, said.as_bytes().to_vec()),
            None if turn == 1 => (503, b"busy".to_vec()),
            None => known.handle(&request),
        };
        drop(known);
        if let Some((_, delay)) = delay {
            thread::sleep(delay);
        }
        let range = match request.range {
            Some([start, _]) if status == 206 => {
                let end = start + body.len();
                format!("Content-Range: bytes {start}-{}/{end}\r\n", end - 1)
            }
            _ => String::new(),
        };
        let head = format!(
            "HTTP/1.1 {status} X\r\nContent-Length: {}\r\nETag: {tag}\r\nLast-Modified: Thu, 01 Jan 2026 00:00:00 GMT\r\n{range}\r\n",
            body.len()
        );
        let is_object = request.method == "GET" && request.query.len() < 2 && status < 300;
        let shown = match request.method.as_str() {
            "HEAD" => &[][..],
            // Half of an object.
            _ if turn == 2 && is_object => &body[..body.len() / 2],
            _ => &body[..],
        };
        let sent = stream.write_all(head.as_bytes());
        if sent.and_then(|()| stream.write_all(shown)).is_err() || shown.len() < body.len() {
            return;
        }
    }
}

struct Request {
    method: String,
    path: String,
    query: BTreeMap<String, String>,
    range: Option<[usize; 2]>,
    body: Vec<u8>,
}

fn read(reader: &mut impl BufRead) -> Option<Request> {
    let mut line = String::new();
    reader.read_line(&mut line).ok()?;
    let mut words = line.split_whitespace();
    let (method, target) = (words.next()?.to_string(), words.next()?.to_string());
    let (path, query) = target.split_once('?').unwrap_or((&target, ""));
    let pairs = query
        .split('&')
        .map(|pair| pair.split_once('=').unwrap_or((pair, "")));
    let query = pairs.map(|(key, value)| (key.to_string(), value.replace("%2F", "/")));
    let mut request = Request {
        method,
        path: path.into(),
        query: query.collect(),
        range: None,
        body: vec![],
    };
    let mut length = 0;
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        let line = line.trim().to_ascii_lowercase();
        if line.is_empty() {
            break;
        }
        if let Some(value) = line.strip_prefix("content-length:") {
            length = value.trim().parse().ok()?;
        }
        if let Some(value) = line.strip_prefix("range: bytes=") {
            let (start, end) = value.split_once('-')?;
            request.range = Some([start.parse().ok()?, end.parse().unwrap_or(usize::MAX)]);
        }
    }
    request.body = vec![0; length];
    reader.read_exact(&mut request.body).ok()?;
    Some(request)
}

impl State {
    fn handle(&mut self, request: &Request) -> (u16, Vec<u8>) {
        let name = request.path.trim_start_matches('/').to_string();
        let query = |key: &str| request.query.get(key).cloned();
        let upload = query("uploadId");
        match request.method.as_str() {
            "GET" if query("list-type").is_some() => {
                let prefix = query("prefix").unwrap_or_default();
                (200, self.list(&name, &prefix, query("delimiter").is_some()))
            }
            "GET" | "HEAD" => match self.objects.get(&name) {
                Some(object) => match request.range {
                    Some([start, end]) => (
                        206,
                        object[start..object.len().min(end.saturating_add(1))].to_vec(),
                    ),
                    None => (200, object.clone()),
                },
                None => (
                    404,
                    b"<Error><Message>No such key</Message></Error>".to_vec(),
                ),
            },
            "PUT" => {
                match (upload, query("partNumber")) {
                    (Some(upload), Some(part)) => {
                        let parts = self.uploads.entry(upload).or_default();
                        parts.insert(part.parse().expect("a number"), request.body.clone());
                    }
                    _ => drop(self.objects.insert(name, request.body.clone())),
                }
                (200, vec![])
            }
            "POST" if query("uploads").is_some() => {
                let id = self.requests.len();
                (200, format!("<InitiateMultipartUploadResult><UploadId>{id}</UploadId></InitiateMultipartUploadResult>").into())
            }
            "POST" if query("delete").is_some() => {
                let text = String::from_utf8_lossy(&request.body).into_owned();
                for key in text.split("<Key>").skip(1) {
                    let key = key.split("</Key>").next().unwrap_or_default();
                    self.objects
                        .remove(&format!("{}/{key}", name.trim_end_matches('/')));
                }
                (200, b"<DeleteResult></DeleteResult>".to_vec())
            }
            "POST" => {
                let parts = self.uploads.remove(&upload.expect("an upload"));
                let whole = parts.unwrap_or_default().into_values().flatten().collect();
                self.objects.insert(name, whole);
                (200, b"<CompleteMultipartUploadResult><ETag>e</ETag></CompleteMultipartUploadResult>".to_vec())
            }
            "DELETE" => {
                match upload {
                    Some(upload) => drop(self.uploads.remove(&upload)),
                    None => drop(self.objects.remove(&name)),
                }
                (204, vec![])
            }
            _ => (400, vec![]),
        }
    }

    /// The objects below a prefix: all, or those before the next slash.
    fn list(&self, bucket: &str, prefix: &str, delimited: bool) -> Vec<u8> {
        let start = format!("{}/{prefix}", bucket.trim_end_matches('/'));
        let below = self.objects.iter().filter_map(|(name, object)| {
            let rest = name.strip_prefix(&start)?;
            (!delimited || !rest.contains('/')).then(|| {
                format!(
                    "<Contents><Key>{prefix}{rest}</Key><Size>{}</Size><LastModified>2026-01-01T00:00:00Z</LastModified><ETag>{}</ETag></Contents>",
                    object.len(),
                    tag(object)
                )
            })
        });
        let below: String = below.collect();
        format!("<ListBucketResult>{below}</ListBucketResult>").into()
    }
}

/// Another one for other contents.
fn tag(object: &[u8]) -> String {
    let sum = object.iter().fold(0u64, |sum, byte| {
        sum.wrapping_mul(31).wrapping_add(u64::from(*byte))
    });
    format!("\"{sum:016x}\"")
}
