//! Images that are given with captioned ones, in all four layouts.

use crate::captioned::{CAPTIONS, SIZE, captioned, png, write_tar};
use fewstep_data::{
    Captioned, Check, ConditionConfig, Conditions, DataConfig, DataError, Draw, Location,
};
use std::fs;
use std::path::Path;

/// Conditions of a set, made from images that are given with it.
fn given(config: &DataConfig, place: &Location, cache: &Path) -> Result<Conditions, DataError> {
    let rule = ConditionConfig::Instruct(place.clone());
    let set = Captioned::paired(config, rule.given())?;
    Conditions::of_captioned(&rule, &set, cache)
}

/// Images of one grey each, with images given with them that are twice as bright.
fn write_pairs(folder: &Path) -> [(std::path::PathBuf, Location); 4] {
    let [texts, sources, listed, tars] = ["texts", "sources", "listed", "tars"].map(|name| {
        let path = folder.join(name);
        fs::create_dir(&path).unwrap();
        path
    });
    let mut lines = String::new();
    for (i, caption) in (1..).zip(CAPTIONS) {
        fs::write(texts.join(format!("{i}.png")), png(10 * i)).unwrap();
        fs::write(texts.join(format!("{i}.txt")), caption).unwrap();
        fs::write(sources.join(format!("{i}.png")), png(20 * i)).unwrap();
        fs::write(listed.join(format!("{i}.png")), png(10 * i)).unwrap();
        fs::write(listed.join(format!("before-{i}.png")), png(20 * i)).unwrap();
        let line = serde_json::json!({"file_name": format!("{i}.png"), "text": caption, "before": format!("before-{i}.png")});
        lines += &format!("{line}\n");
    }
    fs::write(listed.join("metadata.jsonl"), lines).unwrap();
    for (i, caption) in (1..).zip(CAPTIONS) {
        let members: [(&str, &[u8]); 3] = [
            ("a.png", &png(10 * i)),
            ("a.txt", caption.as_bytes()),
            ("a.source.png", &png(20 * i)),
        ];
        write_tar(&tars.join(format!("{i}.tar")), &members);
    }
    let place = |path: Option<&Path>, column: Option<&str>| Location {
        path: path.map(Path::to_path_buf),
        column: column.map(String::from),
    };
    [
        (texts.clone(), place(Some(&sources), None)),
        (listed.clone(), place(None, Some("before"))),
        (listed, place(Some(&sources), None)),
        (tars, place(None, Some("source.png"))),
    ]
}

#[test]
fn given_images_come_with_their_images() {
    let folder = tempfile::tempdir().unwrap();
    let cache = folder.path().join("cache");
    for (path, place) in write_pairs(folder.path()) {
        let config = captioned(&path);
        let conditions = given(&config, &place, &cache).unwrap();
        assert_eq!(conditions.shape(), [3, SIZE, SIZE]);
        for index in 0..3 {
            let draw = Draw { index, flip: false };
            let source = conditions.source(draw).unwrap().unwrap();
            let made = conditions.make(&source, 0, 0);
            let expected = (20 * (index + 1)) as f32 / 127.5 - 1.0;
            assert_eq!(made, vec![expected; 3 * SIZE * SIZE], "{}", path.display());
        }
        // Latents do not depend on them.
        let alone = Captioned::open(&config)
            .unwrap()
            .check(Check::Present)
            .unwrap();
        let rule = ConditionConfig::Instruct(place);
        let paired = Captioned::paired(&config, rule.given()).unwrap();
        let paired = paired.check(Check::Present).unwrap();
        assert_eq!(alone.fingerprint, paired.fingerprint);
        assert_ne!(alone.sources, paired.sources);
    }
    let caches = fs::read_dir(cache).unwrap().count();
    assert_eq!(caches, 1, "the images are the same in all layouts");
}

#[test]
fn conditions_made_from_captioned_images_are_those_of_the_images() {
    let folder = tempfile::tempdir().unwrap();
    let [(path, _), ..] = write_pairs(folder.path());
    let rule = ConditionConfig::Bicubic { factor: 2 };
    let set = Captioned::paired(&captioned(&path), rule.given()).unwrap();
    let conditions = Conditions::of_captioned(&rule, &set, folder.path()).unwrap();
    assert_eq!(conditions.shape(), [3, 1, 1]);
    let draw = Draw {
        index: 1,
        flip: true,
    };
    let source = conditions.source(draw).unwrap().unwrap();
    let made = conditions.make(&source, 0, 0);
    assert!(
        made.iter().all(|v| (v - (20.0 / 127.5 - 1.0)).abs() < 1e-6),
        "{made:?}"
    );
}

#[test]
fn missing_and_broken_partners_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let cache = folder.path().join("cache");
    let [texts, listed, _, tars] = write_pairs(folder.path());
    let refused = |(path, place): &(std::path::PathBuf, Location), parts: &[&str]| {
        let message = given(&captioned(path), place, &cache)
            .unwrap_err()
            .to_string();
        for part in parts {
            assert!(message.contains(part), "{part:?} is not in {message:?}");
        }
    };
    fs::remove_file(folder.path().join("sources/2.png")).unwrap();
    refused(
        &texts,
        &["1 example(s)", "no image named `2`", "2.png needs"],
    );
    fs::write(folder.path().join("listed/before-3.png"), b"no image").unwrap();
    refused(&listed, &["the image given with", "3.png"]);
    let (path, mut place) = listed.clone();
    place.column = Some("after".into());
    refused(&(path, place), &["line 1: no `after`", "condition.column"]);
    let (path, mut place) = tars.clone();
    place.column = Some("depth.png".into());
    refused(&(path.clone(), place), &["sample 1 (`a`): no `.depth.png`"]);
    refused(&(path, texts.1), &["`column`", "source.png"]);
}
