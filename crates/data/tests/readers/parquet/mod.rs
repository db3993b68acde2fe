//! Hugging Face parquet, written here with the parquet crate.

mod faults;
mod pairs;

use crate::{config, refused};
use fewstep_data::image::{Image, encode_png};
use fewstep_data::{DataConfig, DataKind, ImageShape, Split, load};
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

pub(crate) fn png(value: u8) -> Vec<u8> {
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

/// Writes rows of two columns of bytes.
pub(crate) fn write_two(path: &Path, schema: &str, rows: &[(Vec<u8>, Vec<u8>)]) {
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

/// Writes rows of an image and one given with it.
pub(crate) fn write_pairs(path: &Path, rows: &[(Vec<u8>, Vec<u8>)]) {
    let schema = "message schema { required binary image; required binary before; }";
    write_two(path, schema, rows);
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
