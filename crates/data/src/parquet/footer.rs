//! The footer of a parquet file, checked before its reader takes memory for the lists in it or waits
//! for their elements. The reader takes the fields of the format for what they should be, whatever
//! their type says, and believes the lengths of lists.
//!
//! Source: the compact protocol of Thrift (`thrift-compact-protocol.md`), and `parquet.thrift` of the
//! format.

/// Whether these bytes begin with the description of a file, all of whose fields have the types of
/// the format, and whose lists and texts have room in the bytes.
pub(super) fn is_whole(footer: &[u8]) -> bool {
    Walk { rest: footer }.structure(FILE, DEPTH).is_some()
}

/// How deep values may be nested; footers of real files have six levels.
const DEPTH: usize = 16;

/// What a value is.
#[derive(Clone, Copy)]
enum Kind {
    Bool,
    Byte,
    /// Of 16, 32 or 64 bits, which are written alike.
    Number,
    /// Bytes after their length.
    Text,
    List(&'static Kind),
    Structure(Fields),
    /// A structure that has no fields, so far.
    Empty,
}

/// The fields of a structure that the reader knows, by their numbers. It skips others by their type.
type Fields = &'static [(i64, Kind)];

use Kind::{Bool, Byte, Empty, List, Number, Structure, Text};

/// `FileMetaData`.
const FILE: Fields = &[
    (1, Number),
    (2, List(&Structure(SCHEMA_ELEMENT))),
    (3, Number),
    (4, List(&Structure(ROW_GROUP))),
    (5, List(&Structure(KEY_VALUE))),
    (6, Text),
    (7, List(&Structure(&[(1, Empty)]))),
];

const SCHEMA_ELEMENT: Fields = &[
    (1, Number),
    (2, Number),
    (3, Number),
    (4, Text),
    (5, Number),
    (6, Number),
    (7, Number),
    (8, Number),
    (9, Number),
    (10, Structure(LOGICAL_TYPE)),
];

const LOGICAL_TYPE: Fields = &[
    (1, Empty),
    (2, Empty),
    (3, Empty),
    (4, Empty),
    (5, Structure(&[(1, Number), (2, Number)])),
    (6, Empty),
    (7, Structure(TIME)),
    (8, Structure(TIME)),
    (10, Structure(&[(1, Byte), (2, Bool)])),
    (11, Empty),
    (12, Empty),
    (13, Empty),
    (14, Empty),
    (15, Empty),
    (16, Structure(&[(1, Byte)])),
    (17, Structure(&[(1, Text)])),
    (18, Structure(&[(1, Text), (2, Number)])),
];

const TIME: Fields = &[
    (1, Bool),
    (2, Structure(&[(1, Empty), (2, Empty), (3, Empty)])),
];

const KEY_VALUE: Fields = &[(1, Text), (2, Text)];

const ROW_GROUP: Fields = &[
    (1, List(&Structure(COLUMN_CHUNK))),
    (2, Number),
    (3, Number),
    (4, List(&Structure(&[(1, Number), (2, Bool), (3, Bool)]))),
    (5, Number),
    (6, Number),
    (7, Number),
];

const COLUMN_CHUNK: Fields = &[
    (1, Text),
    (2, Number),
    (3, Structure(COLUMN)),
    (4, Number),
    (5, Number),
    (6, Number),
    (7, Number),
    (9, Text),
];

/// `ColumnMetaData`.
const COLUMN: Fields = &[
    (1, Number),
    (2, List(&Number)),
    (3, List(&Text)),
    (4, Number),
    (5, Number),
    (6, Number),
    (7, Number),
    (8, List(&Structure(KEY_VALUE))),
    (9, Number),
    (10, Number),
    (11, Number),
    (12, Structure(STATISTICS)),
    (
        13,
        List(&Structure(&[(1, Number), (2, Number), (3, Number)])),
    ),
    (14, Number),
    (15, Number),
    (
        16,
        Structure(&[(1, Number), (2, List(&Number)), (3, List(&Number))]),
    ),
];

const STATISTICS: Fields = &[
    (1, Text),
    (2, Text),
    (3, Number),
    (4, Number),
    (5, Text),
    (6, Text),
    (7, Bool),
    (8, Bool),
];

impl Kind {
    /// Whether values of this type are of the kind.
    fn is_written_as(self, kind: u8) -> bool {
        match self {
            Bool => matches!(kind, 1 | 2),
            Byte => kind == 3,
            Number => matches!(kind, 4..=6),
            Text => kind == 8,
            List(_) => kind == 9,
            Structure(_) | Empty => kind == 12,
        }
    }
}

struct Walk<'a> {
    rest: &'a [u8],
}

impl Walk<'_> {
    fn byte(&mut self) -> Option<u8> {
        let (byte, rest) = self.rest.split_first()?;
        self.rest = rest;
        Some(*byte)
    }

    fn skip(&mut self, bytes: u64) -> Option<()> {
        self.rest = self.rest.get(usize::try_from(bytes).ok()?..)?;
        Some(())
    }

    /// Seven bits in each byte, the lowest first.
    fn number(&mut self) -> Option<u64> {
        let mut number = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            number |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Some(number);
            }
        }
        None
    }

    /// Fields, each with its type, and its number or the distance to that of the one before.
    fn structure(&mut self, known: Fields, depth: usize) -> Option<()> {
        let depth = depth.checked_sub(1)?;
        let mut last = 0;
        loop {
            let field = self.byte()?;
            let kind = field & 0xf;
            if kind == 0 {
                return (field == 0).then_some(());
            }
            last = match field >> 4 {
                0 => {
                    let number = self.number()?;
                    (number >> 1) as i64 ^ -((number & 1) as i64)
                }
                distance => last + i64::from(distance),
            };
            // Numbers have 16 bits.
            i16::try_from(last).ok()?;
            let expected = known.iter().find(|(number, _)| *number == last);
            match expected {
                Some((_, expected)) => self.expect(*expected, kind, depth)?,
                // A boolean field has its value in its type.
                None if matches!(kind, 1 | 2) => {}
                None => self.value(kind, depth)?,
            }
        }
    }

    /// A field that the reader knows.
    fn expect(&mut self, expected: Kind, kind: u8, depth: usize) -> Option<()> {
        if !expected.is_written_as(kind) {
            return None;
        }
        match expected {
            // A boolean field has its value in its type. The format has no lists of them.
            Bool => Some(()),
            List(element) => self.list(depth, &mut |walk, kind, depth| {
                walk.expect(*element, kind, depth)
            }),
            Structure(fields) => self.structure(fields, depth),
            Empty => (self.byte()? == 0).then_some(()),
            Byte | Number | Text => self.value(kind, depth),
        }
    }

    /// A value that the reader skips, or a plain one.
    fn value(&mut self, kind: u8, depth: usize) -> Option<()> {
        match kind {
            1..=3 => self.skip(1),
            4..=6 => self.number().map(drop),
            7 => self.skip(8),
            8 => {
                let length = self.number()?;
                self.skip(length)
            }
            9 | 10 => self.list(depth, &mut |walk, kind, depth| walk.value(kind, depth)),
            12 => self.structure(&[], depth),
            13 => self.skip(16),
            // Parquet has no maps.
            _ => None,
        }
    }

    /// The elements of a list, one after another.
    fn list(
        &mut self,
        depth: usize,
        element: &mut dyn FnMut(&mut Self, u8, usize) -> Option<()>,
    ) -> Option<()> {
        let depth = depth.checked_sub(1)?;
        let head = self.byte()?;
        let elements = match head >> 4 {
            15 => self.number()?,
            elements => elements.into(),
        };
        // An element has one byte at least.
        if elements > self.rest.len() as u64 {
            return None;
        }
        (0..elements).try_for_each(|_| element(self, head & 0xf, depth))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A version, two elements of a schema with their names, no rows, and who wrote it.
    const GOOD: [u8; 19] = [
        0x15, 2, 0x19, 0x2c, 0x48, 1, b'a', 0, 0x48, 1, b'b', 0, 0x16, 0, 0x38, 2, b'm', b'e', 0,
    ];

    #[test]
    fn lists_must_have_room() {
        assert!(is_whole(&GOOD));
        for length in 0..GOOD.len() {
            assert!(!is_whole(&GOOD[..length]), "{length} bytes");
        }
        let with_list = |head: &[u8]| [&GOOD[..3], head, &GOOD[4..]].concat();
        assert!(is_whole(&with_list(&[0x2c])));
        assert!(is_whole(&with_list(&[0xfc, 2])));
        assert!(!is_whole(&with_list(&[0xfc, 0xff, 0xff, 0xff, 0xff, 0x07])));
        // Lists in lists, which a reader multiplies.
        assert!(!is_whole(&[0xd9; 1000]));
        assert!(!is_whole(&[0x1c; 1000]));
    }

    /// The reader would take a text for a list, and its bytes for the number of elements.
    #[test]
    fn fields_have_the_types_of_the_format() {
        let text = [0x15, 2, 0x18, 6, 0xfc, 0xff, 0xff, 0xff, 0x7f, 0, 0];
        assert!(!is_whole(&text));
        // The same in a field that the format does not have, which the reader skips: number 20.
        let unknown = [0x15, 2, 0x08, 40, 6, 0xfc, 0xff, 0xff, 0xff, 0x7f, 0, 0];
        assert!(is_whole(&unknown));
        // Elements of another type than the list should have.
        let numbers = [0x15, 2, 0x19, 0x25, 0, 0, 0];
        assert!(!is_whole(&numbers));
        // A structure without fields that has some.
        let order = |inner: &[u8]| [&[0x79, 0x1c, 0x1c], inner, &[0, 0]].concat();
        assert!(is_whole(&order(&[0])));
        assert!(!is_whole(&order(&[0x15, 2, 0])));
    }
}
