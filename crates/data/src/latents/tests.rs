use super::*;
use std::fs::{self, File};

/// Without masks there is a pooled embedding.
fn header(mirrored: bool, masks: usize) -> LatentsHeader {
    LatentsHeader {
        pooled: if masks == 0 { 2 } else { 0 },
        image: if masks == 0 { [8, 16] } else { [0, 0] },
        key: "key".into(),
        name: "three".into(),
        fingerprint: "0123".into(),
        some: vec!["a cat".into()],
        captions: vec![1, 2, 1],
        latent: [2, 1, 2],
        states: [2, 3],
        mirrored,
        classes: vec![],
        masks,
        source_images: false,
    }
}

/// Every number of latent and states tells where it belongs.
fn write(path: &Path, mirrored: bool, masks: usize) {
    let mut writer = LatentsWriter::create(path, header(mirrored, masks)).unwrap();
    let copies = 1 + usize::from(mirrored);
    let bases = (0..3 * copies).map(|i| (100 * (i / copies) + 10 * (i % copies)) as f32);
    for base in bases.clone() {
        writer
            .write(&[base, base + 1.0, base + 2.0, base + 3.0])
            .unwrap();
    }
    for base in bases {
        for mask in 0..masks {
            writer.write(&[base + 0.1 * mask as f32; 6]).unwrap();
        }
    }
    for text in 0..3 {
        writer.write(&[1000.0 * text as f32; 6]).unwrap();
    }
    for text in 0..if masks == 0 { 3 } else { 0 } {
        writer.write(&[1000.5 * text as f32; 2]).unwrap();
    }
    writer.finish().unwrap();
}

#[test]
fn batches_are_those_of_the_order_with_their_texts() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("cache.safetensors");
    for (mirrored, masks) in [(false, 0), (true, 0), (false, 2), (true, 3)] {
        write(&path, mirrored, masks);
        let cache = Latents::open(&path, "key").unwrap().unwrap();
        assert_eq!(*cache.header(), header(mirrored, masks));
        let mut order = ExampleOrder::new(3, 3, true);
        let batch = cache.batch(None, &mut order, 4, 7).unwrap();
        let prompt = batch.inputs.prompt.as_ref().unwrap();
        for sample in 0..7 {
            let draw = order.at(4 + sample as u64);
            let flipped = usize::from(draw.flip && mirrored);
            let base = (100 * draw.index + 10 * flipped) as f32;
            assert_eq!(
                batch.images.values[4 * sample..][..4],
                [base, base + 1.0, base + 2.0, base + 3.0]
            );
            let caption = header(mirrored, masks).captions[draw.index] as f32;
            assert_eq!(
                prompt.cond.states.values[6 * sample..][..6],
                [1000.0 * caption; 6]
            );
            if let Some(pooled) = &prompt.cond.pooled {
                assert_eq!(pooled.values[2 * sample..][..2], [1000.5 * caption; 2]);
            }
            if let Some(concat) = &batch.inputs.concat {
                let seen = &concat.values[6 * sample..][..6];
                let of_masks = (0..masks).map(|mask| [base + 0.1 * mask as f32; 6]);
                assert!(of_masks.into_iter().any(|mask| mask == seen), "{seen:?}");
            }
        }
        let concat = batch.inputs.concat.as_ref().map(|concat| concat.shape);
        assert_eq!(concat, (masks > 0).then_some([3, 1, 2]));
        assert_eq!(prompt.uncond.states.values, [0.0; 6]);
        assert_eq!(prompt.cond.pooled.is_some(), masks == 0);
        let ids = [8.0, 16.0, 0.0, 0.0, 8.0, 16.0];
        let told = batch.inputs.time_ids.map(|all| all[6].numbers());
        assert_eq!(told, (masks == 0).then_some(ids));
    }
}

#[test]
fn masks_take_turns_by_seed_and_clock() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("cache.safetensors");
    write(&path, false, 3);
    let cache = Latents::open(&path, "key").unwrap().unwrap();
    let concat = |seed, clock, size| {
        let order = &mut ExampleOrder::new(seed, 3, false);
        cache
            .batch(None, order, clock, size)
            .unwrap()
            .inputs
            .concat
            .unwrap()
            .values
    };
    assert_eq!(concat(1, 4, 8), concat(1, 0, 12)[4 * 6..]);
    let mut seen: Vec<i32> = concat(1, 0, 90).iter().map(|v| (10.0 * v) as i32).collect();
    seen.sort_unstable();
    seen.dedup();
    assert_eq!(seen.len(), 9, "{seen:?}");
}

/// The latents of the source image are those of the same example, mirrored where the image is.
#[test]
fn source_images_go_with_their_images() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("cache.safetensors");
    let header = LatentsHeader {
        source_images: true,
        pooled: 0,
        image: [0, 0],
        ..header(true, 0)
    };
    let mut writer = LatentsWriter::create(&path, header.clone()).unwrap();
    for copy in 0..6 {
        writer.write(&[copy as f32; 4]).unwrap();
    }
    for copy in 0..6 {
        writer.write(&[100.0 + copy as f32; 4]).unwrap();
    }
    writer.write(&[0.0; 3 * 6]).unwrap();
    writer.finish().unwrap();
    let cache = Latents::open(&path, "key").unwrap().unwrap();
    assert_eq!(*cache.header(), header);
    let batch = cache
        .batch(None, &mut ExampleOrder::new(3, 3, true), 0, 30)
        .unwrap();
    let concat = batch.inputs.concat.unwrap();
    assert_eq!(concat.shape, [2, 1, 2]);
    let sources: Vec<f32> = batch.images.values.iter().map(|v| 100.0 + v).collect();
    assert_eq!(concat.values, sources);
}

#[test]
fn a_cache_that_is_not_what_was_written_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("cache.safetensors");
    assert!(Latents::open(&path, "key").unwrap().is_none());
    write(&path, false, 0);
    let other = Latents::open(&path, "other").unwrap_err().to_string();
    assert!(
        other.contains("something else") && other.contains("remove it"),
        "{other}"
    );
    let mut bytes = fs::read(&path).unwrap();
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    fs::write(&path, &bytes).unwrap();
    assert!(
        Latents::open(&path, "key")
            .unwrap_err()
            .to_string()
            .contains("contents")
    );
    fs::write(&path, &bytes[..last]).unwrap();
    assert!(Latents::open(&path, "key").is_err());
    fs::write(&path, b"hello").unwrap();
    assert!(Latents::open(&path, "key").is_err());
}

#[test]
fn an_unfinished_cache_is_none() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("cache.safetensors");
    let mut writer = LatentsWriter::create(&path, header(false, 0)).unwrap();
    writer.write(&[0.0; 5]).unwrap();
    assert!(
        writer
            .finish()
            .unwrap_err()
            .to_string()
            .contains("instead of")
    );
    assert!(Latents::open(&path, "key").unwrap().is_none());
    assert_eq!(names(folder.path()), [""; 0]);
}

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap().flatten();
    let mut names: Vec<String> = entries
        .map(|entry| entry.file_name().to_string_lossy().into())
        .collect();
    names.sort();
    names
}

#[test]
fn what_a_killed_program_left_goes_and_what_another_writes_stays() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str| folder.path().join(name);
    for name in ["latents-a.17.tmp", "latents-b.safetensors", "other.tmp"] {
        fs::write(file(name), "begun").unwrap();
    }
    let alive = File::create(file("latents-c.18.tmp")).unwrap();
    alive.lock().unwrap();
    let writer = LatentsWriter::create(&file("latents-d.safetensors"), header(false, 0)).unwrap();
    let own = format!("latents-d.{}.tmp", std::process::id());
    let kept = ["latents-b.safetensors", "latents-c.18.tmp", "other.tmp"];
    let mut expected = [&kept[..], &[&own]].concat();
    expected.sort();
    assert_eq!(names(folder.path()), expected);
    drop(writer);
    assert_eq!(names(folder.path()), kept);
}

/// Headers of earlier versions say `holes`.
#[test]
fn a_header_of_an_earlier_version_is_read() {
    let text = serde_json::to_string(&header(false, 3)).unwrap();
    let old = text.replace("\"masks\"", "\"holes\"");
    assert_ne!(old, text);
    let read: LatentsHeader = serde_json::from_str(&old).unwrap();
    assert_eq!(read.masks, 3);
}

/// The oracle: one cache with the same examples, in which the second shard's texts follow those of
/// the first.
#[test]
fn caches_of_shards_give_the_batches_of_one() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, captions: &[u32], latents: &[f32], texts: &[f32]| {
        let path = folder.path().join(name);
        let header = LatentsHeader {
            key: name.into(),
            fingerprint: name.into(),
            captions: captions.to_vec(),
            ..header(false, 0)
        };
        let mut writer = LatentsWriter::create(&path, header).unwrap();
        latents
            .iter()
            .for_each(|value| writer.write(&[*value; 4]).unwrap());
        texts
            .iter()
            .for_each(|value| writer.write(&[*value; 6]).unwrap());
        texts
            .iter()
            .for_each(|value| writer.write(&[0.5 * value; 2]).unwrap());
        writer.finish().unwrap();
        Latents::open(&path, name).unwrap().unwrap()
    };
    let shards = vec![
        write("a", &[1, 2, 1], &[10.0, 20.0, 30.0], &[0.0, 1.0, 2.0]),
        write("b", &[1], &[40.0], &[0.0, 3.0]),
        write("c", &[2, 1], &[50.0, 60.0], &[0.0, 1.0, 4.0]),
    ];
    let joined = Latents::join(shards, "all", |contents| format!("{contents}-x")).unwrap();
    let whole = write(
        "whole",
        &[1, 2, 1, 3, 4, 1],
        &[10.0, 20.0, 30.0, 40.0, 50.0, 60.0],
        &[0.0, 1.0, 2.0, 3.0, 4.0],
    );
    let batch = |cache: &Latents| {
        let order = &mut ExampleOrder::new(5, 6, false);
        cache.batch(None, order, 3, 20).unwrap()
    };
    let (joined_batch, batch) = (batch(&joined), batch(&whole));
    assert_eq!(joined_batch.images.values, batch.images.values);
    let [a, b] = [joined_batch, batch].map(|batch| batch.inputs.prompt.unwrap());
    assert_eq!(a.cond.states.values, b.cond.states.values);
    assert_eq!(a.cond.pooled.unwrap().values, b.cond.pooled.unwrap().values);
    assert_eq!(a.uncond.states.values, b.uncond.states.values);
    let header = joined.header();
    assert_eq!((header.name.as_str(), joined.len()), ("all", 6));
    assert_eq!(header.key, format!("{}-x", header.fingerprint));
    assert!(Latents::join(vec![], "none", |text| text.into()).is_err());
}
