//! What an image starts from.

use crate::{DrawError, from_images};
use burn::tensor::{Device, Tensor, TensorData};
use fewstep_data::image::Image;
use fewstep_nn::Vae;

/// What an image starts from.
#[derive(Clone, Debug)]
pub enum Canvas {
    /// Noise alone.
    Blank,
    /// An image, noised to the time `strength` in (0, 1]: near 0 it stays as it is, at 1 hardly anything is left.
    Edit {
        /// The image, of the size that is asked for.
        image: Image,
        /// How much of it may change.
        strength: f64,
    },
    /// An image with a part to fill, for models that see both.
    Fill {
        /// The image, of the size that is asked for.
        image: Image,
        /// One channel: at least 128 where the image is to be filled.
        mask: Image,
    },
}

impl Canvas {
    /// Whether the canvas suits a model that sees `concat` channels beside its latents.
    pub(super) fn check(&self, concat: usize, size: [usize; 2]) -> Result<(), DrawError> {
        match self {
            Self::Fill { .. } if concat == 0 => return Err(DrawError::NotForFilling),
            Self::Blank | Self::Edit { .. } if concat > 0 => return Err(DrawError::OnlyForFilling),
            Self::Edit { strength, .. } if !(*strength > 0.0 && *strength <= 1.0) => {
                return Err(DrawError::Strength(*strength));
            }
            _ => {}
        }
        let images = match self {
            Self::Blank => vec![],
            Self::Edit { image, .. } => vec![("image", image)],
            Self::Fill { image, mask } => vec![("image", image), ("mask", mask)],
        };
        for (what, image) in images {
            let got = [image.shape.height, image.shape.width];
            if got != size {
                return Err(DrawError::CanvasSize {
                    what,
                    got,
                    expected: size,
                });
            }
        }
        Ok(())
    }

    /// What a model for filling sees beside its latents: the mask, then the latents of the image with the part to
    /// fill in grey.
    pub(super) fn concat(&self, vae: &Vae, count: usize, device: &Device) -> Option<Tensor<4>> {
        let Self::Fill { image, mask } = self else {
            return None;
        };
        let shape = [1, 1, mask.shape.height, mask.shape.width];
        let hidden = mask.pixels.iter().map(|&v| f32::from(u8::from(v >= 128)));
        let hidden = TensorData::new(hidden.collect::<Vec<f32>>(), shape);
        let image = from_images(std::slice::from_ref(image), device);
        let concat = vae.inpaint_concat(image, Tensor::from_data(hidden, device));
        Some(concat.repeat_dim(0, count))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use fewstep_data::ImageShape;
    use fewstep_formats::Pipeline;

    const FOLDER: &str = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../formats/tests/golden/latent/inpaint"
    );

    /// What diffusers' inpainting pipeline gives its U-Net (tools/golden/latent.py).
    #[test]
    fn a_model_for_filling_sees_what_that_of_diffusers_sees() {
        let stored = std::fs::read(format!("{FOLDER}/golden.safetensors")).expect("a file");
        let stored = safetensors::SafeTensors::deserialize(&stored).expect("tensors");
        let values = |name: &str| -> Vec<f32> {
            let tensor = stored.tensor(name).expect("a stored tensor");
            let bytes = tensor.data().chunks_exact(4);
            bytes
                .map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]]))
                .collect()
        };
        let image = |name: &str, channels: usize| Image {
            shape: ImageShape {
                channels,
                height: 16,
                width: 16,
            },
            pixels: values(name).iter().map(|&v| v as u8).collect(),
        };
        let device = Device::flex();
        let pipeline = Pipeline::load(FOLDER.as_ref(), &device).expect("a model");
        let canvas = Canvas::Fill {
            image: image("fill.image", 3),
            mask: image("fill.mask", 1),
        };
        let concat = canvas.concat(&pipeline.vae, 2, &device).expect("maps");
        assert_eq!(concat.dims(), [2, 5, 8, 8]);
        let ours = concat.into_data().try_to_vec::<f32>().expect("f32 data");
        let theirs = values("fill.concat").repeat(2);
        for (index, (a, b)) in ours.iter().zip(theirs).enumerate() {
            assert!((a - b).abs() < 1e-4, "value {index}: {a} for {b}");
        }
    }
}
