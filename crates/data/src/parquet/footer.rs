//! The footer of a parquet file, checked before its reader takes memory for the lists in it or waits
//! for their elements. The reader takes the fields of the format for what they should be, whatever
//! their type says, and believes the lengths of lists.
//!
//! Source: `parquet.thrift` of the format.

use super::thrift::Kind::{Bool, Byte, Empty, List, Number, Structure, Text};
use super::thrift::{DEPTH, Fields, Walk};

/// Whether these bytes begin with the description of a file, all of whose fields have the types of
/// the format, and whose lists and texts have room in the bytes.
pub(super) fn is_whole(footer: &[u8]) -> bool {
    Walk::over(footer).structure(FILE, DEPTH).is_some()
}

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

pub(super) const STATISTICS: Fields = &[
    (1, Text),
    (2, Text),
    (3, Number),
    (4, Number),
    (5, Text),
    (6, Text),
    (7, Bool),
    (8, Bool),
];

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
