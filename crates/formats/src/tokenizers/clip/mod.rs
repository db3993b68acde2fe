//! CLIP's tokenizer: byte-pair encoding of lower-case words.
//!
//! Written here rather than taken from the `tokenizers` crate, which brings forty crates of its own
//! and rebuilds the framework with other features, for the hundred lines that CLIP needs.

mod added;
mod bytes;
mod files;

use crate::FormatError;
use crate::tokenizers::tokens::{Tokens, Word, in_words, pattern};
use added::Added;
use files::AddedToken;
use regex::Regex;
use std::collections::HashMap;
use std::path::Path;

/// Words: English endings, letters, single digits, runs of anything else.
const WORDS: &str = r"'s|'t|'re|'ve|'m|'ll|'d|\p{L}+|\p{N}|[^\s\p{L}\p{N}]+";

const START: &str = "<|startoftext|>";
const END: &str = "<|endoftext|>";

/// Texts to the token numbers that a CLIP text encoder understands.
#[derive(Clone, Debug)]
pub struct ClipTokenizer {
    numbers: HashMap<String, u32>,
    /// Those of tokens that stand for themselves, in capitals and small letters as they are.
    special_numbers: HashMap<String, u32>,
    /// The rank of every pair: which two parts are merged first.
    ranks: HashMap<(String, String), usize>,
    words: Regex,
    specials: Regex,
    /// Tokens that are in no vocabulary, but were added.
    added: Added,
    start: u32,
    end: u32,
    padding: u32,
    length: usize,
}

impl ClipTokenizer {
    /// Reads a tokenizer folder: `vocab.json` with `merges.txt`, or `tokenizer.json`. `length` is
    /// how many tokens the text encoder takes.
    ///
    /// # Errors
    /// When files are missing, or describe a tokenizer of another kind.
    pub fn load(folder: &Path, length: usize) -> Result<Self, FormatError> {
        let files = files::read(folder)?;
        let padding = files.padding.as_deref().unwrap_or(END);
        let number = |token: &str| {
            let known = files.numbers.get(token).copied();
            known.ok_or_else(|| FormatError::BadDescription {
                origin: folder.display().to_string(),
                reason: format!("its vocabulary has no token `{token}`"),
            })
        };
        let mut specials = HashMap::new();
        for token in [START, END, padding] {
            specials.insert(token.to_string(), number(token)?);
        }
        let is_new = |token: &&AddedToken| files.numbers.get(&token.content) != Some(&token.id);
        let (exact, plain): (Vec<_>, Vec<_>) = files
            .added
            .iter()
            .filter(is_new)
            .partition(|token| token.is_exact);
        specials.extend(
            exact
                .into_iter()
                .map(|token| (token.content.clone(), token.id)),
        );
        let plain_tokens = plain
            .into_iter()
            .map(|token| (token.content.clone(), token.id));
        let ranks = files.merges.iter().cloned().enumerate();
        Ok(Self {
            start: number(START)?,
            end: number(END)?,
            padding: number(padding)?,
            ranks: ranks.map(|(rank, pair)| (pair, rank)).collect(),
            words: pattern(WORDS),
            specials: pattern(&added::any_of(specials.keys().map(String::as_str))),
            added: Added::of_folder(plain_tokens),
            special_numbers: specials,
            numbers: files.numbers,
            length,
        })
    }

    /// One more than the largest token number.
    pub fn vocabulary(&self) -> usize {
        let own = self.numbers.values().chain(self.special_numbers.values());
        let highest = own.copied().chain(self.added.numbers()).max();
        highest.map_or(0, |number| number as usize + 1)
    }

    /// The same without tokens that were added; none if there are none.
    pub(crate) fn vocabulary_without_added(&self) -> Option<usize> {
        let own = self.numbers.values().max().map_or(0, |&n| n as usize + 1);
        (own < self.vocabulary()).then_some(own)
    }

    /// Tokens of a text, padding included.
    pub fn length(&self) -> usize {
        self.length
    }

    /// The tokens of a text; where they are too many, the last ones are cut off.
    pub fn encode(&self, text: &str) -> Tokens {
        let frame = [self.start, self.end, self.padding];
        let number = |special: &str| self.special_numbers.get(special).copied();
        let numbers = |special: &str| number(special).into_iter().collect();
        let words = in_words(text, &self.specials, numbers, |text| self.plain(text));
        Tokens::framed(words, frame, self.length)
    }

    /// Knows one more token, which stands for these numbers.
    ///
    /// # Errors
    /// When it is known already.
    pub(crate) fn add(&mut self, token: &str, numbers: Vec<u32>) -> Result<(), String> {
        let is_known = self.numbers.contains_key(token)
            || self.special_numbers.contains_key(token)
            || self.added.knows(token);
        match is_known {
            true => Err(format!(
                "the tokenizer of the model knows `{token}` already: give it another token"
            )),
            false => {
                self.added.add(token, numbers);
                Ok(())
            }
        }
    }

    /// The words of a text without special tokens, in lower case.
    fn plain(&self, text: &str) -> Vec<Word> {
        let text = added::lower_case(text);
        let words = |text: &str| {
            let found = self.words.find_iter(text).map(|word| word.as_str());
            found.map(|word| (word.into(), self.word(word))).collect()
        };
        self.added.split(&text, words)
    }

    /// The tokens of one word.
    fn word(&self, word: &str) -> Vec<u32> {
        let mut parts: Vec<String> = word.bytes().map(|b| bytes::character(b).into()).collect();
        if let Some(last) = parts.last_mut() {
            last.push_str("</w>");
        }
        while let Some(at) = self.best_pair(&parts) {
            let second = parts.remove(at + 1);
            parts[at].push_str(&second);
        }
        let known = |part: &String| self.numbers.get(part).copied().unwrap_or(self.end);
        parts.iter().map(known).collect()
    }

    /// Where the pair is that is merged first; of several, the leftmost.
    fn best_pair(&self, parts: &[String]) -> Option<usize> {
        let rank = |at: usize| {
            let pair = (parts[at].clone(), parts[at + 1].clone());
            self.ranks.get(&pair).map(|&rank| (rank, at))
        };
        (0..parts.len().saturating_sub(1))
            .filter_map(rank)
            .min()
            .map(|(_, at)| at)
    }
}
