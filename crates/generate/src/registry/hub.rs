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
    return client::Hub::from_env().fetch(name, kind);
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
    return client::Hub::from_env().models();
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

    /// Where the hub and its cache are, with the environment variables of the hub's own client.
    pub(super) struct Hub {
        endpoint: String,
        cache: Cache,
        token: Option<String>,
        offline: bool,
    }

    impl Hub {
        pub(super) fn from_env() -> Self {
            Self::of(|name| env::var(name).ok())
        }

        /// The same, with the values of these variables.
        fn of(variable: impl Fn(&str) -> Option<String>) -> Self {
            let set = |name: &str| variable(name).filter(|value| !value.is_empty());
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

        /// Uses the model in the cache if there is one, even if the hub has a newer one. Else fetches
        /// what is needed.
        pub(super) fn fetch(
            &self,
            name: &Name,
            kind: RepositoryKind,
        ) -> Result<PathBuf, RegistryError> {
            let repository = Repo::with_revision(
                name.repository.clone(),
                RepoType::Model,
                name.revision.clone(),
            );
            let cached = self.cache.repo(repository.clone());
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
            if self.offline {
                return Err(self.absent(name, "HF_HUB_OFFLINE is set"));
            }
            let failed = |error| self.refused(name, error);
            let api = ApiBuilder::from_cache(self.cache.clone())
                .with_endpoint(self.endpoint.clone())
                .with_token(self.token.clone())
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
        pub(super) fn models(&self) -> Vec<HubModel> {
            let entries = std::fs::read_dir(self.cache.path()).into_iter().flatten();
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

    #[cfg(test)]
    mod tests {
        use super::*;

        const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

        fn hub(variables: &[(&str, &str)]) -> Hub {
            Hub::of(|name| {
                let found = variables.iter().find(|(known, _)| *known == name);
                found.map(|(_, value)| (*value).into())
            })
        }

        fn name(text: &str) -> Name {
            Name::parse(text).expect("a name")
        }

        /// The variables of the hub's own client, of which an empty one says nothing.
        #[test]
        fn the_hub_and_its_cache_are_where_variables_say() {
            let home = tempfile::tempdir().expect("a folder");
            std::fs::write(home.path().join("token"), "stored\n").expect("written");
            let home = home.path().to_str().expect("a name");
            let cache = |variables: &[(&str, &str)]| hub(variables).cache.path().clone();
            let all = [
                ("HF_HUB_CACHE", "/cache"),
                ("HF_HOME", home),
                ("XDG_CACHE_HOME", "/xdg"),
            ];
            assert_eq!(cache(&all), Path::new("/cache"));
            assert_eq!(cache(&all[1..]), Path::new(home).join("hub"));
            assert_eq!(cache(&all[2..]), Path::new("/xdg/huggingface/hub"));
            let empty = [("HF_HUB_CACHE", ""), ("HF_HOME", home), ("HF_TOKEN", "")];
            assert_eq!(cache(&empty), Path::new(home).join("hub"));
            assert_eq!(hub(&empty).token.as_deref(), Some("stored"));
            let token = hub(&[("HF_HOME", home), ("HF_TOKEN", " given ")]).token;
            assert_eq!(token.as_deref(), Some("given"));
            let endpoint = hub(&[("HF_HOME", home), ("HF_ENDPOINT", "http://mirror:1/")]).endpoint;
            assert_eq!(endpoint, "http://mirror:1");
            for (value, offline) in [
                ("1", true),
                ("on", true),
                ("Yes", true),
                ("TRUE", true),
                ("0", false),
                ("off", false),
                ("", false),
            ] {
                let hub = hub(&[("HF_HOME", home), ("HF_HUB_OFFLINE", value)]);
                assert_eq!(hub.offline, offline, "{value}");
            }
        }

        /// By the name of a revision or by its commit, if all of its weights are there.
        #[test]
        fn a_model_in_the_cache_is_found_there() {
            let home = tempfile::tempdir().expect("a folder");
            let variables = [
                ("HF_HUB_CACHE", home.path().to_str().expect("a name")),
                ("HF_HUB_OFFLINE", "1"),
            ];
            let hub = hub(&variables);
            assert!(hub.models().is_empty());
            let fetch = |text: &str| hub.fetch(&name(text), RepositoryKind::Model);
            let of_model = home.path().join("models--owner--model");
            let snapshot = of_model.join("snapshots").join(COMMIT);
            let refs = of_model.join("refs");
            for folder in [
                &refs,
                &home.path().join("models--a--b"),
                &home.path().join("datasets--a--b"),
            ] {
                std::fs::create_dir_all(folder).expect("made");
            }
            std::fs::write(refs.join("main"), COMMIT).expect("written");
            for file in [
                "model_index.json",
                "vae/diffusion_pytorch_model.safetensors",
                "text_encoder/model.safetensors",
                "unet/diffusion_pytorch_model.safetensors",
            ] {
                let refused = fetch("owner/model").expect_err("not all of its weights");
                assert!(refused.to_string().contains("HF_HUB_OFFLINE"), "{refused}");
                let path = snapshot.join(file);
                std::fs::create_dir_all(path.parent().expect("a folder")).expect("made");
                std::fs::write(path, "{}").expect("written");
            }
            for text in ["owner/model".to_string(), format!("owner/model@{COMMIT}")] {
                assert_eq!(fetch(&text).expect("cached"), snapshot, "{text}");
            }
            let refused = fetch("owner/model@v9").expect_err("another revision");
            assert!(
                refused.to_string().contains("`owner/model@v9`"),
                "{refused}"
            );
            let names = hub.models().into_iter().map(|model| model.name);
            assert_eq!(names.collect::<Vec<_>>(), ["a/b", "owner/model"]);
            assert_eq!(hub.models()[1].folder, of_model);
        }

        /// What to do depends on the hub's answer, and for 401 on whether there is a token.
        #[test]
        fn a_refusal_says_what_to_do() {
            let refused = |token: Option<&str>, error: ureq::Error| {
                let hub = Hub {
                    endpoint: "http://mirror:1".into(),
                    cache: Cache::new("/cache".into()),
                    token: token.map(String::from),
                    offline: false,
                };
                let error = ApiError::RequestError(Box::new(error));
                hub.refused(&name("owner/model@v2"), error).to_string()
            };
            let status = ureq::Error::StatusCode;
            for (token, error, said) in [
                (None, status(401), "give a token with HF_TOKEN"),
                (Some("bad"), status(401), "is not valid"),
                (Some("good"), status(403), "requested on its page"),
                (None, status(404), "check both"),
                (None, status(500), "http://mirror:1/owner/model@v2"),
                (
                    None,
                    ureq::Error::HostNotFound,
                    "http://mirror:1 cannot be reached",
                ),
                (None, ureq::Error::HostNotFound, "`hf download owner/model`"),
            ] {
                let message = refused(token, error);
                assert!(message.contains(said), "{message}");
                assert!(message.contains("owner/model@v2"), "{message}");
            }
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
