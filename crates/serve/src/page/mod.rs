//! The page, which is built into the program and uses nothing of other sites.

use crate::app::App;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use axum::{Router, routing::get};
use std::sync::Arc;

/// What the page may load and send: only from and to this server.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// A file of the page: its path, its kind, its contents.
const FILES: &[(&str, &str, &str)] = &[
    ("/", "text/html; charset=utf-8", include_str!("index.html")),
    (
        "/api/v1/docs",
        "text/html; charset=utf-8",
        include_str!("reference.html"),
    ),
    (
        "/page/style.css",
        "text/css; charset=utf-8",
        include_str!("style.css"),
    ),
    ("/page/icon.svg", "image/svg+xml", include_str!("icon.svg")),
    ("/page/api.js", SCRIPT, include_str!("api.js")),
    ("/page/app.js", SCRIPT, include_str!("app.js")),
    ("/page/compare.js", SCRIPT, include_str!("compare.js")),
    ("/page/dom.js", SCRIPT, include_str!("dom.js")),
    ("/page/gallery.js", SCRIPT, include_str!("gallery.js")),
    ("/page/input.js", SCRIPT, include_str!("input.js")),
    ("/page/latest.js", SCRIPT, include_str!("latest.js")),
    ("/page/reference.js", SCRIPT, include_str!("reference.js")),
    ("/page/restyle.js", SCRIPT, include_str!("restyle.js")),
    ("/page/settings.js", SCRIPT, include_str!("settings.js")),
    ("/page/share.js", SCRIPT, include_str!("share.js")),
];

const SCRIPT: &str = "text/javascript; charset=utf-8";

pub(crate) fn routes() -> Router<Arc<App>> {
    FILES
        .iter()
        .fold(Router::new(), |router, &(path, kind, text)| {
            router.route(path, get(async move || file(kind, text)))
        })
}

fn file(kind: &'static str, text: &'static str) -> Response {
    let headers = [
        (header::CONTENT_TYPE, kind),
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::CACHE_CONTROL, "no-cache"),
    ];
    (headers, text).into_response()
}
