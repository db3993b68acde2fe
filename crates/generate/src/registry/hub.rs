//! Models by their name on the hub, such as `runwayml/stable-diffusion-v1-5` or `NAME@REVISION`.

use super::RegistryError;
use fewstep_formats::RepositoryKind;
use std::fmt;
use std::path::{Path, PathBuf};

/// A model on the hub.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Name {
    repository: String,
    revision: String,
}

impl Name {
    /// Parses `OWNER/MODEL` or `OWNER/MODEL@REVISION`, unless it is a path: a file of that name or
    /// a folder OWNER exists, or the name ends as a file of weights.
    pub(super) fn parse(text: &str) -> Option<Self> {
        const FILES: [&str; 5] = ["safetensors", "ckpt", "gguf", "toml", "json"];
        let (repository, revision) = text.split_once('@').unwrap_or((text, "main"));
        let (owner, model) = repository.split_once('/')?;
        let ending = Path::new(text).extension().unwrap_or_default();
        let is_file = FILES.iter().any(|file| ending.eq_ignore_ascii_case(file));
        let is_path = is_file || Path::new(text).exists() || Path::new(owner).exists();
        let is_name = |part: &str| {
            part.starts_with(|c: char| c.is_ascii_alphanumeric())
                && part
                    .chars()
                    .all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c))
        };
        let known = !is_path && is_name(owner) && is_name(model) && !revision.is_empty();
        known.then(|| Self {
            repository: repository.into(),
            revision: revision.into(),
        })
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.revision.as_str() {
            "main" => write!(f, "{}", self.repository),
            revision => write!(f, "{}@{revision}", self.repository),
        }
    }
}

/// The folder of a model, or of a component, in the hub's cache. Fetches it first if necessary.
pub(super) fn fetch(name: &Name, kind: RepositoryKind) -> Result<PathBuf, RegistryError> {
    #[cfg(feature = "hub")]
    return client::fetch(name, kind);
    #[cfg(not(feature = "hub"))]
    Err(RegistryError::Hub(format!(
        "there is no folder or file `{name}`, and this program was built without the hub's client: give the path of a model, or build it with the feature `hub`"
    )))
}

/// A model in the hub's cache.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HubModel {
    /// OWNER/MODEL.
    pub name: String,
    /// The folder with all its revisions.
    pub folder: PathBuf,
}

/// The models in the hub's cache, whichever program fetched them.
pub fn models() -> Vec<HubModel> {
    #[cfg(feature = "hub")]
    return client::models();
    #[cfg(not(feature = "hub"))]
    vec![]
}

#[cfg(feature = "hub")]
mod client {
    use super::{HubModel, Name, Path, PathBuf, RegistryError, RepositoryKind};
    use fewstep_formats::RepositoryFiles;
    use hf_hub::api::sync::{ApiBuilder, ApiError};
    use hf_hub::{Cache, Repo, RepoType};
    use std::env;

    /// Uses the model in the cache if there is one, even if the hub has a newer one. Else fetches
    /// what is needed.
    pub(super) fn fetch(name: &Name, kind: RepositoryKind) -> Result<PathBuf, RegistryError> {
        let hub = Hub::from_env();
        let repository = Repo::with_revision(
            name.repository.clone(),
            RepoType::Model,
            name.revision.clone(),
        );
        let cached = hub.cache.repo(repository.clone());
        let named = kind.marker_files().iter().filter_map(|mark| {
            let depth = Path::new(mark).components().count();
            let found = cached.get(mark)?;
            found.ancestors().nth(depth).map(Path::to_path_buf)
        });
        let by_commit = cached.pointer_path(&name.revision);
        if let Some(folder) = named
            .chain([by_commit])
            .find(|folder| kind.is_complete_in(folder))
        {
            return Ok(folder);
        }
        if hub.offline {
            return Err(hub.absent(name, "HF_HUB_OFFLINE is set"));
        }
        let failed = |error| hub.refused(name, error);
        let api = ApiBuilder::from_cache(hub.cache.clone())
            .with_endpoint(hub.endpoint.clone())
            .with_token(hub.token.clone())
            .with_user_agent("fewstep", env!("CARGO_PKG_VERSION"))
            .build();
        let api = api.map_err(failed)?;
        let listed = api.repo(repository).info().map_err(failed)?;
        let names: Vec<String> = listed.siblings.into_iter().map(|f| f.rfilename).collect();
        let required = kind.required_files(&names, &name.to_string())?;
        // All files come from one commit, even if another is uploaded meanwhile.
        let commit = Repo::with_revision(name.repository.clone(), RepoType::Model, listed.sha);
        let api = api.repo(commit.clone());
        for file in &required.files {
            api.get(file).map_err(failed)?;
        }
        for index in &required.indices {
            let file = api.get(index).map_err(failed)?;
            for shard in RepositoryFiles::shards(index, &file)? {
                api.get(&shard).map_err(failed)?;
            }
        }
        // The cache gets the name of the revision only now that all files are there.
        let path = cached.pointer_path(commit.revision());
        let kept = cached.create_ref(commit.revision());
        kept.map_err(|source| RegistryError::Io {
            path: path.clone(),
            source,
        })?;
        Ok(path)
    }

    /// The models in the cache, sorted by name.
    pub(super) fn models() -> Vec<HubModel> {
        let hub = Hub::from_env();
        let entries = std::fs::read_dir(hub.cache.path()).into_iter().flatten();
        let named = entries.flatten().filter_map(|entry| {
            let name = entry.file_name().to_string_lossy().into_owned();
            Some(HubModel {
                name: name.strip_prefix("models--")?.replacen("--", "/", 1),
                folder: entry.path(),
            })
        });
        let mut models: Vec<HubModel> = named.collect();
        models.sort_by(|a, b| a.name.cmp(&b.name));
        models
    }

    /// Where the hub and its cache are, with the environment variables of the hub's own client.
    struct Hub {
        endpoint: String,
        cache: Cache,
        token: Option<String>,
        offline: bool,
    }

    impl Hub {
        fn from_env() -> Self {
            let set = |name: &str| env::var(name).ok().filter(|value| !value.is_empty());
            let xdg = set("XDG_CACHE_HOME").map(|home| Path::new(&home).join("huggingface"));
            let home = set("HF_HOME").map(PathBuf::from).or(xdg);
            let in_home = home.map_or_else(Cache::default, |home| Cache::new(home.join("hub")));
            let token = set("HF_TOKEN").or_else(|| in_home.token());
            let offline = set("HF_HUB_OFFLINE").map(|value| value.to_ascii_uppercase());
            let endpoint = set("HF_ENDPOINT");
            let endpoint = endpoint.unwrap_or_else(|| "https://huggingface.co".into());
            Self {
                endpoint: endpoint.trim_end_matches('/').into(),
                cache: set("HF_HUB_CACHE").map_or(in_home, |folder| Cache::new(folder.into())),
                token: token.map(|token| token.trim().into()),
                offline: offline.is_some_and(|v| ["1", "ON", "YES", "TRUE"].contains(&v.as_str())),
            }
        }

        /// The model is not in the cache, and the hub cannot be reached.
        fn absent(&self, name: &Name, reason: &str) -> RegistryError {
            RegistryError::Hub(format!(
                "there is no folder or file `{name}`, nor a model of this name in the hub's cache ({}), and {reason}: run this, or `hf download {}`, once with a network and copy the cache, or give the path of a model",
                self.cache.path().display(),
                name.repository
            ))
        }

        /// The error when the hub gives no file.
        fn refused(&self, name: &Name, error: ApiError) -> RegistryError {
            let status = match &error {
                ApiError::RequestError(request) => match **request {
                    ureq::Error::StatusCode(status) => status,
                    ref request => {
                        let reason = format!("{} cannot be reached ({request})", self.endpoint);
                        return self.absent(name, &reason);
                    }
                },
                _ => 0,
            };
            let reason = match status {
                401 if self.token.is_none() => {
                    "it is private or gated, or there is none of this name: check the name, and give a token with HF_TOKEN or `hf auth login`"
                }
                401 => "the token (HF_TOKEN or `hf auth login`) is not valid",
                403 => "access to it must be requested on its page, with the account of the token",
                404 => "there is no model of this name with this revision and file: check both",
                _ => return RegistryError::Hub(format!("{}/{name}: {error}", self.endpoint)),
            };
            RegistryError::Hub(format!(
                "there is no folder or file `{name}`, and {}/{} cannot be fetched ({status}): {reason}",
                self.endpoint, name.repository
            ))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Name;

    #[test]
    fn names_are_distinguished_from_paths() {
        let parse = |text| Name::parse(text).map(|name| (name.repository, name.revision));
        let expected = |name: &str, revision: &str| Some((name.into(), revision.into()));
        assert_eq!(
            parse("owner/model-1.5"),
            expected("owner/model-1.5", "main")
        );
        assert_eq!(parse("owner/model@fp16"), expected("owner/model", "fp16"));
        assert_eq!(parse("o/m@refs/pr/1"), expected("o/m", "refs/pr/1"));
        for path in [
            "model",
            "./owner/model",
            "/a/b",
            "~/a",
            "a/b/c",
            "a/",
            "src/model",
            "a/b@",
            "owner/model.safetensors",
            "owner/model.CKPT",
            "../b",
        ] {
            assert_eq!(parse(path), None, "{path}");
        }
    }
}
