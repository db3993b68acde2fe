//! Single files: every tensor under the name by which diffusers' own reader finds it
//! (tools/golden/single_file.py).

use crate::golden::Golden;
use burn::tensor::Device;
use fewstep_diffusion::Guidance;
use fewstep_formats::{FilePrecision, Pickles, Pipeline};
use safetensors::SafeTensors;
use safetensors::tensor::{Dtype, TensorView};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// The tensors of the stored folder by part and name. Those of the U-Net as they are written, in
/// f32.
fn stored(golden: &Golden) -> BTreeMap<String, Vec<u8>> {
    let mut all = BTreeMap::new();
    let unet = golden.pipeline().model.to_bytes(FilePrecision::Full);
    add(&mut all, "unet", &unet.expect("bytes"));
    for part in ["vae", "text_encoder", "text_encoder_2"] {
        let Ok(files) = std::fs::read_dir(golden.folder().join(part)) else {
            continue;
        };
        for file in files {
            let file = file.expect("an entry").path();
            if file
                .extension()
                .is_some_and(|ending| ending == "safetensors")
            {
                add(&mut all, part, &std::fs::read(file).expect("a file"));
            }
        }
    }
    all
}

fn add(all: &mut BTreeMap<String, Vec<u8>>, part: &str, bytes: &[u8]) {
    let file = SafeTensors::deserialize(bytes).expect("safetensors");
    for (name, view) in file.tensors() {
        all.insert(format!("{part}/{name}"), view.data().to_vec());
    }
}

fn export(pipeline: &Pipeline, folder: &Path) -> std::path::PathBuf {
    let file = folder.join("model.safetensors");
    pipeline
        .save_single(&pipeline.model, None, &file)
        .expect("written");
    file
}

/// A name in the golden file ends with `:0`, `:1` or `:2` where the tensor is a third of one in the
/// single file.
fn every_tensor_has_its_name(name: &str, architecture: &str) {
    let golden = Golden::new(name);
    let names = std::fs::read(golden.folder().join("single_file.json")).expect("a file");
    let names: BTreeMap<String, String> = serde_json::from_slice(&names).expect("JSON");
    let folder = tempfile::tempdir().expect("a folder");
    let bytes = std::fs::read(export(&golden.pipeline(), folder.path())).expect("a file");
    let file = SafeTensors::deserialize(&bytes).expect("safetensors");
    let stored = stored(&golden);
    let mut seen = BTreeSet::new();
    for (own, single) in names {
        let (single, third) = match single.split_once(':') {
            // Another test has its numbers.
            Some((single, "t")) => {
                seen.insert(single.to_string());
                continue;
            }
            Some((single, third)) => (single, third.parse().ok()),
            None => (single.as_str(), None::<usize>),
        };
        let view = file.tensor(single);
        let view = view.unwrap_or_else(|_| panic!("`{single}` is missing"));
        let data = match third {
            Some(third) => view.data().chunks(view.data().len() / 3).nth(third),
            None => Some(view.data()),
        };
        assert!(
            data == Some(&stored[&own][..]),
            "{own} has other bits as {single}"
        );
        if single.ends_with("attn_1.q.weight") {
            assert_eq!(view.shape()[2..], [1, 1], "{single}");
        }
        seen.insert(single.to_string());
    }
    // One more layer of OpenCLIP, which nothing uses and some readers want.
    let layers = "cond_stage_model.model.transformer.resblocks";
    let last = seen
        .iter()
        .filter(|name| name.starts_with(&format!("{layers}.1.")));
    let mut unused = 0;
    for name in last {
        let [used, zeros] = [name.clone(), name.replace(".resblocks.1.", ".resblocks.2.")]
            .map(|name| file.tensor(&name).expect("a tensor"));
        assert_eq!(zeros.shape(), used.shape());
        assert!(zeros.data().iter().all(|&byte| byte == 0), "{name}");
        unused += 1;
    }
    assert_eq!(unused, if name == "sd2" { 12 } else { 0 });
    assert_eq!(file.len(), seen.len() + unused);
    let (_, metadata) = SafeTensors::read_metadata(&bytes).expect("a header");
    let entries = metadata.metadata().clone().expect("metadata");
    assert_eq!(entries["modelspec.architecture"], architecture);
    assert_eq!(entries["modelspec.resolution"], "16x16");
    assert!(entries["fewstep"].contains("scaled-linear"));
}

#[test]
fn every_tensor_has_the_name_by_which_others_find_it() {
    every_tensor_has_its_name("sd1", "stable-diffusion-v1");
    every_tensor_has_its_name("sd2", "stable-diffusion-v2-768-v");
    every_tensor_has_its_name("sdxl", "stable-diffusion-xl-v1-base");
}

/// OpenCLIP's projection is a matrix that is multiplied from the right.
#[test]
fn the_projection_of_open_clip_is_transposed() {
    let golden = Golden::new("sdxl");
    let folder = tempfile::tempdir().expect("a folder");
    let bytes = std::fs::read(export(&golden.pipeline(), folder.path())).expect("a file");
    let file = SafeTensors::deserialize(&bytes).expect("safetensors");
    let theirs = file.tensor("conditioner.embedders.1.model.text_projection");
    let theirs = theirs.expect("a tensor");
    let ours = &stored(&golden)["text_encoder_2/text_projection.weight"];
    let [rows, columns] = theirs.shape() else {
        panic!("a matrix")
    };
    assert_eq!([*rows, *columns], [16, 10]);
    for row in 0..*rows {
        for column in 0..*columns {
            let [theirs, ours] = [
                &theirs.data()[2 * (row * columns + column)..][..2],
                &ours[2 * (column * rows + row)..][..2],
            ];
            assert_eq!(theirs, ours, "{row} {column}");
        }
    }
}

#[test]
fn a_single_file_comes_back_bit_for_bit() {
    for name in ["sd1", "sd2", "sdxl"] {
        let golden = Golden::new(name);
        let pipeline = golden.pipeline();
        let folder = tempfile::tempdir().expect("a folder");
        let (file, back) = (export(&pipeline, folder.path()), folder.path().join("back"));
        pipeline
            .import_single(&file, Pickles::Refused, &back)
            .expect("a folder");
        let back = Pipeline::load(&back, &Device::flex()).expect("a whole model");
        assert_eq!(back.model.weights_hash(), pipeline.model.weights_hash());
        let again = folder.path().join("again.safetensors");
        back.save_single(&back.model, None, &again)
            .expect("written");
        let [again, file] = [again, file].map(|path| std::fs::read(path).expect("a file"));
        assert!(again == file, "{name}");
    }
}

/// Precision, shape and bytes of each tensor.
type Tensors = BTreeMap<String, (Dtype, Vec<usize>, Vec<u8>)>;

#[test]
fn a_single_file_of_another_shape_is_told_so() {
    let pipeline = Golden::new("sd2").pipeline();
    let folder = tempfile::tempdir().expect("a folder");
    let refused = |change: fn(&mut Tensors)| {
        let bytes = std::fs::read(export(&pipeline, folder.path())).expect("a file");
        let file = SafeTensors::deserialize(&bytes).expect("safetensors");
        let tensors = file.tensors().into_iter();
        let tensors = tensors.map(|(name, view)| {
            let shape = view.shape().to_vec();
            (name, (view.dtype(), shape, view.data().to_vec()))
        });
        let mut tensors: Tensors = tensors.collect();
        change(&mut tensors);
        let views = tensors.iter().map(|(name, (dtype, shape, data))| {
            let view = TensorView::new(*dtype, shape.clone(), data);
            (name, view.expect("as many values"))
        });
        let file = folder.path().join("other.safetensors");
        let bytes = safetensors::serialize(views, None).expect("bytes");
        std::fs::write(&file, bytes).expect("written");
        let back = folder.path().join("back");
        let refused = pipeline
            .import_single(&file, Pickles::Refused, &back)
            .expect_err("refused");
        assert!(!back.exists());
        refused.to_string()
    };
    const FUSED: &str = "cond_stage_model.model.transformer.resblocks.0.attn.in_proj_weight";
    let message = refused(|tensors| drop(tensors.remove(FUSED)));
    assert!(
        message.contains(&format!("`{FUSED}` is missing")),
        "{message}"
    );
    let message = refused(|tensors| {
        let (_, shape, data) = tensors.get_mut(FUSED).expect("there");
        shape[0] -= 1;
        data.truncate(shape.iter().product::<usize>() * 2);
    });
    for part in [FUSED, "[35, 12]", "[12, 12]"] {
        assert!(message.contains(part), "`{part}` is not in: {message}");
    }
}

#[test]
fn a_student_goes_into_a_single_file_with_one_w_alone() {
    let student = Golden::new("tiny").pipeline().model;
    let pipeline = Golden::new("sd1").pipeline();
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("student.safetensors");
    let refused = pipeline
        .save_single(&student, None, &file)
        .expect_err("an input for w");
    assert!(refused.to_string().contains("input for w"), "{refused}");
    let fixed = student.with_fixed_w(6.5);
    assert_eq!(fixed.recipe.guidance, Guidance::Fixed { w: 6.5 });
    pipeline.save_single(&fixed, None, &file).expect("written");
}

#[test]
fn what_has_no_place_in_a_single_file_is_named() {
    let folder = tempfile::tempdir().expect("a folder");
    for (name, said) in [("bert", "BERT"), ("tiny", "input for w")] {
        let pipeline = Golden::new(name).pipeline();
        let refused = pipeline.save_single(&pipeline.model, None, &folder.path().join("x"));
        let refused = refused.expect_err("refused").to_string();
        assert!(refused.contains(said), "{name}: {refused}");
    }
}
