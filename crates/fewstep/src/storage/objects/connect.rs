//! Clients of object stores, with settings and credentials from the environment.

use super::plain;
use crate::error::{CliError, CliResult};
use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey};
use object_store::azure::{AzureConfigKey, MicrosoftAzureBuilder};
use object_store::gcp::{GoogleCloudStorageBuilder, GoogleConfigKey};
use object_store::http::HttpBuilder;
use object_store::path::Path as ObjectPath;
use object_store::{ClientConfigKey, Error, ObjectStore, RetryConfig};
use reqwest::Url;
use std::env;
use std::sync::Arc;

/// How long a request may take. A part of an object must get through a slow line in this time.
const TIMEOUT: &str = "600s";

/// The variable for how often a request is tried again.
const RETRIES: &str = "FEWSTEP_STORAGE_RETRIES";

/// A client for a URL, and the name before which it is all about.
pub(super) fn connect(text: &str) -> CliResult<(Arc<dyn ObjectStore>, ObjectPath)> {
    // All TLS of the program is by one library. Another choice that was made before holds as well.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let unusable = |reason: String| CliError::input(format!("{text} cannot be used: {reason}"));
    let url = Url::parse(text).map_err(|error| unusable(error.to_string()))?;
    let prefix = ObjectPath::from_url_path(url.path());
    let prefix = prefix.map_err(|error| unusable(error.to_string()))?;
    let retry = RetryConfig {
        max_retries: retries()?,
        ..RetryConfig::default()
    };
    let store = build(&url, retry).map_err(|error| unusable(plain::reason(&error)))?;
    Ok((store, prefix))
}

fn build(url: &Url, retry: RetryConfig) -> Result<Arc<dyn ObjectStore>, Error> {
    let timeout = ClientConfigKey::Timeout;
    Ok(match url.scheme() {
        "s3" => Arc::new(
            AmazonS3Builder::from_env()
                .with_url(url.as_str())
                .with_config(AmazonS3ConfigKey::Client(timeout), TIMEOUT)
                // An endpoint without TLS is one that the user chose.
                .with_config(
                    AmazonS3ConfigKey::Client(ClientConfigKey::AllowHttp),
                    chosen_http(&["AWS_ENDPOINT_URL", "AWS_ENDPOINT"]).to_string(),
                )
                .with_retry(retry)
                .build()?,
        ),
        "gs" => Arc::new(
            GoogleCloudStorageBuilder::from_env()
                .with_url(url.as_str())
                .with_config(GoogleConfigKey::Client(timeout), TIMEOUT)
                .with_retry(retry)
                .build()?,
        ),
        "az" => Arc::new(
            MicrosoftAzureBuilder::from_env()
                .with_url(url.as_str())
                .with_config(AzureConfigKey::Client(timeout), TIMEOUT)
                .with_config(
                    AzureConfigKey::Client(ClientConfigKey::AllowHttp),
                    chosen_http(&["AZURE_STORAGE_ENDPOINT", "AZURE_ENDPOINT"]).to_string(),
                )
                .with_retry(retry)
                .build()?,
        ),
        scheme => Arc::new(
            HttpBuilder::new()
                .with_url(url.origin().ascii_serialization())
                .with_config(timeout, TIMEOUT)
                .with_config(ClientConfigKey::AllowHttp, (scheme == "http").to_string())
                .with_retry(retry)
                .build()?,
        ),
    })
}

/// Whether the first of these variables that is set names an address without TLS.
fn chosen_http(variables: &[&str]) -> bool {
    let mut set = variables.iter().filter_map(|name| env::var(name).ok());
    set.next()
        .is_some_and(|endpoint| endpoint.starts_with("http://"))
}

fn retries() -> CliResult<usize> {
    match env::var(RETRIES) {
        Err(_) => Ok(RetryConfig::default().max_retries),
        Ok(text) => text.trim().parse().map_err(|_| {
            CliError::input(format!(
                "the variable {RETRIES} is `{text}`, and must be a whole number"
            ))
        }),
    }
}
