//! Captions of two images, `a.png` and `b.png`: as a list of either kind, and as text files next
//! to them; a list of what is left out comes last.

use super::parts::{folder, parts};
use fewstep_data::image::{Image, encode_png};
use fewstep_data::{Captioned, Check, DataConfig, DataKind, ImageShape, survey};
use std::sync::LazyLock;

const FILES: [&str; 5] = [
    "metadata.jsonl",
    "metadata.csv",
    "a.txt",
    "b.caption",
    "skip.txt",
];

static IMAGE: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let shape = ImageShape {
        channels: 3,
        height: 2,
        width: 2,
    };
    encode_png(&Image::filled(shape, 9)).expect("an image")
});

pub fn read(bytes: &[u8]) -> bool {
    let images = ["a.png", "b.png"].map(|name| (name, &IMAGE[..]));
    let folder = folder(FILES.into_iter().zip(parts(bytes)).chain(images));
    let skip = folder.path().join("skip.txt");
    let config = DataConfig {
        size: Some(2),
        skip: skip.exists().then_some(skip),
        ..DataConfig::new(DataKind::Captioned, folder.path())
    };
    let _ = survey(&config, None);
    let set = Captioned::open(&config);
    set.is_ok_and(|set| set.check(Check::Decoded).is_ok())
}
