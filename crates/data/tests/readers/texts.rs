//! Texts with a byte order mark.

use crate::captioned::{captioned, png, read, refused, write_tar};
use std::fs;

const MARK: &str = "\u{feff}";

#[test]
fn a_byte_order_mark_is_no_part_of_a_caption() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    let cat = [("a cat".to_string(), 1)];
    let texts = root.join("texts");
    fs::create_dir(&texts).unwrap();
    fs::write(texts.join("a.png"), png(1)).unwrap();
    fs::write(texts.join("a.txt"), format!("{MARK}a cat\r\n")).unwrap();
    assert_eq!(read(&captioned(&texts)), cat);

    let tar = root.join("0.tar");
    let text = format!("{MARK}a cat");
    write_tar(&tar, &[("a.png", &png(1)), ("a.txt", text.as_bytes())]);
    assert_eq!(read(&captioned(&tar)), cat);
    let json = format!("{MARK}{{\"caption\": \"a cat\"}}");
    write_tar(&tar, &[("a.png", &png(1)), ("a.json", json.as_bytes())]);
    assert_eq!(read(&captioned(&tar)), cat);

    fs::remove_file(texts.join("a.txt")).unwrap();
    for (name, list) in [
        ("metadata.csv", "file_name,text\na.png,a cat\n"),
        (
            "metadata.jsonl",
            "{\"file_name\": \"a.png\", \"text\": \"a cat\"}\n",
        ),
    ] {
        fs::write(texts.join(name), format!("{MARK}{list}")).unwrap();
        assert_eq!(read(&captioned(&texts)), cat, "{name}");
    }
}

#[test]
fn other_encodings_are_told() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("a.png"), png(1)).unwrap();
    let wide: Vec<u8> = "\u{feff}a cat"
        .encode_utf16()
        .flat_map(u16::to_le_bytes)
        .collect();
    fs::write(folder.path().join("a.txt"), wide).unwrap();
    refused(
        &captioned(folder.path()),
        &["a.txt", "not UTF-8 but UTF-16"],
    );
}

#[test]
fn a_caption_is_no_book() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("a.png"), png(1)).unwrap();
    fs::write(folder.path().join("a.txt"), vec![b'a'; 2 << 20]).unwrap();
    refused(
        &captioned(folder.path()),
        &["a.txt cannot be read", "more than"],
    );
}
