//! Weights: safetensors, GGUF and pickles.

use crate::readers::pickle::archive;
use crate::{Files, tiny, whole};
use fewstep_formats::FilePrecision;
use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use serde_json::Value;
use std::collections::HashMap;
use std::fs;

pub(crate) fn safetensors() -> Files {
    let model = tiny::changed(&tiny::teacher(), |network, recipe| {
        (network.patch, network.widths, network.attention) = (1, vec![4], vec![false]);
        (network.head, network.groups, network.classes) = (4, 2, 2);
        recipe.resolution = [1, 2, 2];
        recipe.classes.truncate(2);
    });
    let bytes = model.to_bytes(FilePrecision::Half).expect("a file");
    let (_, header) = SafeTensors::read_metadata(&bytes).expect("a header");
    let description = header.metadata().as_ref().and_then(|m| m.get("fewstep"));
    let description = description.expect("a description").clone();
    vec![
        (whole("model"), bytes),
        ("refused-many-names".into(), many_names(&description)),
        (whole("description"), description.into_bytes()),
    ]
}

/// A network of thousands of parameters, and a file with a hundred others.
fn many_names(description: &str) -> Vec<u8> {
    let mut described: Value = serde_json::from_str(description).expect("JSON");
    let network = &mut described["network"];
    network["widths"] = [4; 10].into();
    network["attention"] = [false; 10].into();
    network["blocks"] = 60.into();
    described["recipe"]["resolution"] = [1, 512, 512].into();
    let names: Vec<String> = (0..100)
        .map(|i| format!("unknown_blocks.{i}.resnets.3.conv_shortcut.weight"))
        .collect();
    let empty = TensorView::new(Dtype::F32, vec![0], &[]).expect("no values");
    let tensors = names.iter().map(|name| (name, empty.clone()));
    let metadata = HashMap::from([("fewstep".to_string(), described.to_string())]);
    safetensors::serialize(tensors, Some(metadata)).expect("a file")
}

/// Files with entries of every kind and a tensor.
pub(crate) fn gguf() -> Files {
    let text = |text: &str| [&(text.len() as u64).to_le_bytes(), text.as_bytes()].concat();
    let entry =
        |key: &str, kind: u32, value: &[u8]| [&text(key)[..], &kind.to_le_bytes(), value].concat();
    let list = |kind: u32, count: u64, values: &[u8]| {
        [&kind.to_le_bytes()[..], &count.to_le_bytes(), values].concat()
    };
    let sizes = [1, 1, 2, 2, 4, 4, 4, 1];
    let mut entries: Vec<Vec<u8>> = (0u32..)
        .zip(sizes)
        .map(|(kind, size)| entry(&format!("key{kind}"), kind, &[1; 4][..size]))
        .collect();
    entries.extend((10..=12).map(|kind| entry(&format!("key{kind}"), kind, &[1; 8])));
    entries.extend([
        entry("general.architecture", 8, &text("sd1")),
        entry("texts", 9, &list(8, 2, &[text("a"), text("b")].concat())),
        entry("numbers", 9, &list(4, 3, &[1; 12])),
    ]);
    let tensor = |name: &str, shape: &[u64], kind: u32| {
        let shape: Vec<u8> = shape.iter().flat_map(|side| side.to_le_bytes()).collect();
        let dimensions = (shape.len() as u32 / 8).to_le_bytes();
        let dimensions = &dimensions[..];
        [
            &text(name)[..],
            dimensions,
            &shape,
            &kind.to_le_bytes(),
            &0u64.to_le_bytes(),
        ]
        .concat()
    };
    let tensors = [
        tensor("input_blocks.0.0.weight", &[3, 3, 4, 8], 1),
        tensor("model.diffusion_model.attn2.to_k.weight", &[768, 8], 8),
    ];
    let file = |version: u32| {
        let mut file = b"GGUF".to_vec();
        file.extend(version.to_le_bytes());
        file.extend((tensors.len() as u64).to_le_bytes());
        file.extend((entries.len() as u64).to_le_bytes());
        file.extend(entries.concat());
        file.extend(tensors.concat());
        file
    };
    vec![(whole("version-2"), file(2)), (whole("version-3"), file(3))]
}

/// What PyTorch wrote, a program for one tensor by itself, and what would fill memory.
pub(crate) fn pickles() -> Files {
    let folder = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../formats/tests/golden/pickles"
    );
    let golden = ["tensors", "checkpoint"].map(|name| {
        let bytes = fs::read(format!("{folder}/{name}.pt")).expect("a committed file");
        (whole(name), bytes)
    });
    let repeated = [b"\x80\x02}", &tensor(1024, 1).repeat(60)[..], b"."].concat();
    let repeated = archive(&[("data.pkl", &repeated), ("data/0", &[0; 4096])]);
    let program = |dimensions| [b"\x80\x02}", &tensor(16, dimensions)[..], b"."].concat();
    golden
        .into_iter()
        .chain([
            (whole("program"), program(1)),
            ("refused-repeated-values".into(), repeated),
            ("refused-65-dimensions".into(), program(65)),
        ])
        .collect()
}

/// The part of a program that puts a tensor of so many values into a dictionary: in one dimension,
/// and more of one value.
fn tensor(values: u16, dimensions: usize) -> Vec<u8> {
    let values = [b"M", &values.to_le_bytes()[..]].concat();
    let ones = b"K\x01".repeat(dimensions - 1);
    let steps = b"K\x01".repeat(dimensions);
    [
        b"X\x01\0\0\0wctorch._utils\n_rebuild_tensor_v2\n((X\x07\0\0\0storagectorch\nFloatStorage\nX\x01\0\0\x000X\x03\0\0\0cpu",
        &values[..],
        b"tQK\0(",
        &values,
        &ones,
        b"t(",
        &steps,
        b"t\x89ccollections\nOrderedDict\n)RtRs",
    ]
    .concat()
}
