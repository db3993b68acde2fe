//! Images that are given with others, in a column of their own.

use super::{png, properties, write, write_pairs};
use crate::{config, refused};
use fewstep_data::{
    ConditionConfig, Conditions, DataConfig, DataKind, Draw, Location, load, survey,
};
use parquet::basic::Compression;

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
