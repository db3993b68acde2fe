//! The page, and the document of the API.

use crate::start;

#[test]
fn the_page_is_whole_and_loads_nothing_from_elsewhere() {
    let (_folder, server) = start(&[]);
    let page = server.get("/");
    assert!(
        page.head
            .contains("content-security-policy: default-src 'none'"),
        "{}",
        page.head
    );
    let mut unread: Vec<String> = vec!["/".into(), "/api/v1/docs".into()];
    let mut read = std::collections::BTreeSet::new();
    while let Some(path) = unread.pop() {
        if !read.insert(path.clone()) {
            continue;
        }
        let file = server.get(&path);
        assert_eq!(file.status, 200, "{path}");
        let text = file.text();
        for place in text.split(['"', '\'']) {
            assert!(
                !place.starts_with("http") || place.contains("w3.org"),
                "{path} names {place}"
            );
            if place.starts_with("/page/") {
                unread.push(place.into());
            } else if let Some(module) = place.strip_prefix("./").filter(|m| m.ends_with(".js")) {
                unread.push(format!("/page/{module}"));
            }
        }
    }
    assert_eq!(read.len(), 15, "{read:?}");
}

#[test]
fn the_document_names_every_route_of_the_api() {
    let (_folder, server) = start(&[]);
    let document = server.get("/api/v1/openapi.json").ok();
    let paths = document["paths"].as_object().expect("paths");
    assert_eq!(paths.len(), 8, "{:?}", paths.keys());
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
