//! The files of a CLIP tokenizer.

use crate::FormatError;
use crate::tokenizers::reading::{bad, json, text};
use serde::Deserialize;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::Path;

/// What a tokenizer knows.
pub(super) struct Files {
    pub(super) numbers: HashMap<String, u32>,
    pub(super) merges: Vec<(String, String)>,
    /// Tokens that the vocabulary does not have, or has as they are.
    pub(super) added: Vec<AddedToken>,
    /// The token that fills up short texts, where the files say which.
    pub(super) padding: Option<String>,
}

/// The most bytes that added tokens have together: they are looked for all at once.
const MOST_ADDED: usize = 50_000;

/// A token that was added to a vocabulary.
#[derive(Debug, PartialEq)]
pub(super) struct AddedToken {
    pub(super) content: String,
    pub(super) id: u32,
    /// Whether capitals and small letters are told apart.
    pub(super) is_exact: bool,
}

/// `tokenizer.json`.
#[derive(Deserialize)]
struct Whole {
    model: Model,
    #[serde(default)]
    added_tokens: Vec<Described>,
}

/// An added token, as `tokenizer.json` and `tokenizer_config.json` have it.
#[derive(Deserialize)]
struct Described {
    id: Option<u32>,
    content: String,
    #[serde(default)]
    special: bool,
    normalized: Option<bool>,
}

impl Described {
    fn with(self, id: u32) -> AddedToken {
        AddedToken {
            is_exact: !self.normalized.unwrap_or(!self.special),
            content: self.content,
            id,
        }
    }
}

/// The tokens that were added, by the files that a folder of older or newer programs has.
fn added(folder: &Path, whole: Vec<Described>) -> Result<Vec<AddedToken>, FormatError> {
    #[derive(Deserialize)]
    struct Configured {
        #[serde(default)]
        added_tokens_decoder: BTreeMap<String, Described>,
    }
    let mut added: Vec<AddedToken> = vec![];
    added.extend(whole.into_iter().filter_map(|token| {
        let id = token.id?;
        Some(token.with(id))
    }));
    let path = folder.join("tokenizer_config.json");
    if path.is_file() {
        let configured: Configured = json(&path)?;
        for (id, token) in configured.added_tokens_decoder {
            let id = id.parse();
            let id = id.map_err(|_| bad(&path, format!("`{}` has no number", token.content)))?;
            added.push(token.with(id));
        }
    }
    let path = folder.join("added_tokens.json");
    if path.is_file() {
        let listed: BTreeMap<String, u32> = json(&path)?;
        added.extend(listed.into_iter().map(|(content, id)| AddedToken {
            content,
            id,
            is_exact: false,
        }));
    }
    // What was described first stays.
    let mut known = HashSet::new();
    added.retain(|token| !token.content.trim().is_empty() && known.insert(token.content.clone()));
    let bytes: usize = added.iter().map(|token| token.content.len()).sum();
    match bytes > MOST_ADDED {
        true => Err(bad(
            folder,
            format!("its added tokens have {bytes} bytes, and at most {MOST_ADDED} are read"),
        )),
        false => Ok(added),
    }
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
        added: added(folder, vec![])?,
        padding,
    })
}

fn whole(folder: &Path, padding: Option<String>) -> Result<Files, FormatError> {
    let path = folder.join("tokenizer.json");
    let Whole {
        model,
        added_tokens,
    } = json(&path)?;
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
        added: added(folder, added_tokens)?,
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
