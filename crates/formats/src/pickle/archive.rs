//! The zip archive around a pickle. PyTorch stores its files without compression.

use std::collections::HashMap;

/// How an archive starts.
pub(super) const MAGIC: &[u8] = b"PK\x03\x04";

/// The files of an archive, without the folder that they are all in.
pub(super) struct Archive<'a>(HashMap<String, &'a [u8]>);

/// Stands for a count or an offset that is in the zip64 record.
const ELSEWHERE: u64 = u32::MAX as u64;

impl<'a> Archive<'a> {
    pub(super) fn read(bytes: &'a [u8]) -> Result<Self, String> {
        if !bytes.starts_with(MAGIC) {
            return Err(
                "it is neither an archive of PyTorch 1.6 or later, nor a file of an earlier one"
                    .into(),
            );
        }
        Self::files(bytes)
            .ok_or_else(|| "the archive is damaged or cut off: copy or download it again".into())
    }

    fn files(bytes: &'a [u8]) -> Option<Self> {
        let (count, mut at) = directory(bytes)?;
        let mut files = HashMap::new();
        for _ in 0..count {
            let entry = get(bytes, at, 46)?;
            let number = |field: usize| u16_at(entry, field).map(usize::from);
            let (name, extra, comment) = (number(28)?, number(30)?, number(32)?);
            let plain = entry.starts_with(b"PK\x01\x02") && number(10)? == 0;
            let extras = get(bytes, at + 46 + name, extra)?;
            let name = get(bytes, at + 46, name)?;
            at += 46 + name.len() + extra + comment;
            // Sizes that have no room in their fields follow in the extras, in this order.
            let mut wide = zip64(extras).chunks_exact(8);
            let mut field = |at: usize| match u32_at(entry, at)? {
                ELSEWHERE => u64_at(wide.next()?, 0),
                number => Some(number),
            };
            let (length, stored, local) = (field(24)?, field(20)?, field(42)?);
            let local = usize::try_from(local).ok()?;
            let header = get(bytes, local, 30)?;
            if !plain || !header.starts_with(MAGIC) || stored != length {
                return None;
            }
            let skipped = u16_at(header, 26)? as usize + u16_at(header, 28)? as usize;
            let data = get(bytes, local + 30 + skipped, usize::try_from(length).ok()?)?;
            let name = std::str::from_utf8(name).ok()?;
            let inside = name.split_once('/').map_or(name, |(_, inside)| inside);
            files.insert(inside.into(), data);
        }
        Some(Self(files))
    }

    /// Files that are known by their names.
    pub(super) fn of(files: HashMap<String, &'a [u8]>) -> Self {
        Self(files)
    }

    pub(super) fn get(&self, name: &str) -> Option<&'a [u8]> {
        self.0.get(name).copied()
    }
}

/// How many files there are, and where their directory is, as the end of an archive says.
fn directory(bytes: &[u8]) -> Option<(u64, usize)> {
    const RECORD: usize = 22;
    const LOCATOR: usize = 20;
    let end = bytes.len().checked_sub(RECORD)?;
    // A comment may follow.
    let first = end.saturating_sub(u16::MAX.into());
    let end = (first..=end)
        .rev()
        .find(|at| bytes[*at..].starts_with(b"PK\x05\x06"))?;
    let (count, at) = (u16_at(bytes, end + 10)?, u32_at(bytes, end + 16)?);
    let locator = end.checked_sub(LOCATOR);
    let locator = locator.filter(|at| bytes[*at..].starts_with(b"PK\x06\x07"));
    let (count, at) = match locator {
        None => (count.into(), at),
        Some(locator) => {
            let record = usize::try_from(u64_at(bytes, locator + 8)?).ok()?;
            let record = get(bytes, record, 56)?;
            (u64_at(record, 32)?, u64_at(record, 48)?)
        }
    };
    Some((count, usize::try_from(at).ok()?))
}

/// The zip64 part of the extras of an entry; empty where there is none.
fn zip64(mut extras: &[u8]) -> &[u8] {
    while let (Some(kind), Some(size)) = (u16_at(extras, 0), u16_at(extras, 2)) {
        let Some(field) = get(extras, 4, size.into()) else {
            break;
        };
        if kind == 1 {
            return field;
        }
        extras = &extras[4 + field.len()..];
    }
    &[]
}

fn get(bytes: &[u8], at: usize, length: usize) -> Option<&[u8]> {
    bytes.get(at..at.checked_add(length)?)
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    let bytes = get(bytes, at, 2)?.try_into().ok()?;
    Some(u16::from_le_bytes(bytes))
}

/// A 32-bit number as a 64-bit one.
fn u32_at(bytes: &[u8], at: usize) -> Option<u64> {
    let bytes = get(bytes, at, 4)?.try_into().ok()?;
    Some(u32::from_le_bytes(bytes).into())
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    let bytes = get(bytes, at, 8)?.try_into().ok()?;
    Some(u64::from_le_bytes(bytes))
}
