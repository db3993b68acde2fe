//! Labels of parquet files: under which names, and as the captions of a model with classes.

use crate::parquet::{STRUCT, properties, rows, write};
use crate::{config, refused};
use fewstep_data::{Captioned, Check, DataConfig, DataKind, load};
use parquet::basic::Compression;

/// With names in the files and without, several files and a limit.
#[test]
fn labels_are_captions_by_the_names_of_a_model() {
    let folder = tempfile::tempdir().unwrap();
    let names = ["eins", "zwei", "drei"].map(String::from);
    for described in [Some(r#"["cat", "dog", "owl"]"#), None] {
        let file = |name: &str, values: &[(u8, i64)]| {
            let properties = properties(Compression::SNAPPY, described);
            write(&folder.path().join(name), STRUCT, properties, &rows(values));
        };
        file("a.parquet", &[(1, 0), (2, 2)]);
        file("b.parquet", &[(3, 1)]);
        let config = DataConfig {
            size: Some(2),
            class_names: described.map(|_| names.to_vec()),
            ..config(DataKind::Parquet, folder.path())
        };
        let read = |config: &DataConfig| {
            let set = Captioned::labelled(config, &names).unwrap();
            let captions = set.check(Check::Decoded).unwrap().captions;
            let images = set.images(2).flat_map(Result::unwrap);
            let values: Vec<u8> = images.map(|image| image.pixels[0]).collect();
            (captions, values)
        };
        let captions = ["eins", "drei", "zwei"].map(String::from);
        assert_eq!(read(&config), (captions.to_vec(), vec![1, 2, 3]));
        let limited = DataConfig {
            limit: Some(1),
            ..config.clone()
        };
        assert_eq!(read(&limited), (vec!["eins".into()], vec![1]));
        let few = Captioned::labelled(&config, &names[..2]).unwrap_err();
        assert!(few.to_string().contains("3 classes"), "{few}");
        // The names in the files are those of the labels.
        let plain = DataConfig {
            class_names: None,
            ..config
        };
        let pets = ["owl", "cat", "dog"].map(String::from);
        let captions = Captioned::labelled(&plain, &pets).unwrap();
        let captions = captions.check(Check::Present).unwrap().captions;
        let expected = match described {
            Some(_) => ["cat", "owl", "dog"],
            None => ["owl", "dog", "cat"],
        };
        assert_eq!(captions, expected);
    }
    let kind = config(DataKind::Cifar10, folder.path());
    let message = Captioned::labelled(&kind, &names).unwrap_err().to_string();
    assert!(message.contains("data.kind"), "{message}");
}

#[test]
fn labels_may_have_another_name() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("set.parquet");
    let schema = "message schema { required binary img; required int64 fine_label; required int64 coarse_label; }";
    write(
        &path,
        schema,
        properties(Compression::SNAPPY, None),
        &rows(&[(1, 0), (2, 2)]),
    );
    let plain = config(DataKind::Parquet, &path);
    assert!(load(&plain).unwrap().labels().is_none());
    let named = |name: &str| DataConfig {
        label: Some(name.into()),
        ..plain.clone()
    };
    assert_eq!(
        load(&named("fine_label")).unwrap().labels(),
        Some(&[0, 2][..])
    );
    let captions = DataConfig {
        size: Some(2),
        ..named("coarse_label")
    };
    let names = ["eins", "zwei", "drei"].map(String::from);
    let set = Captioned::labelled(&captions, &names).unwrap();
    assert_eq!(
        set.check(Check::Present).unwrap().captions,
        ["eins", "drei"]
    );
    refused(
        &named("class"),
        &["no usable column `class`", "integers", "fine_label: INT64"],
    );
    let folder = DataConfig {
        kind: DataKind::Folder,
        ..named("fine_label")
    };
    refused(&folder, &["label = fine_label", "parquet"]);
    let caption = DataConfig {
        caption: Some("text".into()),
        ..plain
    };
    refused(&caption, &["caption = text", "captioned"]);
}
