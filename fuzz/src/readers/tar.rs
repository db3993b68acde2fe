//! Tars of images with captions.

use super::parts::folder;
use fewstep_data::{Captioned, Check, DataConfig, DataKind, survey};

pub fn read(bytes: &[u8]) -> bool {
    let folder = folder([("train.tar", bytes)]);
    let config = DataConfig {
        size: Some(8),
        max_pixels: Some(1 << 20),
        ..DataConfig::new(DataKind::Captioned, folder.path().join("train.tar"))
    };
    let _ = survey(&config, None);
    let set = Captioned::open(&config);
    set.is_ok_and(|set| set.check(Check::Decoded).is_ok())
}
