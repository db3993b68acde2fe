//! Tokens that were added to a vocabulary, as DreamBooth and textual inversion do.
//!
//! They are found anywhere in a text, also within words, in capitals or small letters; where several
//! begin at one place, the longest is taken.

use crate::tokenizers::tokens::{Word, in_words, pattern};
use regex::Regex;
use std::collections::BTreeMap;

/// Added tokens in small letters, each with the numbers that it stands for.
#[derive(Clone, Debug, Default)]
pub(super) struct Added {
    numbers: BTreeMap<String, Vec<u32>>,
    found: Option<Regex>,
}

impl Added {
    /// Those of a folder. A token with several vectors is stored as `token`, `token_1`, `token_2` and
    /// so on, and the first stands for all.
    pub(super) fn of_folder(tokens: impl Iterator<Item = (String, u32)>) -> Self {
        let stored: BTreeMap<String, u32> = tokens
            .map(|(token, number)| (small(&token), number))
            .collect();
        let all = |token: &String, first: u32| {
            let more = (1..).map_while(|n| stored.get(&format!("{token}_{n}")).copied());
            std::iter::once(first).chain(more).collect()
        };
        let numbers = stored.iter();
        let numbers = numbers.map(|(token, number)| (token.clone(), all(token, *number)));
        let mut added = Self {
            numbers: numbers.collect(),
            found: None,
        };
        added.prepare();
        added
    }

    pub(super) fn add(&mut self, token: &str, numbers: Vec<u32>) {
        self.numbers.insert(small(token), numbers);
        self.prepare();
    }

    pub(super) fn knows(&self, token: &str) -> bool {
        self.numbers.contains_key(&small(token))
    }

    pub(super) fn numbers(&self) -> impl Iterator<Item = u32> {
        self.numbers.values().flatten().copied()
    }

    fn prepare(&mut self) {
        let any = any_of(self.numbers.keys().map(String::as_str));
        self.found = (!self.numbers.is_empty()).then(|| pattern(&any));
    }

    /// The words of a text in small letters; `plain` splits it between added tokens.
    pub(super) fn split(&self, text: &str, plain: impl Fn(&str) -> Vec<Word>) -> Vec<Word> {
        match &self.found {
            None => plain(text),
            Some(found) => in_words(text, found, |token| self.numbers[token].clone(), plain),
        }
    }
}

/// A pattern that finds these texts, the longest where several begin at one place.
pub(super) fn any_of<'a>(texts: impl Iterator<Item = &'a str>) -> String {
    let mut texts: Vec<&str> = texts.collect();
    texts.sort_unstable_by_key(|text| (std::cmp::Reverse(text.len()), *text));
    let escaped: Vec<String> = texts.into_iter().map(regex::escape).collect();
    escaped.join("|")
}

fn small(token: &str) -> String {
    token.trim().to_lowercase()
}
