//! Values in the compact protocol of Thrift, in which parquet files describe themselves, walked through
//! without taking memory for them.
//!
//! Source: `thrift-compact-protocol.md`.

use Kind::{Bool, Byte, Empty, List, Number, Structure, Text};

/// How deep values may be nested; footers of real files have six levels.
pub(super) const DEPTH: usize = 16;

/// What a value is.
#[derive(Clone, Copy)]
pub(super) enum Kind {
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
pub(super) type Fields = &'static [(i64, Kind)];

impl Kind {
    /// Whether values of this type are of the kind.
    pub(super) fn is_written_as(self, kind: u8) -> bool {
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

/// What is left of the bytes. All results are none where these are no values of the kind.
pub(super) struct Walk<'a> {
    rest: &'a [u8],
}

impl<'a> Walk<'a> {
    pub(super) fn over(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// How many bytes are left.
    pub(super) fn left(&self) -> usize {
        self.rest.len()
    }

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

    /// A number with a sign, which is its lowest bit.
    pub(super) fn signed(&mut self) -> Option<i64> {
        let number = self.number()?;
        Some((number >> 1) as i64 ^ -((number & 1) as i64))
    }

    /// Fields of these types, and any that the reader does not know.
    pub(super) fn structure(&mut self, known: Fields, depth: usize) -> Option<()> {
        self.fields(depth, &mut |walk, number, kind, depth| {
            walk.known_or_not(known, number, kind, depth)
        })
    }

    /// Fields, each with its type, and its number or the distance to that of the one before.
    pub(super) fn fields(
        &mut self,
        depth: usize,
        field: &mut dyn FnMut(&mut Self, i64, u8, usize) -> Option<()>,
    ) -> Option<()> {
        let depth = depth.checked_sub(1)?;
        let mut last = 0;
        loop {
            let head = self.byte()?;
            let kind = head & 0xf;
            if kind == 0 {
                return (head == 0).then_some(());
            }
            last = match head >> 4 {
                0 => self.signed()?,
                distance => last + i64::from(distance),
            };
            // Numbers have 16 bits.
            i16::try_from(last).ok()?;
            field(self, last, kind, depth)?;
        }
    }

    /// The next field, which has the type of its number if that is one of these.
    pub(super) fn known_or_not(
        &mut self,
        known: Fields,
        number: i64,
        kind: u8,
        depth: usize,
    ) -> Option<()> {
        match known.iter().find(|(known, _)| *known == number) {
            Some((_, expected)) => self.expect(*expected, kind, depth),
            // A boolean field has its value in its type.
            None if matches!(kind, 1 | 2) => Some(()),
            None => self.value(kind, depth),
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
            // Parquet has no maps and no UUIDs.
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
