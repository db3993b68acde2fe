//! The readers that are fuzzed (`fuzz/`), on the inputs that are committed there: good files, and
//! what once made a reader fail.

mod captions;
mod images;
mod models;
#[path = "../../../../fuzz/src/readers/mod.rs"]
#[allow(unreachable_pub, reason = "the fuzzer's library offers them")]
mod readers;
mod sets;
#[path = "../tiny/mod.rs"]
mod tiny;

use readers::READERS;
use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// A file whose name starts so is good.
const WHOLE: &str = "whole-";
/// As long as the fuzzer waits, but less: one of these inputs takes milliseconds.
const LONGEST: Duration = Duration::from_secs(2);

fn seeds(target: &str) -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../fuzz/seeds")).join(target)
}

/// No input makes a reader panic or takes long, and good files are read.
#[test]
fn readers_take_every_committed_input() {
    for (target, read) in READERS {
        let mut whole = 0;
        for entry in fs::read_dir(seeds(target)).expect("a folder") {
            let path = entry.expect("an entry").path();
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            let bytes = fs::read(&path).expect("read");
            let start = Instant::now();
            let good = read(&bytes);
            let took = start.elapsed();
            assert!(took < LONGEST, "{target}/{name} took {took:?}");
            assert_eq!(good, name.starts_with(WHOLE), "{target}/{name}");
            whole += usize::from(good);
        }
        assert!(whole > 0, "{target} has no good file");
    }
}

/// Writes the inputs that were not found by the fuzzer.
#[test]
#[ignore = "writes files that are committed"]
fn write_seeds() {
    let all = [
        ("captions", captions::captions()),
        ("cifar", sets::cifar()),
        ("gguf", models::gguf()),
        ("idx", sets::idx()),
        ("image", images::images()),
        ("parameters", images::parameters()),
        ("parquet", sets::parquet()),
        ("pickle", models::pickles()),
        ("recipe", captions::recipes()),
        ("safetensors", models::safetensors()),
        ("tar", sets::tars()),
    ];
    for (target, files) in all {
        let folder = seeds(target);
        fs::create_dir_all(&folder).expect("a folder");
        for (name, bytes) in files {
            fs::write(folder.join(name), bytes).expect("written");
        }
    }
}

/// Inputs by their names.
type Files = Vec<(String, Vec<u8>)>;

/// The name of a good file.
fn whole(name: &str) -> String {
    format!("{WHOLE}{name}")
}

/// Several files in one input.
fn joined(files: &[&[u8]]) -> Vec<u8> {
    files.join(&b"\n--8<--\n"[..])
}
