//! Lists of images: which files they may name, and how they are written.

use crate::captioned::{captioned, png, read, refused};
use fewstep_data::{Captioned, ConditionConfig, DataConfig, Location};
use std::fs;
use std::path::Path;

fn write(folder: &Path, lines: &[&str]) {
    fs::write(folder.join("metadata.jsonl"), lines.join("\n")).unwrap();
}

#[test]
fn a_list_names_no_files_outside_its_folder() {
    let root = tempfile::tempdir().unwrap();
    let folder = root.path().join("set");
    fs::create_dir(&folder).unwrap();
    let secret = root.path().join("secret.png");
    fs::write(&secret, png(1)).unwrap();
    fs::write(folder.join("a.png"), png(2)).unwrap();
    write(&folder, &[r#"{"file_name": "./a.png", "text": "fine"}"#]);
    assert_eq!(read(&captioned(&folder)), [("fine".to_string(), 2)]);
    for name in ["../secret.png", &secret.display().to_string(), "/dev/zero"] {
        let line = serde_json::json!({"file_name": name, "text": "a cat"}).to_string();
        write(&folder, &[&line]);
        refused(
            &captioned(&folder),
            &[
                "metadata.jsonl, line 1",
                name,
                "outside of",
                "relative paths",
            ],
        );
    }
    let line = r#"{"file_name": "a.png", "before": "../secret.png", "text": "a cat"}"#;
    write(&folder, &[line]);
    let rule = ConditionConfig::Instruct(Location {
        path: None,
        column: Some("before".into()),
    });
    let set = Captioned::paired(&captioned(&folder), rule.given()).unwrap();
    let message = set.check(fewstep_data::Check::Present).unwrap_err();
    assert!(message.to_string().contains("outside of"), "{message}");
}

#[cfg(unix)]
#[test]
fn devices_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    std::os::unix::fs::symlink("/dev/zero", folder.path().join("a.png")).unwrap();
    write(
        folder.path(),
        &[r#"{"file_name": "a.png", "text": "a cat"}"#],
    );
    refused(
        &captioned(folder.path()),
        &["a.png", "line 1 of metadata.jsonl", "a device"],
    );
    fs::remove_file(folder.path().join("metadata.jsonl")).unwrap();
    fs::remove_file(folder.path().join("a.png")).unwrap();
    fs::write(folder.path().join("a.png"), png(1)).unwrap();
    std::os::unix::fs::symlink("/dev/zero", folder.path().join("a.txt")).unwrap();
    refused(
        &captioned(folder.path()),
        &["a.txt cannot be read", "a device"],
    );
}

#[test]
fn tables_are_lists_too() {
    let folder = tempfile::tempdir().unwrap();
    for value in [1, 2] {
        fs::write(folder.path().join(format!("{value}.png")), png(value)).unwrap();
    }
    let table = "file_name,text,words\n1.png,\"a cat, asleep\",one\n2.png,two dogs,two\n";
    fs::write(folder.path().join("metadata.csv"), table).unwrap();
    let plain = captioned(folder.path());
    let expected = [
        ("a cat, asleep".to_string(), 1),
        ("two dogs".to_string(), 2),
    ];
    assert_eq!(read(&plain), expected);
    let words = DataConfig {
        caption: Some("words".into()),
        ..plain.clone()
    };
    assert_eq!(read(&words)[0].0, "one");
    fs::write(
        folder.path().join("metadata.csv"),
        "file_name,text\n1.png,,\n\n3.png,x\n",
    )
    .unwrap();
    refused(
        &plain,
        &[
            "metadata.csv, line 2: 3 values, expected 2",
            "3.png: named in line 4 of metadata.csv",
        ],
    );
}
