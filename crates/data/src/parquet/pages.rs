//! What a parquet file says of its pages, checked before its reader takes memory for it.

use super::columns::Columns;
use super::expansion;
use super::footer::STATISTICS;
use super::thrift::Kind::{Bool, Empty, Number, Structure};
use super::thrift::{DEPTH, Fields, Walk};
use parquet::basic::Compression;
use parquet::errors::{ParquetError, Result};
use parquet::file::metadata::{ColumnChunkMetaData, ParquetMetaData};
use parquet::file::reader::ChunkReader;
use std::io::{BufReader, Read};

/// Bytes of the smallest value in a dictionary: the length of an empty text, a number of 32 bits.
const SMALLEST: u64 = 4;

/// How much larger than its bytes in the file a page may be: as deflate makes it at most, and more
/// than other codecs make of images and texts.
const LARGEST_RATIO: u64 = 1032;

/// Bytes that a page may have however small it is in the file.
const ALWAYS_ALLOWED: u64 = 64 << 20;

/// Bytes of the longest header that is read: it has the smallest and the largest value of its page.
const LONGEST_HEADER: u64 = 16 << 20;

/// Refuses pages that say they are much larger than their bytes in the file can become, that become
/// larger than they say, and dictionaries of more values than their bytes can hold, in the columns that
/// are read: the reader takes memory for what a page says, and for what comes out of it.
pub(super) fn check_pages(
    file: &impl ChunkReader,
    metadata: &ParquetMetaData,
    columns: &Columns,
) -> Result<()> {
    for group in metadata.row_groups() {
        for column in group.columns() {
            let name = column.column_path().parts().first();
            if name.is_some_and(|name| columns.has(name)) {
                check_chunk(file, column)?;
            }
        }
    }
    Ok(())
}

/// Checks the pages of one column of a group, which follow each other.
fn check_chunk(file: &impl ChunkReader, column: &ColumnChunkMetaData) -> Result<()> {
    let codec = column.compression();
    let (mut place, mut left) = column.byte_range();
    while left > 0 {
        let page = read_header(file, place, left)?;
        page.check(codec != Compression::UNCOMPRESSED)?;
        let size = page.header + page.stored;
        left = left
            .checked_sub(size)
            .ok_or_else(|| damaged("a page is larger than its column".into()))?;
        if page.is_compressed {
            let [stored, whole] =
                [page.stored, page.whole].map(|all| all.saturating_sub(page.plain));
            let bytes = file
                .get_read(place + page.header + page.plain)?
                .take(stored);
            if expansion::exceeds(codec, BufReader::new(bytes), whole) {
                return Err(damaged(format!(
                    "a page has more than the {} bytes that it says it has when decompressed",
                    page.whole
                )));
            }
        }
        place += size;
    }
    Ok(())
}

/// The header of the page at this place of a file, with this many bytes to the end of its column.
fn read_header(file: &impl ChunkReader, place: u64, left: u64) -> Result<Page> {
    let mut length = 1 << 10;
    loop {
        let bytes = file.get_bytes(place, left.min(length) as usize)?;
        if let Some(page) = Page::read(&bytes) {
            return Ok(page);
        }
        if length >= left.min(LONGEST_HEADER) {
            return Err(damaged("a page does not begin with a header".into()));
        }
        length = (16 * length).min(LONGEST_HEADER);
    }
}

/// `PageHeader`, without what is read of it.
const PAGE: Fields = &[(1, Number), (4, Number), (5, Structure(DATA)), (6, Empty)];

/// `DataPageHeader`.
const DATA: Fields = &[
    (1, Number),
    (2, Number),
    (3, Number),
    (4, Number),
    (5, Structure(STATISTICS)),
];

/// `DataPageHeaderV2`, without what is read of it.
const DATA_V2: Fields = &[
    (1, Number),
    (2, Number),
    (3, Number),
    (4, Number),
    (8, Structure(STATISTICS)),
];

/// `DictionaryPageHeader`, without what is read of it.
const DICTIONARY: Fields = &[(2, Number), (3, Bool)];

/// What the header of a page says, in bytes.
#[derive(Debug, PartialEq)]
struct Page {
    /// The header itself.
    header: u64,
    /// The page in the file.
    stored: u64,
    /// The page when it is decompressed.
    whole: u64,
    /// Values of a dictionary; none of other pages.
    values: u64,
    /// Bytes at its start that are never compressed: the levels of a data page of version 2.
    plain: u64,
    /// Whether the codec of its column was used for it.
    is_compressed: bool,
}

impl Page {
    /// Reads `PageHeader`; none if these bytes do not begin with one.
    fn read(bytes: &[u8]) -> Option<Self> {
        let mut walk = Walk::over(bytes);
        let mut sizes = [None; 2];
        let (mut values, mut plain, mut is_compressed) = (0, 0, true);
        walk.fields(DEPTH, &mut |walk, number, kind, depth| match number {
            2 | 3 => {
                sizes[number as usize - 2] = Some(size(walk, kind)?);
                Some(())
            }
            7 => {
                Empty.is_written_as(kind).then_some(())?;
                walk.fields(depth, &mut |walk, number, kind, depth| match number {
                    1 => {
                        values = size(walk, kind)?;
                        Some(())
                    }
                    _ => walk.known_or_not(DICTIONARY, number, kind, depth),
                })
            }
            8 => {
                Empty.is_written_as(kind).then_some(())?;
                walk.fields(depth, &mut |walk, number, kind, depth| match number {
                    5 | 6 => {
                        plain += size(walk, kind)?;
                        Some(())
                    }
                    7 => {
                        is_compressed = kind == 1;
                        Bool.is_written_as(kind).then_some(())
                    }
                    _ => walk.known_or_not(DATA_V2, number, kind, depth),
                })
            }
            _ => walk.known_or_not(PAGE, number, kind, depth),
        })?;
        let [whole, stored] = sizes;
        Some(Self {
            header: (bytes.len() - walk.left()) as u64,
            stored: stored?,
            whole: whole?,
            values,
            plain,
            is_compressed,
        })
    }

    fn check(&self, compressed: bool) -> Result<()> {
        let allowed = self.stored.saturating_mul(LARGEST_RATIO);
        if compressed && self.whole > allowed.max(ALWAYS_ALLOWED) {
            return Err(damaged(format!(
                "a page of {} bytes says that it has {} bytes when decompressed",
                self.stored, self.whole
            )));
        }
        let bytes = if compressed { self.whole } else { self.stored };
        if self.values > bytes / SMALLEST {
            return Err(damaged(format!(
                "a dictionary of {bytes} bytes says that it has {} values",
                self.values
            )));
        }
        Ok(())
    }
}

/// A number of bytes or values, which has 32 bits.
fn size(walk: &mut Walk<'_>, kind: u8) -> Option<u64> {
    let number = Number.is_written_as(kind).then(|| walk.signed())??;
    i32::try_from(number).ok()?.try_into().ok()
}

fn damaged(reason: String) -> ParquetError {
    ParquetError::General(reason)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A page of a dictionary: its type, the bytes when decompressed, those in the file, and the
    /// number and the encoding of its values.
    fn dictionary(whole: i32, stored: i32, values: i32) -> Vec<u8> {
        let mut bytes = vec![0x15, 4];
        for (head, number) in [(0x15, whole), (0x15, stored), (0x4c, -1), (0x15, values)] {
            bytes.push(head);
            let mut zigzag = ((number << 1) ^ (number >> 31)) as u32;
            while head != 0x4c && zigzag >= 0x80 {
                bytes.push(zigzag as u8 | 0x80);
                zigzag >>= 7;
            }
            if head != 0x4c {
                bytes.push(zigzag as u8);
            }
        }
        bytes.extend([0x15, 0, 0, 0]);
        bytes
    }

    #[test]
    fn headers_are_read_as_the_format_writes_them() {
        let bytes = dictionary(5_000, 300, 77);
        let page = Page {
            header: bytes.len() as u64,
            stored: 300,
            whole: 5_000,
            values: 77,
            plain: 0,
            is_compressed: true,
        };
        assert_eq!(Page::read(&bytes), Some(page));
        for length in 0..bytes.len() {
            assert_eq!(Page::read(&bytes[..length]), None, "{length} bytes");
        }
        assert_eq!(Page::read(&dictionary(-1, 300, 77)), None);
        assert_eq!(Page::read(&dictionary(5_000, 300, -77)), None);
    }

    /// A data page of version 2: 500 bytes, 300 in the file, of which 4 are levels.
    fn data_v2(is_compressed: bool) -> Vec<u8> {
        let flag = if is_compressed { 0x11 } else { 0x12 };
        let counts = [0x15, 2, 0x15, 0, 0x15, 2, 0x15, 0];
        let levels = [0x15, 4, 0x15, 4, flag, 0];
        let head = [0x15, 6, 0x15, 0xe8, 7, 0x15, 0xd8, 4, 0x5c];
        [&head[..], &counts, &levels, &[0]].concat()
    }

    #[test]
    fn levels_of_version_2_are_not_compressed() {
        for is_compressed in [true, false] {
            let bytes = data_v2(is_compressed);
            let page = Page {
                header: bytes.len() as u64,
                stored: 300,
                whole: 500,
                values: 0,
                plain: 4,
                is_compressed,
            };
            assert_eq!(Page::read(&bytes), Some(page));
        }
    }

    #[test]
    fn pages_are_no_larger_than_their_bytes_can_become() {
        let allowed = |whole, stored, values, compressed| {
            let page = Page::read(&dictionary(whole, stored, values)).expect("a header");
            page.check(compressed).is_ok()
        };
        assert!(allowed(64 << 20, 40, 1, true));
        assert!(!allowed((64 << 20) + 1, 40, 1, true));
        assert!(allowed(1_032_000_000, 1_000_000, 1, true));
        assert!(!allowed(1_032_000_001, 1_000_000, 1, true));
        // What is not compressed has the bytes that it has in the file, whatever it says.
        assert!(allowed(i32::MAX, 40, 10, false));
        assert!(!allowed(i32::MAX, 40, 11, false));
        assert!(allowed(40, 8, 10, true));
        assert!(!allowed(40, 8, 11, true));
    }
}
