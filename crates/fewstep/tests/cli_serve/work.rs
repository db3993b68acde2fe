//! The queue, jobs, batches, cancelling, models in memory, the end.

use crate::server::{Answer, Server, bytes_of, image_of};
use crate::start;
use serde_json::{Value, json};
use std::time::{Duration, Instant};

/// Long enough that a test can act while it runs: a teacher in many steps.
fn long(count: usize) -> Value {
    json!({ "model": "fashion-mnist-teacher", "steps": 240, "count": count, "seed": 1 })
}

#[test]
fn requests_of_several_clients_share_network_calls() {
    let (_folder, server) = start(&[]);
    // While this runs, the others gather.
    let first = server.send_json("/api/v1/generate", &long(64));
    server.wait_for("fewstep_queue_jobs", 1.0);
    let body = |seed: u64| json!({ "seed": seed, "class": seed, "w": 0.5 * seed as f64 });
    let others: Vec<_> = (0..6)
        .map(|n| server.send_json("/api/v1/generate", &body(n)))
        .collect();
    server.wait_for("fewstep_queue_jobs", 7.0);
    drop(first);
    let others = others.into_iter().map(|stream| Answer::read(stream).ok());
    for (n, reply) in others.enumerate() {
        assert_eq!(reply["batch"], 6);
        let alone = server.generate(&body(n as u64));
        assert_eq!(alone["images"][0]["data"], reply["images"][0]["data"]);
    }
}

#[test]
fn a_client_that_leaves_ends_its_work_at_the_next_step() {
    let (_folder, server) = start(&[]);
    for path in ["/api/v1/generate", "stream"] {
        let mut body = long(8);
        body["stream"] = json!(path == "stream");
        let stream = server.send_json("/api/v1/generate", &body);
        server.wait_for("fewstep_queue_jobs", 1.0);
        std::thread::sleep(Duration::from_millis(50));
        let left = Instant::now();
        drop(stream);
        server.wait_for("fewstep_queue_jobs", 0.0);
        assert!(
            left.elapsed() < Duration::from_secs(2),
            "{path}: {:?}",
            left.elapsed()
        );
    }
    assert_eq!(server.metric("fewstep_jobs_total{end=\"cancelled\"}"), 2.0);
    assert_eq!(server.metric("fewstep_jobs_total{end=\"done\"}"), 0.0);
}

#[test]
fn jobs_have_progress_previews_and_an_end() {
    let (_folder, server) = start(&[]);
    let body = json!({ "steps": 4, "count": 3, "seed": 2, "previews": true });
    let job = server.post("/api/v1/jobs", &body);
    assert_eq!(job.status, 202);
    let id = job.ok()["id"].as_str().expect("an id").to_owned();
    let events = server.get(&format!("/api/v1/jobs/{id}/events")).events();
    let (last, result) = events.last().expect("events");
    assert_eq!(last, "done", "{result}");
    let shown = server.get(&format!("/api/v1/jobs/{id}")).ok();
    assert_eq!(shown["status"], "done");
    assert_eq!(
        shown["result"]["images"][2]["data"],
        result["images"][2]["data"]
    );
    let file = server.get(&format!("/images/{id}/2"));
    assert!(file.head.contains("content-type: image/png"));
    assert_eq!(file.body, bytes_of(&result["images"][2]["data"]));
    server
        .get(&format!("/images/{id}/3"))
        .refused(404, "no such image");
    server.get("/api/v1/jobs/none").refused(404, "no such job");
    // Cancelled while it runs.
    let job = server.post("/api/v1/jobs", &long(8)).ok();
    let path = format!("/api/v1/jobs/{}", job["id"].as_str().expect("an id"));
    assert_eq!(server.delete(&path).ok()["status"], "cancelled");
    server.wait_for("fewstep_queue_jobs", 0.0);
    let events = server.get(&format!("{path}/events")).events();
    assert_eq!(events[0].0, "cancelled");
}

#[test]
fn a_stream_shows_every_step() {
    let (_folder, server) = start(&["--model", "builtin:fashion-mnist-teacher"]);
    let body = json!({ "steps": 60, "count": 2, "seed": 2, "previews": true, "stream": true });
    let events = server.post("/api/v1/generate", &body).events();
    let of = |name: &'static str| -> Vec<&Value> {
        let named = events.iter().filter(|(given, _)| given == name);
        named.map(|(_, data)| data).collect()
    };
    assert!(of("progress").len() > 3);
    let preview = of("preview").pop().expect("previews");
    assert_eq!(image_of(&preview["data"], 1).shape.height, 32);
    let done = of("done").pop().expect("an end");
    let mut body = body;
    body["stream"] = json!(false);
    assert_eq!(done["images"], server.generate(&body)["images"]);
}

#[test]
fn a_full_queue_is_said_with_the_time_to_try_again() {
    let (_folder, server) = start(&["--queue", "2"]);
    let running = [32, 64].map(|count| server.send_json("/api/v1/generate", &long(count)));
    server.wait_for("fewstep_queue_jobs", 2.0);
    let refused = server.post("/api/v1/generate", &json!({}));
    refused.refused(429, "2 requests are waiting");
    assert!(refused.head.contains("retry-after: "), "{}", refused.head);
    assert_eq!(refused.json()["error"]["type"], "rate_limit_error");
    assert_eq!(server.metric("fewstep_refused_total"), 1.0);
    drop(running);
    server.wait_for("fewstep_queue_jobs", 0.0);
    server.generate(&json!({}));
}

#[test]
fn a_request_that_takes_too_long_is_ended() {
    let (_folder, server) = start(&["--timeout", "1", "--model", "builtin:fashion-mnist-teacher"]);
    let mut body = long(64);
    body["model"] = Value::Null;
    let started = Instant::now();
    server
        .post("/api/v1/generate", &body)
        .refused(504, "longer than");
    assert!(started.elapsed() < Duration::from_secs(5));
    server.wait_for("fewstep_queue_jobs", 0.0);
    let done = server.generate(&json!({ "steps": 1 }));
    assert_eq!(done["images"].as_array().expect("images").len(), 1);
}

#[test]
fn models_are_loaded_on_request_within_the_memory() {
    // Room for one of the two.
    let (_folder, server) = start(&["--memory", "3.5MB"]);
    let loaded = || -> Vec<bool> {
        let models = server.get("/api/v1/models").ok();
        let models = models["models"].as_array().expect("a list").clone();
        models.iter().map(|model| model["loaded"] == true).collect()
    };
    assert_eq!(loaded(), [true, false]);
    let teacher = json!({ "model": "fashion-mnist-teacher" });
    let facts = server.post("/api/v1/models/load", &teacher).ok();
    assert_eq!(facts["guidance"]["kind"], "classifier-free");
    assert_eq!(loaded(), [false, true]);
    // Each number of steps has weights of its own.
    for steps in [8, 3, 4] {
        let reply = server.generate(&json!({ "steps": steps, "seed": 1, "class": 1 }));
        assert_eq!(reply["steps"], steps);
        assert_eq!(loaded(), [true, false]);
        assert!(server.metric("fewstep_model_bytes") <= 3.5e6);
    }
    let other = json!({ "model": "other" });
    let other = server.post("/api/v1/models/load", &other);
    other.refused(404, "no model `other`");
}

#[test]
fn a_signal_ends_what_runs_in_time_and_says_so() {
    let (folder, server) = start(&[]);
    let running = server.send_json("/api/v1/generate", &long(1));
    server.wait_for("fewstep_queue_jobs", 1.0);
    server.terminate();
    assert_eq!(
        Answer::read(running).status,
        200,
        "what was accepted is finished"
    );
    let (status, out, _) = server.ended();
    assert!(status.success());
    assert!(out.contains("stopped: 1 finished and 0 cancelled"), "{out}");

    let server = Server::start(folder.path(), &["--grace", "0"]);
    let teacher = json!({ "model": "fashion-mnist-teacher" });
    server.post("/api/v1/models/load", &teacher).ok();
    let running = server.send_json("/api/v1/generate", &long(64));
    server.wait_for("fewstep_queue_jobs", 1.0);
    let told = Instant::now();
    server.terminate();
    Answer::read(running).refused(409, "cancelled");
    let (status, out, _) = server.ended();
    assert!(status.success() && told.elapsed() < Duration::from_secs(5));
    assert!(out.contains("stopped: 0 finished and 1 cancelled"), "{out}");
}
