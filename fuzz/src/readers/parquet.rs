//! Parquet: as images with labels, by itself and as a file of a set that is elsewhere, and as images with
//! captions.

use super::parts::folder;
use fewstep_data::{Captioned, Check, DataConfig, DataKind, StoredFile, StoredSet, load, survey};

pub fn read(bytes: &[u8]) -> bool {
    let folder = folder([("train.parquet", bytes)]);
    let config = |kind| DataConfig {
        size: Some(8),
        max_pixels: Some(1 << 20),
        ..DataConfig::new(kind, folder.path().join("train.parquet"))
    };
    let labelled = config(DataKind::Parquet);
    let _ = survey(&labelled, None);
    let classes = ["a".to_string(), "b".to_string()];
    let file = StoredFile {
        name: "train.parquet".into(),
        identity: String::new(),
    };
    let part = StoredSet::new(&labelled, vec![file]);
    let part = part.and_then(|set| set.open(0, folder.path(), &classes));
    let _ = part.and_then(|set| set.check(Check::Decoded));
    let captioned = Captioned::open(&config(DataKind::Captioned));
    let captioned = captioned.and_then(|set| set.check(Check::Decoded));
    load(&labelled).is_ok() || captioned.is_ok()
}
