//! Models by their name on the hub, through the real program.

mod workspace;

#[cfg(not(feature = "hub"))]
#[test]
fn without_the_client_a_name_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let words = ["info", "owner/model"];
    workspace::refuse(
        folder.path(),
        &words,
        &["`owner/model`", "the feature `hub`"],
    );
}

#[cfg(feature = "hub")]
mod server {
    use std::collections::BTreeMap;
    use std::io::{BufRead, BufReader, Write};
    use std::net::{TcpListener, TcpStream};
    use std::path::Path;
    use std::sync::{Arc, Mutex};

    pub(crate) const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

    /// A hub with one model `owner/model`; `owner/private` asks for a token, `owner/gated` refuses.
    pub(crate) struct Hub {
        pub(crate) endpoint: String,
        /// Path and `Authorization` of each request.
        requests: Arc<Mutex<Vec<(String, String)>>>,
    }

    impl Hub {
        pub(crate) fn start(model: &Path) -> Self {
            let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
            let address = listener.local_addr().expect("an address");
            let mut files = BTreeMap::new();
            collect(model, "", &mut files);
            // Other files of a model, which must not be fetched.
            for name in [
                "README.md",
                "safety_checker/model.safetensors",
                "unet/diffusion_pytorch_model.bin",
                "unet/diffusion_pytorch_model.non_ema.safetensors",
                "v1-5-pruned.ckpt",
            ] {
                files.insert(name.into(), b"not wanted".to_vec());
            }
            let requests: Arc<Mutex<Vec<_>>> = Arc::default();
            let seen = requests.clone();
            std::thread::spawn(move || {
                for stream in listener.incoming().flatten() {
                    let _ = answer(stream, &files, &seen);
                }
            });
            Self {
                endpoint: format!("http://{address}"),
                requests,
            }
        }

        pub(crate) fn take_requests(&self) -> Vec<(String, String)> {
            std::mem::take(&mut self.requests.lock().expect("a lock"))
        }
    }

    fn collect(folder: &Path, prefix: &str, files: &mut BTreeMap<String, Vec<u8>>) {
        for entry in std::fs::read_dir(folder).expect("a folder").flatten() {
            let name = format!("{prefix}{}", entry.file_name().to_string_lossy());
            match entry.path().is_dir() {
                true => collect(&entry.path(), &format!("{name}/"), files),
                false => drop(files.insert(name, std::fs::read(entry.path()).expect("a file"))),
            }
        }
    }

    /// Answers one request, with the headers that the hub gives, and closes.
    fn answer(
        mut stream: TcpStream,
        files: &BTreeMap<String, Vec<u8>>,
        seen: &Mutex<Vec<(String, String)>>,
    ) -> std::io::Result<()> {
        let mut lines = BufReader::new(stream.try_clone()?).lines();
        let first = lines.next().transpose()?.unwrap_or_default();
        let path = first.split(' ').nth(1).unwrap_or_default().to_string();
        let mut headers = BTreeMap::new();
        for line in lines {
            let line = line?;
            let Some((name, value)) = line.split_once(": ") else {
                break;
            };
            headers.insert(name.to_ascii_lowercase(), value.to_string());
        }
        let token = headers.get("authorization").cloned().unwrap_or_default();
        seen.lock()
            .expect("a lock")
            .push((path.clone(), token.clone()));
        let status = |status: &str| format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\n");
        let (head, body) = match path.trim_start_matches("/api/models") {
            path if path.starts_with("/owner/private/") && token != "Bearer good" => {
                (status("401 Unauthorized"), &[][..])
            }
            path if path.starts_with("/owner/gated/") => (status("403 Forbidden"), &[][..]),
            "/owner/model/revision/main" | "/owner/private/revision/main" => {
                let names = files
                    .keys()
                    .map(|name| format!(r#"{{"rfilename":"{name}"}}"#));
                let names = names.collect::<Vec<_>>().join(",");
                let json = format!(r#"{{"sha":"{COMMIT}","siblings":[{names}]}}"#);
                let length = json.len();
                let head = format!(
                    "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n"
                );
                stream.write_all(format!("{head}Connection: close\r\n\r\n{json}").as_bytes())?;
                return Ok(());
            }
            path => {
                let marker = format!("/resolve/{COMMIT}/");
                let file = path
                    .split_once(&marker)
                    .and_then(|(_, name)| files.get_key_value(name));
                match file {
                    None => (status("404 Not Found"), &[][..]),
                    Some((name, bytes)) => {
                        let range = headers["range"].trim_start_matches("bytes=").to_string();
                        let (from, to) = range.split_once('-').expect("a range");
                        let from: usize = from.parse().expect("a number");
                        let to = to.parse().unwrap_or(bytes.len() - 1);
                        let part = &bytes[from..=to];
                        let etag = name.replace('/', "-");
                        let (length, all) = (part.len(), bytes.len());
                        let head = format!(
                            "HTTP/1.1 206 Partial Content\r\nETag: \"{etag}\"\r\nX-Repo-Commit: {COMMIT}\r\nContent-Range: bytes {from}-{to}/{all}\r\nContent-Length: {length}\r\n"
                        );
                        (head, part)
                    }
                }
            }
        };
        stream.write_all(format!("{head}Connection: close\r\n\r\n").as_bytes())?;
        stream.write_all(body)
    }
}

#[cfg(feature = "hub")]
mod tests {
    use super::server::{COMMIT, Hub};
    use super::workspace::{assert_refused, copy_text_encoder, golden, stderr};
    use std::path::Path;
    use std::process::{Command, Output};

    /// The program in a folder of its own, with the hub's cache in `cache`.
    fn command(folder: &Path, endpoint: &str, words: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_fewstep"));
        command.args(words).current_dir(folder);
        for name in ["HF_TOKEN", "HF_HUB_CACHE", "HF_HUB_OFFLINE"] {
            command.env_remove(name);
        }
        for name in ["HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"] {
            command.env_remove(name);
        }
        command
            .env("HF_HOME", folder.join("cache"))
            .env("HF_ENDPOINT", endpoint);
        command
    }

    fn run(command: &mut Command) -> Output {
        command.output().expect("the program starts")
    }

    fn assert_succeeded(output: &Output) {
        assert!(output.status.success(), "{}", stderr(output));
    }

    fn sample<'a>(model: &'a str, out: &'a str) -> [&'a str; 9] {
        [
            "sample", "--model", model, "--prompt", "a cat", "--steps", "1", "--out", out,
        ]
    }

    #[test]
    fn a_model_is_fetched_once_and_only_what_is_needed_of_it() {
        // One with whole files, one with parts and indices.
        for name in ["sd1", "sd2"] {
            let folder = tempfile::tempdir().expect("a folder");
            let folder = folder.path();
            let model = golden(name);
            let hub = Hub::start(&model);
            let words = sample("owner/model", "a.png");
            assert_succeeded(&run(&mut command(folder, &hub.endpoint, &words)));
            let requests = hub.take_requests();
            for (path, token) in &requests {
                let unwanted = ["README", "safety", ".bin", "non_ema", ".ckpt", "golden"];
                assert!(!unwanted.iter().any(|part| path.contains(part)), "{path}");
                assert_eq!(token, "", "{path}");
            }
            assert!(requests.len() > 10, "{requests:?}");
            // The cache is laid out as the hub's own client does.
            let snapshot = folder
                .join("cache/hub/models--owner--model/snapshots")
                .join(COMMIT);
            let vae = "vae/config.json";
            let read = |folder: &Path| std::fs::read(folder.join(vae)).expect("a file");
            assert_eq!(read(&snapshot), read(&model));
            // No server, no variable: the cache has it, under the name and under the commit.
            let nowhere = "http://127.0.0.1:1";
            assert_succeeded(&run(&mut command(
                folder,
                nowhere,
                &sample("owner/model", "b.png"),
            )));
            let by_commit = format!("owner/model@{COMMIT}");
            let words = sample(&by_commit, "c.png");
            assert_succeeded(&run(
                command(folder, nowhere, &words).env("HF_HUB_OFFLINE", "1")
            ));
            let local = model.display().to_string();
            assert_succeeded(&run(&mut command(
                folder,
                nowhere,
                &sample(&local, "d.png"),
            )));
            let [a, b, c, d] = ["a", "b", "c", "d"].map(|name| {
                let image = folder.join(format!("{name}.png"));
                fewstep_data::image::read(&image, None, 3).expect("an image")
            });
            assert!(a == b && b == c && c == d);
            assert!(hub.take_requests().is_empty());
        }
    }

    #[test]
    fn exports_of_a_cached_model_need_no_cache() {
        let folder = tempfile::tempdir().expect("a folder");
        let folder = folder.path();
        let hub = Hub::start(&golden("sd1"));
        let export = ["export", "--model", "owner/model", "--out", "copy"];
        assert_succeeded(&run(&mut command(folder, &hub.endpoint, &export)));
        std::fs::remove_dir_all(folder.join("cache")).expect("removed");
        let words = sample("./copy", "copy.png");
        assert_succeeded(&run(&mut command(folder, "http://127.0.0.1:1", &words)));
    }

    #[test]
    fn a_download_that_was_cut_off_goes_on() {
        let folder = tempfile::tempdir().expect("a folder");
        let folder = folder.path();
        let model = golden("sd1");
        let hub = Hub::start(&model);
        // Half of a file that an earlier run left.
        let name = "vae/diffusion_pytorch_model.fp16.safetensors";
        let bytes = std::fs::read(model.join(name)).expect("a file");
        let blobs = folder.join("cache/hub/models--owner--model/blobs");
        std::fs::create_dir_all(&blobs).expect("a folder");
        let part = blobs.join(name.replace('/', "-")).with_extension("part");
        std::fs::write(part, &bytes[..bytes.len() / 2]).expect("written");
        let words = sample("owner/model", "a.png");
        assert_succeeded(&run(&mut command(folder, &hub.endpoint, &words)));
        assert!(std::fs::read(blobs.join(name.replace('/', "-"))).expect("a file") == bytes);
    }

    #[test]
    fn what_cannot_be_fetched_is_refused_with_the_reason() {
        let folder = tempfile::tempdir().expect("a folder");
        let folder = folder.path();
        let hub = Hub::start(&golden("sd1"));
        let refused = |model: &str, variables: &[(&str, &str)], parts: &[&str]| {
            let mut command = command(folder, &hub.endpoint, &sample(model, "x.png"));
            assert_refused(&run(command.envs(variables.iter().copied())), parts);
        };
        let offline = [("HF_HUB_OFFLINE", "1")];
        let cache = folder.join("cache").join("hub").display().to_string();
        refused(
            "owner/model",
            &offline,
            &["`owner/model`", &cache, "HF_HUB_OFFLINE", "hf download"],
        );
        let nowhere = [("HF_ENDPOINT", "http://127.0.0.1:1")];
        refused(
            "owner/model",
            &nowhere,
            &["127.0.0.1:1 cannot be reached", &cache],
        );
        refused(
            "owner/nothing",
            &[],
            &["owner/nothing", "404", "check both"],
        );
        refused("owner/model@v9", &[], &["owner/model@v9", "404"]);
        refused("owner/gated", &[], &["403", "requested on its page"]);
        refused("owner/private", &[], &["401", "HF_TOKEN"]);
        refused(
            "owner/private",
            &[("HF_TOKEN", "bad")],
            &["401", "not valid"],
        );
        let words = sample("owner/private", "y.png");
        let mut allowed = command(folder, &hub.endpoint, &words);
        assert_succeeded(&run(allowed.env("HF_TOKEN", "good")));
        // A folder of that name is a path, whatever is in it.
        std::fs::create_dir(folder.join("runs")).expect("made");
        hub.take_requests();
        let info = run(&mut command(
            folder,
            &hub.endpoint,
            &["info", "runs/student"],
        ));
        assert_refused(&info, &["runs/student"]);
        assert!(hub.take_requests().is_empty());
    }

    #[test]
    fn a_teacher_can_be_a_name() {
        let folder = tempfile::tempdir().expect("a folder");
        let folder = folder.path();
        let hub = Hub::start(&golden("sd1"));
        let recipe = "seed = 1\nteacher = \"owner/model\"\n[data]\nkind = \"captioned\"\npath = \"nothing\"\nsize = 16\n[guided]\nupdates = 1\noptim = { batch = 1, lr = 1e-5 }\n";
        std::fs::write(folder.join("recipe.toml"), recipe).expect("written");
        let words = ["distill", "recipe.toml", "--out", "run"];
        // The teacher is there, the images are not.
        assert_refused(
            &run(&mut command(folder, &hub.endpoint, &words)),
            &["nothing"],
        );
        assert!(!hub.take_requests().is_empty());
    }

    /// A recipe for a teacher with these parts and no images.
    fn train(folder: &Path, endpoint: &str, [autoencoder, encoder]: [&str; 2]) -> Output {
        let recipe = format!(
            "seed = 1\nupdates = 1\n[data]\nkind = \"captioned\"\npath = \"nothing\"\nsize = 16\n[text]\nautoencoder = \"{autoencoder}\"\nencoder = \"{encoder}\"\nlength = 8\n[network]\nwidths = [8]\nblocks = 1\nattention = [true]\nhead = 8\ngroups = 4\n[optim]\nbatch = 1\nlr = 1e-4\n"
        );
        std::fs::write(folder.join("recipe.toml"), recipe).expect("written");
        let words = ["train", "recipe.toml", "--out", "run"];
        run(&mut command(folder, endpoint, &words))
    }

    #[test]
    fn parts_can_be_names_of_models_that_have_them() {
        let folder = tempfile::tempdir().expect("a folder");
        let folder = folder.path();
        let hub = Hub::start(&golden("sd1"));
        let names = ["owner/model"; 2];
        assert_refused(&train(folder, &hub.endpoint, names), &["nothing"]);
        let requests = hub.take_requests();
        let files = requests
            .iter()
            .filter(|(path, _)| path.contains("/resolve/"));
        for (path, _) in files {
            let parts = ["/vae/", "/text_encoder/", "/tokenizer/"];
            assert!(parts.iter().any(|part| path.contains(part)), "{path}");
        }
        let parts = folder.join("run/parts");
        for file in [
            "vae/config.json",
            "text_encoder/config.json",
            "tokenizer/vocab.json",
        ] {
            assert!(parts.join(file).is_file(), "{file}");
        }
        assert_refused(&train(folder, "http://127.0.0.1:1", names), &["nothing"]);
    }

    #[test]
    fn parts_can_be_names_of_repositories_of_their_own() {
        let folder = tempfile::tempdir().expect("a folder");
        let folder = folder.path();
        let single = folder.join("single");
        copy_text_encoder(&golden("bert"), &single);
        let hub = Hub::start(&single);
        let model = golden("sd1").display().to_string();
        let parts = [model.as_str(), "owner/model"];
        assert_refused(&train(folder, &hub.endpoint, parts), &["nothing"]);
        assert!(folder.join("run/parts/tokenizer/tokenizer.json").is_file());
        assert_refused(&train(folder, "http://127.0.0.1:1", parts), &["nothing"]);
        // Nor is it a whole model, nor an autoencoder.
        let words = sample("owner/model", "x.png");
        let whole = run(&mut command(folder, &hub.endpoint, &words));
        assert_refused(&whole, &["owner/model", "model_index.json"]);
        let no_vae = train(folder, &hub.endpoint, ["owner/model"; 2]);
        assert_refused(&no_vae, &["owner/model", "weights as .safetensors"]);
    }
}
