//! `fewstep bench-serve` against a server, and the log of a server as JSON.

use crate::start;
use crate::workspace::{refuse, succeed};
use serde_json::Value;

#[test]
fn bench_serve_measures_a_running_server() {
    let (folder, server) = start(&["--model", "builtin:fashion-mnist"]);
    let url = format!("http://{}", server.address);
    let bench = [
        "bench-serve",
        "--url",
        &url,
        "--seconds",
        "1",
        "--steps",
        "1",
    ];
    let words = [&bench[..], &["--clients", "1,3", "--count", "2", "--json"]].concat();
    let (out, _) = succeed(folder.path(), &words);
    let rounds: Value = serde_json::from_str(&out).expect("JSON");
    let generated = server.metric("fewstep_images_total");
    let mut counted = 2.0;
    for (round, clients) in [(&rounds[0], 1), (&rounds[1], 3)] {
        assert_eq!(
            (&round["clients"], &round["failed"]),
            (&clients.into(), &0.into())
        );
        let number = |name: &str| round[name].as_f64().expect(name);
        assert!(round["memory_bytes"][1].as_f64() > Some(1e6), "{round}");
        assert!(number("p50_ms") <= number("p99_ms") && number("p99_ms") <= number("max_ms"));
        assert!(
            number("network_ms_per_batch") > 0.0
                && number("network_ms_per_batch") <= number("max_ms")
        );
        let images = number("images_per_second") * number("seconds");
        assert!((images - 2.0 * number("requests")).abs() < 1e-6);
        counted += images;
    }
    assert!(
        (generated - counted).abs() < 0.5,
        "{generated} for {counted}"
    );
    let leaving = [
        &bench[..],
        &["--clients", "4", "--count", "16", "--leave", "0.9"],
    ]
    .concat();
    let (table, _) = succeed(folder.path(), &leaving);
    let row = table.lines().last().expect("a row");
    let left: f64 = row
        .split('|')
        .nth(11)
        .expect("a column")
        .trim()
        .parse()
        .expect("a number");
    assert!(left > 0.0, "{table}");
    server.wait_for("fewstep_queue_jobs", 0.0);
    refuse(
        folder.path(),
        &[&bench[..], &["--model", "other"]].concat(),
        &["no model `other`"],
    );
    refuse(
        folder.path(),
        &["bench-serve", "--url", "https://a"],
        &["http://"],
    );
    drop(server);
    refuse(folder.path(), &bench, &[&url]);
}

#[test]
fn the_log_can_be_json() {
    let words = ["--log-format", "json", "--model", "builtin:fashion-mnist"];
    let (_folder, server) = start(&words);
    server.generate(&serde_json::json!({ "steps": 1 }));
    server.get("/nothing");
    server.terminate();
    let (_, _, err) = server.ended();
    let lines: Vec<Value> = err
        .lines()
        .map(|line| serde_json::from_str(line).expect(line))
        .collect();
    let answered: Vec<&Value> = lines
        .iter()
        .filter(|line| line["message"] == "answered")
        .collect();
    assert_eq!(answered.len(), 2, "{err}");
    assert_eq!(
        (&answered[0]["route"], &answered[0]["status"]),
        (&"/api/v1/generate".into(), &200.into())
    );
    assert_eq!(
        (&answered[1]["level"], &answered[1]["status"]),
        (&"INFO".into(), &404.into())
    );
    let time = answered[0]["time"].as_str().expect("a time");
    assert!(time.starts_with("20") && time.ends_with('Z'), "{time}");
}
