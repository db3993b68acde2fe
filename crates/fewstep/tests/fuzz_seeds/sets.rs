//! Sets of images: IDX, CIFAR-10, tars and parquet.

use crate::images::png;
use crate::{Files, joined, whole};
use flate2::Compression as Level;
use flate2::write::GzEncoder;
use parquet::basic::{BrotliLevel, Compression, GzipLevel, ZstdLevel};
use parquet::data_type::{ByteArray, ByteArrayType, Int64Type};
use parquet::file::metadata::KeyValue;
use parquet::file::properties::WriterProperties;
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::parser::parse_message_type;
use parquet::schema::types::SchemaDescriptor;
use std::io::Write;
use std::sync::Arc;

pub(crate) fn idx() -> Files {
    let mut images = [0x0803u32, 3, 2, 2].map(u32::to_be_bytes).concat();
    images.extend(0..12);
    let mut labels = [0x0801u32, 3].map(u32::to_be_bytes).concat();
    labels.extend([0, 2, 1]);
    let [zipped_images, zipped_labels] = [&images, &labels].map(|bytes| {
        let mut zip = GzEncoder::new(vec![], Level::default());
        zip.write_all(bytes).expect("written");
        zip.finish().expect("written")
    });
    vec![
        (whole("images"), images.clone()),
        (whole("labelled"), joined(&[&images, &labels])),
        (whole("zipped"), joined(&[&zipped_images, &zipped_labels])),
    ]
}

pub(crate) fn cifar() -> Files {
    let record = |label: u8| [&[label], &[7 * label; 3072][..]].concat();
    let names = b"airplane\nautomobile\nbird\ncat\ndeer\ndog\nfrog\nhorse\nship\ntruck\n";
    vec![
        (whole("record"), record(3)),
        (whole("named"), joined(&[&record(9), names])),
    ]
}

pub(crate) fn tars() -> Files {
    let file = |files: &[(&str, &[u8])]| {
        let mut tar = tar::Builder::new(vec![]);
        for (name, bytes) in files {
            let mut header = tar::Header::new_gnu();
            header.set_size(bytes.len() as u64);
            header.set_mode(0o644);
            tar.append_data(&mut header, name, *bytes).expect("written");
        }
        tar.into_inner().expect("written")
    };
    let long = format!("{}/a", "folder/".repeat(20));
    let long = ["png", "txt"].map(|ending| format!("{long}.{ending}"));
    vec![
        (
            whole("texts"),
            file(&[("a.png", &png()), ("a.txt", b"a cat")]),
        ),
        (
            whole("json"),
            file(&[
                ("./a.json", br#"{"caption": "a cat"}"#),
                ("./a.png", &png()),
            ]),
        ),
        (
            whole("long-names"),
            file(&[(&long[0], &png()), (&long[1], b"a cat")]),
        ),
    ]
}

/// Labels and captions, in every compression.
pub(crate) fn parquet() -> Files {
    const LABELLED: &str = "message schema {
        optional group image { optional binary bytes; optional binary path (UTF8); }
        optional int64 label;
    }";
    const CAPTIONED: &str =
        "message schema { required binary image; required binary text (UTF8); }";
    vec![
        (
            whole("labelled"),
            table(LABELLED, Compression::UNCOMPRESSED),
        ),
        (whole("snappy"), table(LABELLED, Compression::SNAPPY)),
        (
            whole("gzip"),
            table(LABELLED, Compression::GZIP(GzipLevel::default())),
        ),
        (
            whole("captioned"),
            table(CAPTIONED, Compression::UNCOMPRESSED),
        ),
        (
            whole("zstd"),
            table(CAPTIONED, Compression::ZSTD(ZstdLevel::default())),
        ),
        (whole("lz4"), table(CAPTIONED, Compression::LZ4_RAW)),
        (
            whole("brotli"),
            table(CAPTIONED, Compression::BROTLI(BrotliLevel::default())),
        ),
    ]
}

/// Two rows of this schema.
fn table(schema: &str, compression: Compression) -> Vec<u8> {
    let names =
        r#"{"info": {"features": {"label": {"names": ["cat", "dog"], "_type": "ClassLabel"}}}}"#;
    let entries = vec![KeyValue::new(whole("huggingface"), names.to_string())];
    let properties = WriterProperties::builder()
        .set_compression(compression)
        .set_key_value_metadata(Some(entries));
    let schema = Arc::new(parse_message_type(schema).expect("a schema"));
    let columns = SchemaDescriptor::new(schema.clone());
    let mut file = vec![];
    let writer = SerializedFileWriter::new(&mut file, schema, Arc::new(properties.build()));
    let mut writer = writer.expect("a writer");
    let mut group = writer.next_row_group().expect("a group");
    for descriptor in columns.columns() {
        let mut column = group.next_column().expect("a column").expect("a column");
        let levels = [descriptor.max_def_level(); 2];
        let levels = Some(&levels[..]);
        let mut write = |bytes: &[u8]| {
            let values = [ByteArray::from(bytes.to_vec()), bytes.to_vec().into()];
            column
                .typed::<ByteArrayType>()
                .write_batch(&values, levels, None)
        };
        let written = match descriptor.name() {
            "label" => column
                .typed::<Int64Type>()
                .write_batch(&[0, 1], levels, None),
            "text" => write(b"a cat"),
            _ => write(&png()),
        };
        written.expect("written");
        column.close().expect("closed");
    }
    group.close().expect("closed");
    writer.close().expect("closed");
    file
}
