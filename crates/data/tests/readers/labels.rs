//! Labels of parquet files: under which names, and as the captions of a model with classes.

use crate::parquet::{STRUCT, png, properties, rows, write, write_two};
use crate::{config, refused};
use fewstep_data::{Captioned, Check, DataConfig, DataKind, load, survey};
use parquet::basic::Compression;
use std::path::Path;

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

/// Writes images whose labels are these texts.
fn write_named(path: &Path, column: &str, labels: &[&str]) {
    let schema =
        format!("message schema {{ required binary image; required binary {column} (UTF8); }}");
    let rows = (1..)
        .zip(labels)
        .map(|(value, label)| (png(value), label.as_bytes().to_vec()));
    write_two(path, &schema, &rows.collect::<Vec<_>>());
}

/// The classes are the texts of all files, sorted, whichever file has them.
#[test]
fn labels_may_be_names() {
    let folder = tempfile::tempdir().unwrap();
    write_named(&folder.path().join("a.parquet"), "label", &["owl", "cat"]);
    write_named(&folder.path().join("b.parquet"), "label", &["dog", "owl"]);
    let plain = config(DataKind::Parquet, folder.path());
    let set = load(&plain).unwrap();
    assert_eq!(set.classes, ["cat", "dog", "owl"]);
    assert_eq!(set.labels(), Some(&[2, 0, 1, 2][..]));
    let found = survey(&plain, None).unwrap().classes;
    assert!(found.contains(&("owl".into(), 2)), "{found:?}");

    let sized = DataConfig {
        size: Some(2),
        ..plain.clone()
    };
    let model = ["owl", "dog", "cat"].map(String::from);
    let captions = Captioned::labelled(&sized, &model).unwrap();
    let captions = captions.check(Check::Decoded).unwrap().captions;
    assert_eq!(captions, ["owl", "cat", "dog", "owl"]);

    // Rows that are left out have no class.
    let skip = folder.path().join("skip.txt");
    std::fs::write(&skip, "a.parquet:1\n").unwrap();
    let kept = load(&DataConfig {
        skip: Some(skip),
        ..plain.clone()
    });
    assert_eq!(kept.unwrap().classes, ["dog", "owl"]);
    write_named(&folder.path().join("c.parquet"), "label", &["owl", " "]);
    refused(&plain, &["c.parquet, row 1", "no label"]);
    write(
        &folder.path().join("c.parquet"),
        STRUCT,
        properties(Compression::SNAPPY, None),
        &rows(&[(1, 0)]),
    );
    refused(&plain, &["its labels are", "numbers"]);
}

/// A caption is no label, and a label of another name is read where it is asked for.
#[test]
fn names_of_classes_may_be_in_any_column() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("set.parquet");
    write_named(&path, "species", &["b", "a"]);
    let plain = config(DataKind::Parquet, &path);
    assert_eq!(load(&plain).unwrap().labels(), None);
    let named = DataConfig {
        label: Some("species".into()),
        ..plain
    };
    assert_eq!(load(&named).unwrap().labels(), Some(&[1, 0][..]));
    let texts = DataConfig {
        caption: Some("label".into()),
        size: Some(2),
        ..config(DataKind::Captioned, &path)
    };
    write_named(&path, "label", &["a cat", "a dog"]);
    let texts = Captioned::open(&texts).unwrap().check(Check::Present);
    assert_eq!(texts.unwrap().captions, ["a cat", "a dog"]);
}
