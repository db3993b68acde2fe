//! Sets elsewhere, shard by shard. The oracle is the same set in a folder.

use crate::captioned::{write_parquet, write_tar};
use crate::config;
use crate::parquet::{PLAIN, STRUCT, png, properties, rows, write};
use fewstep_data::{Captioned, Check, Contents, DataConfig, DataKind, StoredFile, StoredSet};
use parquet::basic::Compression;
use std::fs;
use std::path::Path;

/// All files below a folder, as if they were elsewhere.
fn files(folder: &Path, inside: &str) -> Vec<StoredFile> {
    let entries = fs::read_dir(folder.join(inside)).unwrap().flatten();
    let found = entries.flat_map(|entry| {
        let name = format!("{inside}{}", entry.file_name().to_string_lossy());
        match entry.path().is_dir() {
            true => files(folder, &format!("{name}/")),
            false => vec![StoredFile {
                identity: name.clone(),
                name,
            }],
        }
    });
    found.collect()
}

/// Images and captions of the shards of a set, each read where only its own files are.
fn elsewhere(config: &DataConfig, model: &[&str]) -> Result<(Vec<Vec<u8>>, Vec<String>), String> {
    let model: Vec<String> = model.iter().map(|name| name.to_string()).collect();
    let set = StoredSet::new(config, files(&config.path, "")).map_err(|e| e.to_string())?;
    let (mut images, mut captions) = (vec![], vec![]);
    for (number, files) in set.shards().iter().enumerate() {
        let folder = tempfile::tempdir().unwrap();
        for file in files {
            let to = folder.path().join(&file.name);
            fs::create_dir_all(to.parent().unwrap()).unwrap();
            fs::copy(config.path.join(&file.name), to).unwrap();
        }
        let shard = set.open(number, folder.path(), &model);
        let (some, of_some) = contents(&shard.map_err(|e| e.to_string())?)?;
        images.extend(some);
        captions.extend(of_some);
    }
    Ok((images, captions))
}

fn contents(set: &Captioned) -> Result<(Vec<Vec<u8>>, Vec<String>), String> {
    let Contents { captions, .. } = set.check(Check::Decoded).map_err(|e| e.to_string())?;
    let images = set.images(2).flat_map(|images| images.unwrap());
    Ok((images.map(|image| image.pixels).collect(), captions))
}

/// The same of the set in its folder.
fn here(config: &DataConfig, model: &[&str]) -> Result<(Vec<Vec<u8>>, Vec<String>), String> {
    let model: Vec<String> = model.iter().map(|name| name.to_string()).collect();
    let set = match config.kind {
        DataKind::Captioned => Captioned::open(config),
        _ => Captioned::labelled(config, &model),
    };
    contents(&set.map_err(|e| e.to_string())?)
}

fn sized(kind: DataKind, path: &Path) -> DataConfig {
    DataConfig {
        size: Some(2),
        ..config(kind, path)
    }
}

#[test]
fn labelled_parquet_has_the_classes_that_it_has_in_a_folder() {
    let folder = tempfile::tempdir().unwrap();
    let names = Some(r#"["cat", "dog", "owl"]"#);
    let data = folder.path().join("data");
    fs::create_dir(&data).unwrap();
    let file = |number: usize| data.join(format!("train-0000{number}-of-00002.parquet"));
    // The first file has neither the first class nor the last.
    let (first, second) = (
        rows(&[(10, 1), (20, 1)]),
        rows(&[(30, 2), (40, 0), (50, 2)]),
    );
    for (schema, names) in [(STRUCT, names), (PLAIN, None)] {
        for (number, rows) in [&first, &second].into_iter().enumerate() {
            write(
                &file(number),
                schema,
                properties(Compression::SNAPPY, names),
                rows,
            );
        }
        let config = sized(DataKind::Parquet, folder.path());
        let model = ["owl", "cat", "dog"];
        let found = elsewhere(&config, &model).unwrap();
        assert_eq!(found, here(&config, &model).unwrap());
        let labels = match names {
            Some(_) => ["dog", "dog", "owl", "cat", "owl"],
            // Numbers are those of the model.
            None => ["cat", "cat", "dog", "owl", "dog"],
        };
        assert_eq!(found.1, labels);
        let renamed = DataConfig {
            class_names: Some(["dog", "owl", "cat"].map(String::from).to_vec()),
            ..config.clone()
        };
        let found = elsewhere(&renamed, &model).unwrap();
        assert_eq!(found, here(&renamed, &model).unwrap());
        assert_eq!(found.1, ["owl", "owl", "cat", "dog", "cat"]);
        // A label that the model does not have.
        let few = elsewhere(&config, &["cat", "dog"]).unwrap_err();
        assert!(few.contains("classes") && few.contains(".parquet"), "{few}");
    }
    // Left out by the name that it has in the set.
    let skip = folder.path().join("skip.txt");
    fs::write(&skip, "data/train-00001-of-00002.parquet:1\n").unwrap();
    let config = DataConfig {
        skip: Some(skip),
        ..sized(DataKind::Parquet, folder.path())
    };
    let model = ["a", "b", "c"];
    let found = elsewhere(&config, &model).unwrap();
    assert_eq!(found, here(&config, &model).unwrap());
    assert_eq!(found.1, ["b", "b", "c", "c"]);
}

#[test]
fn labels_that_are_names_are_the_classes_of_these_names() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str| folder.path().join(name);
    write_parquet(
        &file("a.parquet"),
        "label",
        &[(png(10), "owl"), (png(20), "owl")],
    );
    write_parquet(
        &file("b.parquet"),
        "label",
        &[(png(30), "Cat"), (png(40), "owl")],
    );
    let config = sized(DataKind::Parquet, folder.path());
    let model = ["owl", "cat"];
    let found = elsewhere(&config, &model).unwrap();
    assert_eq!(found, here(&config, &model).unwrap());
    assert_eq!(found.1, ["owl", "owl", "cat", "owl"]);
    let unknown = elsewhere(&config, &["cat", "dog"]).unwrap_err();
    assert!(unknown.contains("no class `owl`"), "{unknown}");
    // In a folder they are numbered by all files.
    assert!(here(&config, &["0", "1"]).is_ok());
    let numbered = elsewhere(&config, &["0", "1"]).unwrap_err();
    assert!(
        numbered.contains("in a folder of this machine"),
        "{numbered}"
    );
    let renamed = DataConfig {
        class_names: Some(["a", "b"].map(String::from).to_vec()),
        ..config.clone()
    };
    let renamed = elsewhere(&renamed, &["a", "b"]).unwrap_err();
    assert!(renamed.contains("class_names"), "{renamed}");
    let without = DataConfig {
        labels: false,
        ..config
    };
    let without = elsewhere(&without, &model).unwrap_err();
    assert!(without.contains("generates from classes"), "{without}");
}

#[test]
fn archives_in_folders_are_read_where_they_are() {
    let folder = tempfile::tempdir().unwrap();
    let train = folder.path().join("train");
    fs::create_dir(&train).unwrap();
    for (name, value) in [("a.tar", 10), ("b.tar", 20)] {
        let image = png(value);
        let files: [(&str, &[u8]); 4] = [
            ("1.png", &image),
            ("1.txt", b"a cat"),
            ("2.png", &image),
            ("2.txt", b"a dog"),
        ];
        write_tar(&train.join(name), &files);
    }
    let skip = folder.path().join("skip.txt");
    fs::write(&skip, "train/b.tar:1\n").unwrap();
    let config = DataConfig {
        skip: Some(skip),
        ..sized(DataKind::Captioned, folder.path())
    };
    let found = elsewhere(&config, &[]).unwrap();
    assert_eq!(found.1, ["a cat", "a dog", "a dog"]);
    assert_eq!(found, here(&config, &[]).unwrap());
}

#[test]
fn a_limit_keeps_the_images_that_it_keeps_in_a_folder() {
    let folder = tempfile::tempdir().unwrap();
    for (number, class) in ["cat", "cat", "cat", "cat", "dog", "dog", "dog", "owl"]
        .iter()
        .enumerate()
    {
        let class = folder.path().join(class);
        fs::create_dir_all(&class).unwrap();
        fs::write(class.join(format!("{number}.png")), png(10 * number as u8)).unwrap();
    }
    let model = ["cat", "dog", "owl"];
    let skip = folder.path().join("skip.txt");
    fs::write(&skip, "cat/0.png\ncat/1.png\n").unwrap();
    for skip in [None, Some(skip)] {
        for limit in 1..9 {
            let config = DataConfig {
                limit: Some(limit),
                skip: skip.clone(),
                ..sized(DataKind::Folder, folder.path())
            };
            let found = elsewhere(&config, &model).unwrap();
            assert_eq!(found, here(&config, &model).unwrap(), "{limit} {skip:?}");
            let all = 8 - 2 * usize::from(skip.is_some());
            assert_eq!(found.1.len(), limit.min(all));
        }
    }
}

/// Whatever comes, no panic.
#[test]
fn damaged_labelled_parquet_is_survived() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("train.parquet");
    let model = ["cat", "dog"];
    let config = sized(DataKind::Parquet, folder.path());
    let numbered = || {
        let names = Some(r#"["cat", "dog"]"#);
        let rows = rows(&[(10, 0), (20, 1)]);
        write(&file, STRUCT, properties(Compression::SNAPPY, names), &rows);
    };
    let named = || write_parquet(&file, "label", &[(png(10), "cat"), (png(20), "dog")]);
    for write in [&numbered as &dyn Fn(), &named] {
        write();
        let bytes = fs::read(&file).unwrap();
        assert!(elsewhere(&config, &model).is_ok());
        for i in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[i] ^= [0x80, 0xff, 0x01][i % 3];
            fs::write(&file, &damaged).unwrap();
            let _ = elsewhere(&config, &model);
            fs::write(&file, &bytes[..i]).unwrap();
            assert!(elsewhere(&config, &model).is_err(), "cut after {i}");
        }
    }
}
