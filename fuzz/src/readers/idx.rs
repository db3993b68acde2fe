//! IDX: the images and, as a second file, their labels.

use super::parts::parts;
use fewstep_data::parse_idx;

pub fn read(bytes: &[u8]) -> bool {
    let parts = parts(bytes);
    parse_idx(parts[0], parts.get(1).copied(), "a set").is_ok()
}
