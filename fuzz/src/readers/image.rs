//! Image files: as images, as depth maps and as masks.

use super::parts::folder;
use fewstep_data::image::{read_depth, read_mask, read_with_alpha};

/// How many pixels an image may have.
const MAX_PIXELS: u64 = 1 << 20;

pub fn read(bytes: &[u8]) -> bool {
    let folder = folder([("image", bytes)]);
    let path = folder.path().join("image");
    let _ = read_depth(&path, Some(8), MAX_PIXELS);
    let _ = read_mask(&path, MAX_PIXELS);
    read_with_alpha(MAX_PIXELS, &path, 3).is_ok()
}
