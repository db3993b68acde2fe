//! The symbolic links of a model's folder, which must stay inside it.

use crate::FormatError;
use std::path::{Path, PathBuf};

/// The folders of a model's parts.
const PARTS: [&str; 10] = [
    "class_embedder",
    "controlnet",
    "lora",
    "scheduler",
    "text_encoder",
    "text_encoder_2",
    "tokenizer",
    "tokenizer_2",
    "unet",
    "vae",
];

/// How the names of files end that are read from the folder itself.
const ENDINGS: [&str; 6] = [".bin", ".ckpt", ".json", ".pt", ".safetensors", ".txt"];

/// Refuses a folder with a link that leads out of it: what it leads to would be read, or copied
/// into what is made of the model. The hub's cache has its files elsewhere in the folder of the
/// repository. A file by itself passes.
pub(crate) fn check(folder: &Path) -> Result<(), FormatError> {
    let Ok(root) = folder.canonicalize() else {
        return Ok(());
    };
    let inside: Vec<PathBuf> = repository(&root).into_iter().chain([root]).collect();
    for (path, name) in entries(folder) {
        let is_part = PARTS.contains(&name.as_str());
        if is_part || ENDINGS.iter().any(|ending| name.ends_with(ending)) {
            check_link(&path, &inside)?;
        }
        if is_part {
            for (path, _) in entries(&path) {
                check_link(&path, &inside)?;
            }
        }
    }
    Ok(())
}

/// The folder of a repository in the hub's cache: files lie in `blobs`, with links to them in
/// `snapshots/COMMIT`.
fn repository(snapshot: &Path) -> Option<PathBuf> {
    let snapshots = snapshot.parent()?;
    let repository = snapshots.parent()?;
    let is_one = repository.file_name()?.to_str()?.starts_with("models--");
    (is_one && snapshots.ends_with("snapshots")).then(|| repository.into())
}

fn entries(folder: &Path) -> impl Iterator<Item = (PathBuf, String)> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    entries.map(|entry| {
        let name = entry.file_name().to_string_lossy().into_owned();
        (entry.path(), name)
    })
}

fn check_link(path: &Path, inside: &[PathBuf]) -> Result<(), FormatError> {
    // One that leads nowhere is like a file that is missing.
    let Some(target) = path
        .is_symlink()
        .then(|| path.canonicalize().ok())
        .flatten()
    else {
        return Ok(());
    };
    match inside.iter().any(|folder| target.starts_with(folder)) {
        true => Ok(()),
        false => Err(FormatError::LinkOutside {
            path: path.into(),
            target,
        }),
    }
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn links_stay_in_the_folder_or_in_the_repository_of_the_hub() {
        let home = tempfile::tempdir().expect("a folder");
        let path = |name: &str| home.path().join(name);
        let hub = "cache/models--a--b";
        for folder in ["model/vae", "model/unet", "cache/models--a--b/blobs"] {
            std::fs::create_dir_all(path(folder)).expect("made");
        }
        let snapshot = path(hub).join("snapshots/c0ffee");
        std::fs::create_dir_all(snapshot.join("vae")).expect("made");
        std::fs::write(path(hub).join("blobs/1"), "{}").expect("written");
        std::fs::write(path("secret"), "{}").expect("written");
        std::fs::write(path("model/vae/there.json"), "{}").expect("written");

        symlink("../../../blobs/1", snapshot.join("vae/config.json")).expect("linked");
        check(&snapshot).expect("the hub's cache");
        symlink("../vae/there.json", path("model/unet/config.json")).expect("linked");
        symlink("nowhere", path("model/vae/dangling.json")).expect("linked");
        symlink("../secret", path("model/image.png")).expect("linked");
        symlink("model", path("another-name")).expect("linked");
        check(&path("model")).expect("links inside");
        check(&path("another-name")).expect("the folder itself may be a link");

        for (from, to) in [
            (snapshot.join("vae/out.txt"), "../../../../../secret"),
            (path("model/vae/out.txt"), "../../secret"),
            (path("model/fewstep.json"), "../secret"),
            (path("model/tokenizer"), "../cache"),
        ] {
            symlink(to, &from).expect("linked");
            let model = [snapshot.clone(), path("model")];
            let refused = model.iter().filter_map(|model| check(model).err());
            let error = refused.map(|error| error.to_string()).next();
            let error = error.expect("refused");
            let name = from.display().to_string();
            assert!(error.contains(&name), "{error}");
            std::fs::remove_file(from).expect("removed");
        }
    }
}
