//! Restyling over HTTP.

use crate::server::{Server, base64_of, image_of};
use crate::tiny::{read_image, save, student, teacher, write_image};
use crate::workspace::{golden_path, succeed};
use fewstep_data::image::grid;
use fewstep_diffusion::DistilledFor;
use serde_json::{Value, json};

#[test]
fn restyled_images_are_those_of_the_command_line() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path();
    save(&teacher(), path, "teacher");
    save(&student(DistilledFor::Encoder, Some(2)), path, "encoder");
    let decoder = student(DistilledFor::Deterministic, Some(2));
    save(&decoder, path, "decoder");
    let mut images = vec![];
    for name in ["one.png", "two.png"] {
        write_image(&path.join(name), 16, images.len());
        images.push(base64_of(&std::fs::read(path.join(name)).expect("a file")));
    }
    let models = [
        "--model", "teacher", "--model", "encoder", "--model", "decoder",
    ];
    let server = Server::start(path, &models);
    let task = [
        "restyle",
        "--image",
        "one.png",
        "--image",
        "two.png",
        "--from",
        "circle",
        "--to",
        "star",
        "--w",
        "0,3",
        "--out",
        "sheet.png",
    ];
    for (words, body) in [
        (
            &["--encoder", "encoder", "--decoder", "decoder"][..],
            json!({ "encoder": "encoder", "decoder": "decoder" }),
        ),
        (
            &["--teacher", "teacher", "--teacher-steps", "6"],
            json!({ "model": "teacher", "steps": 6 }),
        ),
    ] {
        succeed(path, &[&task[..], words].concat());
        let mut body = body;
        body["image"] = json!(images);
        body["from"] = json!("Circle");
        body["to"] = json!(2);
        body["w"] = json!([0, 3]);
        let reply = server.post("/api/v1/restyle", &body).ok();
        let made = |n: usize| image_of(&reply["images"][n]["data"], 1);
        let source = |name: &str| read_image(&path.join(name));
        let rows = [
            source("one.png"),
            made(0),
            made(2),
            source("two.png"),
            made(1),
            made(3),
        ];
        assert_eq!(
            read_image(&path.join("sheet.png")),
            grid(&rows, 3, 1),
            "{words:?}"
        );
        assert_eq!(reply["images"][3]["w"], 3.0);
        assert_eq!(reply["images"][3]["image"], 1);
    }
}

/// Results that the memory of the server has no room for, though it has for one.
#[test]
fn restyling_keeps_to_the_memory() {
    let folder = tempfile::tempdir().expect("a folder");
    let arguments = [
        "--model",
        "builtin:fashion-mnist-teacher",
        "--memory",
        "8MB",
    ];
    let server = Server::start(folder.path(), &arguments);
    write_image(&folder.path().join("one.png"), 32, 1);
    let image = base64_of(&std::fs::read(folder.path().join("one.png")).expect("a file"));
    let body = |count: usize| json!({ "model": "fashion-mnist-teacher", "image": vec![&image; count], "from": 0, "to": 1, "steps": 1 });
    server.post("/api/v1/restyle", &body(1)).ok();
    let answer = server.post("/api/v1/restyle", &body(64));
    answer.refused(400, "more memory");
    assert_eq!(answer.json()["error"]["param"], "image");
}

/// An encoder and a decoder that do not fit next to each other: loading the one drops the other,
/// and yet the work needs both.
#[test]
fn two_models_that_do_not_both_fit_are_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path();
    save(&student(DistilledFor::Encoder, Some(2)), path, "encoder");
    let decoder = student(DistilledFor::Deterministic, Some(2));
    save(&decoder, path, "decoder");
    write_image(&path.join("one.png"), 16, 1);
    let image = base64_of(&std::fs::read(path.join("one.png")).expect("a file"));
    let body = json!({ "encoder": "encoder", "decoder": "decoder", "image": image, "from": "circle", "to": "star" });
    let models = ["--model", "encoder", "--model", "decoder"];
    let answer = |memory: &str| {
        let server = Server::start(path, &[&models[..], &["--memory", memory]].concat());
        server.post("/api/v1/restyle", &body)
    };
    // The weights of each take 183 kB.
    answer("400kB").ok();
    answer("300kB").refused(400, "more memory");
}

#[test]
fn what_cannot_be_restyled_is_refused() {
    let text = format!("text={}", golden_path("sd1"));
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path();
    save(&teacher(), path, "teacher");
    let server = Server::start(path, &["--model", "teacher", "--model", &text]);
    write_image(&path.join("one.png"), 16, 1);
    let image = base64_of(&std::fs::read(path.join("one.png")).expect("a file"));
    let body =
        json!({ "model": "teacher", "image": image, "from": "circle", "to": "star", "steps": 2 });
    let refused = |changes: Value, status, field: &str, part: &str| {
        let mut body = body.clone();
        for (name, value) in changes.as_object().into_iter().flatten() {
            body[name] = value.clone();
        }
        let answer = server.post("/api/v1/restyle", &body);
        answer.refused(status, part);
        assert_eq!(answer.json()["error"]["param"], field);
    };
    server.post("/api/v1/restyle", &body).ok();
    refused(
        json!({ "from": "triangle" }),
        400,
        "from",
        "no class `triangle`",
    );
    refused(json!({ "to": null }), 400, "to", "missing");
    refused(json!({ "image": null }), 400, "image", "0 images");
    refused(json!({ "w": vec![1; 65] }), 400, "image", "65 results");
    refused(json!({ "steps": 0 }), 400, "steps", "1 to 250");
    refused(
        json!({ "model": "other" }),
        404,
        "model",
        "no model `other`",
    );
    refused(
        json!({ "model": null }),
        400,
        "encoder",
        "give an `encoder` and a `decoder`",
    );
    refused(json!({ "image": "bm8=" }), 400, "image", "`image`");
    let kinds = json!({ "model": null, "encoder": "teacher", "decoder": "text" });
    refused(kinds, 400, "encoder", "prompts and the other from classes");
}

#[test]
fn a_client_that_leaves_ends_its_restyling() {
    let (_folder, server) = crate::start(&["--model", "builtin:fashion-mnist-teacher"]);
    let image = crate::grey(1, 90);
    let image = base64_of(&fewstep_data::image::encode_png(&image).expect("a file"));
    let body = json!({
        "model": "fashion-mnist-teacher", "image": vec![image; 32], "from": 1, "to": 2, "steps": 250,
    });
    let stream = server.send_json("/api/v1/restyle", &body);
    server.wait_for("fewstep_queue_jobs", 1.0);
    drop(stream);
    let left = std::time::Instant::now();
    server.wait_for("fewstep_queue_jobs", 0.0);
    assert!(
        left.elapsed() < std::time::Duration::from_secs(4),
        "{:?}",
        left.elapsed()
    );
}

#[test]
fn restyling_as_a_job_has_progress_and_the_images_of_one_answer() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path();
    save(&student(DistilledFor::Encoder, Some(2)), path, "encoder");
    let decoder = student(DistilledFor::Deterministic, Some(4));
    save(&decoder, path, "decoder");
    let server = Server::start(path, &["--model", "encoder", "--model", "decoder"]);
    let images = [0, 1].map(|n| {
        write_image(&path.join("one.png"), 16, n);
        base64_of(&std::fs::read(path.join("one.png")).expect("a file"))
    });
    let body = json!({
        "encoder": "encoder", "decoder": "decoder", "image": images,
        "from": "circle", "to": "star", "w": [0, 1, 3],
    });
    let job = server.post("/api/v1/jobs/restyle", &body);
    assert_eq!(job.status, 202, "{}", job.text());
    let path = format!("/api/v1/jobs/{}", job.json()["id"].as_str().expect("an id"));
    let events = server.get(&format!("{path}/events")).events();
    let (last, done) = events.last().expect("events");
    assert_eq!(last, "done", "{done}");
    let whole = server.post("/api/v1/restyle", &body).ok();
    assert_eq!(whole["images"].as_array().map(Vec::len), Some(6));
    assert_eq!(done["images"], whole["images"]);
    assert_eq!(
        (&done["encoder_steps"], &done["decoder_steps"]),
        (&json!(2), &json!(4))
    );
    let shown = server.get(&path).ok();
    assert_eq!(
        (&shown["status"], &shown["progress"]),
        (&json!("done"), &json!(1.0))
    );
    assert_eq!(shown["result"]["images"], whole["images"]);
    let file = server.get(&format!("{}/5", path.replace("/api/v1/jobs", "/images")));
    assert_eq!(
        file.body,
        crate::server::bytes_of(&whole["images"][5]["data"])
    );
    // What is wrong is refused at once.
    let mut wrong = body.clone();
    wrong["to"] = json!("triangle");
    server
        .post("/api/v1/jobs/restyle", &wrong)
        .refused(400, "no class `triangle`");
}

#[test]
fn restyling_as_a_job_goes_on_step_by_step_until_it_is_cancelled() {
    let (_folder, server) = crate::start(&["--model", "builtin:fashion-mnist-teacher"]);
    let image = crate::grey(1, 90);
    let image = base64_of(&fewstep_data::image::encode_png(&image).expect("a file"));
    let body = json!({
        "model": "fashion-mnist-teacher", "image": vec![image; 16], "from": 1, "to": 2, "w": [0, 1], "steps": 250,
    });
    let start = || {
        let job = server.post("/api/v1/jobs/restyle", &body).ok();
        format!("/api/v1/jobs/{}", job["id"].as_str().expect("an id"))
    };
    let [running, waiting] = [start(), start()];
    let progress = || {
        server.get(&running).ok()["progress"]
            .as_f64()
            .expect("a number")
    };
    let before = loop {
        match progress() {
            0.0 => std::thread::sleep(std::time::Duration::from_millis(10)),
            some => break some,
        }
    };
    assert!(before < 0.9, "{before}");
    while progress() <= before {
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    assert_eq!(server.get(&waiting).ok()["status"], "waiting");
    for path in [&waiting, &running] {
        assert_eq!(server.delete(path).ok()["status"], "cancelled");
    }
    server.wait_for("fewstep_queue_jobs", 0.0);
    let events = server.get(&format!("{running}/events")).events();
    assert_eq!(events[0].0, "cancelled");
    assert!(server.get(&running).ok()["progress"].as_f64() < Some(1.0));
}
