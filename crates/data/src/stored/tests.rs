use super::*;

fn files(names: &[&str]) -> Vec<StoredFile> {
    let file = |name: &&str| StoredFile {
        name: name.to_string(),
        identity: format!("tag of {name}"),
    };
    names.iter().map(file).collect()
}

fn config(kind: DataKind) -> DataConfig {
    DataConfig {
        size: Some(8),
        ..DataConfig::new(kind, "s3://bucket/set")
    }
}

fn shards(config: &DataConfig, names: &[&str]) -> Result<Vec<Vec<String>>, String> {
    let set = StoredSet::new(config, files(names)).map_err(|error| error.to_string())?;
    let names = |shard: &Vec<StoredFile>| shard.iter().map(|file| file.name.clone()).collect();
    Ok(set.shards().iter().map(names).collect())
}

#[test]
fn captioned_sets_are_archives_of_a_split() {
    let mut config = config(DataKind::Captioned);
    let flat = ["b.tar", "a.tar", "readme.md", "._a.tar", "val.tar"];
    assert_eq!(shards(&config, &flat).unwrap(), [["a.tar"], ["b.tar"]]);
    let divided = ["set/train/1.parquet", "set/test/2.parquet"];
    assert_eq!(
        shards(&config, &divided).unwrap(),
        [["set/train/1.parquet"]]
    );
    config.split = Split::Test;
    assert_eq!(shards(&config, &flat).unwrap(), [["val.tar"]]);
    assert_eq!(shards(&config, &divided).unwrap(), [["set/test/2.parquet"]]);
    let none = shards(&config, &["a.png", "a.txt"]).unwrap_err();
    assert!(
        none.contains(".tar files (WebDataset)") && none.contains("a.png"),
        "{none}"
    );
    let alone = shards(&config, &["a.tar"]).unwrap_err();
    assert!(alone.contains("`*.tar` file for the split"), "{alone}");
}

#[test]
fn labelled_images_are_cut_into_shards_in_the_order_of_a_folder() {
    let mut config = config(DataKind::Folder);
    let mut names: Vec<String> = (0..1500).map(|i| format!("train/b/{i:04}.png")).collect();
    names.extend(
        [
            "train/a/x/1.png",
            "train/a/1.txt",
            "train/a.png",
            "test/a/2.png",
        ]
        .map(String::from),
    );
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let found = shards(&config, &names).unwrap();
    assert_eq!(found.iter().map(Vec::len).collect::<Vec<_>>(), [1024, 477]);
    assert_eq!(found[0][..2], ["train/a/x/1.png", "train/b/0000.png"]);
    let set = StoredSet::new(&config, files(&names)).unwrap();
    assert_eq!(set.classes, ["a", "b"]);
    config.split = Split::Test;
    assert_eq!(shards(&config, &names).unwrap(), [["test/a/2.png"]]);
    let flat = shards(&config, &["1.png"]).unwrap_err();
    assert!(flat.contains("sub-folder named"), "{flat}");
}

#[test]
fn a_shard_is_another_once_a_file_or_a_setting_is() {
    let of =
        |config: &DataConfig, files| StoredSet::new(config, files).unwrap().identity(0).unwrap();
    let config = config(DataKind::Captioned);
    let known = of(&config, files(&["a.tar"]));
    // What else is in the set does not count.
    assert_eq!(of(&config, files(&["a.tar", "b.tar"])), known);
    let mut changed = files(&["a.tar"]);
    changed[0].identity.push('2');
    let larger = DataConfig {
        size: Some(16),
        ..config.clone()
    };
    let others = [
        of(&config, files(&["b.tar"])),
        of(&config, changed),
        of(&larger, files(&["a.tar"])),
    ];
    assert!(!others.contains(&known), "{others:?} {known}");
}

#[test]
fn what_has_no_meaning_elsewhere_is_refused() {
    let limited = DataConfig {
        limit: Some(3),
        ..config(DataKind::Captioned)
    };
    let said = shards(&limited, &["a.tar"]).unwrap_err();
    assert!(said.contains("not counted before they are read"), "{said}");
    let digits = DataConfig::new(DataKind::Idx, "s3://bucket/set");
    let said = shards(&digits, &["a.idx"]).unwrap_err();
    assert!(said.contains("a folder of this machine"), "{said}");
}
