//! Images with captions in all four layouts, and what the validator says of bad ones.

use crate::config;
use fewstep_data::image::{Image, encode_png};
use fewstep_data::{Captioned, Check, DataConfig, DataKind, ImageShape, Labelled, Source, load};
use parquet::data_type::{ByteArray, ByteArrayType};
use parquet::file::properties::WriterProperties;
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::parser::parse_message_type;
use std::fs::{self, File};
use std::path::Path;
use std::sync::Arc;

pub(crate) const SIZE: usize = 2;
pub(crate) const CAPTIONS: [&str; 3] = ["a cat", "two dogs", "ein Käfer"];

pub(crate) fn png(value: u8) -> Vec<u8> {
    let shape = ImageShape {
        channels: 3,
        height: 4,
        width: 4,
    };
    encode_png(&Image::filled(shape, value)).unwrap()
}

pub(crate) fn captioned(path: &Path) -> DataConfig {
    DataConfig {
        size: Some(SIZE),
        ..config(DataKind::Captioned, path)
    }
}

/// The captions and the first value of each image; both ways of reading must agree.
pub(crate) fn read(config: &DataConfig) -> Vec<(String, u8)> {
    let set = Captioned::open(config).unwrap();
    let contents = set.check(Check::Decoded).unwrap();
    assert_eq!(set.check(Check::Present).unwrap(), contents);
    let images = set.images(2).flat_map(Result::unwrap);
    let values: Vec<u8> = images.map(|image| image.pixels[0]).collect();
    assert_eq!(values.len(), contents.captions.len());
    contents.captions.into_iter().zip(values).collect()
}

pub(crate) fn refused(config: &DataConfig, parts: &[&str]) {
    let checked = Captioned::open(config).and_then(|set| set.check(Check::Decoded));
    let message = checked.unwrap_err().to_string();
    for part in parts {
        assert!(message.contains(part), "{part:?} is not in {message:?}");
    }
}

fn expected() -> Vec<(String, u8)> {
    let captions = CAPTIONS.iter().map(|caption| caption.to_string());
    captions.zip([10, 20, 30]).collect()
}

pub(crate) fn write_tar(path: &Path, files: &[(&str, &[u8])]) {
    let mut tar = tar::Builder::new(File::create(path).unwrap());
    for (name, bytes) in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        tar.append_data(&mut header, name, *bytes).unwrap();
    }
    tar.finish().unwrap();
}

pub(crate) fn write_parquet(path: &Path, column: &str, rows: &[(Vec<u8>, &str)]) {
    let schema =
        format!("message schema {{ required binary image; required binary {column} (UTF8); }}");
    let schema = Arc::new(parse_message_type(&schema).unwrap());
    let properties = Arc::new(WriterProperties::builder().build());
    let file = File::create(path).unwrap();
    let mut writer = SerializedFileWriter::new(file, schema, properties).unwrap();
    let mut group = writer.next_row_group().unwrap();
    let images: Vec<ByteArray> = rows.iter().map(|row| row.0.clone().into()).collect();
    let texts: Vec<ByteArray> = rows.iter().map(|row| row.1.into()).collect();
    for values in [images, texts] {
        let mut column = group.next_column().unwrap().unwrap();
        let typed = column.typed::<ByteArrayType>();
        typed.write_batch(&values, None, None).unwrap();
        column.close().unwrap();
    }
    group.close().unwrap();
    writer.close().unwrap();
}

#[test]
fn all_layouts_give_the_same_examples() {
    let folder = tempfile::tempdir().unwrap();
    let place = |name: &str| {
        let path = folder.path().join(name);
        fs::create_dir(&path).unwrap();
        path
    };
    let (pairs, listed, tars, parquet) = (
        place("pairs"),
        place("listed"),
        place("tars"),
        place("parquet"),
    );
    let mut lines = String::new();
    fs::create_dir(listed.join("images")).unwrap();
    for (i, caption) in CAPTIONS.iter().enumerate() {
        let image = png(10 * (i as u8 + 1));
        fs::write(pairs.join(format!("{i}.png")), &image).unwrap();
        fs::write(pairs.join(format!("{i}.txt")), format!("  {caption}\n")).unwrap();
        fs::write(listed.join(format!("images/{i}.png")), &image).unwrap();
        let key = ["text", "caption"][i % 2];
        lines.push_str(&format!(
            "{{\"file_name\": \"images/{i}.png\", \"{key}\": \"{caption}\"}}\n"
        ));
    }
    fs::write(listed.join("metadata.jsonl"), lines).unwrap();
    let json = format!("{{\"caption\": \"{}\"}}", CAPTIONS[2]);
    write_tar(
        &tars.join("0.tar"),
        &[
            ("a/1.png", &png(10)),
            ("a/1.txt", CAPTIONS[0].as_bytes()),
            ("a/2.caption", CAPTIONS[1].as_bytes()),
            ("a/2.PNG", &png(20)),
        ],
    );
    let third = png(30);
    write_tar(
        &tars.join("1.tar"),
        &[("3.v1.json", json.as_bytes()), ("3.v1.png", &third)],
    );
    for (name, column, rows) in [
        ("train-0.parquet", "text", &CAPTIONS[..2]),
        ("train-1.parquet", "caption", &CAPTIONS[2..]),
    ] {
        let first = if column == "text" { 1 } else { 3 };
        let rows: Vec<_> = (first..)
            .zip(rows)
            .map(|(i, caption)| (png(10 * i), *caption))
            .collect();
        write_parquet(&parquet.join(name), column, &rows);
    }
    let fingerprint = |path: &Path| {
        let set = Captioned::open(&captioned(path)).unwrap();
        set.check(Check::Present).unwrap().fingerprint
    };
    for path in [&pairs, &listed, &tars, &parquet] {
        assert_eq!(read(&captioned(path)), expected(), "{}", path.display());
        assert_eq!(fingerprint(path), fingerprint(&pairs));
    }
    let limited = DataConfig {
        limit: Some(2),
        ..captioned(&tars)
    };
    assert_eq!(
        read(&limited),
        [expected()[0].clone(), expected()[1].clone()]
    );
    fs::write(pairs.join("1.txt"), "three dogs").unwrap();
    assert_ne!(fingerprint(&pairs), fingerprint(&listed));
}

#[test]
fn bad_examples_are_named_with_their_places() {
    let folder = tempfile::tempdir().unwrap();
    let tars = folder.path();
    let cat = png(1);
    write_tar(&tars.join("00.tar"), &[("a.png", &cat), ("a.txt", b"fine")]);
    write_tar(
        &tars.join("01.tar"),
        &[
            ("a.png", &cat),
            ("a.txt", b"fine"),
            ("b.png", &cat),
            ("b.txt", b" \n"),
            ("c.txt", b"no image"),
            ("d.png", &cat),
            ("e.png", &cat[..cat.len() / 2]),
            ("e.txt", b"half an image"),
            ("f.png", &cat),
            ("f.txt", &[0xff, 0xfe]),
        ],
    );
    refused(
        &captioned(tars),
        &[
            "5 example(s)",
            "shard 2 (01.tar), sample 2 (`b`): caption empty",
            "shard 2 (01.tar), sample 3 (`c`): no image",
            "sample 4 (`d`): no caption",
            "sample 5 (`e`)",
            "sample 6 (`f`): caption is not UTF-8",
        ],
    );
    let bytes = fs::read(tars.join("00.tar")).unwrap();
    fs::write(tars.join("00.tar"), &bytes[..700]).unwrap();
    assert!(
        Captioned::open(&captioned(tars))
            .and_then(|set| set.check(Check::Present))
            .is_err()
    );
}

#[test]
fn bad_lists_are_named_with_their_lines() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("a.png"), png(1)).unwrap();
    let lines = [
        r#"{"file_name": "a.png", "text": "fine"}"#,
        r#"{"file_name": "a.png", "text": ""}"#,
        r#"{"file_name": "missing.png", "text": "a cat"}"#,
        r#"{"text": "no file"}"#,
        "not JSON",
        r#"{"file_name": "a.png"}"#,
    ];
    fs::write(folder.path().join("metadata.jsonl"), lines.join("\n")).unwrap();
    refused(
        &captioned(folder.path()),
        &[
            "line 2: caption empty",
            "missing.png",
            "line 3 of metadata.jsonl",
            "line 4: no `file_name`",
            "line 5: not JSON",
            "line 6: no `text` or `caption`",
        ],
    );
}

#[test]
fn pairs_without_captions_and_other_mistakes_are_told() {
    let folder = tempfile::tempdir().unwrap();
    refused(
        &captioned(folder.path()),
        &["metadata.jsonl", ".tar", ".parquet"],
    );
    fs::write(folder.path().join("a.png"), png(1)).unwrap();
    refused(
        &captioned(folder.path()),
        &["a.png", "a.txt cannot be read"],
    );
    fs::write(folder.path().join("a.txt"), "fine").unwrap();
    assert_eq!(read(&captioned(folder.path())), [("fine".to_string(), 1)]);
    refused(&config(DataKind::Captioned, folder.path()), &["size"]);
    let folders = DataConfig {
        size: Some(2),
        ..config(DataKind::Folder, folder.path())
    };
    refused(&folders, &["data.kind", "captioned"]);
    crate::refused(&captioned(folder.path()), &["data.kind", "text-to-image"]);
}

/// Read one by one they are what they are in memory.
#[test]
fn classes_are_captions_by_the_names_of_the_model() {
    let folder = tempfile::tempdir().unwrap();
    for (i, class) in ["b", "a", "b", "c"].iter().enumerate() {
        let class = folder.path().join(class);
        fs::create_dir_all(&class).unwrap();
        fs::write(class.join(format!("{i}.png")), png(10 * (i as u8 + 1))).unwrap();
    }
    let config = DataConfig {
        size: Some(SIZE),
        ..config(DataKind::Folder, folder.path())
    };
    // By name where both have names, and with `class_names` in the order of the folders.
    let by_name = ["C", "A", "B"].map(String::from);
    let captions = |config: &DataConfig, names: &[String]| {
        let source = Source::labelled(config, names).unwrap();
        source.check(Check::Present).unwrap().captions
    };
    assert_eq!(captions(&config, &by_name), ["A", "B", "B", "C"]);
    let names = ["eins", "zwei", "drei"].map(String::from);
    let other = Source::labelled(&config, &names).unwrap_err().to_string();
    assert!(other.contains("no class `a`"), "{other}");
    let config = DataConfig {
        class_names: Some(vec!["drei".into(), "zwei".into(), "eins".into()]),
        ..config
    };
    assert_eq!(captions(&config, &names), ["drei", "zwei", "zwei", "eins"]);
    let config = DataConfig {
        class_names: Some(names.to_vec()),
        ..config
    };
    let streamed = Source::labelled(&config, &names).unwrap();
    assert!(matches!(streamed, Source::Captioned(_)));
    let kept = Labelled::new(load(&config).unwrap(), &names).unwrap();
    let kept = Source::Labelled(kept);
    let images =
        |source: &Source| -> Vec<Image> { source.images(2).flat_map(Result::unwrap).collect() };
    for check in [Check::Present, Check::Decoded] {
        let captions = streamed.check(check).unwrap().captions;
        assert_eq!(captions, ["eins", "zwei", "zwei", "drei"]);
        assert_eq!(captions, kept.check(check).unwrap().captions);
    }
    assert_eq!(images(&streamed), images(&kept));
    assert_eq!(streamed.classes(), kept.classes());
    assert_eq!(streamed.shape(), kept.shape());

    let refused = |config: &DataConfig, names: &[String], parts: [&str; 2]| {
        let message = Captioned::labelled(config, names).unwrap_err().to_string();
        assert!(parts.iter().all(|part| message.contains(part)), "{message}");
    };
    refused(&config, &names[..2], ["no class `drei`", "the model has 2"]);
    let renamed = DataConfig {
        class_names: Some(names[..1].to_vec()),
        ..config.clone()
    };
    refused(
        &renamed,
        &names,
        ["class_names = 1 names", "3, one for each class"],
    );
    let own_sizes = DataConfig {
        size: None,
        ..config.clone()
    };
    refused(&own_sizes, &names, ["size", "the side in pixels"]);
    let none = DataConfig {
        limit: Some(0),
        ..config.clone()
    };
    refused(&none, &names, ["limit", "at least 1 image"]);
    let five = DataConfig {
        channels: Some(5),
        ..config.clone()
    };
    refused(&five, &names, ["channels", "5"]);
    let column = DataConfig {
        column: Some("image".into()),
        ..config.clone()
    };
    refused(&column, &names, ["column", "parquet"]);
    let flat = DataConfig {
        path: folder.path().join("a"),
        class_names: None,
        ..config
    };
    refused(&flat, &names, ["0 classes", "of 3 classes"]);
}

#[test]
fn a_parquet_file_without_captions_is_told_its_columns() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.parquet");
    write_parquet(&path, "words", &[(png(1), "a cat")]);
    refused(&captioned(&path), &["text` or `caption", "words"]);
    write_parquet(&path, "text", &[(png(1), "a cat"), (png(2), "  ")]);
    refused(&captioned(&path), &["shard 1", "row 1", "caption empty"]);
}
