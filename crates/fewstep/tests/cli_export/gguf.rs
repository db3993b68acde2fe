//! GGUF files, read as their readers read them.

use super::*;

/// Entries and tensors of a GGUF file, read by the format's specification.
pub(super) struct Gguf {
    entries: BTreeMap<String, String>,
    /// Dimensions (the fastest first), type, and all bytes from the start of the data.
    pub(super) tensors: BTreeMap<String, (Vec<u64>, u32, Vec<u8>)>,
}

struct Bytes<'a>(&'a [u8]);

impl Bytes<'_> {
    fn take<const N: usize>(&mut self) -> [u8; N] {
        let (taken, rest) = self.0.split_first_chunk().expect("long enough");
        self.0 = rest;
        *taken
    }

    fn u32(&mut self) -> u32 {
        u32::from_le_bytes(self.take())
    }

    fn u64(&mut self) -> u64 {
        u64::from_le_bytes(self.take())
    }

    fn text(&mut self) -> String {
        let length = self.u64() as usize;
        let (text, rest) = self.0.split_at(length);
        self.0 = rest;
        String::from_utf8(text.to_vec()).expect("UTF-8")
    }
}

impl Gguf {
    pub(super) fn read(file: &Path) -> Self {
        let all = std::fs::read(file).expect("a file");
        let mut bytes = Bytes(&all);
        assert_eq!(&bytes.take(), b"GGUF");
        assert_eq!(bytes.u32(), 3, "version");
        let (count, pairs) = (bytes.u64(), bytes.u64());
        let entries = (0..pairs).map(|_| {
            let key = bytes.text();
            let value = match bytes.u32() {
                4 => bytes.u32().to_string(),
                8 => bytes.text(),
                other => panic!("`{key}` is of type {other}"),
            };
            (key, value)
        });
        let entries = entries.collect();
        let headers: Vec<_> = (0..count)
            .map(|_| {
                let name = bytes.text();
                let sides = bytes.u32();
                let sides: Vec<u64> = (0..sides).map(|_| bytes.u64()).collect();
                (name, sides, bytes.u32(), bytes.u64() as usize)
            })
            .collect();
        let start = (all.len() - bytes.0.len()).next_multiple_of(32);
        let tensors = headers.into_iter().map(|(name, sides, kind, offset)| {
            assert_eq!(offset % 32, 0, "{name}");
            let values = sides.iter().product::<u64>() as usize;
            let length = match kind {
                0 => 4 * values,
                1 => 2 * values,
                8 => values / 32 * 34,
                30 => 2 * values,
                other => panic!("`{name}` is of type {other}"),
            };
            let data = all[start + offset..][..length].to_vec();
            (name, (sides, kind, data))
        });
        Self {
            entries,
            tensors: tensors.collect(),
        }
    }
}

#[test]
fn a_gguf_file_holds_the_unet_under_the_names_of_its_readers() {
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path();
    let model = golden_path("sd1");
    let export = |precision: &str, out: &str| {
        let form = ["export", "--form", "gguf", "--precision", precision];
        succeed(
            folder,
            &[&form[..], &["--model", &model, "--out", out]].concat(),
        );
        Gguf::read(&folder.join(out))
    };
    let [full, half, bytes] =
        ["f32", "f16", "q8_0"].map(|precision| export(precision, &format!("{precision}.gguf")));
    let names = std::fs::read(golden("sd1").join("single_file.json")).expect("a file");
    let names: BTreeMap<String, String> = serde_json::from_slice(&names).expect("JSON");
    let unet = Pipeline::load_model(Path::new(&model), &Device::flex()).expect("a U-Net");
    let unet = unet.to_bytes(FilePrecision::Full).expect("bytes");
    let unet = SafeTensors::deserialize(&unet).expect("safetensors");
    assert_eq!(full.tensors.len(), unet.len());
    let mut quantised = 0;
    for (name, view) in unet.tensors() {
        let single = &names[&format!("unet/{name}")];
        let theirs = single
            .strip_prefix("model.diffusion_model.")
            .expect("the prefix");
        let (sides, kind, data) = &full.tensors[theirs];
        let shape: Vec<u64> = view.shape().iter().rev().map(|side| *side as u64).collect();
        assert_eq!((sides, *kind), (&shape, 0), "{theirs}");
        assert!(data == view.data(), "{theirs} has other bits");
        let expected = |wide: u32| if shape.len() == 1 { 0 } else { wide };
        assert_eq!(half.tensors[theirs].1, expected(1), "{theirs}");
        let narrow = if shape[0].is_multiple_of(32) { 8 } else { 1 };
        let (_, kind, packed) = &bytes.tensors[theirs];
        assert_eq!(*kind, expected(narrow), "{theirs}");
        if *kind == 8 {
            quantised += 1;
            // A value of the widest size in each block is stored as ±127, and no value is off by
            // more than half a step.
            for (block, values) in packed.chunks_exact(34).zip(data.chunks_exact(128)) {
                let steps = block[2..].iter().map(|byte| *byte as i8);
                let values = values.chunks_exact(4).map(|b| b.try_into().expect("four"));
                let values: Vec<f32> = values.map(f32::from_le_bytes).collect();
                let largest = values.iter().fold(0f32, |max, v| max.max(v.abs()));
                assert_eq!(
                    steps.clone().map(|step| step.unsigned_abs()).max(),
                    Some(127)
                );
                for (step, value) in steps.zip(values) {
                    let error = (f32::from(step) * largest / 127.0 - value).abs();
                    assert!(error <= 0.501 * largest / 127.0, "{theirs}: {error}");
                }
            }
        }
    }
    assert!(quantised > 0);
    for (file, kind) in [(&full, "0"), (&half, "1"), (&bytes, "7")] {
        assert_eq!(file.entries["general.architecture"], "sd1");
        assert_eq!(file.entries["general.file_type"], kind);
        assert_eq!(
            file.entries["modelspec.architecture"],
            "stable-diffusion-v1"
        );
        assert!(file.entries["fewstep"].contains("scaled-linear"));
    }
    let again = export("f16", "again.gguf");
    assert_eq!(again.entries, half.entries);
    let read = |name: &str| std::fs::read(folder.join(name)).expect("a file");
    assert!(read("again.gguf") == read("f16.gguf"));
}

#[test]
fn a_whole_model_is_one_gguf_file() {
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path();
    let model = golden_path("sd1");
    let names = json(&golden("sd1").join("single_file.json"));
    let mut expected: Vec<&str> = names
        .as_object()
        .expect("names")
        .values()
        .map(|name| {
            name.as_str()
                .expect("a name")
                .split(':')
                .next()
                .expect("a name")
        })
        .collect();
    expected.sort_unstable();
    expected.dedup();
    for (precision, of_text, vector) in [("f32", 0, 0), ("bf16", 30, 0), ("q8_0", 1, 0)] {
        let file = format!("{precision}.gguf");
        let form = ["--form", "gguf-model", "--precision", precision];
        let words = [&["export", "--model", &model, "--out", &file], &form[..]].concat();
        succeed(folder, &words);
        let read = Gguf::read(&folder.join(&file));
        assert!(
            read.tensors
                .keys()
                .map(String::as_str)
                .eq(expected.iter().copied())
        );
        let kind = |name: &str| read.tensors[name].1;
        let text = "cond_stage_model.transformer.text_model.embeddings.token_embedding.weight";
        assert_eq!(kind(text), of_text, "{precision}");
        assert_eq!(kind("model.diffusion_model.out.2.bias"), vector);
    }
}

/// A file of ours says how it is sampled, which its base does not: neither role, w nor prediction get
/// lost.
#[test]
fn a_student_is_imported_as_a_student() {
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path();
    let base = golden_path("sd1");
    let image = |model: &str| generate(folder, &["--model", model, "--prompt", "a cat"]);
    succeed(folder, &["export", "--model", &base, "--out", "student"]);
    let recipe = folder.join("student/fewstep.json");
    let mut stated = json(&recipe);
    stated["role"] = json!({ "kind": "student", "sampler": "deterministic", "steps": 2 });
    stated["guidance"] = json!({ "kind": "fixed", "w": 3.0 });
    stated["prediction"] = "v".into();
    std::fs::write(&recipe, stated.to_string()).expect("written");
    let expected = image("student");
    assert!(image(&base) != expected);
    for form in ["single-file", "gguf", "gguf-model"] {
        let (file, back) = (format!("{form}.file"), format!("{form}.back"));
        let export = ["export", "--model", "student", "--precision", "f32"];
        let form = ["--form", form, "--out", &file];
        succeed(folder, &[&export[..], &form].concat());
        let import = ["import", "--file", &file, "--like", &base, "--out", &back];
        succeed(folder, &import);
        assert!(image(&back) == expected, "{back}");
        assert_eq!(
            json(&folder.join(&back).join("fewstep.json"))["role"],
            stated["role"]
        );
        let scheduler = folder.join(&back).join("scheduler/scheduler_config.json");
        assert_eq!(json(&scheduler)["prediction_type"], "v_prediction");
        let (facts, _) = succeed(folder, &["info", &file]);
        assert!(facts.contains("fewstep import --file"), "{facts}");
        assert!(!facts.contains("other:"), "{facts}");
    }
}

/// A U-Net by itself, and a whole model: the image is that of the model that was written.
#[test]
fn a_file_is_imported_next_to_its_base() {
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path();
    let base = golden_path("sd1");
    let image = |model: &str| generate(folder, &["--model", model, "--prompt", "a cat"]);
    let expected = image(&base);
    for form in ["gguf", "gguf-model"] {
        let file = format!("{form}.gguf");
        let export = ["export", "--model", &base, "--form", form];
        succeed(
            folder,
            &[&export[..], &["--precision", "f32", "--out", &file]].concat(),
        );
        succeed(
            folder,
            &["import", "--file", &file, "--like", &base, "--out", form],
        );
        assert!(image(form) == expected, "{form}");
    }
    let whole = std::fs::read(folder.join("gguf.gguf")).expect("a file");
    std::fs::write(folder.join("cut.gguf"), &whole[..whole.len() / 2]).expect("written");
    let import = ["import", "--file", "cut.gguf", "--like", &base];
    refuse(
        folder,
        &[&import[..], &["--out", "cut"]].concat(),
        &["cut.gguf", "its end is missing"],
    );
}
