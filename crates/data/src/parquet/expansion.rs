//! Pages that become larger than they say when they are decompressed, found without memory for them.

use parquet::basic::Compression;
use std::io::{self, BufRead, Read};

/// How an LZ4 frame begins.
const LZ4_FRAME: [u8; 4] = 0x184d_2204_u32.to_le_bytes();

/// Whether these bytes decompress to more than `whole`. The reader takes what gzip, brotli, zstd and
/// frames of LZ4 give until they end; of other codecs it takes no more than a page says. Damaged bytes
/// end where they are, and are left to the reader to refuse.
pub(super) fn exceeds(codec: Compression, bytes: impl BufRead, whole: u64) -> bool {
    match codec {
        Compression::GZIP(_) => has_more_than(whole, flate2::bufread::MultiGzDecoder::new(bytes)),
        Compression::BROTLI(_) => has_more_than(whole, brotli::Decompressor::new(bytes, 4 << 10)),
        Compression::ZSTD(_) => match zstd::Decoder::with_buffer(bytes) {
            Ok(decoder) => has_more_than(whole, decoder),
            Err(_) => false,
        },
        Compression::LZ4 => frame_exceeds(bytes, whole),
        _ => false,
    }
}

fn frame_exceeds(mut bytes: impl BufRead, whole: u64) -> bool {
    let begins = bytes
        .fill_buf()
        .is_ok_and(|seen| seen.starts_with(&LZ4_FRAME));
    begins && has_more_than(whole, lz4_flex::frame::FrameDecoder::new(bytes))
}

fn has_more_than(bytes: u64, reader: impl Read) -> bool {
    let mut counted = reader.take(bytes.saturating_add(1));
    // An error ends the page; what came before it was counted.
    let _ = io::copy(&mut counted, &mut io::sink());
    counted.limit() == 0
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    static ZEROS: [u8; 100_000] = [0; 100_000];

    /// A hundred thousand zeros with each codec.
    fn pages() -> [(Compression, Vec<u8>); 4] {
        let written = "memory takes everything";
        let mut gzip = flate2::write::GzEncoder::new(vec![], flate2::Compression::default());
        gzip.write_all(&ZEROS).expect(written);
        let mut brotli = brotli::CompressorWriter::new(vec![], 4 << 10, 1, 22);
        brotli.write_all(&ZEROS).expect(written);
        let mut frame = lz4_flex::frame::FrameEncoder::new(vec![]);
        frame.write_all(&ZEROS).expect(written);
        [
            (
                Compression::GZIP(Default::default()),
                gzip.finish().expect(written),
            ),
            (Compression::BROTLI(Default::default()), brotli.into_inner()),
            (
                Compression::ZSTD(Default::default()),
                zstd::encode_all(&ZEROS[..], 3).expect(written),
            ),
            (Compression::LZ4, frame.finish().expect(written)),
        ]
    }

    #[test]
    fn one_byte_more_than_said_is_seen() {
        for (codec, page) in pages() {
            assert!(!exceeds(codec, &page[..], 100_000), "{codec}");
            assert!(exceeds(codec, &page[..], 99_999), "{codec}");
            // What is cut off ends there.
            assert!(!exceeds(codec, &page[..page.len() / 2], 100_000), "{codec}");
            assert!(!exceeds(codec, &b"no such page"[..], 0), "{codec}");
        }
    }

    /// Two pieces of gzip are one page to the reader.
    #[test]
    fn the_second_piece_counts() {
        let [(codec, page), ..] = pages();
        let twice = page.repeat(2);
        assert!(exceeds(codec, &twice[..], 199_999));
        assert!(!exceeds(codec, &twice[..], 200_000));
    }
}
