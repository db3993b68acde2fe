//! The header of a GGUF file.

use fewstep_formats::WeightsFile;
use std::io::Cursor;
use std::path::Path;

pub fn read(bytes: &[u8]) -> bool {
    WeightsFile::read(Cursor::new(bytes), Path::new("model.gguf")).is_ok()
}
