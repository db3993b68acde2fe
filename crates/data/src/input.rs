//! Files that are read whole: regular ones, up to a bound, so that `/dev/zero` or a file of another
//! kind does not fill memory.

use crate::DataError;
use std::fs::{File, FileType};
use std::io::{self, Read};
use std::path::Path;

/// Bytes of an image file: more than the largest legal image takes uncompressed.
pub(crate) const MAX_IMAGE_FILE: u64 = 2 << 30;
/// Bytes of a caption, a paragraph of which is a few hundred.
pub(crate) const MAX_CAPTION: u64 = 1 << 20;
/// Bytes of any other text, such as the list of a large set.
const MAX_TEXT: u64 = 2 << 30;

/// The bytes of a file of at most `limit` bytes.
pub(crate) fn read_bytes(path: &Path, limit: u64) -> Result<Vec<u8>, DataError> {
    bounded(path, limit).map_err(DataError::read(path))
}

/// The text of a file in UTF-8, without the byte order mark that some editors put at its start.
///
/// # Errors
/// A file that cannot be read, is a device, has more than 2 GiB, or is not UTF-8.
pub fn read_text(path: &Path) -> Result<String, DataError> {
    let bytes = read_bytes(path, MAX_TEXT)?;
    utf8(bytes).map_err(|reason| {
        let error = io::Error::new(io::ErrorKind::InvalidData, format!("it is {reason}"));
        DataError::read(path)(error)
    })
}

/// Bytes as text, without a byte order mark; or what is wrong with them.
pub(crate) fn utf8(bytes: Vec<u8>) -> Result<String, &'static str> {
    let wide = bytes.starts_with(&[0xff, 0xfe]) || bytes.starts_with(&[0xfe, 0xff]);
    match String::from_utf8(bytes) {
        Ok(text) => Ok(match text.strip_prefix(BYTE_ORDER_MARK) {
            Some(rest) => rest.to_owned(),
            None => text,
        }),
        Err(_) if wide => Err("not UTF-8 but UTF-16: save it as UTF-8"),
        Err(_) => Err("not UTF-8"),
    }
}

/// The byte order mark, U+FEFF.
pub(crate) const BYTE_ORDER_MARK: char = '\u{feff}';

fn bounded(path: &Path, limit: u64) -> io::Result<Vec<u8>> {
    // Before opening, since opening a device may do something, or wait.
    let kind = std::fs::metadata(path)?.file_type();
    if !(kind.is_file() || kind.is_dir() || is_pipe(kind)) {
        let message = "it is a device, expected a file";
        return Err(io::Error::new(io::ErrorKind::InvalidInput, message));
    }
    let file = File::open(path)?;
    let length = file.metadata()?.len();
    let mut bytes = vec![];
    if length <= limit {
        bytes.reserve_exact(length as usize);
        file.take(limit + 1).read_to_end(&mut bytes)?;
    }
    match length.max(bytes.len() as u64) > limit {
        false => Ok(bytes),
        true => Err(io::Error::new(
            io::ErrorKind::FileTooLarge,
            format!("it has more than {limit} bytes, which no file of its kind needs"),
        )),
    }
}

/// Whether it is what `<(command)` of a shell makes.
#[cfg(unix)]
fn is_pipe(kind: FileType) -> bool {
    std::os::unix::fs::FileTypeExt::is_fifo(&kind)
}

#[cfg(not(unix))]
fn is_pipe(_: FileType) -> bool {
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_byte_order_mark_is_not_part_of_a_text() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("text");
        for (bytes, text) in [
            (&b"\xef\xbb\xbfa cat"[..], "a cat"),
            (b"a \xef\xbb\xbfcat", "a \u{feff}cat"),
            (b"\xef\xbb\xbf", ""),
        ] {
            std::fs::write(&path, bytes).unwrap();
            assert_eq!(read_text(&path).unwrap(), text);
        }
        for bytes in [&b"\xff\xfea\0"[..], b"\xfe\xff\0a"] {
            std::fs::write(&path, bytes).unwrap();
            let message = read_text(&path).unwrap_err().to_string();
            assert!(message.contains("UTF-16: save it as UTF-8"), "{message}");
        }
    }

    #[test]
    fn what_does_not_end_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("long");
        std::fs::write(&path, [0; 9]).unwrap();
        assert_eq!(read_bytes(&path, 9).unwrap(), [0; 9]);
        let message = read_bytes(&path, 8).unwrap_err().to_string();
        assert!(message.contains("more than 8 bytes"), "{message}");
        let folder = read_bytes(folder.path(), 8).unwrap_err().to_string();
        assert!(folder.contains("cannot read"), "{folder}");
        if cfg!(unix) {
            let message = read_bytes(Path::new("/dev/zero"), 8).unwrap_err();
            assert!(message.to_string().contains("a device"), "{message}");
        }
    }
}
