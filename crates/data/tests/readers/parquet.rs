//! Hugging Face parquet, written here with the parquet crate.

use crate::{config, refused, survives_damage};
use fewstep_data::image::{Image, encode_png};
use fewstep_data::{
    Check, ConditionConfig, Conditions, DataConfig, DataError, DataKind, Draw, ImageShape,
    Location, Source, Split, load, survey,
};
use parquet::basic::Compression;
use parquet::data_type::{ByteArray, ByteArrayType, Int64Type};
use parquet::file::metadata::KeyValue;
use parquet::file::properties::WriterProperties;
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::parser::parse_message_type;
use parquet::schema::types::SchemaDescriptor;
use std::fs::{self, File};
use std::path::Path;
use std::sync::Arc;

/// As Hugging Face's `datasets` lays images out.
pub(crate) const STRUCT: &str = "message schema {
    optional group image { optional binary bytes; optional binary path (UTF8); }
    optional int64 label;
}";
pub(crate) const PLAIN: &str = "message schema { required binary img; required int64 labels; }";
const UNLABELLED: &str = "message schema { required binary image; }";

fn png(value: u8) -> Vec<u8> {
    let shape = ImageShape {
        channels: 3,
        height: 2,
        width: 2,
    };
    encode_png(&Image::filled(shape, value)).unwrap()
}

pub(crate) fn properties(compression: Compression, names: Option<&str>) -> WriterProperties {
    let entry = names.map(|names| {
        let features = format!(r#"{{"image": {{"_type": "Image"}}, "label": {{"names": {names}, "_type": "ClassLabel"}}}}"#);
        vec![KeyValue::new("huggingface".into(), format!(r#"{{"info": {{"features": {features}}}}}"#))]
    });
    WriterProperties::builder()
        .set_compression(compression)
        .set_key_value_metadata(entry)
        .build()
}

/// Writes `rows` of (image bytes, label), two to a row group; a column that the schema lacks is
/// left out.
pub(crate) fn write(
    path: &Path,
    schema: &str,
    properties: WriterProperties,
    rows: &[(Vec<u8>, i64)],
) {
    let schema = Arc::new(parse_message_type(schema).unwrap());
    let columns = SchemaDescriptor::new(schema.clone());
    let mut writer =
        SerializedFileWriter::new(File::create(path).unwrap(), schema, Arc::new(properties))
            .unwrap();
    for rows in rows.chunks(2) {
        let mut group = writer.next_row_group().unwrap();
        for descriptor in columns.columns() {
            let mut column = group.next_column().unwrap().unwrap();
            let levels = vec![descriptor.max_def_level(); rows.len()];
            match descriptor.name() {
                name if name.contains("label") => {
                    let labels: Vec<i64> = rows.iter().map(|row| row.1).collect();
                    column
                        .typed::<Int64Type>()
                        .write_batch(&labels, Some(&levels), None)
                        .unwrap();
                }
                "path" => {
                    let paths = vec![ByteArray::from("x.png"); rows.len()];
                    column
                        .typed::<ByteArrayType>()
                        .write_batch(&paths, Some(&levels), None)
                        .unwrap();
                }
                _ => {
                    // An empty image stands for none.
                    let levels: Vec<i16> = rows
                        .iter()
                        .zip(&levels)
                        .map(|(row, level)| level - i16::from(row.0.is_empty()))
                        .collect();
                    let images: Vec<ByteArray> = rows
                        .iter()
                        .filter(|row| !row.0.is_empty())
                        .map(|row| row.0.clone().into())
                        .collect();
                    column
                        .typed::<ByteArrayType>()
                        .write_batch(&images, Some(&levels), None)
                        .unwrap();
                }
            }
            column.close().unwrap();
        }
        group.close().unwrap();
    }
    writer.close().unwrap();
}

/// Writes rows of an image and one given with it.
pub(crate) fn write_pairs(path: &Path, rows: &[(Vec<u8>, Vec<u8>)]) {
    let schema = "message schema { required binary image; required binary before; }";
    let schema = Arc::new(parse_message_type(schema).unwrap());
    let file = File::create(path).unwrap();
    let properties = Arc::new(properties(Compression::SNAPPY, None));
    let mut writer = SerializedFileWriter::new(file, schema, properties).unwrap();
    let mut group = writer.next_row_group().unwrap();
    let columns: [Vec<ByteArray>; 2] = [
        rows.iter().map(|row| row.0.clone().into()).collect(),
        rows.iter().map(|row| row.1.clone().into()).collect(),
    ];
    for values in columns {
        let mut column = group.next_column().unwrap().unwrap();
        let typed = column.typed::<ByteArrayType>();
        typed.write_batch(&values, None, None).unwrap();
        column.close().unwrap();
    }
    group.close().unwrap();
    writer.close().unwrap();
}

pub(crate) fn rows(values: &[(u8, i64)]) -> Vec<(Vec<u8>, i64)> {
    values
        .iter()
        .map(|&(value, label)| (png(value), label))
        .collect()
}

/// The first value of each image.
fn values(config: &DataConfig) -> Vec<u8> {
    let set = load(config).unwrap();
    (0..set.len()).map(|i| set.pixels(i)[0]).collect()
}

#[test]
fn a_struct_column_with_named_classes() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("set.parquet");
    for compression in [
        Compression::SNAPPY,
        Compression::GZIP(Default::default()),
        Compression::UNCOMPRESSED,
        Compression::ZSTD(Default::default()),
        Compression::BROTLI(Default::default()),
        Compression::LZ4,
        Compression::LZ4_RAW,
    ] {
        let named = properties(compression, Some(r#"["cat", "dog", "owl"]"#));
        write(&path, STRUCT, named, &rows(&[(10, 1), (20, 0), (30, 1)]));
        let plain = config(DataKind::Parquet, &path);
        let set = load(&plain).unwrap();
        assert_eq!(set.classes, ["cat", "dog", "owl"]);
        assert_eq!(set.labels(), Some(&[1, 0, 1][..]));
        assert_eq!(
            set.shape,
            ImageShape {
                channels: 3,
                height: 2,
                width: 2
            }
        );
        assert_eq!(values(&plain), [10, 20, 30]);
        assert_eq!(
            values(&DataConfig {
                limit: Some(2),
                ..plain
            }),
            [10, 20]
        );
    }
}

#[test]
fn a_folder_of_files_by_split() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    fs::create_dir(&data).unwrap();
    let file = |name: &str, values: &[(u8, i64)]| {
        write(
            &data.join(name),
            PLAIN,
            properties(Compression::SNAPPY, None),
            &rows(values),
        );
    };
    file("train-00001-of-00002.parquet", &[(3, 1)]);
    file("train-00000-of-00002.parquet", &[(1, 0), (2, 2)]);
    let train = config(DataKind::Parquet, folder.path());
    let test = DataConfig {
        split: Split::Test,
        ..train.clone()
    };
    assert_eq!(values(&train), [1, 2, 3]);
    assert_eq!(
        values(&DataConfig {
            limit: Some(2),
            ..train.clone()
        }),
        [1, 2]
    );
    assert_eq!(load(&train).unwrap().classes, ["0", "1", "2"]);
    refused(&test, &["test-*.parquet", "validation-*.parquet"]);
    file("validation.parquet", &[(4, 0)]);
    assert_eq!(values(&test), [4]);
    file("test-00000-of-00001.parquet", &[(5, 0)]);
    assert_eq!(values(&test), [5]);
}

#[test]
fn files_without_labels_or_split_names() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, schema| {
        write(
            &folder.path().join(name),
            schema,
            properties(Compression::SNAPPY, None),
            &rows(&[(7, 0)]),
        );
    };
    file("trainable.parquet", UNLABELLED);
    file("0001.parquet", UNLABELLED);
    let plain = config(DataKind::Parquet, folder.path());
    let set = load(&plain).unwrap();
    assert_eq!((set.len(), set.label(0)), (2, None));
    file("0002.parquet", PLAIN);
    refused(&plain, &["0002.parquet", "label column"]);
}

#[test]
fn rows_that_cannot_be_used_are_found_and_left_out() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("set.parquet");
    let mut stored = rows(&[(1, 0), (2, 1), (3, 0), (4, 2)]);
    stored[1].0 = b"no image".to_vec();
    write(&path, PLAIN, properties(Compression::SNAPPY, None), &stored);
    let set = config(DataKind::Parquet, folder.path());
    refused(&set, &["row 1", "unreadable image"]);
    let found = survey(&set, None).unwrap();
    assert_eq!((found.examples, found.problems.len()), (3, 1));
    assert_eq!(found.problems[0].name, "set.parquet:1");
    let list = folder.path().join("bad.txt");
    fs::write(&list, found.skip_list()).unwrap();
    let kept = DataConfig {
        skip: Some(list),
        ..set
    };
    assert_eq!(values(&kept), [1, 3, 4]);
    assert_eq!(load(&kept).unwrap().labels(), Some(&[0, 0, 2][..]));
    let limited = DataConfig {
        limit: Some(2),
        ..kept.clone()
    };
    assert_eq!(values(&limited), [1, 3]);
    let names = ["a", "b", "c"].map(String::from);
    let source = Source::labelled(
        &DataConfig {
            size: Some(2),
            ..kept
        },
        &names,
    );
    let contents = source.unwrap().check(Check::Decoded).unwrap();
    assert_eq!(contents.captions, ["a", "a", "c"]);
}

#[test]
fn pairs_that_cannot_be_used_are_found() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("pairs.parquet");
    let pairs = [(png(1), png(2)), (png(3), b"no image".to_vec())];
    write_pairs(&path, &pairs);
    let set = config(DataKind::Parquet, &path);
    let rule = ConditionConfig::Instruct(Location {
        path: None,
        column: Some("before".into()),
    });
    assert_eq!(survey(&set, None).unwrap().examples, 2);
    let found = survey(&set, rule.given()).unwrap();
    assert_eq!(found.examples, 1);
    let problem = &found.problems[0];
    assert_eq!(problem.name, "pairs.parquet:1");
    assert!(problem.reason.contains("given with"), "{}", problem.reason);
}

#[test]
fn more_rows_than_one_chunk_keep_their_order() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("set.parquet");
    let expected: Vec<u8> = (0..1100).map(|i| (i % 251) as u8).collect();
    let many: Vec<(u8, i64)> = expected.iter().map(|&value| (value, 0)).collect();
    write(
        &path,
        STRUCT,
        properties(Compression::SNAPPY, None),
        &rows(&many),
    );
    assert_eq!(values(&config(DataKind::Parquet, &path)), expected);
}

#[test]
fn bad_files_are_told() {
    let folder = tempfile::tempdir().unwrap();
    let plain = config(DataKind::Parquet, folder.path());
    refused(&plain, &["no `*.parquet` file", "train-*.parquet"]);
    let path = folder.path().join("set.parquet");
    let write = |schema, rows: &[(Vec<u8>, i64)]| {
        write(
            &path,
            schema,
            properties(Compression::SNAPPY, Some(r#"["cat", "dog"]"#)),
            rows,
        );
    };

    write(STRUCT, &rows(&[(1, 0), (1, 1), (1, 2)]));
    refused(
        &plain,
        &["set.parquet, row 2: label 2", "0 to 1 (2 classes)"],
    );
    write(STRUCT, &rows(&[(1, -1)]));
    refused(&plain, &["row 0: label -1"]);
    write(PLAIN, &rows(&[(1, 3_000_000_000)]));
    refused(&plain, &["row 0: label 3000000000"]);
    write(STRUCT, &[(png(1), 0), (b"text".to_vec(), 0)]);
    refused(&plain, &["set.parquet, row 1", "unreadable image"]);
    write(STRUCT, &[(png(1), 0), (Vec::new(), 0)]);
    refused(&plain, &["row 1", "no image bytes"]);
    write("message schema { required int64 label; }", &rows(&[(1, 0)]));
    refused(
        &plain,
        &[
            "no usable column `image` or `img`",
            "binary",
            "got label: INT64",
        ],
    );
    write(
        "message schema { required binary image; required binary label; }",
        &[],
    );
    refused(
        &plain,
        &[
            "no usable column `label` or `labels`",
            "integers",
            "label: BYTE_ARRAY",
        ],
    );
    write(STRUCT, &[]);
    refused(&plain, &["no images", "no rows"]);

    write(STRUCT, &rows(&[(1, 0)]));
    let whole = fs::read(&path).unwrap();
    fs::write(&path, &whole[..whole.len() / 2]).unwrap();
    let error = refused(&plain, &["set.parquet", "footer", "truncated"]);
    assert!(matches!(error, DataError::Length { .. }));
    fs::write(&path, b"PK\x03\x04 something else altogether").unwrap();
    refused(&plain, &["expected 0x50415231 (parquet), got 0x504b0304"]);
}

#[test]
fn no_damage_makes_it_panic() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("set.parquet");
    write(
        &path,
        STRUCT,
        properties(Compression::SNAPPY, Some(r#"["a", "b"]"#)),
        &rows(&[(1, 0), (2, 1), (3, 1)]),
    );
    let bytes = fs::read(&path).unwrap();
    survives_damage(&config(DataKind::Parquet, &path), &path, &bytes);
}

/// As instruction pairs come: the image before the edit in a column of its own.
#[test]
fn given_images_come_from_another_column() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("train.parquet");
    let schema = "message schema {
        optional group edited_image { optional binary bytes; }
        optional group original_image { optional binary bytes; }
    }";
    let rows = [(png(10), 0), (png(20), 0), (png(30), 0)];
    write(&path, schema, properties(Compression::SNAPPY, None), &rows);
    refused(
        &config(DataKind::Parquet, &path),
        &["image", "edited_image"],
    );
    let data = DataConfig {
        column: Some("edited_image".into()),
        ..config(DataKind::Parquet, &path)
    };
    let dataset = load(&data).unwrap();
    let column = |name: &str| {
        let place = Location {
            path: None,
            column: Some(name.into()),
        };
        Conditions::open(&ConditionConfig::Instruct(place), &dataset, &data)
    };
    let conditions = column("original_image").unwrap();
    assert_eq!(conditions.shape(), [3, 2, 2]);
    let draw = Draw {
        index: 1,
        flip: false,
    };
    let source = conditions.source(draw).unwrap().unwrap();
    let made = conditions.make(&source, 0, 0);
    assert_eq!(made, [20.0 / 127.5 - 1.0; 12]);
    let missing = column("original").unwrap_err().to_string();
    assert!(missing.contains("original_image"), "{missing}");
    let place = Location {
        path: Some(folder.path().into()),
        column: None,
    };
    let folder = Conditions::open(&ConditionConfig::Image(place), &dataset, &data);
    let message = folder.unwrap_err().to_string();
    assert!(message.contains("`column`"), "{message}");
    let other = DataConfig {
        kind: DataKind::Folder,
        ..data.clone()
    };
    refused(&other, &["column", "edited_image", "parquet"]);
}
