//! Files into memory: whole, and never without an end.

use crate::FormatError;
use crate::places::STANDARD;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

/// The most bytes that are read from a pipe, which does not say how long it is.
const PIPE: u64 = 32 << 30;
/// The most bytes of a configuration or a vocabulary.
const TEXT: u64 = 256 << 20;

/// The bytes of a file or a pipe; `-` is standard input.
///
/// # Errors
/// When it cannot be read, or is a device.
pub fn bytes(path: &Path) -> Result<Vec<u8>, FormatError> {
    let read = || {
        if path == Path::new(STANDARD) {
            return at_most(io::stdin().lock(), PIPE);
        }
        let kind = std::fs::metadata(path)?;
        match kind.is_file() || kind.is_dir() {
            true => std::fs::read(path),
            false if is_device(&kind) => Err(io::Error::other("it is a device, not a file")),
            false => at_most(File::open(path)?, PIPE),
        }
    };
    read().map_err(|source| unread(path, source))
}

/// What some editors put at the start of a text.
const BYTE_ORDER_MARK: char = '\u{feff}';

/// The text of a file, and of nothing else, without a byte order mark.
///
/// # Errors
/// When it cannot be read, or is no text of a size that configurations have.
pub fn text(path: &Path) -> Result<String, FormatError> {
    let read = || {
        let kind = std::fs::metadata(path)?;
        if !kind.is_file() && !kind.is_dir() {
            return Err(io::Error::other("it is a device or a pipe, not a file"));
        }
        let bytes = at_most(File::open(path)?, TEXT)?;
        let text = String::from_utf8(bytes);
        let mut text = text.map_err(|_| io::Error::other("it is not text in UTF-8"))?;
        if text.starts_with(BYTE_ORDER_MARK) {
            text.drain(..BYTE_ORDER_MARK.len_utf8());
        }
        Ok(text)
    };
    read().map_err(|source| unread(path, source))
}

fn at_most(from: impl Read, most: u64) -> io::Result<Vec<u8>> {
    let mut bytes = vec![];
    from.take(most + 1).read_to_end(&mut bytes)?;
    match bytes.len() as u64 > most {
        true => Err(io::Error::other(format!(
            "it has more than {most} bytes, which no such file has"
        ))),
        false => Ok(bytes),
    }
}

#[cfg(unix)]
fn is_device(kind: &std::fs::Metadata) -> bool {
    use std::os::unix::fs::FileTypeExt;
    kind.file_type().is_char_device() || kind.file_type().is_block_device()
}

#[cfg(not(unix))]
fn is_device(_: &std::fs::Metadata) -> bool {
    false
}

fn unread(path: &Path, source: io::Error) -> FormatError {
    FormatError::Read {
        path: path.into(),
        source,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_no_end_is_not_read() {
        assert_eq!(at_most(&b"four"[..], 4).expect("read"), b"four");
        let error = at_most(io::repeat(0), 5).expect_err("refused");
        assert!(error.to_string().contains("more than 5 bytes"), "{error}");
    }

    #[cfg(unix)]
    #[test]
    fn devices_are_no_files() {
        let zero = Path::new("/dev/zero");
        for error in [bytes(zero).err(), text(zero).err()] {
            let error = error.expect("refused").to_string();
            assert!(error.contains("/dev/zero: it is a device"), "{error}");
        }
    }
}
