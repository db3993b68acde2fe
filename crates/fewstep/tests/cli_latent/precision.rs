//! Latent models whose U-Net a CPU stores in fewer than 32 bits.

use crate::workspace::golden;
use fewstep_data::image::read;

/// Images with weights in f16 are within one step of 8 bits of those in f32; those with rounded
/// weights are near.
#[test]
fn images_of_fewer_bits_are_those_of_32() {
    let workspace = crate::workspace();
    let model = golden("sd1").display().to_string();
    let image = |precision: &str| {
        let out = format!("{precision}.png");
        workspace.succeed(&[
            "sample",
            "--model",
            &model,
            "--prompt",
            "a cat",
            "--steps",
            "4",
            "--w",
            "2",
            "--precision",
            precision,
            "--out",
            &out,
        ]);
        read(&workspace.path(&out), None, 3)
            .expect("an image")
            .pixels
    };
    let (wide, half) = (image("f32"), image("f16"));
    let far = |half: &[u8]| {
        let distances = wide.iter().zip(half).map(|(a, b)| a.abs_diff(*b));
        distances.max().expect("values")
    };
    assert!(far(&half) <= 1, "{}", far(&half));
    for precision in ["bf16", "q8_0"] {
        let rounded = image(precision);
        assert_ne!(wide, rounded, "{precision}: the weights were rounded");
        assert!(far(&rounded) <= 8, "{precision}: {}", far(&rounded));
    }
}
