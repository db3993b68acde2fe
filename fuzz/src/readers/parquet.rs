//! Parquet: as images with labels, and as images with captions.

use super::parts::folder;
use fewstep_data::{Captioned, Check, DataConfig, DataKind, load, survey};

pub fn read(bytes: &[u8]) -> bool {
    let folder = folder([("train.parquet", bytes)]);
    let config = |kind| DataConfig {
        size: Some(8),
        max_pixels: Some(1 << 20),
        ..DataConfig::new(kind, folder.path().join("train.parquet"))
    };
    let labelled = config(DataKind::Parquet);
    let _ = survey(&labelled, None);
    let captioned = Captioned::open(&config(DataKind::Captioned));
    let captioned = captioned.and_then(|set| set.check(Check::Decoded));
    load(&labelled).is_ok() || captioned.is_ok()
}
