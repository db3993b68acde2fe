//! `fewstep serve` over HTTP: its own API, limits, who may use it, the queue, and its end.

mod server;
mod workspace;

use fewstep_data::image::{ImageKind, encode_png, parameters, read};
use serde_json::{Value, json};
use server::{Answer, Server, base64_of, bytes_of, image_of};
use std::path::Path;
use std::time::{Duration, Instant};
use workspace::{assert_refused, golden_path, run, succeed};

/// Long enough that a test can act while it runs: a teacher in many steps.
fn long(count: usize) -> Value {
    json!({ "model": "fashion-mnist-teacher", "steps": 240, "count": count, "seed": 1 })
}

fn folder() -> tempfile::TempDir {
    tempfile::tempdir().expect("a folder")
}

#[test]
fn one_seed_is_one_image_alone_in_a_batch_and_on_the_command_line() {
    let folder = folder();
    let server = Server::start(folder.path(), &["--model", "builtin:fashion-mnist"]);
    let sample = [
        "sample",
        "--model",
        "builtin:fashion-mnist",
        "--steps",
        "4",
        "--class",
        "bag",
        "--seed",
        "7",
        "--first",
        "2",
        "--count",
        "1",
        "--w",
        "1.5",
        "--out-dir",
        "cli",
    ];
    succeed(folder.path(), &sample);
    let expected = read(&folder.path().join("cli/000002.png"), None, 1).expect("an image");
    let alone = json!({ "steps": 4, "class": "Bag", "seed": 7, "first": 2, "w": 1.5 });
    let alone = server.generate(&alone);
    assert_eq!(image_of(&alone["images"][0]["data"], 1), expected);
    // In a call with other weights, seeds and classes.
    let mixed = json!({
        "steps": 4, "seed": 7, "first": 0, "w": [0, 4, 1.5, 3], "class": [1, "sneaker", "8", 9],
    });
    let mixed = server.generate(&mixed);
    assert_eq!(image_of(&mixed["images"][2]["data"], 1), expected);
    assert_ne!(image_of(&mixed["images"][3]["data"], 1), expected);
    assert_eq!(mixed["batch"], 4, "one network call");
    assert_eq!(mixed["images"][2]["guidance_scale"], 2.5);
    let png = bytes_of(&mixed["images"][2]["data"]);
    let text = parameters(&png).expect("parameters");
    assert!(
        text.starts_with("Bag\nSteps: 4, Sampler: deterministic, CFG scale: 2.5, Seed: 7"),
        "{text}"
    );
}

#[test]
fn a_text_model_gives_the_images_of_the_command_line() {
    let folder = folder();
    let model = format!("text={}", golden_path("sd1"));
    let server = Server::start(folder.path(), &["--model", &model]);
    let sample = [
        "sample",
        "--model",
        &golden_path("sd1"),
        "--steps",
        "3",
        "--prompt",
        "a cat",
        "--seed",
        "5",
        "--negative-prompt",
        "rain",
        "--guidance-scale",
        "3",
        "--out-dir",
        "cli",
    ];
    succeed(folder.path(), &sample);
    let expected = read(&folder.path().join("cli/000000.png"), None, 3).expect("an image");
    let body = json!({
        "model": "text", "steps": 3, "prompt": ["a dog", "a cat"], "seed": [9, 5],
        "negative_prompt": "rain", "guidance_scale": 3,
    });
    let reply = server.generate(&body);
    assert_eq!(image_of(&reply["images"][1]["data"], 3), expected);
    let facts = &server.get("/api/v1/models").ok()["models"][0]["facts"];
    assert_eq!(
        (&facts["prompts"], &facts["role"]),
        (&json!(true), &json!("teacher"))
    );
    let class = server.post("/api/v1/generate", &json!({ "class": 1 }));
    class.refused(400, "generates from prompts");
    let long = server.post("/api/v1/generate", &json!({ "prompt": "a ".repeat(3000) }));
    long.refused(400, "at most 4096");
}

#[test]
fn images_start_from_images_and_come_in_every_format() {
    let folder = folder();
    let server = Server::start(folder.path(), &["--model", "builtin:fashion-mnist"]);
    let first = server.generate(&json!({ "steps": 4, "class": 0, "seed": 1 }));
    let image = &first["images"][0]["data"];
    for (format, kind) in [
        ("png", ImageKind::Png),
        ("jpeg", ImageKind::Jpeg),
        ("webp", ImageKind::WebP),
    ] {
        let changed = json!({
            "steps": 4, "class": 0, "seed": 1, "image": image, "strength": 0.1, "format": format,
        });
        let changed = server.generate(&changed);
        let bytes = bytes_of(&changed["images"][0]["data"]);
        let magic: &[u8] = match kind {
            ImageKind::Png => b"\x89PNG",
            ImageKind::Jpeg => b"\xff\xd8\xff",
            ImageKind::WebP => b"RIFF",
        };
        assert!(bytes.starts_with(magic), "{format}");
        let [a, b] = [image, &changed["images"][0]["data"]].map(|data| image_of(data, 1).pixels);
        let difference: u32 = a
            .iter()
            .zip(&b)
            .map(|(a, b)| u32::from(a.abs_diff(*b)))
            .sum();
        assert!(
            difference < 20 * a.len() as u32,
            "a little noise changes little: {difference}"
        );
    }
    let no = |body: Value, part: &str| server.post("/api/v1/generate", &body).refused(400, part);
    no(json!({ "image": image, "strength": 0 }), "strength");
    no(json!({ "image": image, "mask": image }), "takes no mask");
    no(
        json!({ "image": "bm90IGFuIGltYWdl" }),
        "no image that can be read",
    );
    no(json!({ "format": "tiff" }), "png, jpeg or webp");
    no(json!({ "format": "jpeg", "quality": 0 }), "1 to 100");
    no(json!({ "control": image }), "no control image");
}

#[test]
fn an_inpainting_model_fills_what_is_white() {
    let folder = folder();
    let model = golden_path("inpaint");
    let server = Server::start(folder.path(), &["--model", &model]);
    let shape = fewstep_data::ImageShape {
        channels: 3,
        height: 16,
        width: 16,
    };
    let image = fewstep_data::image::Image::filled(shape, 90);
    let mut mask = fewstep_data::image::Image::filled(
        fewstep_data::ImageShape {
            channels: 1,
            ..shape
        },
        0,
    );
    mask.pixels[..128].fill(255);
    let [image, mask] = [image, mask].map(|image| base64_of(&encode_png(&image).expect("a file")));
    let body = json!({ "prompt": "a door", "image": image, "mask": mask, "steps": 2, "width": 16, "height": 16 });
    let filled = server.generate(&body);
    let filled = image_of(&filled["images"][0]["data"], 3);
    assert!(
        filled.pixels[128..256].iter().all(|&value| value == 90),
        "the rest stays"
    );
    assert!(filled.pixels[..128].iter().any(|&value| value != 90));
    let empty = json!({ "prompt": "a door", "image": image, "mask": image, "steps": 2 });
    server
        .post("/api/v1/generate", &empty)
        .refused(400, "nothing of `mask` is white");
    server
        .post("/api/v1/generate", &json!({ "prompt": "a door" }))
        .refused(400, "mask");
}

#[test]
fn requests_of_several_clients_share_network_calls() {
    let folder = folder();
    let server = Server::start(folder.path(), &[]);
    // While this runs, the others gather.
    let first = server.send_json("/api/v1/generate", &long(1));
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
    let folder = folder();
    let server = Server::start(folder.path(), &[]);
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
    let folder = folder();
    let server = Server::start(folder.path(), &[]);
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
    let folder = folder();
    let server = Server::start(folder.path(), &["--model", "builtin:fashion-mnist-teacher"]);
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
    let folder = folder();
    let server = Server::start(folder.path(), &["--queue", "2"]);
    let running = [1, 2].map(|count| server.send_json("/api/v1/generate", &long(count)));
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
    let folder = folder();
    let server = Server::start(
        folder.path(),
        &["--timeout", "1", "--model", "builtin:fashion-mnist-teacher"],
    );
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
fn every_limit_is_a_clear_refusal() {
    let folder = folder();
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
    let server = Server::start(folder.path(), &limits);
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
    refused(json!({ "steps": "four" }), 400, "expected usize");
    refused(json!({ "unknown": 1 }), 400, "unknown field `unknown`");
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
        .refused(400, "cannot be read");
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
    let folder = folder();
    let mut server = Server::start(folder.path(), &["--token", "hush-hush"]);
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
        "bytes of memory",
    );
    refuse(&["--cors", "*"], "no origin");
    let taken = Server::start(folder.path(), &[]);
    refuse(&["--address", &taken.address], "choose another address");
}

#[test]
fn pages_of_other_sites_get_nothing() {
    let folder = folder();
    let words = [
        "--cors",
        "https://friend.example",
        "--host",
        "images.example",
    ];
    let server = Server::start(folder.path(), &words);
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

#[test]
fn models_are_loaded_on_request_within_the_memory() {
    let folder = folder();
    // Room for one of the two.
    let server = Server::start(folder.path(), &["--memory", "3MB"]);
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
        assert!(server.metric("fewstep_model_bytes") <= 3e6);
    }
    let other = json!({ "model": "other" });
    let other = server.post("/api/v1/models/load", &other);
    other.refused(404, "no model `other`");
}

#[test]
fn a_signal_ends_what_runs_in_time_and_says_so() {
    let folder = folder();
    let server = Server::start(folder.path(), &[]);
    let mut short = long(1);
    short["steps"] = json!(40);
    let running = server.send_json("/api/v1/generate", &short);
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
    let running = server.send_json("/api/v1/generate", &long(64));
    server.wait_for("fewstep_queue_jobs", 1.0);
    let told = Instant::now();
    server.terminate();
    Answer::read(running).refused(409, "cancelled");
    let (status, out, _) = server.ended();
    assert!(status.success() && told.elapsed() < Duration::from_secs(5));
    assert!(out.contains("stopped: 0 finished and 1 cancelled"), "{out}");
}

#[test]
fn the_document_names_every_route_of_the_api() {
    let server = Server::start(Path::new("."), &[]);
    let document = server.get("/api/v1/openapi.json").ok();
    let paths = document["paths"].as_object().expect("paths");
    assert_eq!(paths.len(), 6, "{:?}", paths.keys());
    let fields = &document["components"]["schemas"]["GenerateBody"]["properties"];
    for field in [
        "model", "prompt", "class", "w", "seed", "steps", "image", "mask", "control",
    ] {
        assert!(fields[field].is_object(), "{field}");
    }
    for path in paths.keys() {
        let path = path.replace("{id}", "none");
        let answer = server.request(&format!("GET {path}"), &[], &[]);
        assert!(
            [200, 404, 405].contains(&answer.status),
            "{path}: {}",
            answer.status
        );
    }
}
