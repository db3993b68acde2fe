//! The files of a model's folder, and copies of them.

use crate::FormatError;
use crate::atomic::copy_atomically;
use crate::tensors::named_precision::{CONFIG, ORIGINAL};
use std::path::{Path, PathBuf};

/// The folder of this name within a model; or the folder itself, where it has none and is only that
/// part.
pub(super) fn inside(folder: &Path, part: &str) -> PathBuf {
    let within = folder.join(part);
    match within.is_dir() {
        true => within,
        false => folder.into(),
    }
}

/// Configurations and tokenizers.
pub(super) fn is_config(name: &str) -> bool {
    is_text(name) && !name.contains("safetensors")
}

fn is_text(name: &str) -> bool {
    [".json", ".txt"]
        .iter()
        .any(|ending| name.ends_with(ending))
}

/// The name of a file of weights without its variant. diffusers looks for one variant in all parts
/// of a model, and the U-Net next to these is of none. The names of shards, which an index has too,
/// stay.
pub(super) fn without_variant(name: &str) -> String {
    match name.strip_suffix(".fp16.safetensors") {
        Some(stem) if !stem.contains("-of-") => format!("{stem}.safetensors"),
        _ => name.into(),
    }
}

pub(super) fn is_of_network(name: &str) -> bool {
    [CONFIG, ORIGINAL].contains(&name) || name.contains(".safetensors")
}

/// A tokenizer may be in one folder with its encoder.
pub(super) fn is_of_tokenizer(name: &str) -> bool {
    let others = [
        CONFIG,
        ORIGINAL,
        "model_index.json",
        "tokenizer_config.json",
    ];
    is_text(name) && !others.contains(&name) && !name.contains("safetensors")
}

/// Copies those files of a folder whose names are wanted into another, weights without the name of
/// their variant. They are files of their own: who edits one of them in place edits no other model.
pub(super) fn place_files(
    from: &Path,
    to: &Path,
    wanted: fn(&str) -> bool,
) -> Result<(), FormatError> {
    let unread = |source| FormatError::Read {
        path: from.into(),
        source,
    };
    for entry in std::fs::read_dir(from).map_err(unread)? {
        let entry = entry.map_err(unread)?;
        let (path, name) = (entry.path(), entry.file_name());
        let Some(text) = name.to_str().filter(|name| wanted(name)) else {
            continue;
        };
        if !path.is_file() {
            continue;
        }
        let plain = without_variant(text);
        let target = match from.join(&plain).is_file() {
            true => to.join(&name),
            false => to.join(plain),
        };
        copy_atomically(&path, &target)?;
    }
    Ok(())
}
