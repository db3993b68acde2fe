//! A text as a text encoder takes it.

use regex::Regex;

/// A word with its tokens.
pub(super) type Word = (String, Vec<u32>);

/// A pattern that is written in the program, or made of escaped texts.
pub(super) fn pattern(pattern: &str) -> Regex {
    Regex::new(pattern).expect("a pattern that is tested, or an escaped text")
}

/// The words of a text with their tokens: special tokens stay as they are, `plain` splits the text
/// between them.
pub(super) fn in_words(
    text: &str,
    specials: &Regex,
    numbers: impl Fn(&str) -> Vec<u32>,
    plain: impl Fn(&str) -> Vec<Word>,
) -> Vec<Word> {
    let mut words = vec![];
    let mut from = 0;
    for special in specials.find_iter(text) {
        words.extend(plain(&text[from..special.start()]));
        words.push((special.as_str().into(), numbers(special.as_str())));
        from = special.end();
    }
    words.extend(plain(&text[from..]));
    words
}

/// A text as tokens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tokens {
    /// Start, the words, end, padding: always as many as the text encoder takes.
    pub numbers: Vec<u32>,
    /// The end of the text, where it was too long: what the model does not see.
    pub cut: Option<String>,
}

impl Tokens {
    /// Words with their tokens between start and end, padded to `length`; where they are too many,
    /// the last tokens are cut off.
    pub(super) fn framed(words: Vec<Word>, [start, end, padding]: [u32; 3], length: usize) -> Self {
        let last = length.saturating_sub(1);
        let mut numbers = vec![start];
        let mut cut: Vec<String> = vec![];
        for (word, of_word) in words {
            if numbers.len() + of_word.len() > last {
                cut.push(word);
            }
            let room = last.saturating_sub(numbers.len());
            numbers.extend(of_word.into_iter().take(room));
        }
        numbers.push(end);
        numbers.resize(length, padding);
        Self {
            numbers,
            cut: (!cut.is_empty()).then(|| cut.join(" ")),
        }
    }
}
