//! Who may use the server: tokens, names of hosts, origins of pages.

use crate::app::App;
use crate::error::ApiError;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use std::sync::Arc;

/// Routes that anybody may ask: probes, and images by names that nobody can guess.
const OPEN: [&str; 3] = ["/healthz", "/readyz", "/images/"];

/// Lets a request through, or answers it.
pub(crate) async fn check(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    if let Err(error) = check_host(&app, request.headers()) {
        return error.into_response();
    }
    if let Err(error) = check_origin(&app, request.method(), request.headers()) {
        return error.into_response();
    }
    let path = request.uri().path();
    let is_open = OPEN.iter().any(|open| path.starts_with(open));
    // Browsers ask without credentials what they may ask with them.
    let is_question = *request.method() == Method::OPTIONS;
    if is_question && app.config.cors.is_empty() {
        // Some clients ask whether anybody is there.
        return StatusCode::NO_CONTENT.into_response();
    }
    if !is_open && !is_question && !is_authorized(&app, request.headers()) {
        let message = match request.headers().contains_key(header::AUTHORIZATION) {
            true => "the token is wrong",
            false => {
                "this server needs a token: send it as `Authorization: Bearer TOKEN`, or as the password of Basic authentication"
            }
        };
        let mut response = ApiError::new(StatusCode::UNAUTHORIZED, message).into_response();
        let challenge = HeaderValue::from_static("Basic realm=\"fewstep\", charset=\"UTF-8\"");
        response
            .headers_mut()
            .insert(header::WWW_AUTHENTICATE, challenge);
        return response;
    }
    next.run(request).await
}

/// On a loopback address, refuses names that are not this machine's: a page of another site could
/// otherwise let its own name point here, and read the answers.
fn check_host(app: &App, headers: &HeaderMap) -> Result<(), ApiError> {
    if !app.address.ip().is_loopback() {
        return Ok(());
    }
    let given = host(headers);
    let name = given.map(name_of);
    let own = ["localhost", "127.0.0.1", "[::1]"];
    let ip = app.address.ip().to_string();
    let is_known = |name: &str| {
        let configured = || app.config.hosts.iter().any(|host| host == name);
        own.iter().any(|own| name.eq_ignore_ascii_case(own)) || name == ip || configured()
    };
    match name {
        Some(name) if is_known(name) => Ok(()),
        _ => Err(ApiError::new(
            StatusCode::FORBIDDEN,
            "this server does not answer to that name of a host: use 127.0.0.1, or have the name allowed where the server is started",
        )),
    }
}

/// Refuses requests that a page of another site makes, unless its origin is allowed.
fn check_origin(app: &App, method: &Method, headers: &HeaderMap) -> Result<(), ApiError> {
    let Some(origin) = headers.get(header::ORIGIN) else {
        return Ok(());
    };
    if matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS) {
        return Ok(());
    }
    let origin = origin.to_str().unwrap_or_default();
    let is_own = match origin.split_once("://") {
        Some((_, of_page)) => host(headers).is_some_and(|host| host == of_page),
        None => false,
    };
    match is_own || app.config.cors.iter().any(|allowed| allowed == origin) {
        true => Ok(()),
        false => Err(ApiError::new(
            StatusCode::FORBIDDEN,
            "pages of this origin may not use the server: have the origin allowed where the server is started",
        )),
    }
}

fn host(headers: &HeaderMap) -> Option<&str> {
    headers.get(header::HOST)?.to_str().ok()
}

/// A host without its port.
fn name_of(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) => name,
        _ => host,
    }
}

fn is_authorized(app: &App, headers: &HeaderMap) -> bool {
    let Some(token) = &app.config.token else {
        return true;
    };
    let given = headers.get(header::AUTHORIZATION);
    let Some(given) = given.and_then(|given| given.to_str().ok()) else {
        return false;
    };
    let Some((scheme, given)) = given.split_once(' ') else {
        return false;
    };
    if scheme.eq_ignore_ascii_case("bearer") {
        return is_same(given.trim().as_bytes(), token.as_bytes());
    }
    if !scheme.eq_ignore_ascii_case("basic") {
        return false;
    }
    let decoded = STANDARD.decode(given.trim()).unwrap_or_default();
    let password = decoded.iter().position(|&byte| byte == b':');
    let password = password.map_or(&[][..], |colon| &decoded[colon + 1..]);
    is_same(password, token.as_bytes())
}

/// Whether two texts are the same, in a time that depends only on the length of the first.
fn is_same(given: &[u8], secret: &[u8]) -> bool {
    let pairs = given.iter().zip(secret.iter().cycle());
    let difference = pairs.fold(0, |difference, (a, b)| difference | (a ^ b));
    std::hint::black_box(difference) == 0 && given.len() == secret.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_whole_secret_is_the_same() {
        assert!(is_same(b"secret", b"secret"));
        for other in ["", "s", "secre", "secretsecret", "Secret", "secret "] {
            assert!(!is_same(other.as_bytes(), b"secret"), "{other}");
        }
    }

    #[test]
    fn a_host_loses_its_port() {
        assert_eq!(name_of("localhost:7860"), "localhost");
        assert_eq!(name_of("[::1]:80"), "[::1]");
        assert_eq!(name_of("example.org"), "example.org");
    }
}
