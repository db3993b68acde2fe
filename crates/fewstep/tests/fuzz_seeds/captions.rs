//! Texts: captions and recipes.

use crate::{Files, joined, whole};
use std::fs;

pub(crate) fn captions() -> Files {
    let list = br#"{"file_name": "a.png", "text": "a cat"}
{"file_name": "b.png", "caption": "a dog"}
"#;
    let table = b"file_name,text\na.png,\"a cat, \"\"asleep\"\"\"\nb.png,a dog\n";
    let (a, b) = (&b"\xef\xbb\xbfa cat\n"[..], &b"a dog"[..]);
    let skip = b"# cannot be used\nb.png\n";
    vec![
        (whole("list"), joined(&[list])),
        (whole("table"), joined(&[b"", table])),
        (whole("texts"), joined(&[b"", b"", a, b])),
        (whole("skip"), joined(&[b"", b"", a, b"", skip])),
    ]
}

/// A recipe of each kind.
const RECIPES: [&str; 8] = [
    "fashion-mnist/teacher",
    "fashion-mnist/distill",
    "fashion-mnist/encoder",
    "conditional/inpaint",
    "conditional/consistency",
    "conditional/codi",
    "text-to-image/emoji-teacher",
    "text-to-image/emoji-edit",
];

/// Recipes of the repository, and one with changes.
pub(crate) fn recipes() -> Files {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../recipes");
    let read = |name: &str| fs::read(format!("{folder}/{name}.toml")).expect("a recipe");
    let recipes = RECIPES
        .iter()
        .map(|name| (whole(&name.replace('/', "-")), read(name)));
    let set = b"updates=20\noptim.optimizer=\"adamw\"\ndata.size=32";
    let changed = joined(&[&read(RECIPES[0]), set]);
    recipes.chain([(whole("changed"), changed)]).collect()
}
