//! What stores answer, in plain words and without credentials.

use crate::error::CliError;
use object_store::Error;
use std::env;
use std::error::Error as _;

/// The longest answer of a store that is repeated.
const LONGEST: usize = 300;

/// What the variables with secrets in them have in their names.
const SECRET: [&str; 6] = ["SECRET", "TOKEN", "_KEY", "SAS", "PASSWORD", "CREDENTIAL"];

/// The variables of stores begin like this.
const OF_STORES: [&str; 3] = ["AWS_", "AZURE_", "GOOGLE_"];

/// The address at which machines in a cloud ask for credentials.
const CREDENTIALS_OF_MACHINES: [&str; 2] = ["169.254.169.254", "metadata.google.internal"];

/// Why something could not be done with an object, or with all objects below a URL.
pub(super) fn explain(url: &str, what: &str, shown: &str, error: Error) -> CliError {
    let reason = reason(&error);
    let advice = advice(url);
    let refused = |why: &str| CliError::input(format!("cannot {what} {shown}: {why}: {advice}"));
    let status = status(&error);
    match &error {
        _ if CREDENTIALS_OF_MACHINES.iter().any(|at| reason.contains(at)) => {
            refused("there are no credentials")
        }
        Error::PermissionDenied { .. } | Error::Unauthenticated { .. } => {
            refused(&format!("access is refused ({reason})"))
        }
        _ if matches!(status, Some(401 | 403)) => refused(&format!("access is refused ({reason})")),
        // A bucket that is not there.
        _ if status == Some(404) || matches!(error, Error::NotFound { .. }) => {
            CliError::input(format!(
                "cannot {what} {shown}: the store has no such place ({reason}): make the bucket first, or check its name"
            ))
        }
        Error::InvalidPath { .. } | Error::NotSupported { .. } | Error::NotImplemented { .. } => {
            CliError::input(format!("cannot {what} {shown}: {reason}"))
        }
        // Asking again gives the same answer, which is why it was not done.
        _ if status.is_some_and(|status| {
            (400..500).contains(&status) && ![408, 429].contains(&status)
        }) =>
        {
            CliError::input(format!("cannot {what} {shown}: {reason}"))
        }
        _ => CliError::Work(anyhow::anyhow!(
            "cannot {what} {shown}: {reason}. It was tried again as often as is allowed; run this again once the store can be reached"
        )),
    }
}

/// The status that a store answered with. Where it lists objects, errors have no kinds.
fn status(error: &Error) -> Option<u16> {
    let text = chain(error);
    let (_, status) = text.split_once("status code: ")?;
    status.get(..3)?.parse().ok()
}

/// How credentials are given.
fn advice(url: &str) -> &'static str {
    match url.split("://").next() {
        Some("s3") => {
            "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY (and AWS_REGION, or AWS_ENDPOINT_URL for another store than Amazon's), or AWS_SKIP_SIGNATURE=true for a public bucket, and check what they may do"
        }
        Some("gs") => {
            "set GOOGLE_APPLICATION_CREDENTIALS to the file of an account, and check what it may do"
        }
        Some("az") => {
            "set AZURE_STORAGE_ACCOUNT_NAME and AZURE_STORAGE_ACCOUNT_KEY (or AZURE_STORAGE_SAS_TOKEN), and check what they may do"
        }
        _ => "the server must let this machine do it without a password",
    }
}

/// The cause of an error in one line: what the store says of it, where it says something.
pub(super) fn reason(error: &Error) -> String {
    let text = match error.source() {
        Some(source) => chain(source),
        None => error.to_string(),
    };
    let said = between(&text, "<Message>", "</Message>");
    let said = said.or_else(|| between(&text, "<Code>", "</Code>"));
    let known = env::vars().filter(|(name, _)| {
        OF_STORES.iter().any(|start| name.starts_with(start))
            && SECRET.iter().any(|part| name.contains(part))
    });
    let secrets: Vec<String> = known.map(|(_, value)| value).collect();
    one_line(&without_secrets(said.unwrap_or(&text), &secrets))
}

/// An error and its causes. A cause that is already in the text is not repeated.
fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let (mut text, mut cause) = (error.to_string(), error.source());
    while let Some(error) = cause {
        let said = error.to_string();
        if !text.contains(&said) {
            text = format!("{text}: {said}");
        }
        cause = error.source();
    }
    text
}

fn between<'a>(text: &'a str, start: &str, end: &str) -> Option<&'a str> {
    let (_, rest) = text.split_once(start)?;
    rest.split_once(end).map(|(inside, _)| inside)
}

/// A text without the parameters of addresses, among which signatures are, and without these
/// secrets.
fn without_secrets(text: &str, secrets: &[String]) -> String {
    let words = text.split_inclusive(char::is_whitespace).map(|word| {
        let address = word
            .find("://")
            .and_then(|at| word[at..].find('?').map(|end| at + end));
        match address {
            Some(end) => {
                let rest = word[end..]
                    .find([')', '"', '\'', ','])
                    .map_or("", |at| &word[end + at..]);
                let space = if rest.is_empty() { " " } else { rest };
                format!("{}{space}", &word[..end])
            }
            None => word.to_string(),
        }
    });
    let text: String = words.collect();
    let long = secrets.iter().filter(|secret| secret.len() >= 4);
    long.fold(text, |text, secret| text.replace(secret.as_str(), "***"))
}

/// A text in one line of at most [`LONGEST`] characters.
fn one_line(text: &str) -> String {
    let words: Vec<&str> = text.split_whitespace().collect();
    let line = words.join(" ");
    let line = line.trim_end_matches('.');
    match line.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}...", &line[..end]),
        None => line.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_not_repeated() {
        let text = "Error performing PUT https://host/a?sig=abc%3D&x=1 in 1s (https://host/b?sig=d) with hunter2";
        assert_eq!(
            without_secrets(text, &["hunter2".into()]),
            "Error performing PUT https://host/a in 1s (https://host/b) with ***"
        );
    }

    #[test]
    fn answers_of_stores_are_cut_to_what_they_say() {
        let answer =
            "<Error><Code>NoSuchBucket</Code><Message>The bucket\n is not there.</Message></Error>";
        let error = Error::Generic {
            store: "S3",
            source: answer.into(),
        };
        assert_eq!(reason(&error), "The bucket is not there");
        let long = Error::Generic {
            store: "S3",
            source: "x".repeat(1000).into(),
        };
        assert_eq!(reason(&long).len(), LONGEST + 3);
    }
}
