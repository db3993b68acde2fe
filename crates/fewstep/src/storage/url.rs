//! What a path or a URL names.

use crate::error::{CliError, CliResult};
use fewstep_data::expand_home;
use std::path::{Path, PathBuf};

/// Where files are.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Location {
    Folder(PathBuf),
    /// A URL of object storage, without a `/` at its end.
    Objects(String),
}

/// What is said of each scheme.
const SCHEMES: &str = "s3://BUCKET/NAME, gs://BUCKET/NAME, az://CONTAINER/NAME, http(s)://HOST/NAME for a WebDAV server, or file:///FOLDER";

/// Whether it is a URL rather than a path.
pub(crate) fn is_url(place: &Path) -> bool {
    scheme(&place.to_string_lossy()).is_some()
}

/// What a path or a URL names.
///
/// # Errors
/// When the URL is of another kind, or has credentials in it.
pub(super) fn locate(place: &Path) -> CliResult<Location> {
    let text = place.to_string_lossy();
    let Some((scheme, rest)) = scheme(&text) else {
        return Ok(Location::Folder(expand_home(place)));
    };
    let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
    // Nothing of a URL with credentials is repeated.
    if host.contains('@') || rest.contains(['?', '#']) {
        return Err(CliError::input(format!(
            "a {scheme}:// address with credentials or parameters in it (`@`, `?` or `#`): give them in environment variables, since addresses are written into logs and recipes"
        )));
    }
    if path.split('/').any(|part| part == "." || part == "..") {
        return Err(CliError::input(format!(
            "{text}: an address has no `.` and `..` between its slashes"
        )));
    }
    match scheme {
        "file" if host.is_empty() || host == "localhost" => {
            Ok(Location::Folder(Path::new("/").join(path)))
        }
        "file" => Err(CliError::input(format!(
            "{text}: write file:///{host}/{path} for the folder /{host}/{path}"
        ))),
        "s3" | "gs" | "az" | "http" | "https" if !host.is_empty() => {
            Ok(Location::Objects(text.trim_end_matches('/').into()))
        }
        _ => Err(CliError::input(format!(
            "{text} is neither a folder nor a place in object storage: give a folder, or {SCHEMES}"
        ))),
    }
}

/// The scheme and the rest of what looks like a URL.
fn scheme(text: &str) -> Option<(&str, &str)> {
    let (scheme, rest) = text.split_once("://")?;
    let is_scheme = scheme.starts_with(|c: char| c.is_ascii_alphabetic())
        && scheme
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "+-.".contains(c));
    is_scheme.then_some((scheme, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn located(text: &str) -> Result<Location, String> {
        locate(Path::new(text)).map_err(|error| match error {
            CliError::Input(error) => error.to_string(),
            _ => panic!("bad input"),
        })
    }

    #[test]
    fn paths_and_addresses_are_told_apart() {
        let folder = |path: &str| Ok(Location::Folder(path.into()));
        let objects = |url: &str| Ok(Location::Objects(url.into()));
        assert_eq!(located("sets/a"), folder("sets/a"));
        assert_eq!(located("a:/b"), folder("a:/b"));
        assert_eq!(located("file:///shared/set"), folder("/shared/set"));
        assert_eq!(located("file://localhost/set"), folder("/set"));
        assert_eq!(located("s3://bucket/set/"), objects("s3://bucket/set"));
        assert_eq!(located("gs://bucket"), objects("gs://bucket"));
        assert_eq!(
            located("https://host:8080/a/b"),
            objects("https://host:8080/a/b")
        );
        for (wrong, said) in [
            ("ftp://host/set", "ftp://host/set is neither"),
            ("s3:///set", "s3://BUCKET/NAME"),
            ("file://shared/set", "file:///shared/set"),
            ("s3://bucket/../other", "no `.` and `..`"),
        ] {
            let error = located(wrong).expect_err(wrong);
            assert!(error.contains(said), "{wrong}: {error}");
        }
    }

    #[test]
    fn credentials_in_an_address_are_refused_and_not_repeated() {
        for secret in [
            "https://me:hunter2@host/set",
            "s3://bucket/set?X-Amz-Signature=hunter2",
            "az://container/set#hunter2",
        ] {
            let error = located(secret).expect_err(secret);
            assert!(error.contains("environment variables"), "{error}");
            assert!(!error.contains("hunter2"), "{error}");
        }
    }
}
