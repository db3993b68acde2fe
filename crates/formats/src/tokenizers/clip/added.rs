//! Tokens that were added to a vocabulary, as DreamBooth and textual inversion do.
//!
//! They are found anywhere in a text, also within words, in capitals or small letters; where several
//! begin at one place, the longest is taken.

use crate::tokenizers::tokens::{Word, in_words, pattern};
use regex::Regex;
use std::collections::BTreeMap;
use unicode_normalization::UnicodeNormalization;

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
        let mut stored: BTreeMap<String, u32> = BTreeMap::new();
        for (token, number) in tokens {
            // Of tokens that differ in capitals only, the first stays.
            stored.entry(small(&token)).or_insert(number);
        }
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

/// A token as texts are before words are looked for in them.
fn small(token: &str) -> String {
    lower_case(token.trim())
}

/// A text in its composed form and in small letters.
pub(super) fn lower_case(text: &str) -> String {
    text.nfc().flat_map(char::to_lowercase).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(added: &Added, text: &str) -> Vec<Word> {
        let plain = |text: &str| match text.trim().is_empty() {
            true => vec![],
            false => vec![(text.trim().into(), vec![0])],
        };
        added.split(&lower_case(text), plain)
    }

    /// In capitals or not, composed or not, and at the end of a word in Greek.
    #[test]
    fn tokens_are_found_as_texts_are_read() {
        for (token, text) in [
            ("<Toy>", "a <TOY>"),
            (
                "\u{39f}\u{394}\u{39f}\u{3a3}",
                "a \u{39f}\u{394}\u{39f}\u{3a3}",
            ),
            ("e\u{301}", "a \u{e9}"),
        ] {
            let added = Added::of_folder([(token.to_string(), 7)].into_iter());
            let last = words(&added, text).pop();
            assert_eq!(last.map(|(_, numbers)| numbers), Some(vec![7]), "{token}");
        }
    }

    #[test]
    fn of_tokens_that_differ_in_capitals_the_first_stays() {
        let tokens = [("<Toy>".to_string(), 5), ("<toy>".into(), 70)];
        let added = Added::of_folder(tokens.into_iter());
        assert_eq!(words(&added, "<toy>"), [("<toy>".into(), vec![5])]);
    }
}
