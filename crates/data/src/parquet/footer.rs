//! The footer of a parquet file, checked before its reader takes memory for the lists in it or waits
//! for their elements.
//!
//! Source: the compact protocol of Thrift (`thrift-compact-protocol.md`).

/// How deep values may be nested; footers of real files have five levels.
const DEPTH: usize = 16;

/// Whether this is a structure whose lists and texts have room in its bytes.
pub(super) fn is_whole(footer: &[u8]) -> bool {
    Walk { rest: footer }.structure(DEPTH).is_some()
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

    /// Fields, each with its type and the distance of its number to that of the one before.
    fn structure(&mut self, depth: usize) -> Option<()> {
        let depth = depth.checked_sub(1)?;
        loop {
            let field = self.byte()?;
            if field == 0 {
                return Some(());
            }
            if field >> 4 == 0 {
                self.number()?;
            }
            match field & 0xf {
                // A boolean field has its value in its type.
                1 | 2 => {}
                kind => self.value(kind, depth)?,
            }
        }
    }

    fn value(&mut self, kind: u8, depth: usize) -> Option<()> {
        match kind {
            1..=3 => self.skip(1),
            4..=6 => self.number().map(drop),
            7 => self.skip(8),
            8 => {
                let length = self.number()?;
                self.skip(length)
            }
            9 | 10 => self.list(depth),
            12 => self.structure(depth),
            13 => self.skip(16),
            // Parquet has no maps.
            _ => None,
        }
    }

    fn list(&mut self, depth: usize) -> Option<()> {
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
        (0..elements).try_for_each(|_| self.value(head & 0xf, depth))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_must_have_room() {
        // A number, a list of two texts, a boolean, the end.
        let good = [0x15, 0x02, 0x19, 0x28, 1, b'a', 1, b'b', 0x11, 0];
        assert!(is_whole(&good));
        for length in 0..good.len() {
            assert!(!is_whole(&good[..length]), "{length} bytes");
        }
        // The same in a list of one structure, and of 2^31 - 1.
        let list = |head: &[u8]| [&[0x19], head, &good, &[0]].concat();
        assert!(is_whole(&list(&[0x1c])));
        assert!(!is_whole(&list(&[0xfc, 0xff, 0xff, 0xff, 0xff, 0x07])));
        // Lists in lists, which a reader multiplies.
        assert!(!is_whole(&[0xd9; 1000]));
        assert!(!is_whole(&[0x1c; 1000]));
    }
}
