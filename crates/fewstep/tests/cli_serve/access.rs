//! Limits, and who may use the server.

use crate::server::{Server, base64_of};
use crate::start;
use crate::workspace::{assert_refused, run};
use serde_json::{Value, json};
use std::io::{Read, Write};

fn folder() -> tempfile::TempDir {
    tempfile::tempdir().expect("a folder")
}

#[test]
fn every_limit_is_a_clear_refusal() {
    let limits = [
        "--max-body",
        "64KiB",
        "--max-pixels",
        "2000",
        "--max-steps",
        "9",
        "--max-images",
        "5",
    ];
    let (_folder, server) = start(&limits);
    let refused = |body: Value, status, part: &str| {
        server.post("/api/v1/generate", &body).refused(status, part);
    };
    refused(json!({ "count": 6 }), 400, "at most 5");
    refused(json!({ "seed": [1, 2, 3, 4, 5, 6] }), 400, "at most 5");
    refused(
        json!({ "steps": 10 }),
        400,
        "at most 9 steps".trim_end_matches(" steps"),
    );
    refused(json!({ "steps": 0 }), 400, "at least 1");
    refused(json!({ "width": 30, "height": 32 }), 400, "multiples of");
    refused(
        json!({ "width": 1u64 << 40, "height": 1u64 << 40 }),
        400,
        "multiples of",
    );
    refused(json!({ "width": 0, "height": 0 }), 400, "multiples of");
    refused(
        json!({ "model": "../../etc/passwd" }),
        404,
        "no model `../../etc/passwd`",
    );
    refused(json!({ "class": "shoe" }), 400, "no class `shoe`");
    refused(json!({ "prompt": "a shoe" }), 400, "reads no prompts");
    refused(json!({ "sampler": "euler" }), 400, "euler");
    refused(
        json!({ "sampler": "ddim", "negative_prompt": "x" }),
        400,
        "negative prompt",
    );
    refused(
        json!({ "steps": "four" }),
        400,
        "`steps` must be a whole number",
    );
    refused(json!({ "unknown": 1 }), 400, "no field `unknown`");
    refused(json!({ "prompt": "x".repeat(70_000) }), 413, "larger than");
    let header = base64_of(b"P6\n60000 60000\n255\n");
    refused(json!({ "image": header }), 413, "60000x60000");
    let text = server.request(
        "POST /api/v1/generate",
        &[("Content-Type", "text/plain")],
        b"{}",
    );
    text.refused(415, "JSON");
    let broken = [("Content-Type", "application/json")];
    server
        .request("POST /api/v1/generate", &broken, b"{")
        .refused(400, "not JSON");
    server.get("/nothing").refused(404, "nothing at /nothing");
    server
        .post("/nothing", &json!({}))
        .refused(404, "nothing at /nothing");
    // What the model was not trained for is done, and said.
    let warned = server.generate(&json!({ "steps": 3, "w": 9 }));
    assert_eq!(
        warned["warnings"].as_array().expect("a list").len(),
        2,
        "{}",
        warned["warnings"]
    );
}

#[test]
fn a_token_is_asked_for_in_either_scheme_and_never_logged() {
    let (_folder, mut server) = start(&["--token", "hush-hush"]);
    let open = server.get("/api/v1/models");
    open.refused(401, "needs a token");
    assert!(
        open.head.contains("www-authenticate: basic"),
        "{}",
        open.head
    );
    assert_eq!(server.get("/healthz").status, 200);
    assert_eq!(server.get("/readyz").status, 200);
    for path in ["/", "/metrics", "/api/v1/openapi.json"] {
        assert_eq!(server.get(path).status, 401, "{path}");
    }
    let basic = |text: &str| format!("Basic {}", base64_of(text.as_bytes()));
    for (authorization, status) in [
        ("Bearer hush-hush".to_owned(), 200),
        ("bearer hush-hush".to_owned(), 200),
        (basic("anybody:hush-hush"), 200),
        (basic("hush-hush"), 401),
        ("Bearer hush".to_owned(), 401),
        ("Bearer hush-hushhush-hush".to_owned(), 401),
        ("hush-hush".to_owned(), 401),
    ] {
        server.authorization = Some(authorization.clone());
        assert_eq!(
            server.get("/api/v1/models").status,
            status,
            "{authorization}"
        );
    }
    server.terminate();
    let (_, out, err) = server.ended();
    assert!(!out.contains("hush") && !err.contains("hush"), "{out}{err}");
}

#[test]
fn other_machines_need_a_token_and_bad_settings_are_refused() {
    let folder = folder();
    let refuse = |words: &[&str], part: &str| {
        assert_refused(&run(folder.path(), &[&["serve"], words].concat()), &[part]);
    };
    refuse(&["--address", "0.0.0.0:0"], "--token");
    refuse(&["--token", ""], "empty");
    refuse(&["--model", "nowhere"], "nowhere");
    refuse(
        &[
            "--model",
            "a=builtin:fashion-mnist",
            "--model",
            "a=builtin:fashion-mnist",
        ],
        "called `a`",
    );
    refuse(
        &["--memory", "1kB", "--address", "127.0.0.1:0"],
        "of memory, and models may take",
    );
    refuse(&["--cors", "*"], "no origin");
    let taken = Server::start(folder.path(), &[]);
    refuse(&["--address", &taken.address], "choose another address");
}

#[test]
fn pages_of_other_sites_get_nothing() {
    let words = [
        "--cors",
        "https://friend.example",
        "--host",
        "images.example",
    ];
    let (_folder, server) = start(&words);
    let get = |host: &str| {
        server
            .request("GET /api/v1/models", &[("Host", host)], &[])
            .status
    };
    assert_eq!(get("evil.example"), 403);
    assert_eq!(get("127.0.0.1.evil.example:7860"), 403);
    assert_eq!(get("localhost:1"), 200);
    assert_eq!(get("images.example"), 200);
    let post = |origin: &str| {
        let headers = [("Origin", origin), ("Content-Type", "application/json")];
        server.request("POST /api/v1/generate", &headers, b"{}")
    };
    assert_eq!(post(&format!("http://{}", server.address)).status, 200);
    assert_eq!(post("https://evil.example").status, 403);
    assert_eq!(post("null").status, 403);
    let friend = post("https://friend.example");
    assert_eq!(friend.status, 200);
    assert!(
        friend
            .head
            .contains("access-control-allow-origin: https://friend.example")
    );
    let question = |origin: &str| {
        let headers = [
            ("Origin", origin),
            ("Access-Control-Request-Method", "POST"),
        ];
        server
            .request("OPTIONS /api/v1/generate", &headers, &[])
            .head
    };
    assert!(question("https://friend.example").contains("access-control-allow-origin"));
    assert!(!question("https://evil.example").contains("allow-origin: https://evil.example"));
}

/// A client that reads no answer before it has sent all still learns why it is refused.
#[test]
fn a_body_that_is_too_large_is_received_and_refused() {
    let (_folder, server) = crate::start(&["--max-body", "100kB"]);
    let body = vec![b' '; 1_500_000];
    let head = format!(
        "POST /api/v1/generate HTTP/1.1\r\nHost: {}\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        server.address,
        body.len()
    );
    let mut stream = std::net::TcpStream::connect(&server.address).expect("a connection");
    stream.write_all(head.as_bytes()).expect("sent");
    for part in body.chunks(10_000) {
        stream.write_all(part).expect("the server still listens");
    }
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    assert!(answer.starts_with("HTTP/1.1 413"), "{answer}");
}

/// Connections that never say what they want do not stay.
#[test]
fn a_client_that_does_not_finish_its_head_is_disconnected() {
    let (_folder, server) = crate::start(&["--timeout", "1"]);
    let mut stream = std::net::TcpStream::connect(&server.address).expect("a connection");
    let started = std::time::Instant::now();
    stream.write_all(b"GET / HTTP/1.1\r\nX: a").expect("sent");
    let patience = std::time::Duration::from_secs(20);
    stream.set_read_timeout(Some(patience)).expect("set");
    let mut answer = vec![];
    stream
        .read_to_end(&mut answer)
        .expect("the server disconnects");
    assert!(started.elapsed() >= std::time::Duration::from_millis(900));
}
