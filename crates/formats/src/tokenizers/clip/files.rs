//! The files of a CLIP tokenizer.

use crate::FormatError;
use crate::tokenizers::reading::{bad, json, text};
use serde::Deserialize;
use std::collections::HashMap;
use std::path::Path;

/// What a tokenizer knows.
pub(super) struct Files {
    pub(super) numbers: HashMap<String, u32>,
    pub(super) merges: Vec<(String, String)>,
    /// The token that fills up short texts, where the files say which.
    pub(super) padding: Option<String>,
}

/// `tokenizer.json`.
#[derive(Deserialize)]
struct Whole {
    model: Model,
}

#[derive(Deserialize)]
struct Model {
    #[serde(rename = "type")]
    kind: String,
    end_of_word_suffix: Option<String>,
    vocab: HashMap<String, u32>,
    merges: Vec<Merge>,
}

#[derive(Deserialize)]
#[serde(untagged, expecting = "expected a merge of two texts")]
enum Merge {
    Pair(String, String),
    Line(String),
}

pub(super) fn read(folder: &Path) -> Result<Files, FormatError> {
    let padding = padding(folder)?;
    if !folder.join("merges.txt").is_file() {
        return whole(folder, padding);
    }
    let numbers = json(&folder.join("vocab.json"))?;
    let path = folder.join("merges.txt");
    let text = text(&path)?;
    let lines = text.lines().filter(|line| !line.starts_with("#version"));
    let lines = lines.filter(|line| !line.trim().is_empty());
    Ok(Files {
        numbers,
        merges: lines
            .map(|line| pair(&path, line))
            .collect::<Result<_, _>>()?,
        padding,
    })
}

fn whole(folder: &Path, padding: Option<String>) -> Result<Files, FormatError> {
    let path = folder.join("tokenizer.json");
    let Whole { model } = json(&path)?;
    if model.kind != "BPE" || model.end_of_word_suffix.as_deref() != Some("</w>") {
        return Err(bad(
            &path,
            format!(
                "it is a tokenizer of type `{}` with the suffix `{}`, and only CLIP's is supported: `BPE` with `</w>`",
                model.kind,
                model.end_of_word_suffix.unwrap_or_default()
            ),
        ));
    }
    let merges = model.merges.into_iter().map(|merge| match merge {
        Merge::Pair(first, second) => Ok((first, second)),
        Merge::Line(line) => pair(&path, &line),
    });
    Ok(Files {
        numbers: model.vocab,
        merges: merges.collect::<Result<_, _>>()?,
        padding,
    })
}

/// The padding token is a text in one generation of files, and an object with a `content` in
/// another.
fn padding(folder: &Path) -> Result<Option<String>, FormatError> {
    #[derive(Deserialize)]
    #[serde(untagged, expecting = "expected a text, or an object with `content`")]
    enum Token {
        Text(String),
        Object { content: String },
    }
    #[derive(Deserialize)]
    struct Named {
        pad_token: Option<Token>,
    }
    for name in ["special_tokens_map.json", "tokenizer_config.json"] {
        let path = folder.join(name);
        if !path.is_file() {
            continue;
        }
        let named: Named = json(&path)?;
        if let Some(Token::Text(content) | Token::Object { content }) = named.pad_token {
            return Ok(Some(content));
        }
    }
    Ok(None)
}

fn pair(path: &Path, line: &str) -> Result<(String, String), FormatError> {
    match line.split_once(' ') {
        Some((first, second)) => Ok((first.into(), second.trim_end().into())),
        None => Err(bad(path, format!("`{line}` is not a pair of tokens"))),
    }
}
