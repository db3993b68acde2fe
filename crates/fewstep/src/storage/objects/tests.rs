//! Objects in memory.

use super::*;
use object_store::memory::InMemory;

fn objects(prefix: &str) -> (Arc<InMemory>, Objects) {
    let store = Arc::new(InMemory::new());
    let url = format!("s3://bucket/{prefix}");
    let objects = Objects::new(store.clone(), ObjectPath::from(prefix), &url);
    (store, done(objects))
}

fn done<T>(result: CliResult<T>) -> T {
    result.unwrap_or_else(|error| match error {
        CliError::Input(error) | CliError::Work(error) => panic!("{error:#}"),
        CliError::Stopped { message, .. } => panic!("{message}"),
    })
}

fn pattern(length: usize) -> Vec<u8> {
    (0..length).map(|i| (i * 31 % 251) as u8).collect()
}

#[test]
fn what_is_written_is_read() {
    let (_, objects) = objects("sets/a");
    let files = (0..40).map(|i| Ok((format!("{i:02}.png"), pattern(i))));
    done(objects.put_all(&mut files.into_iter()));
    done(objects.put("below/50.png", pattern(50)));
    let mut names = done(objects.list("", ".png"));
    names.sort();
    let expected: Vec<String> = (0..40).map(|i| format!("{i:02}.png")).collect();
    assert_eq!(names, expected);
    assert_eq!(done(objects.list("1", "5.png")), ["15.png"]);
    let asked = ["07.png", "none.png", "below/50.png"].map(String::from);
    let mut read = vec![];
    done(objects.find_all(&asked, &mut |index, found| {
        read.push((index, found?));
        Ok(())
    }));
    let expected = [(0, Some(pattern(7))), (1, None), (2, Some(pattern(50)))];
    assert_eq!(read, expected);
    done(objects.remove("07.png"));
    done(objects.remove("07.png"));
    assert_eq!(done(objects.find("07.png")), None);
}

#[test]
fn large_files_go_in_parts_and_come_back_whole() {
    let (_, objects) = objects("run");
    let folder = tempfile::tempdir().expect("a folder");
    let bytes = pattern(2 * PART as usize + 12_345);
    let (from, to) = (folder.path().join("from"), folder.path().join("new/to"));
    std::fs::write(&from, &bytes).expect("written");
    done(objects.put_file("large", &from));
    assert!(done(objects.fetch("large", &to)));
    assert!(std::fs::read(&to).expect("read") == bytes);
    done(objects.put("bytes", bytes.clone()));
    assert!(done(objects.find("bytes")).expect("there") == bytes);
    assert!(!done(objects.fetch("none", &folder.path().join("none"))));
    assert!(!folder.path().join("none").exists());
}

/// A source that breaks off, as a disk may.
struct Broken(usize);

impl Read for Broken {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self.0.checked_sub(buffer.len().min(1 << 20)) {
            Some(left) => {
                let read = self.0 - left;
                self.0 = left;
                Ok(read)
            }
            None => Err(io::Error::other("the disk is gone")),
        }
    }
}

#[test]
fn nothing_is_seen_of_an_object_that_breaks_off() {
    let (_, objects) = objects("run");
    let length = 3 * PART;
    let mut broken = Broken(2 * PART as usize);
    let sent = objects.put_parts("large", length, &mut broken);
    assert!(objects.runtime.block_on(sent).is_err());
    assert_eq!(done(objects.find("large")), None);
    assert_eq!(done(objects.list("", "")), [""; 0]);
}

#[test]
fn names_are_below_the_prefix() {
    let (store, objects) = objects("a/b");
    done(objects.put("c", vec![1]));
    let whole = Objects::new(store, ObjectPath::default(), "s3://bucket");
    assert_eq!(done(done(whole).find("a/b/c")), Some(vec![1]));
}

#[test]
fn all_objects_below_are_listed_and_change_with_their_contents() {
    let (_, objects) = objects("sets/a");
    done(objects.put("train/x/1.png", vec![1]));
    done(objects.put("2.tar", vec![2]));
    let listed = || {
        let mut files = done(objects.list_below());
        files.sort_by(|a, b| a.name.cmp(&b.name));
        files
    };
    let before = listed();
    let names: Vec<&str> = before.iter().map(|file| file.name.as_str()).collect();
    assert_eq!(names, ["2.tar", "train/x/1.png"]);
    done(objects.put("2.tar", vec![3]));
    let after = listed();
    assert_ne!(after[0].identity, before[0].identity);
    assert_eq!(after[1].identity, before[1].identity);
}
