//! Every byte as a visible character, as GPT-2's vocabularies write them.

/// Bytes that are visible Latin-1 characters stand for themselves; the others take the characters
/// from 256 on, in order.
pub(super) fn character(byte: u8) -> char {
    match visible(byte) {
        true => char::from(byte),
        false => {
            let before = (0..byte).filter(|&b| !visible(b)).count();
            char::from_u32(256 + before as u32).expect("below 512 all are characters")
        }
    }
}

fn visible(byte: u8) -> bool {
    matches!(byte, b'!'..=b'~' | 0xA1..=0xAC | 0xAE..=0xFF)
}

#[cfg(test)]
mod tests {
    use super::character;

    #[test]
    fn bytes_are_those_of_gpt_2() {
        assert_eq!(character(b'a'), 'a');
        // A space is written Ġ, a line feed Ċ, a soft hyphen Ń.
        assert_eq!([32, 10, 0xAD].map(character), ['Ġ', 'Ċ', 'Ń']);
        let all: std::collections::HashSet<char> = (0..=255).map(character).collect();
        assert_eq!(all.len(), 256);
    }
}
