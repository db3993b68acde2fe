//! Folders as older or other tools have written them: the same networks.

use crate::golden::Golden;
use crate::refusals::Copy;
use burn::tensor::Device;
use fewstep_formats::Pipeline;
use safetensors::{Dtype, SafeTensors};
use serde_json::json;
use std::collections::BTreeMap;
use std::path::Path;

type Tensors = BTreeMap<String, (Dtype, Vec<usize>, Vec<u8>)>;

/// Changes the tensors of the one safetensors file in a folder.
fn change(folder: &Path, change: impl FnOnce(&mut Tensors)) {
    let files = std::fs::read_dir(folder).expect("a folder");
    let mut files = files.map(|entry| entry.expect("an entry").path());
    let is_weights =
        |path: &std::path::PathBuf| path.extension().is_some_and(|e| e == "safetensors");
    let file = files.find(is_weights).expect("weights");
    let bytes = std::fs::read(&file).expect("there");
    let tensors = SafeTensors::deserialize(&bytes).expect("whole").tensors();
    let tensors = tensors.into_iter().map(|(name, view)| {
        let shape = view.shape().to_vec();
        (name, (view.dtype(), shape, view.data().to_vec()))
    });
    let mut tensors: Tensors = tensors.collect();
    change(&mut tensors);
    let views = tensors.iter().map(|(name, (dtype, shape, data))| {
        let view = safetensors::tensor::TensorView::new(*dtype, shape.clone(), data);
        (name, view.expect("as many values"))
    });
    let bytes = safetensors::serialize(views, None).expect("bytes");
    std::fs::write(file, bytes).expect("written");
}

/// All networks of a folder, in one file.
fn in_one_file(folder: &Path) -> Vec<u8> {
    let pipeline = Pipeline::load(folder, &Device::flex()).expect("a whole model");
    let out = tempfile::tempdir().expect("a folder");
    let file = out.path().join("all.safetensors");
    let written = pipeline.save_single(&pipeline.model, None, &file);
    written.expect("written");
    std::fs::read(file).expect("a file")
}

#[test]
fn what_makes_no_difference_is_read() {
    let golden = Golden::new("sd1");
    let expected = in_one_file(golden.folder());
    let same = |change: &dyn Fn(&Copy)| {
        let copy = Copy::of_golden(&golden);
        change(&copy);
        assert!(in_one_file(&copy.path("")) == expected);
    };
    same(&|copy| copy.set("unet/config.json", "time_embedding_dim", json!(32)));
    // Attention as convolutions of one pixel.
    same(&|copy| {
        change(&copy.path("vae"), |tensors| {
            let mut changed = 0;
            for (name, (_, shape, _)) in tensors {
                if name.contains(".attentions.") && shape.len() == 2 {
                    shape.extend([1, 1]);
                    changed += 1;
                }
            }
            assert!(changed > 0, "nothing to change");
        });
    });
    same(&|copy| {
        change(&copy.path("text_encoder"), |tensors| {
            let projection = (Dtype::F32, vec![2, 2], vec![0; 16]);
            tensors.insert("text_projection.weight".into(), projection);
        });
    });
    let other = Copy::of_golden(&golden);
    other.set("unet/config.json", "time_embedding_dim", json!(64));
    other.refused(&["`time_embedding_dim` is 64", "only 32"]);
}
