//! Latent models whose U-Net a CPU stores in fewer than 32 bits.

use crate::workspace::golden;
use fewstep_data::image::read;

/// What generates a small image into a file.
fn sample<'a>(model: &'a str, more: &[&'a str], out: &'a str) -> Vec<&'a str> {
    let words = [
        "sample", "--model", model, "--prompt", "a cat", "--steps", "4", "--w", "2", "--out", out,
    ];
    words.into_iter().chain(more.iter().copied()).collect()
}

/// Images with weights in f16 are within one step of 8 bits of those in f32; those with rounded
/// weights are near.
#[test]
fn images_of_fewer_bits_are_those_of_32() {
    let workspace = crate::workspace();
    let model = golden("sd1").display().to_string();
    let image = |precision: &str| {
        let out = format!("{precision}.png");
        workspace.succeed(&sample(&model, &["--precision", precision], &out));
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

/// Where the processor rounds factors to bf16, the image is near; elsewhere that is refused.
#[test]
fn products_in_bf16_are_near_where_the_processor_has_them() {
    let workspace = crate::workspace();
    let model = golden("sd1").display().to_string();
    let words = sample(&model, &["--bf16-products"], "rounded.png");
    if !fewstep_kernels::has_bf16_products() {
        workspace.refuse(&words, &["--bf16-products", "AVX512-BF16"]);
        return;
    }
    workspace.succeed(&words);
    workspace.succeed(&sample(&model, &[], "exact.png"));
    let [exact, rounded] = ["exact.png", "rounded.png"].map(|file| {
        let image = read(&workspace.path(file), None, 3).expect("an image");
        image.pixels
    });
    let far = exact
        .iter()
        .zip(&rounded)
        .map(|(a, b)| a.abs_diff(*b))
        .max();
    assert!((1..=16).contains(&far.expect("values")), "{far:?}");
}
