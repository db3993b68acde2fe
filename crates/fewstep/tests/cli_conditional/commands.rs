//! The commands that generate from control images.

use super::*;
use fewstep_data::image::{Image, write_png};

/// The commands generate the same image for the same seed, enlarged by the factor of the training.
/// What is not masked stays as it is.
#[test]
fn commands_generate_from_control_images() {
    let workspace = taught();
    distil(&workspace, "up", &["updates=4"]);
    distil(
        &workspace,
        "fill",
        &["updates=4", "condition={kind=\"inpaint\"}"],
    );
    let folder = workspace.folder.path();
    write_image(&folder.join("small.png"), 4, 1);
    write_image(&folder.join("larger.png"), 8, 2);
    let upscale = [
        "upscale",
        "--model",
        "up",
        "--image",
        "small.png",
        "--steps",
        "2",
        "--out",
    ];
    for (out, more) in [
        ("a.png", vec![]),
        ("b.png", vec![]),
        ("c.png", vec!["--seed", "1"]),
        ("d.png", vec!["--sampler", "multistep-consistency"]),
        ("e.png", vec!["--sampler", "renoising"]),
    ] {
        workspace.succeed(&[&upscale[..], &[out], &more].concat());
    }
    let image = |name: &str| read_image(&folder.join(name)).pixels;
    assert_eq!(image("a.png"), image("b.png"));
    assert_ne!(image("a.png"), image("c.png"));
    assert_ne!(image("a.png"), image("d.png"));
    // The sampler's name in earlier versions.
    assert_eq!(image("d.png"), image("e.png"));
    // Two cells of 8 pixels with a margin of one; of 16 for a control image of 8.
    assert_eq!(read_image(&folder.join("a.png")).shape.width, 19);
    let (json, _) = workspace.succeed(&[
        "upscale",
        "--model",
        "up",
        "--image",
        "larger.png",
        "--out",
        "e.png",
        "--json",
    ]);
    assert_eq!(read_image(&folder.join("e.png")).shape.width, 35);
    let json: serde_json::Value = serde_json::from_str(&json).expect("JSON");
    assert_eq!(
        (&json["steps"], &json["network_calls"]),
        (&4.into(), &4.into())
    );

    let mask = Image {
        shape: read_image(&folder.join("larger.png")).shape,
        pixels: (0..64).map(|i| if i % 8 < 4 { 255 } else { 0 }).collect(),
    };
    write_png(folder.join("mask.png"), &mask).expect("written");
    let inpaint = [
        "inpaint",
        "--model",
        "fill",
        "--image",
        "larger.png",
        "--out",
        "f.png",
        "--mask",
    ];
    workspace.succeed(&[&inpaint[..], &["mask.png"]].concat());
    let (whole, filled) = (image("larger.png"), image("f.png"));
    let cell = |x: usize, y: usize| filled[(y + 1) * 19 + 10 + x];
    assert!(
        (0..64).all(|i| i % 8 < 4 || cell(i % 8, i / 8) == whole[i]),
        "the part that is not masked changed"
    );
    workspace.refuse(
        &[&inpaint[..], &["small.png"]].concat(),
        &["8x8", "4x4", "mask"],
    );
    for (flag, value, part) in [
        ("--prompt", "a cat", "text_encoder"),
        ("--size", "8x8", "generates from control images"),
        ("--first", "2", "order of --image"),
        ("--columns", "2", "a row for each image"),
    ] {
        let words = [&inpaint[..], &["mask.png", flag, value]].concat();
        workspace.refuse(&words, &[flag, part]);
    }
    let other = [
        "inpaint",
        "--model",
        "up",
        "--image",
        "small.png",
        "--mask",
        "small.png",
        "--out",
        "x.png",
    ];
    workspace.refuse(&other, &["fewstep upscale"]);
    write_image(&folder.join("odd.png"), 9, 1);
    let odd = [
        "inpaint", "--model", "fill", "--image", "odd.png", "--mask", "odd.png", "--out", "x.png",
    ];
    // The network halves once.
    workspace.refuse(&odd, &["[2, 9, 9]", "multiples of 2", "resize it to 8x8"]);
}
