//! A text as a text encoder takes it.

/// A text as tokens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tokens {
    /// Start, the words, end, padding: always as many as the text encoder takes.
    pub numbers: Vec<u32>,
    /// The end of the text, where it was too long: what the model does not see.
    pub cut: Option<String>,
}

impl Tokens {
    /// Words with their tokens between start and end, padded to `length`; where they are too many, the last tokens are
    /// cut off.
    pub(super) fn framed(
        words: Vec<(String, Vec<u32>)>,
        [start, end, padding]: [u32; 3],
        length: usize,
    ) -> Self {
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
