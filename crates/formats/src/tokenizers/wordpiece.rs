//! BERT's tokenizer: words, then their longest known parts.

use super::reading;
use super::tokens::{Tokens, Word, in_words, pattern};
use crate::FormatError;
use crate::fields::Fields;
use regex::Regex;
use serde::Deserialize;
use std::collections::HashMap;
use std::path::Path;
use unicode_normalization::UnicodeNormalization;

const START: &str = "[CLS]";
const END: &str = "[SEP]";
const PADDING: &str = "[PAD]";
const UNKNOWN: &str = "[UNK]";
const SPECIALS: [&str; 5] = [START, END, PADDING, UNKNOWN, "[MASK]"];

/// A part that continues a word starts with this.
const WITHIN: &str = "##";

/// A word of more characters is unknown.
const LONGEST: usize = 100;

/// Words: single punctuation marks, and runs of characters that are neither punctuation nor space.
const WORDS: &str =
    r"[\p{P}\x21-\x2f\x3a-\x40\x5b-\x60\x7b-\x7e]|[^\s\p{P}\x21-\x2f\x3a-\x40\x5b-\x60\x7b-\x7e]+";

/// What is removed from a text: control characters, and the replacement character.
const NOISE: &str = r"[\p{C}\x{fffd}&&[^\t\n\r]]";

/// Ideographs, each of which is a word.
const IDEOGRAPHS: &str = r"[\x{4e00}-\x{9fff}\x{3400}-\x{4dbf}\x{20000}-\x{2a6df}\x{2a700}-\x{2b73f}\x{2b740}-\x{2b81f}\x{2b820}-\x{2ceaf}\x{f900}-\x{faff}\x{2f800}-\x{2fa1f}]";

/// Texts to the token numbers that a BERT understands.
#[derive(Clone, Debug)]
pub struct WordPiece {
    numbers: HashMap<String, u32>,
    specials: Regex,
    words: Regex,
    noise: Regex,
    ideographs: Regex,
    accents: Regex,
    options: Options,
    length: usize,
}

/// What happens to a text before it is cut into words.
#[derive(Clone, Copy, Debug)]
struct Options {
    lowercase: bool,
    strip_accents: bool,
    separate_ideographs: bool,
}

impl WordPiece {
    /// Reads a tokenizer folder: `tokenizer_config.json`, and the vocabulary in `vocab.txt` or
    /// `tokenizer.json`. A text has `model_max_length` tokens, and at most `most`.
    ///
    /// # Errors
    /// When files are missing, or describe a tokenizer of another kind.
    pub fn load(folder: &Path, most: usize) -> Result<Self, FormatError> {
        let mut config = Fields::read(&folder.join("tokenizer_config.json"))?;
        let lowercase = config.or("do_lower_case", true)?;
        let options = Options {
            lowercase,
            strip_accents: config.or("strip_accents", lowercase)?,
            separate_ideographs: config.or("tokenize_chinese_chars", true)?,
        };
        // A number without meaning stands for "no limit".
        let said: f64 = config.or("model_max_length", 512.0)?;
        let numbers = vocabulary(folder)?;
        if let Some(token) = SPECIALS[..4].iter().find(|t| !numbers.contains_key(**t)) {
            return Err(config.bad(format!("the vocabulary next to it has no token `{token}`")));
        }
        Ok(Self {
            numbers,
            specials: pattern(&SPECIALS.map(regex::escape).join("|")),
            words: pattern(WORDS),
            noise: pattern(NOISE),
            ideographs: pattern(IDEOGRAPHS),
            accents: pattern(r"\p{Mn}"),
            options,
            length: (said.max(2.0) as usize).min(most),
        })
    }

    /// One more than the largest token number.
    pub fn vocabulary(&self) -> usize {
        self.numbers.values().max().map_or(0, |&n| n as usize + 1)
    }

    /// Tokens of a text, padding included.
    pub fn length(&self) -> usize {
        self.length
    }

    /// The tokens of a text; where they are too many, the last ones are cut off.
    pub fn encode(&self, text: &str) -> Tokens {
        let frame = [START, END, PADDING].map(|token| self.numbers[token]);
        let number = |special: &str| self.numbers.get(special).copied().into_iter().collect();
        let words = in_words(text, &self.specials, number, |text| self.plain(text));
        Tokens::framed(words, frame, self.length)
    }

    /// The words of a text without special tokens.
    fn plain(&self, text: &str) -> Vec<Word> {
        let text = self.normalise(text);
        let found = self.words.find_iter(&text).map(|word| word.as_str());
        found.map(|word| (word.into(), self.word(word))).collect()
    }

    fn normalise(&self, text: &str) -> String {
        let mut text = self.noise.replace_all(text, "").into_owned();
        if self.options.separate_ideographs {
            text = self.ideographs.replace_all(&text, " $0 ").into_owned();
        }
        if self.options.strip_accents {
            let parted: String = text.nfd().collect();
            text = self.accents.replace_all(&parted, "").into_owned();
        }
        match self.options.lowercase {
            true => text.chars().flat_map(char::to_lowercase).collect(),
            false => text,
        }
    }

    /// The tokens of one word: always the longest known part of what is left; unknown as a whole
    /// where a part is.
    fn word(&self, word: &str) -> Vec<u32> {
        let unknown = vec![self.numbers[UNKNOWN]];
        if word.chars().count() > LONGEST {
            return unknown;
        }
        let mut tokens = vec![];
        let mut from = 0;
        while from < word.len() {
            let ends = (from + 1..=word.len()).rev();
            let part = |&end: &usize| word.is_char_boundary(end);
            let known = ends.filter(part).find_map(|end| {
                let part = &word[from..end];
                let number = match from {
                    0 => self.numbers.get(part),
                    _ => self.numbers.get(&format!("{WITHIN}{part}")),
                };
                number.map(|&number| (number, end))
            });
            let Some((number, end)) = known else {
                return unknown;
            };
            tokens.push(number);
            from = end;
        }
        tokens
    }
}

/// The tokens with their numbers.
fn vocabulary(folder: &Path) -> Result<HashMap<String, u32>, FormatError> {
    let lines = folder.join("vocab.txt");
    if lines.is_file() {
        let text = reading::text(&lines)?;
        return Ok(text.lines().map(String::from).zip(0..).collect());
    }
    #[derive(Deserialize)]
    struct Whole {
        model: Model,
    }
    #[derive(Deserialize)]
    struct Model {
        #[serde(rename = "type")]
        kind: String,
        vocab: HashMap<String, u32>,
    }
    let path = folder.join("tokenizer.json");
    let Whole { model } = reading::json(&path)?;
    match model.kind.as_str() {
        "WordPiece" => Ok(model.vocab),
        kind => Err(reading::bad(
            &path,
            format!("it is a tokenizer of type `{kind}`, and a BERT needs one of type `WordPiece`"),
        )),
    }
}
