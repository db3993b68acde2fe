//! What a picture starts from.

use crate::{DrawError, from_pictures};
use burn::tensor::{Device, Tensor, TensorData};
use fewstep_data::picture::Picture;
use fewstep_nn::Codec;

/// What a picture starts from.
#[derive(Clone, Debug)]
pub enum Canvas {
    /// Noise alone.
    Blank,
    /// A picture, noised to the time `strength` in (0, 1]: near 0 it stays as it is, at 1 hardly anything is left.
    Edit {
        /// The picture, of the size that is asked for.
        picture: Picture,
        /// How much of it may change.
        strength: f64,
    },
    /// A picture with a part to fill, for models that see both.
    Fill {
        /// The picture, of the size that is asked for.
        picture: Picture,
        /// One channel: at least 128 where the picture is to be filled.
        mask: Picture,
    },
}

impl Canvas {
    /// Whether the canvas suits a model that sees `beside` channels beside its latents.
    pub(super) fn check(&self, beside: usize, size: [usize; 2]) -> Result<(), DrawError> {
        match self {
            Self::Fill { .. } if beside == 0 => return Err(DrawError::NotForFilling),
            Self::Blank | Self::Edit { .. } if beside > 0 => return Err(DrawError::OnlyForFilling),
            Self::Edit { strength, .. } if !(*strength > 0.0 && *strength <= 1.0) => {
                return Err(DrawError::Strength(*strength));
            }
            _ => {}
        }
        let pictures = match self {
            Self::Blank => vec![],
            Self::Edit { picture, .. } => vec![("picture", picture)],
            Self::Fill { picture, mask } => vec![("picture", picture), ("mask", mask)],
        };
        for (what, picture) in pictures {
            let got = [picture.shape.height, picture.shape.width];
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

    /// What a model for filling sees beside its latents: the mask, then the latents of the picture with the part to
    /// fill in grey.
    pub(super) fn beside(&self, codec: &Codec, count: usize, device: &Device) -> Option<Tensor<4>> {
        let Self::Fill { picture, mask } = self else {
            return None;
        };
        let shape = [1, 1, mask.shape.height, mask.shape.width];
        let hidden = mask.pixels.iter().map(|&v| f32::from(u8::from(v >= 128)));
        let hidden = TensorData::new(hidden.collect::<Vec<f32>>(), shape);
        let picture = from_pictures(std::slice::from_ref(picture), device);
        let beside = codec.beside(picture, Tensor::from_data(hidden, device));
        Some(beside.repeat_dim(0, count))
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
        let picture = |name: &str, channels: usize| Picture {
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
            picture: picture("fill.picture", 3),
            mask: picture("fill.mask", 1),
        };
        let beside = canvas.beside(&pipeline.codec, 2, &device).expect("maps");
        assert_eq!(beside.dims(), [2, 5, 8, 8]);
        let ours = beside.into_data().try_to_vec::<f32>().expect("f32 data");
        let theirs = values("fill.beside").repeat(2);
        for (index, (a, b)) in ours.iter().zip(theirs).enumerate() {
            assert!((a - b).abs() < 1e-4, "value {index}: {a} for {b}");
        }
    }
}
